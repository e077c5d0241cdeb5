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
from cmrplan.errors import CmrplanError
from cmrplan.fit.corpus_model import Interval
from cmrplan.fit.fit import Fit
from cmrplan.numbers import Tolerance, training_flops
from cmrplan.plan.loss_curves import FINE_GRID, LossCurves, survey
from cmrplan.plan.refusals import empty_text
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
    "confidence",
    "untested",
    "probed_high",
    "probed_low",
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
        NaN where the estimates alone allow none.
    draws : array (B,)
        The best ratio of each resample.
    unconstrained : float
        The best ratio without any constraint.
    fresh : LossCurves, optional
        As :func:`fresh_curves` returns them.
    """

    curves: LossCurves
    feasible: FeasibleInterval
    ratio: float
    best_estimate: float
    draws: Array
    unconstrained: float
    fresh: LossCurves | None = None

    @property
    def is_feasible(self) -> bool:
        """Whether a ratio holds the tolerance with confidence."""
        return bool(np.isfinite(self.ratio))

    @property
    def evaluated(self) -> float:
        """The ratio at which losses are given: the recommended one, else the best estimate, else the least rise's."""
        known = [ratio for ratio in (self.ratio, self.best_estimate) if np.isfinite(ratio)]
        return known[0] if known else self.least_rise[0]

    @property
    def least_rise(self) -> tuple[float, float]:
        """The ratio of those left whose rise is least with confidence, and that rise in the tolerance's unit."""
        k = self.curves.between(self.feasible.low, self.feasible.high)
        ratio, rise = self.curves.domain_ratio[k], self.curves.rise_upper[k]
        least = int(np.argmin(rise))
        return float(ratio[least]), float(rise[least])

    @property
    def least_tolerance(self) -> Tolerance:
        """The smallest tolerance that some ratio holds with confidence."""
        return self.curves.tolerance.least_above(self.least_rise[1])

    def interval(self, confidence: float) -> Interval:
        """Return the best estimate of the ratio with its interval."""
        return Interval.of_draws(self.best_estimate, self.draws, confidence)


def decide(fit: Fit, request: PlanRequest, *, num_grid: int = FINE_GRID) -> Decision:
    """Return the best ratio under all constraints, or that no ratio keeps the tolerance.

    Raises
    ------
    CmrplanError
        If the other constraints leave no ratio, with the smallest change that would, or the laws explain nothing.
    """
    require_explaining(fit)
    feasible = feasible_interval(fit, request)
    if feasible.is_empty:
        raise CmrplanError(empty_text(fit, request, feasible))
    curves = survey(fit, request, marks=feasible.marks, num_grid=num_grid)
    return decision_on(curves, feasible, fresh_curves(fit, request, num_grid))


def fresh_curves(fit: Fit, request: PlanRequest, num_grid: int = FINE_GRID) -> LossCurves | None:
    """Return the curves without repeats where a run may make some that no probe made."""
    if request.unique_tokens is None or request.max_epochs <= 1 or fit.probed.supply is not None:
        return None
    return survey(fit, replace(request, domain_tokens=None), num_grid=num_grid)


