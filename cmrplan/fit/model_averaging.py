"""Weigh laws by how they predict what they have not seen.

Every holdout of the log (each inner ratio, the largest budgets, the largest model) is hidden in turn, each law is
fitted to the rest, as far as the rest supports its terms, and its errors on the hidden rows are taken. Kinds of
holdout weigh the same, so that many ratios do not drown the one question about budgets.

Choosing the law with the lowest error would throw away what the others know, and on few runs the choice falls by
chance. So the laws are averaged with weights inverse to their mean squared held-out errors, relative to the loss; a
law that is clearly worse drops out by itself.

References
----------
Bates & Granger 1969, The combination of forecasts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.fit.hold_outs import holdouts
from cmrplan.fit.law_inputs import row_inputs
from cmrplan.fit.law_model import LawModel, declare
from cmrplan.laws.law import Law
from cmrplan.solve.law_fit import LawFit, predict_draws, refit
from cmrplan.solve.varpro import Stopping

SMALLEST_WEIGHT = 0.05  # a law with less is left out


@dataclass(frozen=True)
class Score:
    """How a law predicts hidden rows of one corpus.

    Parameters
    ----------
    law : str
    kinds : tuple of F str
        Kind of each holdout.
    absolute, squared : array (F,)
        Mean absolute error (nats per token) and mean squared relative error on each holdout.
    """

    law: str
    kinds: tuple[str, ...]
    absolute: Array
    squared: Array

    @property
    def error(self) -> float:
        """Mean over the kinds of the mean absolute error, nats per token; NaN without a holdout."""
        return self._over_kinds(self.absolute)

    @property
    def squared_error(self) -> float:
        """Mean over the kinds of the mean squared relative error; NaN without a holdout."""
        return self._over_kinds(self.squared)

    @property
    def by_kind(self) -> dict[str, float]:
        """Mean absolute error by kind of holdout, nats per token."""
        return self._means(self.absolute)

    def _over_kinds(self, errors: Array) -> float:
        return float(np.mean(list(self._means(errors).values()))) if len(errors) else float("nan")

    def _means(self, errors: Array) -> dict[str, float]:
        kinds = np.array(self.kinds)
        return {kind: float(np.mean(errors[kinds == kind])) for kind in dict.fromkeys(self.kinds)}


def held_out_score(model: LawModel, rows: pd.DataFrame) -> Score:
    """Return the held-out errors of a fitted law.

    The fits without the hidden rows start from the optimum with all rows; the law is declared anew for the rows that
    stay, since these may support fewer of its terms or other bounds.

    Parameters
    ----------
    model : LawModel
        Fitted to ``rows``.
    rows : DataFrame
        Rows of its corpus after the base checkpoint.
    """
    hidden = holdouts(rows)
    inputs = row_inputs(model.corpus, rows)
    loss = rows["loss"].to_numpy(dtype=float)
    by_law: dict[Law, list[int]] = {}
    for k, holdout in enumerate(hidden):
        seen = rows[~holdout.hidden]
        law = declare(model.law, model.corpus, seen, model.fit.law.link)
        by_law.setdefault(law, []).append(k)
    miss = np.zeros((len(hidden), len(rows)))
    for law, which in by_law.items():
        start = _restated(model.fit, law)
        weights = np.stack([~hidden[k].hidden for k in which]).astype(float)
        search, coefficients = refit(start, inputs, loss[None, :], weights, stopping=Stopping())
        miss[which] = predict_draws(law, start.scales, inputs, search, coefficients) - loss
    relative = miss / loss
    return Score(
        model.law,
        tuple(holdout.kind for holdout in hidden),
        np.array([np.mean(np.abs(m[h.hidden])) for m, h in zip(miss, hidden, strict=True)]),
        np.array([np.mean(m[h.hidden] ** 2) for m, h in zip(relative, hidden, strict=True)]),
    )


def _restated(fit: LawFit, law: Law) -> LawFit:
    """Return a fit whose law is another declaration of the same law, at the same exponents."""
    position = {exponent.name: k for k, exponent in enumerate(fit.law.exponents)}
    return replace(fit, law=law, search=fit.search[[position[e.name] for e in law.exponents]])


def averaging_weights(scores: list[Score]) -> Array:
    """Return one weight per law, ``(K,)``, that sum to one.

    Inverse to the mean squared held-out errors; the first law alone where nothing could be held out.
    """
    squared = np.array([score.squared_error for score in scores])
    if not np.isfinite(squared).any():
        return np.where(np.arange(len(scores)) == 0, 1.0, 0.0)
    squared = np.where(np.isfinite(squared), squared, np.inf)
    smallest = np.min(squared)
    relative = np.where(squared > 0, smallest / np.where(squared > 0, squared, 1.0), 1.0)
    share = relative / relative.sum()
    kept = np.where(share >= SMALLEST_WEIGHT, share, 0.0)
    weights: Array = np.asarray(kept / kept.sum())
    return weights
