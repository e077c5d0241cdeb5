"""What a mixture has to keep to, as it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Finding, InputError
from cmrplan.fit.probed import base_loss_at
from cmrplan.mixture.fit import MixtureFit
from cmrplan.numbers import Tolerance, parse_tolerance, require_confidence, require_fraction

Edge = Literal["probed", "floor", "ceiling", "available"]
ROOM = 1e-9


@dataclass(frozen=True)
class MixtureLimits:
    """Everything that is asked of a mixture. Checked when it is made.

    Parameters
    ----------
    objective : mapping of str to float, optional
        Weight of each validation corpus's loss in the sum that is minimized, 0 or more. By default one for every
        corpus that is not protected (for every corpus where all are).
    protected : mapping of str to float or str
        How far the loss of a validation corpus may rise: 0.05 (nats per token), "3%", "5%ppl".
    available : mapping of str to float
        Unique tokens of a training corpus.
    max_epochs : float or mapping of str to float
        Passes allowed over them.
    floors, ceilings : mapping of str to float
        Bounds of the share of a training corpus.
    base_loss : mapping of str to float
        Loss of the base checkpoint on a validation corpus, nats per token; from the log by default.
    reference : mapping of str to float, optional
        A mixture: rises then count from its predicted losses and not from the base checkpoint.
    confidence : float
        How surely all tolerances together are to hold, and the level of the intervals.

    Raises
    ------
    InputError
        If a number is out of its range.
    """

    objective: Mapping[str, float] | None = None
    protected: Mapping[str, float | str | Tolerance] = field(default_factory=dict)
    available: Mapping[str, float] = field(default_factory=dict)
    max_epochs: float | Mapping[str, float] = 1.0
    floors: Mapping[str, float] = field(default_factory=dict)
    ceilings: Mapping[str, float] = field(default_factory=dict)
    base_loss: Mapping[str, float] = field(default_factory=dict)
    reference: Mapping[str, float] | None = None
    confidence: float = 0.9

    def __post_init__(self) -> None:
        for name in ("available", "base_loss"):
            for corpus, value in getattr(self, name).items():
                if not (np.isfinite(value) and value > 0):
                    raise InputError(f"{name} of {corpus} must be a number above 0, got {value:g}")
        passes = self.max_epochs
        for value in passes.values() if isinstance(passes, Mapping) else [passes]:
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"max_epochs must be a number above 0, got {value:g}")
        for name in ("floors", "ceilings"):
            for corpus, value in getattr(self, name).items():
                require_fraction(f"{name} of {corpus}", value, "share")
        for corpus, weight in (self.objective or {}).items():
            if not (np.isfinite(weight) and weight >= 0):
                raise InputError(f"objective of {corpus} must be 0 or more, got {weight:g}")
        if self.objective is not None and not any(self.objective.values()):
            raise InputError("objective must give at least one corpus a weight above 0")
        require_confidence(self.confidence)
        for corpus in self.protected:
            self.tolerance(corpus)

    def tolerance(self, corpus: str) -> Tolerance:
        """Return the tolerance of a protected corpus."""
        return parse_tolerance(self.protected[corpus], f"the tolerance of {corpus}")

    def epochs(self, corpus: str) -> float:
        """Return the passes allowed over a corpus."""
        passes = self.max_epochs
        return passes.get(corpus, 1.0) if isinstance(passes, Mapping) else float(passes)

    def weights(self, fit: MixtureFit) -> dict[str, float]:
        """Return the weight of each validation corpus with one above 0."""
        if self.objective is not None:
            return {corpus: float(w) for corpus, w in self.objective.items() if w > 0}
        free = [corpus for corpus in fit.models if corpus not in self.protected]
        return dict.fromkeys(free or fit.models, 1.0)

    def check_names(self, fit: MixtureFit) -> None:
        """Refuse corpora that the fit does not know.

        Raises
        ------
        InputError
            Naming the argument and the corpora there are.
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

    def as_dict(self) -> dict[str, Any]:
        """Return the question as plain values."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {k: dict(v) if isinstance(v, Mapping) else v for k, v in fields.items()}
        return plain | {"protected": {c: str(self.tolerance(c)) for c in self.protected}}


@dataclass(frozen=True)
class Box:
    """Bounds of the shares and where each comes from.

    Parameters
    ----------
    low, high : array (m,)
    low_edge, high_edge : tuple of m str
    """

    low: Array
    high: Array
    low_edge: tuple[Edge, ...]
    high_edge: tuple[Edge, ...]


def probed_box(fit: MixtureFit) -> Box:
    """Return the smallest and largest share that was probed of each corpus."""
    shares = fit.mixtures()
    probed: Edge = "probed"
    edges = (probed,) * len(fit.corpora)
    return Box(shares.min(axis=0), shares.max(axis=0), edges, edges)


def box_of(fit: MixtureFit, limits: MixtureLimits, train_tokens: float) -> Box:
    """Return the bounds that the probes, the tokens at hand, floors and ceilings leave.

    Raises
    ------
    CmrplanError
        If no mixture lies within, with a change that would let one in.
    """
    box = probed_box(fit)
    low, high = box.low.copy(), box.high.copy()
    low_edge: list[Edge] = list(box.low_edge)
    high_edge: list[Edge] = list(box.high_edge)
    for j, name in enumerate(fit.corpora):
        if limits.floors.get(name, 0.0) > low[j]:
            low[j], low_edge[j] = limits.floors[name], "floor"
        if limits.ceilings.get(name, 1.0) < high[j]:
            high[j], high_edge[j] = limits.ceilings[name], "ceiling"
        if name in limits.available:
            cap = limits.epochs(name) * limits.available[name] / train_tokens
            if cap < high[j]:
                high[j], high_edge[j] = cap, "available"
    box = Box(low, high, tuple(low_edge), tuple(high_edge))
    _require_room(fit, limits, box, train_tokens)
    return box


def _require_room(fit: MixtureFit, limits: MixtureLimits, box: Box, train_tokens: float) -> None:
    """Refuse bounds that leave no mixture."""
    for j, name in enumerate(fit.corpora):
        if box.low[j] <= box.high[j] + ROOM:
            continue
        ways = {
            "probed": "probe smaller shares"
            if box.low_edge[j] == "probed"
            else f"lower its floor to {box.high[j]:.4g} or probe larger shares",
            "ceiling": f"raise its ceiling to {box.low[j]:.4g}",
            "available": f"give {box.low[j] * train_tokens / limits.epochs(name):.4g} available tokens",
            "floor": "lower its floor",
        }
        raise CmrplanError(
            f"the share of {name} must be at least {box.low[j]:.4g} ({box.low_edge[j]}) and at most "
            f"{box.high[j]:.4g} ({box.high_edge[j]}); {ways[box.high_edge[j]]}, or change the other"
        )
    least, most = float(box.low.sum()), float(box.high.sum())
    if least > 1 + ROOM:
        raise CmrplanError(
            f"the floors and smallest probed shares add up to {least:.4g}, above 1; lower the floors by "
            f"{least - 1:.4g} together"
        )
    if most < 1 - ROOM:
        scarce = [
            n for n, edge in zip(fit.corpora, box.high_edge, strict=True) if edge == "available"
        ]
        way = "raise the ceilings or probe larger shares"
        if scarce:
            fixed = sum(h for h, e in zip(box.high, box.high_edge, strict=True) if e != "available")
            way = f"lower train_tokens to {_cut(_tokens_that_fit(fit, limits) * (1 + ROOM)):.4g}"
            if fixed < 1:
                factor = -_cut(-(1 - fixed) / (most - fixed))
                way += f", or allow at least {factor:.4g} times the max_epochs"
            way += f", or give more tokens of {', '.join(sorted(scarce))}"
        raise CmrplanError(
            f"the corpora together allow shares of {most:.4g}, below 1, of {train_tokens:.4g} train_tokens; {way}"
        )


def _cut(value: float) -> float:
    """Return the largest number of four digits that is not above a value."""
    step = 10.0 ** (np.floor(np.log10(abs(value))) - 3)
    return float(np.floor(value / step) * step)


def _tokens_that_fit(fit: MixtureFit, limits: MixtureLimits) -> float:
    """Return the largest budget that the available tokens allow, by bisection in the logarithm."""
    probed = probed_box(fit).high
    ceiling = np.array([limits.ceilings.get(name, 1.0) for name in fit.corpora])
    tokens = np.array(
        [limits.epochs(name) * limits.available.get(name, np.inf) for name in fit.corpora]
    )
    low, high = 0.0, float(np.log(tokens[np.isfinite(tokens)].sum())) + 50.0
    for _ in range(200):
        middle = (low + high) / 2
        share = np.minimum(np.minimum(probed, ceiling), tokens / np.exp(middle))
        low, high = (middle, high) if share.sum() >= 1 else (low, middle)
    return float(np.exp(low))


def references(
    fit: MixtureFit, limits: MixtureLimits, model_params: float
) -> tuple[dict[str, float], list[Finding]]:
    """Return the base loss of each protected corpus, and remarks on where it comes from.

    Raises
    ------
    CmrplanError
        If one is not known.
    """
    base, findings = {}, []
    for corpus in limits.protected:
        if corpus in limits.base_loss:
            base[corpus] = float(limits.base_loss[corpus])
            continue
        if not fit.base_loss.get(corpus):
            raise CmrplanError(
                f"the base loss on {corpus} is not known: the log has no row with train_tokens = 0 for it; add one, "
                f"give "
                "base_loss, or a reference mixture to count the rise from"
            )
        base[corpus], remarks = base_loss_at(fit.base_loss[corpus], model_params)
        findings += remarks
    return base, findings
