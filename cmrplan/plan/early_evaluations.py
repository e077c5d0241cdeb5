"""What early evaluations outside the law do to the answer."""

from __future__ import annotations

import numpy as np

from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.fit import Fit
from cmrplan.plan.optimum import decide
from cmrplan.plan.request import Limits

SAME_ANSWER = 5e-4  # of the ratio, which is printed to three digits


def early_findings(
    fit: Fit, limits: Limits, *, model_params: float, train_tokens: float, chosen: float
) -> list[Finding]:
    """Return a finding with the ratio that would come out without early evaluations, where they matter.

    Only the best estimate is compared: the laws are fitted again from their optima, without resamples.

    Parameters
    ----------
    fit : Fit
        Looked at only where it carries the finding ``early_evaluations``.
    limits : Limits
    model_params, train_tokens : float
        Of the plan.
    chosen : float
        Best estimate of the ratio with every evaluation.
    """
    if not any(finding.code == Code.EARLY_EVALUATIONS for finding in fit.warnings):
        return []
    cut, later = fit.without_burn_in()
    try:
        ratio = decide(later, limits, model_params=model_params, train_tokens=train_tokens).point
    except CmrplanError:
        ratio = np.nan
    if not np.isfinite(ratio):
        answer = f"would not exist: no ratio would keep the tolerance; it is {chosen:.3f} with them"
    elif abs(ratio - chosen) < SAME_ANSWER:
        answer = f"stays {chosen:.3f}"
    else:
        answer = f"would be {ratio:.3f} instead of {chosen:.3f}"
    return [
        Finding(
            Code.EARLY_EVALUATIONS_EFFECT,
            f"without the evaluations before {cut:.4g} tokens the best estimate of the ratio {answer}; fit again with "
            "--min-train-tokens auto for its interval",
        )
    ]
