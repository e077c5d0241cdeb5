"""What early evaluations outside the law do to the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.averaged_model import Average, leading_surfaces
from cmrplan.fit.diagnosis.burn_in import find_settling
from cmrplan.fit.fit import Fit
from cmrplan.fit.law_model import Surface, row_inputs
from cmrplan.plan.optimum import decide
from cmrplan.plan.request import Limits
from cmrplan.solve.law_fit import refit

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
    cut, later = without_early(fit)
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


def without_early(fit: Fit) -> tuple[float, Fit]:
    """Return where the laws begin to hold, and the fit from there on, without resamples."""
    leads = leading_surfaces(fit.models)
    rows = {corpus: fit.rows(corpus) for corpus in leads}
    cut = find_settling(leads, rows).chosen
    models = dict(fit.models)
    for corpus, model in fit.models.items():
        if isinstance(model, Surface):
            models[corpus] = _refitted(model, rows[corpus], cut)
        elif isinstance(model, Average):
            members = tuple(_refitted(member, rows[corpus], cut) for member in model.members)
            models[corpus] = replace(model, members=members)
    return cut, replace(fit, models=models, warnings=())


def _refitted(surface: Surface, rows: pd.DataFrame, cut: float) -> Surface:
    """Return the law fitted to the rows from the cut on, starting from its optimum."""
    inputs = row_inputs(surface.corpus, rows)
    loss = rows["loss"].to_numpy(dtype=float)
    weights = (inputs["train_tokens"] >= cut).astype(float)
    search, coefficients = refit(surface.fit, inputs, loss[None, :], weights[None, :])
    moved = replace(surface.fit, search=search[0], coefficients=coefficients[0])
    return replace(surface, fit=moved, search=search[:0], coefficients=coefficients[:0])
