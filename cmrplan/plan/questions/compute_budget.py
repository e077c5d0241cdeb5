"""The best model size, tokens and ratio for a budget of compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.plan.compute import affordable_tokens, parse_compute
from cmrplan.plan.plan import Plan, plan_within
from cmrplan.plan.questions.target_loss import Reached, checked_sizes, reached, require_sizes
from cmrplan.plan.request import Limits

NUM_SIZES = 13
NUM_ROUNDS = 3  # each looks between the neighbors of the best size of the round before


@dataclass(frozen=True)
class Budget:
    """The best run for a budget.

    Parameters
    ----------
    compute : float
        FLOPs.
    plan : Plan
        At the best size, which gets the tokens that the budget pays for.
    tried : tuple of Reached
        Every size that was looked at, ascending.
    """

    compute: float
    plan: Plan
    tried: tuple[Reached, ...]

    def table(self) -> pd.DataFrame:
        """Return one row a size."""
        return pd.DataFrame([vars(one) for one in self.tried])


def best_budget(
    fit: Fit,
    *,
    compute: float | str,
    gpu_flops: float | None = None,
    sizes: Sequence[float] | None = None,
    size_range: tuple[float, float] | None = None,
    **limits: Any,
) -> Budget:
    """Return the size, tokens and ratio with the lowest domain loss that a budget pays for.

    Parameters
    ----------
    fit : Fit
    compute : float or str
        FLOPs, at 6 a parameter and token, or GPU-hours (``"500gpu-hours"``).
    gpu_flops : float, optional
        What one GPU really does, in FLOP/s; needed for GPU-hours.
    sizes : sequence of float, optional
        The sizes to choose from.
    size_range : (float, float), optional
        Or any size between these two; the probed sizes' range by default. With the CMR laws, which hold per size,
        the probed ones alone.
    **limits
        Fields of :class:`~cmrplan.plan.request.Limits`. The rise of each size is measured over its own base.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If no size has a feasible ratio.
    """
    asked = Limits(**limits)
    asked.refuse_base_loss()
    budget = parse_compute(compute, gpu_flops)
    if sizes is not None and size_range is not None:
        raise InputError("sizes and size_range were both given; give one")

    def at(size: float) -> Reached:
        tokens = affordable_tokens(size, budget)
        return reached(fit, asked, model_params=size, train_tokens=tokens)

    probed = np.unique(fit.log["model_params"].to_numpy(dtype=float)).tolist()
    if sizes is None and size_range is None and fit.holds_per_size:
        sizes = probed
    ends = checked_sizes(sizes or size_range or (probed[0], probed[-1]))
    require_sizes(fit, ends)
    if sizes is not None:
        tried = [at(size) for size in ends]
    else:
        tried = _between(at, ends[0], ends[-1])
    best = min(tried, key=lambda one: one.domain_loss)
    if not np.isfinite(best.domain_loss):
        raise CmrplanError(f"no size has a feasible ratio at {budget:.4g} FLOPs: {best.reason}")
    made = plan_within(
        fit, asked, model_params=best.model_params, train_tokens=None, compute=budget
    )
    if len(tried) > 1 and best in (tried[0], tried[-1]):
        side = "smallest" if best is tried[0] else "largest"
        remark = Finding(
            Code.SIZE_AT_EDGE,
            f"the best size is the {side} that was allowed ({best.model_params:.4g} parameters); look beyond it",
        )
        made = made.with_findings([remark])
    return Budget(budget, made, tuple(tried))


def _between(at: Callable[[float], Reached], low: float, high: float) -> list[Reached]:
    """Return sizes from ``low`` to ``high``, densest around the best."""
    found: dict[float, Reached] = {}
    for _ in range(NUM_ROUNDS):
        for size in np.geomspace(low, high, NUM_SIZES):
            found.setdefault(float(size), at(float(size)))
        tried = [found[size] for size in sorted(found)]
        best = min(range(len(tried)), key=lambda k: tried[k].domain_loss)
        low = tried[max(best - 1, 0)].model_params
        high = tried[min(best + 1, len(tried) - 1)].model_params
    return tried
