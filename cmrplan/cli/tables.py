"""The tables that ``cmrplan plan`` prints beside its answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from cmrplan.errors import Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.fit.probed import is_among
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.critical_curve import Axis, curve_along, default_values
from cmrplan.plan.questions.domain_tokens import epochs_beside
from cmrplan.plan.questions.frontier import frontier_beside
from cmrplan.plan.questions.peak_rates import by_peak_rate

NUM_FRONTIER = 21

Say = Callable[[str], None]


def _frontier(fit: Fit, plan: Plan, say: Say) -> tuple[pd.DataFrame, list[Finding]]:
    return frontier_beside(fit, plan, num_points=NUM_FRONTIER), []


def _critical(axis: Axis) -> Callable[[Fit, Plan, Say], tuple[pd.DataFrame, list[Finding]]]:
    def table(fit: Fit, plan: Plan, say: Say) -> tuple[pd.DataFrame, list[Finding]]:
        here, fixed = plan.train_tokens, plan.model_params
        if axis == "model_params":
            here, fixed = fixed, here
        values = default_values(fit, axis, here)
        if (
            axis == "model_params"
            and plan.asked.base_loss is not None
            and not is_among(values, here)
        ):
            values = np.union1d(values, [here])  # its base loss is known there alone
        curve = curve_along(fit, plan.asked, axis, values, fixed)
        known = {finding.code for finding in plan.warnings}
        return curve.table(), [w for w in curve.warnings if w.code not in known]

    return table


def _epochs(fit: Fit, plan: Plan, say: Say) -> tuple[pd.DataFrame, list[Finding]]:
    if plan.asked.domain_tokens is None:
        raise InputError("the table of epochs needs --domain-tokens")
    return epochs_beside(fit, plan), []


def _peak_rates(fit: Fit, plan: Plan, say: Say) -> tuple[pd.DataFrame, list[Finding]]:
    return by_peak_rate(fit, plan), []


def _panel(fit: Fit, plan: Plan, say: Say) -> tuple[pd.DataFrame, list[Finding]]:
    from cmrplan.plan.questions.law_panel import law_panel  # fits anew, so it brings all of fit/

    panel = law_panel(fit, plan, progress=say)
    return panel.table(), list(panel.warnings)


def _sensitivity(fit: Fit, plan: Plan, say: Say) -> tuple[pd.DataFrame, list[Finding]]:
    from cmrplan.plan.questions.sensitivity import sensitivity  # as above

    return sensitivity(fit, plan, progress=say), []


TABLES: dict[str, Callable[[Fit, Plan, Say], tuple[pd.DataFrame, list[Finding]]]] = {
    "frontier": _frontier,
    "critical-tokens": _critical("train_tokens"),
    "critical-sizes": _critical("model_params"),
    "epochs": _epochs,
    "peak-rates": _peak_rates,
    "panel": _panel,
    "sensitivity": _sensitivity,
}
