"""The frontier says of each ratio what it costs the general loss, and what it gains the domain."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.fit.corpus_model import Prediction
from cmrplan.fit.fit import Fit
from cmrplan.fit.tabular import Tabular
from cmrplan.numbers import Unit
from cmrplan.plan.findings import chance_to_break, with_unexplained
from cmrplan.plan.loss_curves import LossCurves, survey, survey_at
from cmrplan.plan.optimum import FeasibleInterval, decision_on
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.domain_tokens import asked_at, curves_over_lengths
from cmrplan.plan.request import (
    FitOrPath,
    PlanRequest,
    RequestOptions,
    fit_of,
    named_arguments,
    request_of,
)

NUM_POINTS = 200


@dataclass(frozen=True, repr=False)
class Frontier(Tabular):
    """Losses over ``P`` ratios at one size and budget, nats per token; bounds are NaN without resamples.

    Parameters
    ----------
    model_params, train_tokens, confidence : float
    unit : str
        Of the rises: that of the tolerance asked for.
    base_loss : float
    domain_ratio : array (P,)
    general_loss, general_loss_low, general_loss_high : array (P,)
    domain_loss, domain_loss_low, domain_loss_high : array (P,)
    rise, rise_low, rise_high : array (P,)
        Of the general loss over the reference, in ``unit``.
    needed_rise : array (P,)
        The smallest tolerance that reaches a ratio with confidence, in ``unit``.
    violation_probability : array (P,)
        The chance to break the tolerance asked for, as a plan gives it
        (:func:`~cmrplan.plan.findings.chance_to_break`); NaN without resamples or a tolerance.
    is_efficient : array (P,) of bool
        Whether no other ratio has both losses lower.
    """

    model_params: float
    train_tokens: float
    confidence: float
    unit: Unit
    base_loss: float
    domain_ratio: Array
    general_loss: Array
    general_loss_low: Array
    general_loss_high: Array
    domain_loss: Array
    domain_loss_low: Array
    domain_loss_high: Array
    rise: Array
    rise_low: Array
    rise_high: Array
    needed_rise: Array
    violation_probability: Array
    is_efficient: NDArray[np.bool_]

    def table(self) -> pd.DataFrame:
        """Return one row a ratio."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return pd.DataFrame({k: v for k, v in values.items() if isinstance(v, np.ndarray)})

    def chance_constrained_ratio(self, confidence: float) -> float:
        """Return the largest ratio up to which the tolerance holds with a confidence; NaN where none does."""
        chance = self.violation_probability
        allowed = chance <= 1 - confidence + 1e-12
        if not allowed.any():
            return float("nan")
        first = int(np.argmax(allowed))
        broken = np.flatnonzero(~allowed[first:])
        last = len(allowed) - 1 if not len(broken) else first + int(broken[0]) - 1
        return float(self.domain_ratio[last])


@named_arguments
def frontier(
    fit: FitOrPath,
    request: PlanRequest | None = None,
    *,
    num_points: int = NUM_POINTS,
    **options: Unpack[RequestOptions],
) -> Frontier:
    """Return the trade-off over all fitted ratios.

    Parameters
    ----------
    fit : Fit or path
    request : PlanRequest, optional
        The run. Its ``max_general_rise`` sets the unit of the rises, and what a violation is; 0 nats where there is
        no request and it is left out, where the fit has a general loss. The limits that bound the ratio change nothing
        here.
    num_points : int
        Number of ratios.
    **options
        Fields of :class:`~cmrplan.plan.request.PlanRequest`.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If a loss or the base loss is not known.
    """
    if num_points < 2:
        raise InputError(f"num_points must be 2 or more, got {num_points}")
    fit = fit_of(fit)
    if request is None and "general" in fit.models:
        options.setdefault("max_general_rise", 0.0)
    asked = request_of(request, options)
    curves = survey(fit, asked, num_grid=num_points)
    told = frontier_of(with_unexplained(fit, asked, curves), asked.confidence)
    chance = told.violation_probability
    if asked.tolerance is None:
        chance = np.full_like(chance, np.nan)
    return replace(frontier_of(curves, asked.confidence), violation_probability=chance)


