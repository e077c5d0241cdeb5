"""What each confidence allows: the ratio that holds with it, and the smallest tolerance that some ratio holds.

Over the base and over pure replay of the same tokens, since what a run does to the general loss by itself (another
schedule, another evaluation set) lies between the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Unpack, get_args

import numpy as np
import pandas as pd

from cmrplan.errors import InputError
from cmrplan.fit.fit import Fit
from cmrplan.numbers import CONFIDENCES, Reference, require_confidence
from cmrplan.plan.loss_curves import LossCurves, survey
from cmrplan.plan.optimum import feasible_interval
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.domain_tokens import curves_over_lengths, ends_of
from cmrplan.plan.request import (
    FitOrPath,
    PlanRequest,
    RequestOptions,
    fit_of,
    named_arguments,
    request_of,
)


@named_arguments
def confidence_levels(
    fit: FitOrPath,
    request: PlanRequest | None = None,
    *,
    confidences: Sequence[float] = CONFIDENCES,
    **options: Unpack[RequestOptions],
) -> pd.DataFrame:
    """Return what a tolerance allows with each confidence.

    Parameters
    ----------
    fit : Fit or path
    request : PlanRequest, optional
        The run, its tolerance and its limits.
    confidences : sequence of float
        Each in (0, 1). A fit without resamples knows none, and its estimates stand for all.
    **options
        Fields of :class:`~cmrplan.plan.request.PlanRequest`.

    Returns
    -------
    DataFrame
        One row for each confidence and reference: ``confidence``, ``rise_over`` (``base``, and ``replay`` where its
        loss is known), ``domain_ratio`` (NaN where none holds), ``least_tolerance`` as it is typed, and
        ``least_rise_ratio``, which holds that one.

    Raises
    ------
    InputError
        If an argument is wrong, or there is no tolerance.
    CmrplanError
        If a loss or the base loss is not known.
    """
    asked = request_of(request, options)
    if asked.tolerance is None:
        raise InputError("max_general_rise must be given, since confidence is how surely it holds")
    for level in confidences:
        require_confidence(level)
    fit = fit_of(fit)
    feasible = feasible_interval(fit, asked)
    curves = survey(fit, asked, marks=feasible.marks)
    return _table(asked, curves, (feasible.low, feasible.high), confidences)


def levels_beside(fit: Fit, plan: Plan, confidences: Sequence[float] = CONFIDENCES) -> pd.DataFrame:
    """Return :func:`confidence_levels` of the question of a plan, whose length may follow from the ratio."""
    if not plan.spends_domain_tokens:
        return confidence_levels(fit, plan.asked, confidences=confidences)
    curves = curves_over_lengths(fit, plan.asked)
    return _table(plan.asked, curves, ends_of(curves), confidences)


def _table(
    asked: PlanRequest, curves: LossCurves, ends: tuple[float, float], confidences: Sequence[float]
) -> pd.DataFrame:
    rows = _rows(asked, curves, ends, sorted(set(confidences)))
    return pd.DataFrame(rows).sort_values(["rise_over", "confidence"], ignore_index=True)


def _rows(
    asked: PlanRequest, curves: LossCurves, ends: tuple[float, float], levels: Sequence[float]
) -> Iterator[dict[str, Any]]:
    low, high = ends
    k = curves.between(low, high)
    for reference in get_args(Reference):
        if reference == "replay" and curves.replay is None:
            continue
        for level in levels:
            changed = replace(asked, confidence=level, rise_over=reference)
            there = curves.with_losses(changed, curves.general, curves.domain, curves.replay)
            least = int(np.argmin(there.rise_upper[k]))
            yield {
                "confidence": level,
                "rise_over": reference,
                "domain_ratio": there.chance_constrained_ratio(low, high),
                "least_tolerance": str(
                    there.tolerance.least_above(float(there.rise_upper[k][least]))
                ),
                "least_rise_ratio": float(there.domain_ratio[k][least]),
            }
