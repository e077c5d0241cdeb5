"""Measured runs that do better than the recommended ratio, within everything that was asked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.fit import Fit
from cmrplan.fit.supply import ONE_PASS
from cmrplan.plan.findings import MeasuredBeside, noise_quantile
from cmrplan.plan.optimum import SAME_RATIO, Decision
from cmrplan.plan.request import PlanRequest


def better_findings(
    fit: Fit, request: PlanRequest, decision: Decision, there: MeasuredBeside
) -> list[Finding]:
    """Return a finding where a run does better within the limit, at a ratio that every constraint allows.

    It does if the measured objective is lower there than at the recommended ratio, between measured ones by a straight
    line, by more than the noise of a run, and the general loss leaves room for that noise with the asked confidence.
    """
    weight, feasible = request.weight, decision.feasible
    noise = noise_quantile(fit, there.general, request.confidence)
    keeps = np.maximum(there.general, there.carried) + noise <= there.limit
    keeps &= there.ratio >= feasible.low - SAME_RATIO
    keeps &= there.ratio <= feasible.high + SAME_RATIO
    keeps &= ~_repeats_otherwise(fit, request, there.ratio)
    objective = there.objective(request)
    here = float(np.interp(decision.ratio, there.ratio, objective))
    gain = np.where(keeps, here - objective, -np.inf)
    level = (
        np.interp(decision.ratio, there.ratio, there.domain),
        np.interp(decision.ratio, there.ratio, there.general),
    )
    least = noise_quantile(fit, np.array([level[0]]), request.confidence, "domain")
    if weight:
        of_general = noise_quantile(fit, np.array([level[1]]), request.confidence)
        least = np.hypot(least, weight * of_general)
    if not np.nanmax(gain, initial=0.0) > least:
        return []
    k = int(np.nanargmax(gain))
    what = f"an objective (domain loss + {weight:g} general loss)" if weight else "a domain loss"
    return [
        Finding(
            Code.MEASURED_BETTER,
            f"a run at domain_ratio {there.ratio[k]:g}, {there.where}, measured {what} of "
            f"{objective[k]:.4f} within the limit, {gain[k]:.4f} lower than the runs beside the recommended "
            f"{decision.ratio:.3f}; look at the fit there (cmrplan plot FIT ratio), or take that ratio",
        )
    ]


def _repeats_otherwise(fit: Fit, request: PlanRequest, ratio: Array) -> NDArray[np.bool_]:
    """Return at which ratios the planned run repeats domain data as no probe did, which no probe can speak of."""
    unique, supply = request.unique_tokens, fit.probed.supply
    if unique is None or (supply is not None and unique == supply.unique_tokens):
        return np.zeros(len(ratio), dtype=bool)
    return np.asarray(request.tokens * ratio / unique > ONE_PASS)
