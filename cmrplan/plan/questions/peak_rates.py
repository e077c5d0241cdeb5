"""What another peak of the learning rate would do to a planned run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError
from cmrplan.fit.fit import Fit
from cmrplan.fit.planned_schedule import is_probed_peak, law_of_rates
from cmrplan.fit.schedule_areas import RunSchedule, longest_schedule
from cmrplan.plan.plan import Plan, plan_for
from cmrplan.plan.questions.domain_tokens import spend_domain_tokens
from cmrplan.plan.request import FitOrPath, fit_of, named_arguments

FACTORS = (0.5, 2**-0.5, 1.0, 2**0.5, 2.0)


@named_arguments
def by_peak_rate(fit: FitOrPath, plan: Plan) -> pd.DataFrame:
    """Return the recommended ratio and what it does where all rates of the run are multiplied.

    Parameters
    ----------
    fit : Fit or path
        Of a log whose ``learning_rate`` falls within runs or differs between them.
    plan : Plan
        Of the fit.

    Returns
    -------
    DataFrame
        One row a factor between a half and two, ascending: ``peak_rate``, ``is_probed`` (whether it lies among the
        peaks of the nearest probed size), ``domain_ratio`` (NaN where no ratio holds the limits), ``general_rise`` and
        ``domain_loss``, nats per token; NaN too where the length follows from the ratio and none does.

    Raises
    ------
    CmrplanError
        If the fit does not know what the learning rate does.
    """
    fit = fit_of(fit)
    known = longest_schedule(fit.log, law_of_rates(fit), plan.model_params)
    planned = known if fit.planned is None else fit.planned(known)
    peak = float(np.max(planned.learning_rate))
    rows = []
    for factor in FACTORS:

        def scaled(log: RunSchedule, factor: float = factor) -> RunSchedule:
            return (log if fit.planned is None else fit.planned(log)).times(factor)

        is_probed = is_probed_peak(fit.log, factor * peak, plan.model_params)
        row = {"peak_rate": factor * peak, "is_probed": is_probed}
        rows.append(row | _answer(replace(fit, planned=scaled), plan))
    return pd.DataFrame(rows)


def _answer(fit: Fit, plan: Plan) -> dict[str, float]:
    """Return the answer to the question of a plan by a fit for other rates; NaN where no run keeps its limits."""
    try:
        answer = (spend_domain_tokens if plan.spends_domain_tokens else plan_for)(fit, plan.asked)
    except CmrplanError:
        return dict.fromkeys(("domain_ratio", "general_rise", "domain_loss"), np.nan)
    rise = answer.general_rise
    return {
        "domain_ratio": answer.domain_ratio,
        "general_rise": rise.estimate if rise is not None else np.nan,
        "domain_loss": answer.domain_loss.estimate,
    }
