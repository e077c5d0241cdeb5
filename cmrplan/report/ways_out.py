"""Where no ratio holds the limit: what each confidence allows over the base and pure replay, and what to measure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrplan.fit.fit import Fit
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.confidence_levels import levels_beside
from cmrplan.plan.questions.remedies import remedies
from cmrplan.report.text import nothing_helps_text

LEVEL_COLUMNS = ("over", "confidence", "ratio that holds", "smallest tolerance", "at")


@dataclass(frozen=True)
class WaysOut:
    """What would do in place of a limit that no ratio holds.

    Parameters
    ----------
    levels : tuple of tuple of str
        For each reference and confidence what :data:`LEVEL_COLUMNS` name.
    advice : tuple of str
        What to measure and what it is expected to bring, or that nothing is known to help.
    """

    levels: tuple[tuple[str, ...], ...]
    advice: tuple[str, ...]


def ways_out(fit: Fit, plan: Plan) -> WaysOut | None:
    """Return what would do; None where a ratio holds, or no resamples say how surely one does."""
    if plan.is_feasible or not plan.num_resamples:
        return None
    levels = levels_beside(fit, plan)
    texts = [one.text for one in remedies(fit, plan)] or [nothing_helps_text(plan, levels)]
    return WaysOut(_level_rows(levels), tuple(texts))


def _level_rows(levels: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    rows = []
    for row in levels.to_dict("records"):
        ratio = row["domain_ratio"]
        holds = "none" if np.isnan(ratio) else f"{ratio:.3f}"
        over = "the base" if row["rise_over"] == "base" else "pure replay"
        level = f"{100 * row['confidence']:g} %"
        least = (str(row["least_tolerance"]), f"{row['least_rise_ratio']:.3f}")
        rows.append((over, level, holds, *least))
    return tuple(rows)
