"""The recommended ratio moves with what the analyst chose: tolerance, weight, Huber delta, first tokens, law."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError
from cmrplan.fit.fit import Fit
from cmrplan.laws.registry import PLAN_LAWS
from cmrplan.numbers import Tolerance
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.domain_tokens import plan_again
from cmrplan.plan.questions.law_panel import refit
from cmrplan.plan.request import FitOrPath, fit_of, named_arguments
from cmrplan.solve.law_fit import PAPER_DELTA

TOLERANCE_FACTORS = (0.5, 0.8, 1.25, 2.0)  # times the one asked for
LAMBDA_FACTORS = (0.1, 10.0, np.inf)  # times the lambda asked for
DELTAS = (PAPER_DELTA, 1e-2, np.inf)  # the papers', ten times it, least squares
MOST_DROPPED = 4  # first token counts
FEWEST_LEFT = 3  # token counts

SENSITIVITY_COLUMNS = (
    "choice",
    "setting",
    "domain_ratio",
    "domain_ratio_low",
    "domain_ratio_high",
    "change",
    "general_loss",
    "domain_loss",
    "reason",
)


@named_arguments
def sensitivity(
    fit: FitOrPath, plan: Plan, *, progress: Callable[[str], None] | None = None
) -> pd.DataFrame:
    """Return the ratio that each other choice would have led to, one choice changed at a time.

    Parameters
    ----------
    fit : Fit or path
    plan : Plan
        Of the fit.
    progress : callable, optional
        Takes a word on what is being done.

    Returns
    -------
    DataFrame
        ``choice`` and ``setting`` in words; ``domain_ratio`` with ``_low`` and ``_high``; ``change``, the ratio less
        the plan's; ``general_loss`` and ``domain_loss`` there, in nats per token; ``reason`` where there is no answer.
        The first row is the plan as it is.
    """
    fit, say = fit_of(fit), progress or (lambda line: None)
    rows = [_row("as asked", "", plan, plan)]
    for choice, setting, ask in _choices(fit, plan):
        say(f"{choice} {setting}")
        try:
            rows.append(_row(choice, setting, ask(), plan))
        except CmrplanError as error:
            empty = dict.fromkeys(SENSITIVITY_COLUMNS, np.nan)
            rows.append(empty | {"choice": choice, "setting": setting, "reason": str(error)})
    return pd.DataFrame(rows, columns=list(SENSITIVITY_COLUMNS))


def _row(choice: str, setting: str, other: Plan, plan: Plan) -> dict[str, Any]:
    return {
        "choice": choice,
        "setting": setting,
        "domain_ratio": other.domain_ratio,
        "domain_ratio_low": other.ratio.low,
        "domain_ratio_high": other.ratio.high,
        "change": other.domain_ratio - plan.domain_ratio,
        "general_loss": other.general_loss.estimate,
        "domain_loss": other.domain_loss.estimate,
        "reason": "",
    }


def _choices(fit: Fit, plan: Plan) -> Iterator[tuple[str, str, Callable[[], Plan]]]:
    """Yield a choice, its setting in words, and how to plan with it."""
    asked = plan.asked

    def refitted(change: dict[str, Any]) -> Plan:
        return plan_again(refit(fit, **change), plan)

    if asked.tolerance is not None:
        for factor in TOLERANCE_FACTORS:
            tolerance = Tolerance(factor * asked.tolerance.value, asked.tolerance.unit)
            changed = replace(asked, max_general_rise=tolerance)
            yield "tolerance", str(tolerance), partial(plan_again, fit, plan, changed)
    if asked.turning_point:
        for factor in LAMBDA_FACTORS:
            weight = factor * asked.turning_point
            changed = replace(asked, turning_point=weight)
            if weight != asked.turning_point:
                yield "lambda", f"{weight:g}", partial(plan_again, fit, plan, changed)
    for name, word, setting in _refits(fit):
        text = str(setting) if name == "law" else f"{setting:g}"
        yield word, text, partial(refitted, {name: setting})


def _refits(fit: Fit) -> Iterator[tuple[str, str, Any]]:
    """Yield the settings of other fits: name, in words, value."""
    for delta in DELTAS:
        if delta != fit.settings.delta:
            yield "delta", "Huber delta", delta
    rows = fit.log[fit.log["train_tokens"] > 0]
    counts = np.unique(rows["train_tokens"].to_numpy(dtype=float))
    for tokens in counts[: min(MOST_DROPPED + 1, len(counts) - FEWEST_LEFT + 1)]:
        if (counts >= tokens).sum() != (counts >= fit.settings.min_train_tokens).sum():
            yield "min_train_tokens", "first tokens", float(tokens)
    for law in PLAN_LAWS:
        if law not in (fit.settings.law, "auto"):
            yield "law", "law", law
