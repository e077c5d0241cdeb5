"""Ratios that someone has in mind beside the recommended one: what each does to both losses, and at what risk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import InputError
from cmrplan.fit.corpus_model import Interval
from cmrplan.numbers import require_fraction
from cmrplan.plan.findings import chance_to_break
from cmrplan.plan.loss_curves import survey_at
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.domain_tokens import asked_at
from cmrplan.plan.request import FitOrPath, fit_of, named_arguments


@named_arguments
def compared_ratios(fit: FitOrPath, plan: Plan, *, ratios: Sequence[float]) -> pd.DataFrame:
    """Return losses, rise, risk and cost of given ratios, those of a plan among them.

    Parameters
    ----------
    fit : Fit or path
    plan : Plan
        Of the fit.
    ratios : sequence of float
        Domain ratios, inside the probed ones.

    Returns
    -------
    DataFrame
        One row a ratio, ascending: ``domain_ratio``, ``what`` (``recommended``, ``best estimate`` or empty),
        ``train_tokens`` where the length follows from the ratio (:func:`~cmrplan.spend_domain_tokens`),
        ``general_loss`` and ``domain_loss`` with ``_low`` and ``_high``, ``general_rise`` over the base, all nats per
        token; ``violation_probability``; ``cost``, the domain loss above that of the recommended ratio (else of the
        best estimate), in nats per token.

    Raises
    ------
    InputError
        If a ratio lies outside the probed ones.
    CmrplanError
        If a loss or the base loss is not known.
    """
    fit = fit_of(fit)
    _require_probed(plan, ratios)
    names = {plan.ratio.estimate: "best estimate", plan.domain_ratio: "recommended"}
    names = {ratio: name for ratio, name in names.items() if np.isfinite(ratio)}
    rows = []
    for ratio in sorted({*map(float, ratios), *names}):
        asked = asked_at(plan, ratio)
        at = survey_at(fit, asked, ratio)
        row: dict[str, Any] = {"domain_ratio": ratio, "what": names.get(ratio, "")}
        if plan.spends_domain_tokens:
            row["train_tokens"] = asked.tokens
        for name, prediction in (("general_loss", at.general_of_run), ("domain_loss", at.domain)):
            loss = Interval.of_draws(
                float(prediction.loss[0]), prediction.draws[:, 0], plan.confidence
            )
            bounds = (np.nan if bound is None else bound for bound in (loss.low, loss.high))
            row |= dict(
                zip((name, f"{name}_low", f"{name}_high"), (loss.estimate, *bounds), strict=True)
            )
        chance = chance_to_break(fit, asked, at)
        row["general_rise"] = row["general_loss"] - at.base_loss
        row["violation_probability"] = np.nan if chance is None else chance
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(cost=table["domain_loss"] - plan.domain_loss.estimate)


def _require_probed(plan: Plan, ratios: Sequence[float]) -> None:
    lowest, highest = plan.probed_ratios
    for ratio in ratios:
        require_fraction("compare", ratio)
        if not lowest <= ratio <= highest:
            raise InputError(
                f"compare has {ratio:g}, and the probed ratios go from {lowest:g} to {highest:g}; leave it out, or "
                "probe it"
            )
        if plan.spends_domain_tokens and ratio == 0:
            raise InputError(
                "compare has 0, at which a run never uses the domain tokens up; leave it out, or give train_tokens"
            )
