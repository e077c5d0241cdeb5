"""Choose a law by how it predicts what it has not seen.

Every holdout of the log (each inner ratio, the largest budgets, the largest model) is hidden in turn, the law is
fitted to the rest and its error there is taken. Kinds of holdout weigh the same, so that many ratios do
not drown the one question about budgets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrplan.fitting.lawfit import predict_draws, refit
from cmrplan.fitting.surface import Surface, row_inputs
from cmrplan.holdout import holdouts
from cmrplan.laws.law import Array


@dataclass(frozen=True)
class Score:
    """How a law predicts hidden rows of one corpus.

    Parameters
    ----------
    law : str
    kinds : tuple of str
        Kind of each holdout.
    errors : array (F,)
        Mean absolute error on each holdout, nats per token.
    """

    law: str
    kinds: tuple[str, ...]
    errors: Array

    @property
    def weights(self) -> Array:
        """Weight of each holdout: kinds weigh the same, and so do the holdouts of a kind."""
        kinds = np.array(self.kinds)
        share = np.array([1 / np.sum(kinds == kind) for kind in kinds])
        return np.asarray(share / share.sum())

    @property
    def error(self) -> float:
        """Mean over the kinds of the mean error, nats per token; NaN without a holdout."""
        return float(self.weights @ self.errors) if len(self.errors) else float("nan")

    @property
    def by_kind(self) -> dict[str, float]:
        """Mean error by kind of holdout."""
        kinds = np.array(self.kinds)
        return {
            kind: float(np.mean(self.errors[kinds == kind])) for kind in dict.fromkeys(self.kinds)
        }


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
    law = surface.fit.law
    hidden = holdouts(rows)
    if not hidden:
        return Score(law.name, (), np.zeros(0))
    inputs = row_inputs(surface.corpus, rows)
    loss = rows["loss"].to_numpy(dtype=float)
    weights = np.stack([~h.hidden for h in hidden]).astype(float)
    search, coefficients = refit(surface.fit, inputs, loss[None, :], weights)
    predicted = predict_draws(law, surface.fit.scales, inputs, search, coefficients)
    errors = [
        float(np.mean(np.abs(curve[h.hidden] - loss[h.hidden])))
        for h, curve in zip(hidden, predicted, strict=True)
    ]
    return Score(law.name, tuple(h.kind for h in hidden), np.array(errors))


def choose(scores: list[Score]) -> str:
    """Return the law with the lowest error; the first where nothing could be held out."""
    known = [score for score in scores if len(score.errors)]
    return min(known, key=lambda score: score.error).law if known else scores[0].law
