"""What each confidence allows: the best mixture that keeps all tolerances with it, or the tolerances one would keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Unpack

import pandas as pd

from cmrplan.errors import InputError
from cmrplan.fit.arguments import named_arguments
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.mixture.bounds import box_of
from cmrplan.mixture.loss_functions import LossFunctions, asked_losses
from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.mixture.mixture_plan import MixturePlan
from cmrplan.mixture.request import (
    MixtureFitOrPath,
    MixturePlanRequest,
    MixtureRequestOptions,
    mixture_fit_of,
    mixture_request_of,
)
from cmrplan.mixture.search import (
    MixtureSolution,
    feasible_tolerances,
    fresh_violation,
    search,
    without_dust,
)
from cmrplan.numbers import CONFIDENCES, parse_tolerance, require_confidence

LEAST_PREFIX = "least_"


@named_arguments
def mixture_levels(
    fit: MixtureFitOrPath,
    request: MixturePlanRequest | None = None,
    *,
    confidences: Sequence[float] = CONFIDENCES,
    **options: Unpack[MixtureRequestOptions],
) -> pd.DataFrame:
    """Return what the tolerances of a mixture allow with each confidence.

    Parameters
    ----------
    fit : MixtureFit or path
    request : MixturePlanRequest, optional
        The run, its tolerances and its bounds.
    confidences : sequence of float
        Each in (0, 1). A fit without resamples knows none, and its estimates stand for all.
    **options
        Fields of :class:`~cmrplan.mixture.request.MixturePlanRequest`.

    Returns
    -------
    DataFrame
        One row a confidence: ``confidence``, ``is_feasible``, ``objective`` (nats per token) at the mixture whose
        ``share_<corpus>`` follow, which keeps all tolerances together or comes nearest to it,
        ``violation_probability`` of one that keeps them (how often new resamples break a tolerance there; NaN
        elsewhere and without resamples), and ``least_<corpus>`` of each protected corpus, the tolerances that a
        mixture keeps together, as they are typed: those that were asked for where these hold, and empty where none
        is known.

    Raises
    ------
    InputError
        If an argument is wrong, or no corpus is protected.
    CmrplanError
        If the bounds leave no mixture, or the fit lacks what is asked.
    """
    fit, asked = mixture_fit_of(fit), mixture_request_of(request, options)
    if not asked.protected:
        raise InputError(
            "protected must be given, since confidence is how surely its tolerances hold"
        )
    for level in confidences:
        require_confidence(level)
    asked.check_names(fit)
    rows = list(_rows(fit, asked, sorted(set(confidences), reverse=True)))
    return pd.DataFrame(rows[::-1])


def _rows(
    fit: MixtureFit, asked: MixturePlanRequest, levels: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """Yield a row a level, from the highest on: tolerances that hold with more confidence hold with less."""
    box = box_of(fit, asked)
    functions, _ = asked_losses(fit, asked)
    above: dict[str, Any] = {}
    for level in levels:
        changed = replace(asked, confidence=level)
        there = replace(functions, asked=changed)
        solution = search(fit, changed, there, box)
        best = solution.best
        least = {corpus: str(asked.tolerance(corpus)) for corpus in asked.protected}
        if not best.is_feasible:
            wider = feasible_tolerances(fit, changed, there, box, solution)
            least = least | wider if wider else dict.fromkeys(least, "")
        shares = zip(fit.corpora, without_dust(best.shares).tolist(), strict=True)
        row = {
            "confidence": level,
            "is_feasible": best.is_feasible,
            "objective": best.value,
            "violation_probability": _chance(there, solution),
            **{SHARE_PREFIX + corpus: share for corpus, share in sorted(shares)},
            **{LEAST_PREFIX + corpus: text for corpus, text in least.items()},
        }
        if not best.is_feasible and _is_narrower(above, row):
            row = {**above, "confidence": level}
        above = row
        yield row


def levels_beside(
    fit: MixtureFit, plan: MixturePlan, confidences: Sequence[float] = ()
) -> pd.DataFrame:
    """Return what each confidence allows, where several are asked for or a plan recommends none; else nothing.

    Parameters
    ----------
    fit : MixtureFit
        Without resamples its estimates are all there is, and one row, of the confidence of the plan, stands for them.
    plan : MixturePlan
        Of the fit.
    confidences : sequence of float
        Several are answered one by one; else the usual ones and that of the plan.
    """
    several = confidences if len(confidences) > 1 else ()
    if not plan.asked.protected or (plan.is_feasible and not (several and plan.num_resamples)):
        return pd.DataFrame()
    listed = several or {*CONFIDENCES, plan.confidence}
    if not plan.num_resamples:
        listed = [plan.confidence]
    return mixture_levels(fit, plan.asked, confidences=sorted(listed))


def _chance(functions: LossFunctions, solution: MixtureSolution) -> float:
    """Return how often new resamples break a limit at a mixture that holds; NaN where that is not known."""
    chance = None
    if functions.num_draws and solution.best.is_feasible:
        chance = fresh_violation(solution)
    return float("nan") if chance is None else chance


def _is_narrower(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether the tolerances of one row are known and none is wider than those of another."""
    names = [name for name in one if name.startswith(LEAST_PREFIX)]
    if not all(one[name] for name in names):
        return False
    return bool(names) and all(
        not other[name] or parse_tolerance(one[name]).value <= parse_tolerance(other[name]).value
        for name in names
    )
