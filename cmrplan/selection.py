"""Choose a law by how it predicts what it has not seen.

Every holdout of the log (each inner ratio, the largest budgets, the largest model) is hidden in turn, the law is
fitted to the rest and its error there is taken. The score of a law is the mean over the kinds of
holdout of the mean absolute error, so that many ratios do not drown the one question about budgets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrplan.fitting.lawfit import predict_draws, refit
from cmrplan.fitting.surface import Surface, row_inputs
from cmrplan.holdout import holdouts


@dataclass(frozen=True)
class Score:
    """How a law predicts hidden rows of one corpus.

    Parameters
    ----------
    law : str
    error : float
        Mean over the kinds of holdout of the mean absolute error, nats per token; NaN where the log supports no
        holdout.
    by_kind : dict of str to float
        Mean absolute error by kind of holdout.
    """

    law: str
    error: float
    by_kind: dict[str, float]


def held_out_score(surface: Surface, rows: pd.DataFrame) -> Score:
    """Return the held-out error of a fitted law.

    The fits without the hidden rows start from the optimum with all rows; only rows that stay have weight in them.

    Parameters
    ----------
    surface : Surface
        Fitted to ``rows``.
    rows : DataFrame
        Rows of its corpus after the base checkpoint.
    """
    name = surface.fit.law.name
    hidden = holdouts(rows)
    if not hidden:
        return Score(name, float("nan"), {})
    inputs = row_inputs(surface.corpus, rows)
    loss = rows["loss"].to_numpy(dtype=float)
    weights = np.stack([~h.hidden for h in hidden]).astype(float)
    search, coefficients = refit(surface.fit, inputs, loss[None, :], weights)
    predicted = predict_draws(surface.fit.law, surface.fit.scales, inputs, search, coefficients)
    errors: dict[str, list[float]] = {}
    for h, curve in zip(hidden, predicted, strict=True):
        miss = float(np.mean(np.abs(curve[h.hidden] - loss[h.hidden])))
        errors.setdefault(h.kind, []).append(miss)
    by_kind = {kind: float(np.mean(values)) for kind, values in errors.items()}
    return Score(name, float(np.mean(list(by_kind.values()))), by_kind)


def choose(scores: list[Score]) -> str:
    """Return the law with the lowest error; the first where nothing could be held out."""
    known = [score for score in scores if np.isfinite(score.error)]
    return min(known, key=lambda score: score.error).law if known else scores[0].law