def frontier_beside(fit: Fit, plan: Plan, *, num_points: int) -> pd.DataFrame:
    """Return the trade-off around a plan, one row a ratio; each at its own length where it follows from the ratio."""
    if not plan.spends_domain_tokens:
        return frontier(fit, plan.asked, num_points=num_points).table()
    curves = curves_over_lengths(fit, plan.asked, num_grid=num_points)
    chances = []
    for ratio in curves.domain_ratio.tolist():
        asked = asked_at(plan, ratio)
        chance = chance_to_break(fit, asked, survey_at(fit, asked, ratio))
        chances.append(np.nan if chance is None else chance)
    table = frontier_of(curves, plan.confidence).table().assign(violation_probability=chances)
    table.insert(1, "train_tokens", curves.train_tokens)
    return table


def frontier_of(curves: LossCurves, confidence: float) -> Frontier:
    """Return the frontier of losses that were computed before."""
    rises = Prediction(curves.general.inputs, curves.rise, curves.rise_draws)
    general_low, general_high = curves.general_of_run.interval(confidence)
    domain_low, domain_high = curves.domain.interval(confidence)
    rise_low, rise_high = rises.interval(confidence)
    violation = curves.violation()
    return Frontier(
        model_params=curves.model_params,
        train_tokens=float(curves.train_tokens[0]),
        confidence=confidence,
        unit=curves.tolerance.unit,
        base_loss=curves.base_loss,
        domain_ratio=curves.domain_ratio,
        general_loss=curves.general.loss,
        general_loss_low=general_low,
        general_loss_high=general_high,
        domain_loss=curves.domain.loss,
        domain_loss_low=domain_low,
        domain_loss_high=domain_high,
        rise=curves.rise,
        rise_low=rise_low,
        rise_high=rise_high,
        needed_rise=_needed(curves.rise_upper),
        violation_probability=np.full(curves.rise.shape, np.nan)
        if violation is None
        else violation,
        is_efficient=efficient(curves.general.loss, curves.domain.loss),
    )


@dataclass(frozen=True)
class RecommendedOverTolerances:
    """What a plan would recommend at each of ``T`` tolerances, all ``(T,)``; NaN where there is none.

    Parameters
    ----------
    tolerance : array
        In the unit of the rises.
    domain_ratio, best_estimate, ratio_low, ratio_high : array
        The ratio that holds with confidence, the best estimate and the interval of the best ratio.
    domain_loss, domain_loss_low, domain_loss_high : array
        At the first of them, nats per token.
    best_estimate_loss : array
        The domain loss at the best estimate.
    """

    tolerance: Array
    domain_ratio: Array
    best_estimate: Array
    ratio_low: Array
    ratio_high: Array
    domain_loss: Array
    domain_loss_low: Array
    domain_loss_high: Array
    best_estimate_loss: Array


def over_tolerances(
    curves: LossCurves, feasible: FeasibleInterval, tolerances: Array, confidence: float
) -> RecommendedOverTolerances:
    """Return what is recommended at each tolerance, from losses that were computed before."""
    rows = []
    for value in tolerances.tolist():
        asked = replace(curves, tolerance=replace(curves.tolerance, value=value))
        decision = decision_on(asked, feasible, None)
        best = decision.interval(confidence)
        rows.append((decision.ratio, best.estimate, best.low, best.high))  # None becomes NaN
    ratio, estimate, low, high = np.array(rows, dtype=float).T
    loss_low, loss_high = curves.domain.interval(confidence)

    def along(values: Array, at: Array) -> Array:
        return np.interp(at, curves.domain_ratio, values)

    return RecommendedOverTolerances(
        tolerance=tolerances,
        domain_ratio=ratio,
        best_estimate=estimate,
        ratio_low=low,
        ratio_high=high,
        domain_loss=along(curves.domain.loss, ratio),
        domain_loss_low=along(loss_low, ratio),
        domain_loss_high=along(loss_high, ratio),
        best_estimate_loss=along(curves.domain.loss, estimate),
    )


def efficient(general: Array, domain: Array) -> NDArray[np.bool_]:
    """Return which points have no other with both losses lower, ``(P,)``.

    Examples
    --------
    >>> efficient(np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0, 2.0])).tolist()
    [True, True, False]
    """
    order = np.lexsort((domain, general))
    lowest_before = np.minimum.accumulate(np.concatenate([[np.inf], domain[order][:-1]]))
    is_kept = np.empty(len(order), dtype=bool)
    is_kept[order] = domain[order] < lowest_before
    return is_kept


def _needed(rise: Array) -> Array:
    """Return the largest rise on the way from the ratio with the lowest one, ``(P,)``."""
    lowest = int(np.argmin(rise))
    below = np.maximum.accumulate(rise[: lowest + 1][::-1])[::-1]
    above = np.maximum.accumulate(rise[lowest:])
    return np.concatenate([below, above[1:]])
