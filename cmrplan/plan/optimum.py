"""The best ratio of one run under all constraints, or why there is none; and what each constraint does to it.

A constraint matters where taking it away would change the ratio. Its breakpoint is the setting at which that begins
or ends: the one that just allows the ratio that is best without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Code
from cmrplan.fit.corpus_model import Interval
from cmrplan.fit.fit import Fit
from cmrplan.fit.other_sizes import OTHER_SIZE
from cmrplan.numbers import training_flops
from cmrplan.plan.loss_curves import FINE_GRID, LossCurves, survey
from cmrplan.plan.request import PlanRequest
from cmrplan.plan.turning_point import multiplier_at, turning_ratio

SAME_RATIO = 1e-6  # difference below which two recommended ratios are the same

ConstraintName = Literal[
    "tolerance",
    "turning_point",
    "domain_tokens",
    "compute",
    "ratio_floor",
    "ratio_ceiling",
    "none",
]


@dataclass(frozen=True)
class FeasibleInterval:
    """The ratios that are left by everything but the tolerance.

    Parameters
    ----------
    probed : (float, float)
        Smallest and largest fitted ratio.
    caps : dict of str to float
        The largest ratio that each constraint allows.
    floor : float or None
    """

    probed: tuple[float, float]
    caps: dict[ConstraintName, float]
    floor: float | None

    @property
    def low(self) -> float:
        """The smallest ratio left."""
        return self.probed[0] if self.floor is None else max(self.probed[0], self.floor)

    @property
    def high(self) -> float:
        """The largest ratio left; below ``low`` where none is."""
        return min([self.probed[1], *self.caps.values()])

    @property
    def is_empty(self) -> bool:
        """Whether no ratio is left."""
        return self.low > min(self.high, self.probed[1])

    @property
    def tightest(self) -> ConstraintName | None:
        """The constraint with the lowest cap."""
        return min(self.caps.items(), key=lambda cap: cap[1])[0] if self.caps else None

    @property
    def marks(self) -> list[float]:
        """The ratios at which a constraint ends."""
        return [*self.caps.values(), self.low]

    def without(self, name: ConstraintName) -> FeasibleInterval:
        """Return the interval with one constraint less."""
        if name == "ratio_floor":
            return replace(self, floor=None)
        return replace(self, caps={key: cap for key, cap in self.caps.items() if key != name})


def feasible_interval(fit: Fit, request: PlanRequest) -> FeasibleInterval:
    """Return the ratios that the constraints of a run leave."""
    caps: dict[ConstraintName, float] = {}
    if request.unique_tokens is not None:
        caps["domain_tokens"] = request.max_epochs * request.unique_tokens / request.tokens
    if request.turning_point is not None:
        caps["turning_point"] = turning_ratio(
            fit,
            model_params=request.size,
            train_tokens=request.tokens,
            multiplier=request.turning_point,
        )
    if request.max_ratio is not None:
        caps["ratio_ceiling"] = request.max_ratio
    return FeasibleInterval(fit.probed.ratio_range, caps, request.min_ratio)


@dataclass(frozen=True)
class Decision:
    """A ratio, and what it was taken from.

    Parameters
    ----------
    curves : LossCurves
    feasible : FeasibleInterval
    ratio : float
        Holds the tolerance with confidence; NaN where none does.
    best_estimate : float
        NaN where only the upper quantile is feasible.
    draws : array (B,)
        The best ratio of each resample.
    unconstrained : float
        The best ratio without any constraint.
    """

    curves: LossCurves
    feasible: FeasibleInterval
    ratio: float
    best_estimate: float
    draws: Array
    unconstrained: float

    def interval(self, confidence: float) -> Interval:
        """Return the best estimate of the ratio with its interval."""
        return Interval.of_draws(self.best_estimate, self.draws, confidence)


def decide(fit: Fit, request: PlanRequest, *, num_grid: int = FINE_GRID) -> Decision:
    """Return the best ratio under all constraints.

    Raises
    ------
    CmrplanError
        If no ratio is feasible, with the smallest change that would make one, or the laws explain nothing.
    """
    require_explaining(fit)
    feasible = feasible_interval(fit, request)
    if feasible.is_empty:
        raise CmrplanError(empty_text(fit, request, feasible))
    curves = survey(fit, request, marks=feasible.marks, num_grid=num_grid)
    decision = decision_on(curves, feasible)
    if np.isnan(decision.ratio):
        far = fit.probed.extrapolation_findings(
            model_params=request.size, train_tokens=request.tokens
        )
        carried = [finding for finding in curves.findings if finding.code in OTHER_SIZE]
        apart = [finding for finding in fit.warnings if finding.code == Code.BASE_APART]
        remarks = [finding.message for finding in (*apart, *far, *carried)]
        text = _infeasible_text(request, curves, feasible, decision.best_estimate)
        raise CmrplanError("; ".join([text, *remarks]))
    return decision


def decision_on(curves: LossCurves, feasible: FeasibleInterval) -> Decision:
    """Return the best ratio of curves in an interval that is not empty; NaN where the tolerance allows none."""
    low, high = feasible.low, feasible.high
    return Decision(
        curves=curves,
        feasible=feasible,
        ratio=curves.chance_constrained_ratio(low, high),
        best_estimate=curves.best_estimate(low, high),
        draws=curves.drawn_ratios(low, high),
        unconstrained=curves.chance_constrained_ratio(*feasible.probed, allowed=np.inf),
    )


def require_explaining(fit: Fit) -> None:
    """Refuse a fit whose laws describe a loss no better than its mean does.

    A model that follows its rows is judged by what it does with them, not by its laws, and is let through.

    Raises
    ------
    CmrplanError
        Naming the loss and the R² of its best law.
    """
    judged = {corpus: model for corpus, model in fit.models.items() if not model.follows_rows}
    for corpus, model in judged.items():
        known = [law.fit.r2 for law in model.components if np.isfinite(law.fit.r2)]
        if known and max(known) <= 0:
            raise CmrplanError(
                f"the fit explains nothing of the {corpus} loss (R² {max(known):.3g}), so no ratio can be planned from "
                "it; look at the columns with cmrplan logs check and at other laws with cmrplan compare, or probe "
                "ratios farther apart"
            )


def empty_text(fit: Fit, request: PlanRequest, feasible: FeasibleInterval) -> str:
    """Return why the constraints leave no ratio, and the smallest change of each that would."""
    lowest, highest = feasible.probed
    if feasible.low > highest:
        return (
            f"min_ratio {feasible.low:g} is above the largest fitted ratio {highest:g}; probe larger ratios, or lower "
            f"min_ratio to {highest:g}"
        )
    name, low = feasible.tightest, feasible.low
    is_floor = feasible.floor is not None and feasible.floor > lowest
    what = f"min_ratio {feasible.floor:g}" if is_floor else f"the smallest probed ratio {lowest:g}"
    way_out = f"lower min_ratio to {feasible.high:.4g}" if is_floor else "probe smaller ratios"
    if name == "domain_tokens":
        assert request.unique_tokens is not None
        needed = low * request.tokens
        change = (
            f"give {needed / request.max_epochs:.4g} domain_tokens, or allow {needed / request.unique_tokens:.3g} "
            "max_epochs"
        )
    elif name == "turning_point":
        weight = multiplier_at(
            fit, model_params=request.size, train_tokens=request.tokens, domain_ratio=low
        )
        change = "train longer" if weight is None else f"lower turning_point to {weight:.4g}"
    else:
        change = f"raise max_ratio to {low:.4g}"
    return f"{name} allows a domain ratio of at most {feasible.high:.4g}, below {what}; {way_out}, or {change}"


def _infeasible_text(
    request: PlanRequest, curves: LossCurves, feasible: FeasibleInterval, best_estimate: float
) -> str:
    k = curves.between(feasible.low, feasible.high)
    ratio, rise = curves.domain_ratio[k], curves.rise_upper[k]
    best = int(np.argmin(rise))
    needed = curves.tolerance.least_above(float(rise[best]))
    over = (
        f"the base loss {curves.base_loss:.4f}"
        if request.rise_over == "base"
        else "pure replay's loss"
    )
    text = (
        f"no domain ratio keeps the general loss within {curves.tolerance} of {over} with confidence "
        f"{request.confidence:g} at model_params = {curves.model_params:.4g}, train_tokens = "
        f"{float(curves.train_tokens[0]):.4g}; smallest feasible tolerance is {needed} (at domain_ratio "
        f"{ratio[best]:.3g})"
    )
    if np.isfinite(best_estimate):
        text += f"; the best estimate {best_estimate:.3g} would break it about every other time"
    if feasible.floor is not None:
        lower = feasible.without("ratio_floor")
        reachable = curves.chance_constrained_ratio(lower.low, lower.high)
        if np.isfinite(reachable):
            text += f"; or lower min_ratio to {np.floor(reachable * 1e4) / 1e4:g}"
    return text


@dataclass(frozen=True)
class Constraint:
    """One constraint of a plan.

    Parameters
    ----------
    name : str
        As in ``binding``.
    setting : float
        As it was asked, in ``unit``.
    unit : str
    is_binding : bool
        Whether it alone holds the ratio where it is.
    allows : float
        The largest ratio it would allow by itself; of a floor the smallest; of compute the ratio as it is.
    ratio_without : float
        The ratio that would be recommended without it.
    breakpoint : float or None
        The setting from which it no longer matters where it binds, and from which it would bind where it does
        not. None where no setting does.
    """

    name: ConstraintName
    setting: float
    unit: str
    is_binding: bool
    allows: float
    ratio_without: float
    breakpoint: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return every field by name as plain values, the breakpoint as ``edge``; infinity as ``"inf"``."""
        values = asdict(self)
        values["edge"] = values.pop("breakpoint")
        return {key: "inf" if value == math.inf else value for key, value in values.items()}


