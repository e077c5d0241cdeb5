"""Weigh laws by how they predict what they have not seen.

Every holdout of the log (each inner ratio or a fifth of the mixtures, the largest budgets, the largest model) is
hidden in turn, each law is
fitted to the rest, as far as the rest supports its terms, and its errors on the hidden rows are taken. Kinds of
holdout weigh the same, so that many ratios do not drown the one question about budgets. A law leaves a question open
where the rest does not determine it (:mod:`cmrplan.fit.hold_outs`); laws are weighed by what all of them answer.

Choosing the law with the lowest error would throw away what the others know, and on few runs the choice falls by
chance. So the laws are averaged with weights inverse to their mean squared held-out errors, relative to the loss; a
law that is clearly worse drops out by itself.

References
----------
Bates & Granger 1969, The combination of forecasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.hold_outs import holdouts, missing_levels
from cmrplan.fit.law_fitting import declare
from cmrplan.fit.law_model import LawModel, row_inputs
from cmrplan.laws.law import Law, predict_draws
from cmrplan.solve.law_fit import LawFit, refit
from cmrplan.solve.varpro import Stopping

Redeclaration = Callable[[LawModel, pd.DataFrame], Law]

WEIGHT_DIGITS = 6
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
        Mean absolute error (nats per token) and mean squared relative error on each holdout; NaN where the rows that
        stay do not determine the law.
    """

    law: str
    kinds: tuple[str, ...]
    absolute: Array
    squared: Array

    @property
    def is_answered(self) -> NDArray[np.bool_]:
        """Which holdouts the law answers, ``(F,)``."""
        return np.isfinite(self.squared)

    @property
    def error(self) -> float:
        """Mean over the kinds of the mean absolute error, nats per token; NaN without an answer."""
        return _mean(self.by_kind)

    @property
    def by_kind(self) -> dict[str, float]:
        """Mean absolute error by kind of holdout, nats per token."""
        return self._means(self.absolute, self.is_answered)

    def squared_error_on(self, which: NDArray[np.bool_]) -> float:
        """Return the mean over the kinds of the mean squared relative error on some holdouts; NaN on none."""
        return _mean(self._means(self.squared, which))

    def _means(self, errors: Array, which: NDArray[np.bool_]) -> dict[str, float]:
        kinds = np.array(self.kinds, dtype=object)[which]
        return {k: float(np.mean(errors[which][kinds == k])) for k in dict.fromkeys(kinds.tolist())}


def _mean(by_kind: Mapping[str, float]) -> float:
    return float(np.mean(list(by_kind.values()))) if by_kind else float("nan")


def score_of(
    law: str, kinds: Sequence[str], hidden: Sequence[NDArray[np.bool_]], miss: Array, loss: Array
) -> Score:
    """Return the score of a law from what its predictions miss.

    Parameters
    ----------
    law : str
    kinds : sequence of F str
    hidden : sequence of F bool array (n,)
        The rows of each holdout.
    miss : array (F, n)
        Predicted less measured loss, nats per token; NaN where a holdout is not answered.
    loss : array (n,)
    """
    relative = miss / loss
    return Score(
        law,
        tuple(kinds),
        np.array([np.mean(np.abs(m[h])) for m, h in zip(miss, hidden, strict=True)]),
        np.array([np.mean(m[h] ** 2) for m, h in zip(relative, hidden, strict=True)]),
    )


def redeclared(model: LawModel, rows: pd.DataFrame) -> Law:
    """Return the law of a model as some of its rows support it."""
    return declare(model.law, model.corpus, rows, model.fit.law.link)


def held_out_score(
    model: LawModel, rows: pd.DataFrame, law_for: Redeclaration = redeclared
) -> Score:
    """Return the held-out errors of a fitted law.

    The fits without the hidden rows start from the optimum with all rows; the law is declared anew for the rows that
    stay, since these may support fewer of its terms or other bounds.

    Parameters
    ----------
    model : LawModel
        Fitted to ``rows``.
    rows : DataFrame
        Rows of its corpus after the base checkpoint.
    law_for : callable
        Takes the model and the rows that stay, and returns its law as these support it.
    """
    questions = holdouts(rows)
    inputs = row_inputs(model.corpus, rows)
    loss = rows["loss"].to_numpy(dtype=float)
    by_law: dict[Law, list[int]] = {}
    for k, question in enumerate(questions):
        law = law_for(model, rows[~question.hidden])
        if missing_levels(law, {n: v[~question.hidden] for n, v in inputs.items()}) is None:
            by_law.setdefault(law, []).append(k)
    miss = np.full((len(questions), len(rows)), np.nan)
    for law, which in by_law.items():
        start = restated(model.fit, law)
        weights = np.stack([~questions[k].hidden for k in which]).astype(float)
        ends = refit(start, inputs, loss[None, :], weights, stopping=Stopping())
        miss[which] = predict_draws(law, start.scales, inputs, *ends) - loss
    return score_of(
        model.law, [q.kind for q in questions], [q.hidden for q in questions], miss, loss
    )


def restated(fit: LawFit, law: Law) -> LawFit:
    """Return a fit whose law is another declaration of the same law, at the same exponents."""
    position = {exponent.name: k for k, exponent in enumerate(fit.law.exponents)}
    return replace(fit, law=law, search=fit.search[[position[e.name] for e in law.exponents]])


def averaging_weights(scores: list[Score]) -> Array:
    """Return one weight per law, ``(K,)``, that sum to one.

    Inverse to the mean squared errors on the holdouts that all laws answer. A law that answers none is left out where
    another answers one: nothing speaks for it. The first law stands alone where there is nothing to compare.
    """
    answers = np.stack([score.is_answered for score in scores])
    is_judged: NDArray[np.bool_] = np.any(answers, axis=1)
    if not is_judged.any():
        return np.where(np.arange(len(scores)) == 0, 1.0, 0.0)
    common: NDArray[np.bool_] = np.all(answers[is_judged], axis=0)
    if not common.any():
        return np.where(np.arange(len(scores)) == int(np.argmax(is_judged)), 1.0, 0.0)
    errors = [
        s.squared_error_on(common) if j else np.inf for s, j in zip(scores, is_judged, strict=True)
    ]
    squared = np.array(errors)
    smallest = np.min(squared)
    relative = np.where(squared > 0, smallest / np.where(squared > 0, squared, 1.0), 1.0)
    # Laws that say the same at every seen level differ by rounding, which must not tell which of them comes first.
    share = np.round(relative / relative.sum(), WEIGHT_DIGITS)
    kept = np.where(share >= SMALLEST_WEIGHT, share, 0.0)
    weights: Array = np.asarray(kept / kept.sum())
    return weights
