"""The constraints of a plan as data: what each allows, which one binds, and when each would matter.

A constraint matters where taking it away would change the ratio. Its breakpoint is the setting at which that begins
or ends: the one that just allows the ratio that is best without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from cmrplan.fit.fit import Fit
from cmrplan.numbers import Tolerance, training_flops
from cmrplan.plan.optimum import SAME_RATIO, ConstraintName, Decision
from cmrplan.plan.request import PlanRequest
from cmrplan.plan.turning_point import multiplier_at

TIGHTER_UPWARD = ("turning_point", "ratio_floor")  # a larger setting allows less


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


def constraint_text(constraint: Constraint) -> str:
    """Return in words what a constraint allows and how far it would have to move to matter, or not to.

    Examples
    --------
    >>> constraint_text(Constraint("tolerance", 0.03, "fraction", True, 0.4, 0.6, 0.0512))
    'tolerance 3% allows up to 0.400; binds, stops to matter from 5.12% on (ratio 0.600)'
    """
    name, unit, at = constraint.name, constraint.unit, constraint.breakpoint
    text = f"{name} {shown(constraint.setting, unit)}"
    if name == "compute":
        text += " cuts the tokens" if constraint.is_binding else ""
        return text + ("" if at is None else f"; matters below {shown(at, unit)}")
    is_up = name in TIGHTER_UPWARD
    text += f" allows {'down' if name == 'ratio_floor' else 'up'} to {constraint.allows:.3f}; "
    if not constraint.is_binding:
        if at is None:
            return text + "never binds here"
        return text + f"would bind {'above' if is_up else 'below'} {shown(at, unit)}"
    if at is None:
        return text + "binds"
    side = f"below {shown(at, unit)}" if is_up else f"from {shown(at, unit)} on"
    return text + f"binds, stops to matter {side} (ratio {constraint.ratio_without:.3f})"


def shown(value: float, unit: str) -> str:
    """Return a setting as a person would write it."""
    if unit in ("nats", "fraction", "perplexity_fraction", "perplexity"):
        return str(Tolerance(float(f"{value:.3g}"), unit))  # type: ignore[arg-type]
    return f"{value:.4g}" if unit in ("tokens", "FLOPs", "lambda") else f"{value:.3f}"
