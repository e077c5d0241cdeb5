"""What to do with a domain corpus of a given size: how long to train on it, and how often to pass over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.numbers import require_positive
from cmrplan.plan.compute import affordable_tokens, parse_compute
from cmrplan.plan.constraints import SAME_RATIO
from cmrplan.plan.extrapolation import ratio_range
from cmrplan.plan.loss_curves import Landscape, survey
from cmrplan.plan.plan import Plan, plan_within
from cmrplan.plan.questions.target_loss import reached
from cmrplan.plan.request import Limits

EPOCHS = (1.0, 2.0, 4.0, 8.0, 16.0)


def spend_domain_tokens(
    fit: Fit,
    *,
    model_params: float,
    domain_tokens: float,
    compute: float | str | None = None,
    gpu_flops: float | None = None,
    **limits: Any,
) -> Plan:
    """Recommend ratio and tokens together where the domain corpus is what is given.

    The run uses every domain token ``max_epochs`` times, so its length follows from the ratio:
    ``max_epochs * domain_tokens / domain_ratio``. A smaller ratio means a longer run with more replay. This is the
    second usage of the D-CPT paper.

    Parameters
    ----------
    fit : Fit
        By a law that reads tokens.
    model_params : float
    domain_tokens : float
        Unique tokens of the domain corpus.
    compute : float or str, optional
        The most FLOPs or GPU-hours that may be spent, which bounds the length.
    gpu_flops : float, optional
        As in :func:`~cmrplan.plan.plan.plan`.
    **limits
        Fields of :class:`~cmrplan.plan.request.Limits`.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If no ratio is feasible, or the law does not read tokens.

    References
    ----------
    Que et al., D-CPT Law, NeurIPS 2024, arXiv:2406.01375.
    """
    require_positive("model_params", model_params)
    asked = Limits(domain_tokens=domain_tokens, **limits)
    if asked.turning_point is not None:
        raise InputError("turning_point needs train_tokens; give them")
    if any(model.holds_per_budget for model in fit.models.values()):
        raise CmrplanError(
            "the CMR laws hold at one token count at a time; fit with the law dcpt, which reads the tokens"
        )
    used = asked.max_epochs * domain_tokens
    budget = None if compute is None else parse_compute(compute, gpu_flops)
    longest = None if budget is None else affordable_tokens(model_params, budget)
    low, high = _ratios(fit, asked, used, longest)
    if low > high:
        raise CmrplanError(
            f"a run that uses the domain tokens {asked.max_epochs:g} time(s) needs a domain ratio of {low:.4g} or more "
            f"and {high:.4g} is the most allowed; give more compute, or change min_ratio or max_ratio"
        )

    def length(ratio: Array) -> Array:
        return used / ratio

    land = survey(fit, asked, model_params=model_params, train_tokens=length, ratios=(low, high))
    ratio = land.safe_ratio(low, high)
    if np.isnan(ratio):
        k = int(np.argmin(land.rise_safe))
        raise CmrplanError(
            f"no ratio that uses up the domain tokens keeps the general loss within {land.tolerance} with confidence "
            f"{asked.confidence:g}; smallest feasible tolerance is "
            f"{land.tolerance.least_above(float(land.rise_safe[k]))} (at domain_ratio {land.domain_ratio[k]:.3g})"
        )
    made = _over_lengths(
        plan_within(
            fit, asked, model_params=model_params, train_tokens=used / ratio, compute=budget
        ),
        land,
        low,
        high,
    )
    if ratio <= low + SAME_RATIO and budget is None:
        remark = Finding(
            Code.LONGEST_RUN,
            f"the longest run that the fitted ratios allow is the best ({used / ratio:.4g} tokens at domain_ratio "
            f"{ratio:.3g}); the law sees no end to what a longer run gives; bound it with min_ratio",
        )
        made = made.with_findings([remark])
    return made


def _over_lengths(made: Plan, land: Landscape, low: float, high: float) -> Plan:
    """Return a plan whose ratios are compared with those of other lengths, not with others at its own length."""
    free = land.safe_ratio(low, high, allowed=np.inf)
    is_held = abs(free - made.domain_ratio) > SAME_RATIO
    tolerance = [
        replace(
            one,
            is_binding=is_held,
            allows=made.domain_ratio,
            ratio_without=free,
            edge=land.needed(free) if land.needed(free) > 0 else None,
        )
        for one in made.constraints
        if one.name == "tolerance"
    ]
    # every length uses the domain data up, so at the length found they allow just this ratio, which says nothing
    others = [
        one
        for one in made.constraints
        if one.name != "tolerance" and not (is_held and one.name == "domain_tokens")
    ]
    interval: tuple[float | None, float | None] = (None, None)
    if made.num_resamples:
        tail = (1 - made.confidence) / 2
        ends = np.quantile(land.drawn_ratios(low, high), [tail, 1 - tail])
        interval = float(ends[0]), float(ends[1])
    return replace(
        made,
        domain_ratio_low=interval[0],
        domain_ratio_high=interval[1],
        point_domain_ratio=land.point_ratio(low, high),
        unconstrained_domain_ratio=free,
        binding="tolerance" if is_held else made.binding,
        constraints=(*tolerance, *others),
    )


def by_epochs(
    fit: Fit,
    *,
    model_params: float,
    train_tokens: float,
    domain_tokens: float,
    epochs: Sequence[float] = EPOCHS,
    **limits: Any,
) -> pd.DataFrame:
    """Return the best ratio for each number of passes that may be made over the domain corpus.

    Parameters
    ----------
    fit : Fit
    model_params, train_tokens, domain_tokens : float
    epochs : sequence of float
        Passes allowed.
    **limits
        Fields of :class:`~cmrplan.plan.request.Limits` but ``max_epochs``.

    Returns
    -------
    DataFrame
        ``max_epochs``, ``domain_epochs`` that the best ratio makes, ``domain_ratio``, ``domain_loss`` in nats per token
        with repeats discounted, ``domain_loss_safe``, and ``reason`` where no ratio is feasible.
    """
    asked = Limits(domain_tokens=domain_tokens, **limits)
    rows = []
    for passes in epochs:
        one = reached(
            fit,
            replace(asked, max_epochs=passes),
            model_params=model_params,
            train_tokens=train_tokens,
        )
        rows.append(
            {
                "max_epochs": float(passes),
                "domain_epochs": train_tokens * one.domain_ratio / domain_tokens,
                "domain_ratio": one.domain_ratio,
                "domain_loss": one.domain_loss,
                "domain_loss_safe": one.domain_loss_safe,
                "reason": one.reason,
            }
        )
    return pd.DataFrame(rows)


def _ratios(fit: Fit, limits: Limits, used: float, longest: float | None) -> tuple[float, float]:
    """Return the range of ratios of a run whose length follows from them.

    A ratio of 0 would never end: without a longest run, the smallest probed ratio above 0 is the lowest.
    """
    low, high = ratio_range(fit)
    if longest is not None:
        low = max(low, used / longest)
    elif low <= 0:
        ratios = fit.log["domain_ratio"].to_numpy(dtype=float)
        low = float(ratios[ratios > 0].min())
    low = max(low, limits.min_ratio or 0.0)
    return low, min(high, 1.0 if limits.max_ratio is None else limits.max_ratio)
