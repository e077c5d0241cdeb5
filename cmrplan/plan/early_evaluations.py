"""What a plan would be without the early evaluations that lie outside the laws of its fit."""

from __future__ import annotations

import numpy as np

from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.fit import Fit
from cmrplan.plan.optimum import decide
from cmrplan.plan.request import PlanRequest

SAME_ANSWER = 5e-4  # of the ratio, which is printed to three digits


def early_findings(fit: Fit, request: PlanRequest, best_estimate: float) -> list[Finding]:
    """Return a finding with the ratio that would come out without early evaluations, where they matter.

    Only the best estimate is compared: the fit without them has no resamples.

    Parameters
    ----------
    fit : Fit
    request : PlanRequest
    best_estimate : float
        Of the ratio, with every evaluation.
    """
    early = fit.without_early
    if early is None:
        return []
    try:
        ratio = decide(early.fit, request).best_estimate
    except CmrplanError:
        ratio = np.nan
    if not np.isfinite(ratio):
        answer = f"would not exist: no ratio would keep the tolerance; it is {best_estimate:.3f} with them"
    elif abs(ratio - best_estimate) < SAME_ANSWER:
        answer = f"stays {best_estimate:.3f}"
    else:
        answer = f"would be {ratio:.3f} instead of {best_estimate:.3f}"
    return [
        Finding(
            Code.EARLY_EVALUATIONS_EFFECT,
            f"without the evaluations before {early.first_tokens:.4g} tokens the best estimate of the ratio {answer}; "
            "fit again with --min-train-tokens auto for its interval",
        )
    ]
