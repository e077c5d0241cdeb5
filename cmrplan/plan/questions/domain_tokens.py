"""A domain corpus of a given size decides how long to train on it, and how often to pass over it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.fit.corpus_model import Interval
from cmrplan.fit.fit import Fit
from cmrplan.fit.probed import TWO_DIGITS
from cmrplan.numbers import affordable_tokens, training_flops
from cmrplan.plan.findings import chance_to_break
from cmrplan.plan.loss_curves import COARSE_GRID, FINE_GRID, LossCurves, survey, survey_at
from cmrplan.plan.optimum import SAME_RATIO, Constraint, ConstraintName
from cmrplan.plan.plan import Plan, feasible_plan_for, plan_for
from cmrplan.plan.questions.target_loss import reached
from cmrplan.plan.request import (
    FitOrPath,
    PlanRequest,
    RequestOptions,
    SizeBudgetOptions,
    fit_of,
    named_arguments,
    request_of,
)

EPOCHS = (1.0, 2.0, 4.0, 8.0, 16.0)


@named_arguments
def spend_domain_tokens(
    fit: FitOrPath, request: PlanRequest | None = None, **options: Unpack[SizeBudgetOptions]
) -> Plan:
    """Recommend ratio and tokens together where the domain corpus is what is given.

    The run uses every domain token ``max_epochs`` times, so its length follows from the ratio:
    ``max_epochs * domain_tokens / domain_ratio``. A smaller ratio means a longer run with more replay. This is the
    second usage of the D-CPT paper.

    Parameters
    ----------
    fit : Fit or path
        By a law that reads tokens.
    request : PlanRequest, optional
        A size, ``domain_tokens`` and limits; ``compute`` bounds the length, ``train_tokens`` are not looked at.
    **options
        Fields of :class:`~cmrplan.plan.request.PlanRequest`.

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
    fit, asked = fit_of(fit), request_of(request, options)
    used, curves = _tokens_to_use(fit, asked), curves_over_lengths(fit, asked)
    low, high = ends_of(curves)
    ratio = curves.chance_constrained_ratio(low, high)
    if np.isnan(ratio):
        raise CmrplanError(_no_ratio_text(curves, asked))
    ratio = _kept(fit, asked, curves, ratio)
    plan = _plan_at(fit, asked, ratio, used / ratio)
    plan = _over_lengths(fit, plan, curves, asked)
    if ratio <= low + SAME_RATIO and asked.flops is None:
        remark = Finding(
            Code.LONGEST_RUN,
            f"the longest run that the fitted ratios allow is the best ({used / ratio:.4g} tokens at domain_ratio "
            f"{ratio:.3g}); the law sees no end to what a longer run gives; bound it with min_ratio",
        )
        plan = plan.with_findings([remark])
    return plan


def curves_over_lengths(fit: Fit, request: PlanRequest, *, num_grid: int = FINE_GRID) -> LossCurves:
    """Return the losses of runs that use the domain tokens up, each ratio at its own length.

    Raises
    ------
    CmrplanError
        If no ratio may be taken.
    """
    used = _tokens_to_use(fit, request)
    low, high = _ratios(fit, request, used)
    if low > high:
        raise CmrplanError(
            f"a run that uses the domain tokens {request.max_epochs:g} time(s) needs a domain ratio of {low:.4g} or "
            f"more and {high:.4g} is the most allowed; give more compute, or change min_ratio or max_ratio"
        )
    return survey(
        fit,
        request,
        train_tokens=lambda ratio: used / ratio,
        ratios=(low, high),
        num_grid=num_grid,
    )


def asked_at(plan: Plan, ratio: float) -> PlanRequest:
    """Return the question of a plan at another ratio, whose length follows where the plan spends domain tokens."""
    if not plan.spends_domain_tokens:
        return plan.asked
    unique = float(plan.asked.domain_tokens or 0)
    return replace(plan.asked, train_tokens=plan.asked.max_epochs * unique / ratio)


def plan_again(fit: Fit, plan: Plan, asked: PlanRequest | None = None) -> Plan:
    """Return the answer to the question of a plan by another fit, or with other limits.

    Raises
    ------
    CmrplanError
        If no ratio holds the tolerance.
    """
    again = spend_domain_tokens if plan.spends_domain_tokens else feasible_plan_for
    return again(fit, plan.asked if asked is None else asked)


def ends_of(curves: LossCurves) -> tuple[float, float]:
    """Return the smallest and the largest ratio of some losses."""
    return float(curves.domain_ratio[0]), float(curves.domain_ratio[-1])


def _tokens_to_use(fit: Fit, request: PlanRequest) -> float:
    """Return the domain tokens of the run, repeats included, where the question can be answered."""
    if request.unique_tokens is None:
        raise InputError("domain_tokens must be given")
    if request.turning_point is not None:
        raise InputError("turning_point needs train_tokens; give them")
    if any(model.holds_per_budget for model in fit.models.values()):
        raise CmrplanError(
            "the CMR laws hold at one token count at a time; fit with the law dcpt, which reads the tokens"
        )
    return request.max_epochs * request.unique_tokens


