"""A budget of compute has a best model size, with tokens and a ratio of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.fit.tabular import Tabular
from cmrplan.plan.plan import Plan, feasible_plan_for
from cmrplan.plan.questions.target_loss import ReachedLoss, checked_sizes, reached, require_sizes
from cmrplan.plan.request import (
    BudgetOptions,
    CountOrText,
    FitOrPath,
    PlanRequest,
    fit_of,
    named_arguments,
    request_of,
)

NUM_SIZES = 13
NUM_ROUNDS = 3  # each looks between the neighbors of the best size of the round before


@dataclass(frozen=True, repr=False)
class ComputeOptimalPlan(Tabular):
    """The best run for a budget.

    Parameters
    ----------
    compute : float
        FLOPs.
    plan : Plan
        At the best size, which gets the tokens that the budget pays for.
    tried : tuple of ReachedLoss
        Every size that was looked at, ascending.
    """

    compute: float
    plan: Plan
    tried: tuple[ReachedLoss, ...]

    def table(self) -> pd.DataFrame:
        """Return one row a size."""
        return pd.DataFrame([vars(one) for one in self.tried])


@named_arguments
def best_budget(
    fit: FitOrPath,
    request: PlanRequest | None = None,
    *,
    sizes: Sequence[CountOrText] | None = None,
    size_range: tuple[CountOrText, CountOrText] | None = None,
    **options: Unpack[BudgetOptions],
) -> ComputeOptimalPlan:
    """Return the size, tokens and ratio with the lowest domain loss that a budget pays for.

    With a ``general_weight`` it is the weighted sum of both losses that is lowest.

    Parameters
    ----------
    fit : Fit or path
    request : PlanRequest, optional
        The budget and the limits. The rise of each size is measured over its own base.
    sizes : sequence of float or str, optional
        The sizes to choose from.
    size_range : (float, float), optional
        Or any size between these two; the probed sizes' range by default. With the CMR laws, which hold per size,
        the probed ones alone.
    **options
        Fields of :class:`~cmrplan.plan.request.PlanRequest`.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If no size has a feasible ratio.
    """
    fit, asked = fit_of(fit), request_of(request, options)
    budget = asked.flops
    if budget is None:
        raise InputError("compute must be given")
    asked = replace(asked, train_tokens=None)
    asked.refuse_base_loss()
    if sizes is not None and size_range is not None:
        raise InputError("sizes and size_range were both given; give one")
    tried = _tried(fit, asked, sizes, size_range)
    best = min(tried, key=lambda one: one.objective)
    if not np.isfinite(best.objective):
        raise CmrplanError(f"no size has a feasible ratio at {budget:.4g} FLOPs: {best.reason}")
    plan = feasible_plan_for(fit, replace(asked, model_params=best.model_params))
    if len(tried) > 1 and best in (tried[0], tried[-1]):
        side = "smallest" if best is tried[0] else "largest"
        remark = Finding(
            Code.SIZE_AT_EDGE,
            f"the best size is the {side} that was allowed ({best.model_params:.4g} parameters); look beyond it",
        )
        plan = plan.with_findings([remark])
    return ComputeOptimalPlan(budget, plan, tuple(tried))


def _tried(
    fit: Fit,
    request: PlanRequest,
    sizes: Sequence[CountOrText] | None,
    size_range: tuple[CountOrText, CountOrText] | None,
) -> list[ReachedLoss]:
    """Return the domain loss of every size that is looked at, ascending."""
    probed = fit.log["model_params"].to_numpy(dtype=float)
    ends = (float(probed.min()), float(probed.max()))
    if sizes is None and size_range is None and fit.holds_per_size:
        sizes = np.unique(probed).tolist()
    listed = checked_sizes(sizes or size_range or ends)
    require_sizes(fit, listed)

    def at(size: float) -> ReachedLoss:
        return reached(fit, replace(request, model_params=size))

    return (
        [at(size) for size in listed] if sizes is not None else _between(at, listed[0], listed[-1])
    )


def _between(at: Callable[[float], ReachedLoss], low: float, high: float) -> list[ReachedLoss]:
    """Return sizes from ``low`` to ``high``, densest around the best."""
    by_size: dict[float, ReachedLoss] = {}
    for _ in range(NUM_ROUNDS):
        for size in np.geomspace(low, high, NUM_SIZES):
            by_size.setdefault(float(size), at(float(size)))
        tried = [by_size[size] for size in sorted(by_size)]
        best = min(range(len(tried)), key=lambda k: tried[k].objective)
        low = tried[max(best - 1, 0)].model_params
        high = tried[min(best + 1, len(tried) - 1)].model_params
    return tried