def binding_constraint(decision: Decision, *, is_cut: bool) -> ConstraintName:
    """Return what keeps the ratio from the one that is best without any constraint.

    ``is_cut`` tells whether compute cut the tokens, which is said where nothing else binds.
    """
    feasible, chosen = decision.feasible, decision.ratio
    free = decision.unconstrained
    if abs(chosen - free) <= SAME_RATIO:
        return "compute" if is_cut else "none"
    if feasible.floor is not None and chosen <= feasible.low + SAME_RATIO and free < chosen:
        return "ratio_floor"
    if feasible.tightest is not None and chosen >= feasible.high - SAME_RATIO:
        return feasible.tightest
    return "tolerance"


def constraints_of(
    fit: Fit, request: PlanRequest, decision: Decision, binding: ConstraintName
) -> tuple[Constraint, ...]:
    """Return every constraint that was asked for, with what it allows and where it begins to matter."""
    asked = [
        *_tolerance(request, decision, binding),
        *(_cap(fit, request, decision, name, binding) for name in decision.feasible.caps),
        *_floor(decision, binding),
        *_compute(request, decision, binding),
    ]
    return tuple(asked)


def _tolerance(
    request: PlanRequest, decision: Decision, binding: ConstraintName
) -> Iterator[Constraint]:
    if request.tolerance is None:
        return
    curves, feasible = decision.curves, decision.feasible
    without = curves.chance_constrained_ratio(feasible.low, feasible.high, allowed=math.inf)
    needed = curves.needed(without)
    yield Constraint(
        name="tolerance",
        setting=request.tolerance.value,
        unit=request.tolerance.unit,
        is_binding=binding == "tolerance",
        allows=min(curves.chance_constrained_ratio(*feasible.probed), 1.0),
        ratio_without=without,
        breakpoint=None if needed <= 0 else needed,  # a tolerance of zero would do
    )


