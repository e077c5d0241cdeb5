"""Evaluations of checkpoints that exist: the base losses that a plan has to guess. They cost next to nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cmrplan.design.forecast import Outlook
from cmrplan.fit.corpus_model import central_interval
from cmrplan.fit.fit import Fit
from cmrplan.fit.probed import is_among
from cmrplan.plan.loss_curves import COARSE_GRID, survey
from cmrplan.plan.request import PlanRequest

# By how much the logarithm of a base loss may be off a unit of ln N from the nearest that was measured. The law of
# Hoffmann et al. 2022 (arXiv:2203.15556) falls by 0.09 a unit at 1e8 parameters, 0.05 at 1e9 and 0.03 at 1e10: with one
# measured size all of it is unknown, with two that it bends.
SPREAD_FROM_ONE = 0.06
SPREAD_FROM_MORE = 0.02
SAME_END = 1e-3  # an interval whose ends move by less stays as it is
LEAST_SAVED = 0.05  # of the width of the interval, that knowing a base loss has to take off it


@dataclass(frozen=True)
class BaseEvaluation:
    """A base checkpoint whose general loss is worth measuring, without any training.

    Parameters
    ----------
    model_params : float
    base_loss : float or None
        As it is carried from other sizes, nats per token; None for a probed size, whose rise is then counted from the
        law.
    spread : float or None
        By what part of itself it may be off.
    low, high : float or None
        The interval of the ratio with room for that.
    low_known, high_known : float or None
        The interval once the base loss is known, at the one that is carried.
    """

    model_params: float
    base_loss: float | None
    spread: float | None
    low: float | None
    high: float | None
    low_known: float | None = None
    high_known: float | None = None


def base_evaluations(
    fit: Fit, request: PlanRequest, outlook: Outlook
) -> tuple[BaseEvaluation, ...]:
    """Return the base losses that are not in the log and that the answer rests on, the full-scale model's first."""
    if request.rise_over != "base" or request.tolerance is None:
        return ()
    measured = fit.base_loss.get("general", {})
    probed = fit.probed.losses["general"].sizes
    missing = [
        BaseEvaluation(float(size), None, None, None, None)
        for size in probed
        if not is_among(np.array([*measured]), size)
        and not is_among(np.array([request.size]), size)
    ]
    if request.base_loss is not None or is_among(np.array([*measured]), request.size):
        return tuple(missing)
    return (*_of_target(fit, request, outlook), *missing)


def _of_target(fit: Fit, request: PlanRequest, outlook: Outlook) -> tuple[BaseEvaluation, ...]:
    """Return the evaluation of the full-scale base, with the interval that its loss leaves open, if it does."""
    measured = np.array([*fit.base_loss["general"]])
    distance = float(np.min(np.abs(np.log(measured / request.size))))
    spread = distance * (SPREAD_FROM_ONE if len(measured) == 1 else SPREAD_FROM_MORE)
    base, feasible = outlook.curves.base_loss, outlook.feasible
    now = outlook.interval_now()

    def known(change: float) -> tuple[float, float]:
        moved = replace(request, base_loss=base * float(np.exp(change)))
        curves = survey(fit, moved, marks=feasible.marks, num_grid=COARSE_GRID)
        answers = curves.drawn_ratios(feasible.low, feasible.high)
        low, high = central_interval(answers, request.confidence)
        return float(low), float(high)

    lows, highs = zip(now, known(-spread), known(spread), strict=True)
    widened = max(now[0] - min(lows), max(highs) - now[1])
    there = known(0.0)
    saved = 1 - (there[1] - there[0]) / max(now[1] - now[0], SAME_END)
    if widened <= SAME_END and saved < LEAST_SAVED:
        return ()
    return (BaseEvaluation(request.size, base, spread, min(lows), max(highs), *there),)