def _kept(fit: Fit, request: PlanRequest, curves: LossCurves, ratio: float) -> float:
    """Return a ratio that keeps the limit at its own length too: where two lengths meet, no straight line runs."""
    asked = replace(request, train_tokens=_tokens_to_use(fit, request) / ratio)
    allowed = curves.tolerance.largest_rise
    if survey_at(fit, asked, ratio).rise_upper[0] <= allowed:
        return ratio
    inside = curves.domain_ratio[curves.rise_upper <= allowed]
    return float(inside[np.argmin(np.abs(inside - ratio))]) if len(inside) else ratio


def _no_ratio_text(curves: LossCurves, request: PlanRequest) -> str:
    k = int(np.argmin(curves.rise_upper))
    return (
        f"no ratio that uses up the domain tokens keeps the general loss within {curves.tolerance} with confidence "
        f"{request.confidence:g}; smallest feasible tolerance is "
        f"{curves.tolerance.least_above(float(curves.rise_upper[k]))} (at domain_ratio {curves.domain_ratio[k]:.3g})"
    )


def _plan_at(fit: Fit, request: PlanRequest, ratio: float, tokens: float) -> Plan:
    """Return the plan of a run that uses the domain data up: a shorter use of them at its length is no answer."""
    asked = replace(request, train_tokens=tokens)
    plan = plan_for(fit, asked)
    if plan.is_feasible and abs(plan.domain_ratio / ratio - 1) <= TWO_DIGITS:
        return plan
    held = plan_for(fit, replace(asked, min_ratio=ratio, max_ratio=ratio))
    if not (held.is_feasible or plan.is_feasible):
        raise CmrplanError(plan.reason)
    return replace(held, asked=asked) if held.is_feasible else plan


def _over_lengths(fit: Fit, plan: Plan, curves: LossCurves, request: PlanRequest) -> Plan:
    """Return a plan whose ratios are compared with those of other lengths, not with others at its own length."""
    low, high = ends_of(curves)
    free = curves.chance_constrained_ratio(low, high, allowed=np.inf)
    draws = curves.drawn_ratios(low, high)
    binding = _binding(fit, plan, request, (low, high), free)
    wide = replace(request, min_ratio=None, max_ratio=None, compute=None)
    wide = replace(wide, general_weight=request.weight, max_general_rise=None)
    plan = replace(plan, spends_domain_tokens=True)
    estimate = curves.best_estimate(low, high)
    return replace(
        plan,
        ratio=Interval.of_draws(estimate, draws, plan.confidence),
        point_violation_probability=_chance_at(fit, plan, estimate),
        unconstrained_domain_ratio=_best(fit, wide, low) if _is_bounded(request) else free,
        binding=binding,
        constraints=(
            *_tolerance(plan, curves, free, is_held=binding == "tolerance"),
            *_bounds(fit, plan, request, binding, low),
        ),
    )


def _chance_at(fit: Fit, plan: Plan, ratio: float) -> float | None:
    """Return how probably the run of a ratio, which has its own length, breaks the limit."""
    if np.isnan(ratio):
        return None
    asked = asked_at(plan, ratio)
    return chance_to_break(fit, asked, survey_at(fit, asked, ratio))


def _is_bounded(request: PlanRequest) -> bool:
    return any(value is not None for value in (request.min_ratio, request.max_ratio, request.flops))


def _best(fit: Fit, request: PlanRequest, low: float) -> float:
    """Return the best ratio of runs that use the domain data up; their ratios go down to ``low`` at least."""
    used = _tokens_to_use(fit, request)
    lowest, high = _ratios(fit, request, used)
    lowest = min(lowest, low) if request.min_ratio is None else lowest
    ends = lowest, high
    curves = survey(
        fit, request, train_tokens=lambda r: used / r, ratios=ends, num_grid=COARSE_GRID
    )
    return curves.chance_constrained_ratio(*ends)


def _binding(
    fit: Fit, plan: Plan, request: PlanRequest, ends: tuple[float, float], free: float
) -> ConstraintName:
    """Return what keeps the ratio from another length: of the longest run and the shortest what bounds them."""
    ratio, (low, high) = plan.domain_ratio, ends
    if abs(free - ratio) > SAME_RATIO:
        return "tolerance"
    lowest, highest = fit.probed.ratio_range
    if ratio <= low + SAME_RATIO:
        if request.min_ratio is not None and low <= request.min_ratio + SAME_RATIO:
            return "ratio_floor"
        if request.flops is not None:
            return "compute"
        return "probed_low" if lowest > 0 else "none"
    if ratio >= high - SAME_RATIO and high < 1:
        return "probed_high" if high >= highest - SAME_RATIO else "ratio_ceiling"
    return "none"


def _tolerance(
    plan: Plan, curves: LossCurves, free: float, *, is_held: bool
) -> Iterator[Constraint]:
    """Yield the tolerance as it holds over all lengths, before the other constraints."""
    needed = curves.needed(free)
    for one in plan.constraints:
        if one.name == "tolerance":
            yield replace(
                one,
                is_binding=is_held,
                allows=plan.domain_ratio,
                ratio_without=free,
                breakpoint=needed if needed > 0 else None,
            )


