"""A request holds a whole question to the planner; the public functions take one, or its fields as keywords."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict, get_args, get_type_hints

from cmrplan.errors import InputError
from cmrplan.fit.arguments import asked_of
from cmrplan.fit.arguments import named_arguments as named_arguments  # for the questions
from cmrplan.fit.file import read_fit
from cmrplan.fit.fit import Fit
from cmrplan.numbers import CountOrText as CountOrText
from cmrplan.numbers import (
    Reference,
    Tolerance,
    affordable_tokens,
    parse_compute,
    parse_tolerance,
    require_confidence,
    require_fraction,
    require_positive,
)
from cmrplan.numbers import parse_named_count as parse_named_count

FitOrPath = Fit | str | os.PathLike[str]

COUNTS = ("model_params", "train_tokens", "gpu_flops", "domain_tokens")


class LimitOptions(TypedDict, total=False):
    """The fields of a :class:`PlanRequest` that bound the answer."""

    max_general_rise: float | str | Tolerance | None
    rise_over: Reference
    base_loss: float | None
    confidence: float
    domain_tokens: CountOrText | None
    max_epochs: float
    turning_point: float | None
    min_ratio: float | None
    max_ratio: float | None
    general_weight: float | None


class SizeOption(TypedDict, total=False):
    """The model size of a question."""

    model_params: CountOrText | None


class TokensOption(TypedDict, total=False):
    """The tokens of a question."""

    train_tokens: CountOrText | None


class ComputeOptions(TypedDict, total=False):
    """The budget of a question."""

    compute: CountOrText | None
    gpu_flops: CountOrText | None


class SizeOptions(SizeOption, LimitOptions, total=False):
    """A question at one size."""


class TokensOptions(TokensOption, LimitOptions, total=False):
    """A question at one token count."""


class BudgetOptions(ComputeOptions, LimitOptions, total=False):
    """A question for a budget of compute."""


class SizeBudgetOptions(SizeOption, ComputeOptions, LimitOptions, total=False):
    """A question at one size for a budget of compute."""


class RequestOptions(SizeOption, TokensOption, ComputeOptions, LimitOptions, total=False):
    """Every field of a :class:`PlanRequest`."""


@dataclass(frozen=True)
class PlanRequest:
    """Everything that is asked of a run. Checked when it is built; counts become numbers, compute becomes FLOPs.

    Parameters
    ----------
    model_params : float or str, optional
        Size of the full-scale model, counted as in the log; ``7e9`` or ``"7B"``. Left out where sizes are compared.
    train_tokens : float or str, optional
        Budget in tokens, domain and replay together. May be left out when ``compute`` is given.
    compute : float or str, optional
        Budget in FLOPs, at 6 a parameter and token, or in GPU-hours (``"500gpu-hours"``); cuts ``train_tokens``
        where it is the smaller.
    gpu_flops : float or str, optional
        What one GPU really does, in FLOP/s; needed for GPU-hours.
    max_general_rise : float or str, optional
        Allowed rise of the general loss: nats per token (``0.05``), a percentage of the loss (``"3%"``) or of the
        perplexity (``"5%ppl"``), as :func:`~cmrplan.numbers.parse_tolerance` reads it. May be left
        out where ``general_weight`` or ``turning_point`` says how much the general loss matters.
    rise_over : {"base", "replay"}
        What the rise is measured from: the base checkpoint, or a run of the same tokens on general data alone.
        Re-warming a schedule raises the general loss by itself, and that is not forgetting.
    base_loss : float, optional
        General loss of the base checkpoint, nats per token; from the log by default.
    confidence : float
        How surely the tolerance is to hold, and the level of the intervals; in (0, 1).
    domain_tokens : float or str, optional
        Unique tokens of the domain corpus; the ratio is kept from using more than ``max_epochs`` passes over them.
    max_epochs : float
        Passes allowed over the domain corpus.
    turning_point : float, optional
        Weight lambda of the CMR paper's second test, ``inf`` for the version without it. Needs a fit with the
        CMR laws.
    min_ratio, max_ratio : float, optional
        Floor and ceiling of the domain ratio, in [0, 1].
    general_weight : float, optional
        The lowest ``domain_loss + general_weight * general_loss`` is sought; 0, the default, for the domain loss alone.
        Given, it says what the general loss is worth, and ``max_general_rise`` may be left out.

    Raises
    ------
    InputError
        If a number is out of its range, or the floor is above the ceiling.

    Examples
    --------
    >>> PlanRequest(model_params="1.8B", train_tokens="10B", max_general_rise="3%").size
    1800000000.0
    """

    model_params: CountOrText | None = None
    train_tokens: CountOrText | None = None
    compute: CountOrText | None = None
    gpu_flops: CountOrText | None = None
    max_general_rise: float | str | Tolerance | None = None
    rise_over: Reference = "base"
    base_loss: float | None = None
    confidence: float = 0.9
    domain_tokens: CountOrText | None = None
    max_epochs: float = 1.0
    turning_point: float | None = None
    min_ratio: float | None = None
    max_ratio: float | None = None
    general_weight: float | None = None

    def __post_init__(self) -> None:
        for name in COUNTS:
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, parse_named_count(name, given))
        if self.compute is not None:
            flops = parse_compute(self.compute, _number(self.gpu_flops))
            object.__setattr__(self, "compute", flops)
        for name in ("base_loss", "max_epochs"):
            value = getattr(self, name)
            if value is not None:
                require_positive(name, value)
        require_confidence(self.confidence)
        if self.rise_over not in get_args(Reference):
            raise InputError(f"rise_over must be base or replay, got {self.rise_over!r}")
        if self.turning_point is not None and not self.turning_point >= 0:
            raise InputError(
                f"turning_point must be a weight (lambda) at or above 0, got {self.turning_point}"
            )
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise InputError(f"general_weight must be 0 or more, got {self.weight:g}")
        self._check_ratios()
        given = (self.max_general_rise, self.general_weight, self.turning_point)
        if all(value is None for value in given):
            raise InputError(
                "max_general_rise must be given (0.05 nats per token, 3%, 5%ppl), or else general_weight (0 for "
                "the domain loss alone) or turning_point, which say what the general loss is worth"
            )

    def _check_ratios(self) -> None:
        for name in ("min_ratio", "max_ratio"):
            value = getattr(self, name)
            if value is not None:
                require_fraction(name, value)
        low, high = self.min_ratio, self.max_ratio
        if low is not None and high is not None and low > high:
            raise InputError(
                f"min_ratio {low:g} is above max_ratio {high:g}, so no ratio is left; lower the one or raise the other"
            )

    @property
    def tolerance(self) -> Tolerance | None:
        """The allowed rise, or None where there is no tolerance."""
        return None if self.max_general_rise is None else parse_tolerance(self.max_general_rise)

    @property
    def is_domain_only(self) -> bool:
        """Whether nothing that is asked needs the general loss."""
        return self.tolerance is None and not self.weight and self.turning_point is None

    @property
    def weight(self) -> float:
        """The weight of the general loss in the objective."""
        return 0.0 if self.general_weight is None else self.general_weight

    @property
    def size(self) -> float:
        """The parameters of the run; an InputError where they were not given."""
        if self.model_params is None:
            raise InputError("model_params must be given")
        return float(self.model_params)

    @property
    def flops(self) -> float | None:
        """The budget in FLOPs, or None where there is none."""
        return _number(self.compute)

    @property
    def unique_tokens(self) -> float | None:
        """The tokens of the domain corpus, or None where they were not given."""
        return _number(self.domain_tokens)

    @property
    def is_cut(self) -> bool:
        """Whether compute sets the length of the run."""
        if self.flops is None:
            return False
        affordable = affordable_tokens(self.size, self.flops)
        return self.train_tokens is None or affordable < float(self.train_tokens)

    @property
    def tokens(self) -> float:
        """The tokens of the run; an InputError where neither they nor compute were given."""
        if self.flops is not None and self.is_cut:
            return affordable_tokens(self.size, self.flops)
        if self.train_tokens is None:
            raise InputError("train_tokens or compute must be given")
        return float(self.train_tokens)

    def at(self, model_params: float, train_tokens: float) -> PlanRequest:
        """Return the same limits on another run, whose tokens compute does not cut."""
        return replace(self, model_params=model_params, train_tokens=train_tokens, compute=None)

    def for_any_size(self) -> PlanRequest:
        """Return the request without a given base loss, which belongs to one size."""
        return replace(self, base_loss=None)

    def refuse_uncounted_passes(self) -> None:
        """Refuse a number of passes over a domain corpus whose tokens were not given, which would bound nothing."""
        if self.max_epochs != 1 and self.domain_tokens is None:
            raise InputError(
                f"max_epochs = {self.max_epochs:g} bounds the passes over the domain corpus, whose tokens are not "
                "given; give domain_tokens too, or leave it out"
            )

    def refuse_base_loss(self) -> None:
        """Refuse a given base loss where sizes are compared."""
        if self.base_loss is not None:
            raise InputError(
                "base_loss belongs to one size, and sizes are compared; leave it out, each size's comes from the log"
            )

    def limits_as_dict(self) -> dict[str, Any]:
        """Return the fields that bound the answer as plain values; a tolerance as its text, infinity as ``"inf"``."""
        names = (*_option_types(LimitOptions),)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values = {name: value for name, value in values.items() if name in names}
        if self.max_general_rise is not None:
            values["max_general_rise"] = str(self.tolerance)
        values["general_weight"] = self.weight
        if self.turning_point is not None and math.isinf(self.turning_point):
            values["turning_point"] = "inf"
        return values


def request_of(request: PlanRequest | None, options: Mapping[str, Any]) -> PlanRequest:
    """Return the request with the options in the place of its own, or one of the options alone."""
    return asked_of(PlanRequest, request, options)


def fit_of(fit: FitOrPath) -> Fit:
    """Return a fit, or read it from its file.

    Raises
    ------
    InputError
        If it is neither, such as a fit of several corpora.
    """
    if isinstance(fit, Fit):
        return fit
    if not isinstance(fit, str | os.PathLike):
        raise InputError(
            f"fit must be a Fit or the path of its file, got {type(fit).__name__}; cp.fit makes one, and "
            "cp.plan_mixture takes fits of several corpora"
        )
    return read_fit(fit)


def _option_types(options: type) -> dict[str, Any]:
    return get_type_hints(options)


def _number(given: CountOrText | None) -> float | None:
    return None if given is None else float(given)