def _cap(
    fit: Fit,
    request: PlanRequest,
    decision: Decision,
    name: ConstraintName,
    binding: ConstraintName,
) -> Constraint:
    """Return a constraint that allows ratios up to one."""
    cap, wider = decision.feasible.caps[name], decision.feasible.without(name)
    without = decision.curves.chance_constrained_ratio(wider.low, wider.high)
    setting, unit = cap, "ratio"
    matters_at: float | None = without
    if name == "domain_tokens":
        assert request.unique_tokens is not None
        setting, unit = request.unique_tokens, "tokens"
        matters_at = without * request.tokens / request.max_epochs
    elif name == "turning_point":
        assert request.turning_point is not None
        setting, unit = request.turning_point, "lambda"
        matters_at = multiplier_at(
            fit, model_params=request.size, train_tokens=request.tokens, domain_ratio=without
        )
    return Constraint(name, setting, unit, name == binding, min(cap, 1.0), without, matters_at)


def _floor(decision: Decision, binding: ConstraintName) -> Iterator[Constraint]:
    floor = decision.feasible.floor
    if floor is None:
        return
    lower = decision.feasible.without("ratio_floor")
    without = decision.curves.chance_constrained_ratio(lower.low, lower.high)
    is_binding = binding == "ratio_floor"
    yield Constraint("ratio_floor", floor, "ratio", is_binding, min(floor, 1.0), without, without)


def _compute(
    request: PlanRequest, decision: Decision, binding: ConstraintName
) -> Iterator[Constraint]:
    if request.flops is None:
        return
    matters_at, ratio = None, decision.ratio
    if request.train_tokens is not None:
        matters_at = training_flops(request.size, float(request.train_tokens))
    yield Constraint(
        "compute", request.flops, "FLOPs", binding == "compute", min(ratio, 1.0), ratio, matters_at
    )
