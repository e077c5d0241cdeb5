"""A request holds a whole question about a mixture; ``plan_mixture`` takes one, or its fields as keywords."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, TypedDict

from cmrplan.errors import InputError
from cmrplan.fit.arguments import asked_of
from cmrplan.mixture.file import read_mixture_fit
from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.numbers import (
    CountOrText,
    Tolerance,
    parse_named_count,
    parse_named_number,
    parse_tolerance,
    require_confidence,
    require_fraction,
)

MixtureFitOrPath = MixtureFit | str | os.PathLike[str]
ByCorpus = Mapping[str, CountOrText]
"""A number for each of some corpora, each a number or its spelling."""


class MixtureRequestOptions(TypedDict, total=False):
    """Every field of a :class:`MixturePlanRequest`."""

    model_params: CountOrText | None
    train_tokens: CountOrText | None
    objective: ByCorpus | None
    protected: Mapping[str, float | str | Tolerance]
    available: ByCorpus
    max_epochs: CountOrText | ByCorpus
    floors: ByCorpus
    ceilings: ByCorpus
    base_loss: ByCorpus
    reference: ByCorpus | None
    confidence: float


@dataclass(frozen=True)
class MixturePlanRequest:
    """Everything that is asked of a mixture. Checked when it is built; texts become numbers.

    Parameters
    ----------
    model_params : float or str, optional
        Size of the full-scale model, counted as in the log; ``7e9`` or ``"7B"``. By default the largest one fitted.
    train_tokens : float or str
        Budget in tokens, all corpora together; ``20e9`` or ``"20B"``.
    objective : mapping of str to float, optional
        Weight of each validation corpus's loss in the sum that is minimized, 0 or more. By default one for every
        corpus that is not protected (for every corpus where all are).
    protected : mapping of str to float or str
        How far the loss of a validation corpus may rise: 0.05 (nats per token), "3%", "5%ppl".
    available : mapping of str to float or str
        Unique tokens of a training corpus; ``5e9`` or ``"5B"``.
    max_epochs : float or mapping of str to float
        Passes allowed over them, of corpora whose available tokens are given; 1 where nothing is said.
    floors, ceilings : mapping of str to float
        Bounds of the share of a training corpus, in [0, 1].
    base_loss : mapping of str to float
        Loss of the base checkpoint on a validation corpus, nats per token; from the log by default.
    reference : mapping of str to float, optional
        A mixture: rises then count from its predicted losses and not from the base checkpoint.
    confidence : float
        How surely all tolerances together are to hold, and the level of the intervals; in (0, 1).

    Raises
    ------
    InputError
        If a number is out of its range.

    Examples
    --------
    >>> MixturePlanRequest(train_tokens="20B", protected={"general": "3%"}, available={"code": "5B"}).tokens
    20000000000.0
    """

    model_params: CountOrText | None = None
    train_tokens: CountOrText | None = None
    objective: ByCorpus | None = None
    protected: Mapping[str, float | str | Tolerance] = field(default_factory=dict)
    available: ByCorpus = field(default_factory=dict)
    max_epochs: CountOrText | ByCorpus = 1.0
    floors: ByCorpus = field(default_factory=dict)
    ceilings: ByCorpus = field(default_factory=dict)
    base_loss: ByCorpus = field(default_factory=dict)
    reference: ByCorpus | None = None
    confidence: float = 0.9

    def __post_init__(self) -> None:
        for name in ("model_params", "train_tokens", "available", "max_epochs", "base_loss"):
            self._parse(name, parse_named_count)
        for name in ("objective", "floors", "ceilings", "reference"):
            self._parse(name, parse_named_number)
        for name in ("floors", "ceilings"):
            for corpus, share in getattr(self, name).items():
                require_fraction(f"{name} of {corpus}", share, "share")
        for corpus, weight in _numbers(self.objective).items():
            if weight < 0:
                raise InputError(f"objective of {corpus} must be 0 or more, got {weight:g}")
        if self.objective is not None and not any(self.objective.values()):
            raise InputError("objective must give at least one corpus a weight above 0")
        require_confidence(self.confidence)
        _require_by_corpus("protected", self.protected)
        object.__setattr__(self, "protected", dict(self.protected))
        for corpus in self.protected:
            self.tolerance(corpus)

    def _parse(self, name: str, parse: Callable[[str, CountOrText], float]) -> None:
        """Put numbers in the place of what was given for a field."""
        given = getattr(self, name)
        if given is None:
            return
        if name in ("model_params", "train_tokens") or (
            name == "max_epochs" and not isinstance(given, Mapping)
        ):
            parsed: float | dict[str, float] = parse(name, given)
        else:
            _require_by_corpus(name, given)
            parsed = {
                corpus: parse(f"{name} of {corpus}", value) for corpus, value in given.items()
            }
        object.__setattr__(self, name, parsed)

    @property
    def tokens(self) -> float:
        """The tokens of the run; an InputError where they were not given."""
        if self.train_tokens is None:
            raise InputError("train_tokens must be given")
        return float(self.train_tokens)

    def size(self, fit: MixtureFit) -> float:
        """Return the parameters of the run, by default those of the largest model fitted."""
        if self.model_params is None:
            return float(fit.log["model_params"].max())
        return float(self.model_params)

    def tolerance(self, corpus: str) -> Tolerance:
        """Return the tolerance of a protected corpus."""
        return parse_tolerance(self.protected[corpus], f"the tolerance of {corpus}")

    @property
    def unique_tokens(self) -> dict[str, float]:
        """The tokens of each corpus for which they were given."""
        return _numbers(self.available)

    @property
    def base_losses(self) -> dict[str, float]:
        """The base losses that were given, nats per token."""
        return _numbers(self.base_loss)

    def epochs(self, corpus: str) -> float:
        """Return the passes allowed over a corpus."""
        passes = self.max_epochs
        return float(passes.get(corpus, 1.0) if isinstance(passes, Mapping) else passes)

    def floor(self, corpus: str) -> float:
        """Return the least share of a corpus; 0 where none was given."""
        return float(self.floors.get(corpus, 0.0))

    def ceiling(self, corpus: str) -> float:
        """Return the largest share of a corpus; 1 where none was given."""
        return float(self.ceilings.get(corpus, 1.0))

    @property
    def reference_mixture(self) -> dict[str, float] | None:
        """The mixture that rises count from; None where they count from the base."""
        return None if self.reference is None else _numbers(self.reference)

    def weights(self, fit: MixtureFit) -> dict[str, float]:
        """Return the weight of each validation corpus with one above 0."""
        if self.objective is not None:
            return {c: weight for c, weight in _numbers(self.objective).items() if weight > 0}
        free = [corpus for corpus in fit.models if corpus not in self.protected]
        return dict.fromkeys(free or fit.models, 1.0)

    def check_names(self, fit: MixtureFit) -> None:
        """Refuse corpora that the fit does not know, and passes over corpora whose tokens are not given.

        Raises
        ------
        InputError
            Naming the argument and the corpora there are, or what the passes need.
        """
        passes = self.max_epochs if isinstance(self.max_epochs, Mapping) else {}
        evaluated, trained = tuple(fit.models), fit.corpora
        for argument, names, known, kind in (
            ("objective", self.objective or {}, evaluated, "validation"),
            ("protected", self.protected, evaluated, "validation"),
            ("base_loss", self.base_loss, evaluated, "validation"),
            ("available", self.available, trained, "training"),
            ("max_epochs", passes, trained, "training"),
            ("floors", self.floors, trained, "training"),
            ("ceilings", self.ceilings, trained, "training"),
        ):
            for name in names:
                if name not in known:
                    near = get_close_matches(name, known, n=1)
                    hint = f"; did you mean {near[0]}" if near else ""
                    raise InputError(
                        f"{argument}: the fit has no {kind} corpus {name!r}{hint}; it has {', '.join(sorted(known))}"
                    )
        self._require_passes_to_count(passes)

    def _require_passes_to_count(self, passes: Mapping[str, CountOrText]) -> None:
        """Refuse passes that bound nothing, since the tokens that they would be over are not given."""
        idle = [name for name in passes if name not in self.available]
        is_plain = not isinstance(self.max_epochs, Mapping) and self.max_epochs != 1
        if idle or (is_plain and not self.available):
            what = f"max_epochs of {', '.join(idle)}" if idle else "max_epochs"
            given = " ".join(f"--available {name}=TOKENS" for name in idle or ["CORPUS"])
            raise InputError(
                f"{what} has no effect without the tokens that the corpus holds; give them as available ({given}), "
                "or leave max_epochs out"
            )

    def limits_as_dict(self) -> dict[str, Any]:
        """Return the fields that bound the answer as plain values; a tolerance as its text."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        limits = {k: v for k, v in values.items() if k not in ("model_params", "train_tokens")}
        return limits | {"protected": {c: str(self.tolerance(c)) for c in self.protected}}


def mixture_request_of(
    request: MixturePlanRequest | None, options: Mapping[str, Any]
) -> MixturePlanRequest:
    """Return the request with the options in the place of its own, or one of the options alone."""
    return asked_of(MixturePlanRequest, request, options)


def mixture_fit_of(fit: MixtureFitOrPath) -> MixtureFit:
    """Return a fit of a mixture, or read it from its file.

    Raises
    ------
    InputError
        If it is neither, such as a fit of two corpora.
    """
    if isinstance(fit, MixtureFit):
        return fit
    if not isinstance(fit, str | os.PathLike):
        raise InputError(
            f"fit must be a MixtureFit or the path of its file, got {type(fit).__name__}; "
            "cp.fit_mixture makes one, and cp.plan takes fits of two corpora"
        )
    return read_mixture_fit(fit)


def _require_by_corpus(name: str, given: object) -> None:
    if not isinstance(given, Mapping):
        raise InputError(
            f"{name} must give values by corpus, such as {{'code': ...}}, got {given!r}"
        )


def _numbers(by_corpus: ByCorpus | None) -> dict[str, float]:
    return {corpus: float(value) for corpus, value in (by_corpus or {}).items()}