def _bounds(
    fit: Fit, plan: Plan, request: PlanRequest, binding: ConstraintName, low: float
) -> Iterator[Constraint]:
    """Yield what bounds the lengths, with the best ratio of the lengths that each keeps away.

    The domain tokens are used up at every length, so no number of them stops to matter.
    """
    ratio = plan.domain_ratio
    for one in plan.constraints:
        is_binding = one.name == binding
        if one.name == "ratio_floor" and request.min_ratio is not None:
            without = _best(fit, replace(request, min_ratio=None), 1.0) if is_binding else ratio
            yield _bound(one, request.min_ratio, without, is_binding=is_binding)
        elif one.name == "ratio_ceiling" and request.max_ratio is not None:
            without = _best(fit, replace(request, max_ratio=None), low) if is_binding else ratio
            yield _bound(one, request.max_ratio, without, is_binding=is_binding)
        elif one.name == "compute":
            without = _best(fit, replace(request, compute=None), low) if is_binding else ratio
            flops = training_flops(plan.model_params, _tokens_to_use(fit, request) / without)
            yield replace(one, is_binding=is_binding, ratio_without=without, breakpoint=flops)
        elif one.name in ("probed_low", "probed_high"):
            yield replace(one, is_binding=is_binding)


def _bound(one: Constraint, setting: float, without: float, *, is_binding: bool) -> Constraint:
    return replace(
        one,
        setting=setting,
        allows=setting,
        is_binding=is_binding,
        ratio_without=without,
        breakpoint=without,
    )


@named_arguments
def by_epochs(
    fit: FitOrPath,
    request: PlanRequest | None = None,
    *,
    epochs: Sequence[float] = EPOCHS,
    **options: Unpack[RequestOptions],
) -> pd.DataFrame:
    """Return the best ratio for each number of passes that may be made over the domain corpus.

    Parameters
    ----------
    fit : Fit or path
    request : PlanRequest, optional
        A run with ``domain_tokens``; each of ``epochs`` takes the place of its ``max_epochs``.
    epochs : sequence of float
        Passes allowed.
    **options
        Fields of :class:`~cmrplan.plan.request.PlanRequest`.

    Returns
    -------
    DataFrame
        ``max_epochs``, ``domain_epochs`` that the best ratio makes, ``domain_ratio``, ``domain_loss`` in nats per token
        with repeats discounted, ``domain_loss_safe``, and ``reason`` where no ratio is feasible.
    """
    fit, asked = fit_of(fit), request_of(request, options)
    if asked.unique_tokens is None:
        raise InputError("domain_tokens must be given")
    rows = []
    for passes in epochs:
        one = reached(fit, replace(asked, max_epochs=float(passes)))
        rows.append(
            {
                "max_epochs": float(passes),
                "domain_epochs": one.train_tokens * one.domain_ratio / asked.unique_tokens,
                "domain_ratio": one.domain_ratio,
                "domain_loss": one.domain_loss,
                "domain_loss_safe": one.domain_loss_safe,
                "reason": one.reason,
            }
        )
    return pd.DataFrame(rows)


def epochs_beside(fit: Fit, plan: Plan) -> pd.DataFrame:
    """Return :func:`by_epochs` of a plan; where it spends the domain tokens, runs that use them up as many times."""
    if not plan.spends_domain_tokens:
        return by_epochs(fit, plan.asked)
    rows = []
    for passes in EPOCHS:
        row: dict[str, float | str] = {"max_epochs": passes, "reason": ""}
        try:
            run = spend_domain_tokens(fit, replace(plan.asked, max_epochs=passes))
        except CmrplanError as error:
            row["reason"] = str(error)
        else:
            row |= {
                "domain_epochs": passes,
                "domain_ratio": run.domain_ratio,
                "train_tokens": run.train_tokens,
                "domain_loss": run.domain_loss.estimate,
                "domain_loss_safe": reached(fit, asked_at(run, run.domain_ratio)).domain_loss_safe,
            }
        rows.append(row)
    names = ("max_epochs", "domain_epochs", "domain_ratio", "train_tokens")
    return pd.DataFrame(rows, columns=[*names, "domain_loss", "domain_loss_safe", "reason"])


def _ratios(fit: Fit, request: PlanRequest, used: float) -> tuple[float, float]:
    """Return the range of ratios of a run whose length follows from them.

    A ratio of 0 would never end: without a longest run, the smallest probed ratio above 0 is the lowest.
    """
    low, high = fit.probed.ratio_range
    if request.flops is not None:
        low = max(low, used / affordable_tokens(request.size, request.flops))
    elif low <= 0:
        ratios = fit.log["domain_ratio"].to_numpy(dtype=float)
        low = float(ratios[ratios > 0].min())
    low = max(low, request.min_ratio or 0.0)
    return low, min(high, 1.0 if request.max_ratio is None else request.max_ratio)