def decision_on(
    curves: LossCurves, feasible: FeasibleInterval, fresh: LossCurves | None
) -> Decision:
    """Return the best ratio of curves in an interval that is not empty; NaN where the tolerance allows none."""
    low, high = feasible.low, feasible.high
    return Decision(
        curves=curves,
        feasible=feasible,
        ratio=curves.chance_constrained_ratio(low, high),
        best_estimate=curves.best_estimate(low, high),
        draws=curves.drawn_ratios(low, high),
        unconstrained=(fresh or curves).chance_constrained_ratio(*feasible.probed, allowed=np.inf),
        fresh=fresh,
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


@dataclass(frozen=True)
class Constraint:
    """One constraint of a plan: one that was asked for, or one that the probes set.

    Parameters
    ----------
    name : str
        As in ``binding``; ``confidence`` and ``untested`` stand beside the tolerance that they tighten, the second if
        one new run has to keep it, and ``probed_high`` and ``probed_low`` are the ends of the probed ratios.
    setting : float
        As it was asked, in ``unit``.
    unit : str
    is_binding : bool
        Whether it alone holds the ratio where it is.
    allows : float
        The largest ratio it would allow by itself; of a floor the smallest; of compute the ratio as it is. NaN where
        it allows none.
    ratio_without : float
        The ratio that would be recommended without it; NaN where there is none, or nothing was probed to tell.
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
        """Return every field by name as plain values, the breakpoint as ``edge``; infinity is ``"inf"``, NaN None."""
        values = asdict(self)
        values["edge"] = values.pop("breakpoint")
        plain = {key: "inf" if value == math.inf else value for key, value in values.items()}
        return {key: None if value != value else value for key, value in plain.items()}


def binding_constraint(decision: Decision, *, is_cut: bool) -> ConstraintName:
    """Return what keeps the ratio from the one that is best without any constraint.

    ``is_cut`` tells whether compute cut the tokens, which is said where nothing else binds.
    """
    feasible, chosen = decision.feasible, decision.ratio
    free, (lowest, highest) = decision.unconstrained, feasible.probed
    if abs(chosen - free) <= SAME_RATIO:
        if chosen >= highest - SAME_RATIO and highest < 1:
            return "probed_high"
        if chosen <= lowest + SAME_RATIO and lowest > 0:
            return "probed_low"
        return "compute" if is_cut else "none"
    if feasible.floor is not None and chosen <= feasible.low + SAME_RATIO and free < chosen:
        return "ratio_floor"
    if feasible.tightest is not None and chosen >= feasible.high - SAME_RATIO:
        return feasible.tightest
    without = decision.curves.chance_constrained_ratio(feasible.low, feasible.high, np.inf)
    is_scarce = decision.fresh is not None and not _differ(chosen, without)
    return "domain_tokens" if is_scarce else "tolerance"  # more domain tokens would repeat less


def constraints_of(
    fit: Fit, request: PlanRequest, decision: Decision, binding: ConstraintName
) -> tuple[Constraint, ...]:
    """Return every constraint, with what it allows and where it begins to matter."""
    asked = [
        *_tolerance(request, decision, binding),
        *_confidence(fit, request, decision),
        *(_cap(fit, request, decision, name, binding) for name in decision.feasible.caps),
        *_floor(decision, binding),
        *_compute(request, decision, binding),
        *_probed_ends(decision, binding),
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


def _confidence(fit: Fit, request: PlanRequest, decision: Decision) -> Iterator[Constraint]:
    """Return what the confidence takes from the tolerance, and beyond the probed budgets what one new run takes."""
    curves, ratio, without = decision.curves, decision.ratio, decision.best_estimate
    if request.tolerance is None or not len(decision.draws):
        return
    differs, level = _differ(ratio, without), request.confidence
    yield Constraint("confidence", level, "probability", differs, ratio, without, None)
    if curves.run_noise.any():
        mean = replace(curves, run_noise=np.zeros((len(decision.draws), 1)))
        mean = mean.with_losses(request, curves.general, curves.domain, curves.replay)
        without = mean.chance_constrained_ratio(decision.feasible.low, decision.feasible.high)
        differs, last = _differ(ratio, without), fit.probed.token_range[1]
        yield Constraint("untested", request.tokens, "tokens", differs, ratio, without, last)


def _differ(one: float, other: float) -> bool:
    return not np.isclose(one, other, rtol=0, atol=SAME_RATIO, equal_nan=True)


def _probed_ends(decision: Decision, binding: ConstraintName) -> Iterator[Constraint]:
    lowest, highest = decision.feasible.probed
    ends: list[tuple[ConstraintName, float, bool]] = [
        ("probed_high", highest, highest < 1),
        ("probed_low", lowest, lowest > 0),
    ]
    for name, end, limits in ends:
        if limits:
            yield Constraint(name, end, "ratio", name == binding, end, math.nan, None)


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
        if decision.fresh is not None:  # their number moves the losses too, until none repeats
            without = decision.fresh.chance_constrained_ratio(wider.low, wider.high)
            matters_at = without * request.tokens if name == binding else None
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
