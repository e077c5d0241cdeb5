"""Early evaluations outside the laws: found by what they do to the prediction of late ones.

Warm-up and the stability gap bend the first part of a continual run, and no law here has a term for
them. For each candidate cut, the law is fitted to the rows from the cut on, without the largest budgets, and
predicts those. Laws of several corpora are also fitted without the largest size, where two others stay, and predict the
largest budgets of it. A cut is taken only where it lowers that error clearly; the smallest such cut wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import CorpusModel, LawInputs, top_weighted_laws
from cmrplan.fit.hold_outs import LATE_SHARE
from cmrplan.fit.law_model import LawModel, row_inputs
from cmrplan.fit.model_averaging import Redeclaration, restated
from cmrplan.laws.law import predict_draws
from cmrplan.solve.identification import NUMERICAL_NOISE
from cmrplan.solve.law_fit import LawFit, refit

FEWEST_BETWEEN = 3  # token counts that must stay between the cut and the largest budgets
CLEARLY = 0.8  # a cut has to bring the error below this share of what it is without one
FEWEST_SIZES_TO_HIDE = 3
MOST_CUTS = 12  # beyond this many candidate cuts, so many are tried, evenly spread
NEAR_BEST = 1.1  # the smallest cut within this factor of the best one is taken


@dataclass(frozen=True)
class BurnIn:
    """Where the law begins to hold.

    Parameters
    ----------
    cuts : array (K,)
        Candidate smallest token counts; the first keeps every row.
    error : array (K,)
        Mean absolute error at the largest budgets, nats per token, fitted from each cut on.
    chosen : float
        The cut taken; 0 where none helps clearly.
    """

    cuts: Array
    error: Array
    chosen: float


NO_BURN_IN = BurnIn(np.zeros(1), np.full(1, np.nan), 0.0)


def burn_in_of(
    models: Mapping[str, CorpusModel],
    rows: Mapping[str, pd.DataFrame],
    law_for: Redeclaration | None = None,
) -> BurnIn:
    """Return from which token count on the top-weighted laws hold.

    Laws of rises and the CMR laws are not asked, nor are models that follow their rows wherever these go.

    Parameters
    ----------
    models : mapping of str to CorpusModel
        By corpus.
    rows : mapping of str to DataFrame
        The rows that each was fitted to.
    law_for : callable, optional
        See :func:`find_burn_in`.
    """
    asked = {c: model for c, model in models.items() if not model.follows_rows}
    laws = {c: law for c, law in top_weighted_laws(asked).items() if not law.entry.fits_rises}
    return find_burn_in(laws, {c: rows[c] for c in laws}, law_for) if laws else NO_BURN_IN


def find_burn_in(
    laws: Mapping[str, LawModel],
    rows: Mapping[str, pd.DataFrame],
    law_for: Redeclaration | None = None,
) -> BurnIn:
    """Return from which token count on the law predicts the largest budgets well.

    Parameters
    ----------
    laws : mapping of str to LawModel
        Fitted to all rows, by corpus.
    rows : mapping of str to DataFrame
        Those rows.
    law_for : callable, optional
        Takes a model and rows without the largest size, and returns its law as these support it; with it the largest
        size is asked for too.
    """
    tokens = np.unique(
        np.concatenate(
            [frame["train_tokens"].to_numpy(dtype=float) for frame in map(rows.__getitem__, laws)]
        )
    )
    early = tokens[tokens <= tokens[-1] / LATE_SHARE]
    cuts = early[: max(len(early) - FEWEST_BETWEEN + 1, 0)]
    if len(cuts) > MOST_CUTS:
        cuts = cuts[np.linspace(0, len(cuts) - 1, MOST_CUTS).astype(int)]
    if len(cuts) < 2:
        return NO_BURN_IN
    error = np.mean([_late_error(laws[c], rows[c], cuts, law_for) for c in laws], axis=0)
    best = int(np.argmin(error))
    rounding = NUMERICAL_NOISE * max(float(frame["loss"].max()) for frame in rows.values())
    if error[best] > CLEARLY * error[0] or error[0] <= rounding:
        return BurnIn(cuts, error, 0.0)
    first = int(np.flatnonzero(error <= NEAR_BEST * error[best])[0])
    return BurnIn(cuts, error, float(cuts[first]))


def burn_in_findings(burn_in: BurnIn) -> list[Finding]:
    """Return a finding where early evaluations should be left out, with what that changes."""
    if not burn_in.chosen:
        return []
    after = burn_in.error[burn_in.cuts == burn_in.chosen][0]
    return [
        Finding(
            Code.EARLY_EVALUATIONS,
            f"evaluations before {burn_in.chosen:.4g} tokens lie outside the law: without them it predicts "
            f"the largest budgets to {after:.4f} instead of {burn_in.error[0]:.4f} nats; fit with "
            f"--min-train-tokens {burn_in.chosen:.0f} (or auto) and compare the plans",
        )
    ]


def left_out_findings(cut: float, rows: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Return a finding on the rows before ``cut`` that a fit left out by itself; none where it is 0."""
    if not cut:
        return []
    early = pd.concat([frame[frame["train_tokens"] < cut] for frame in rows.values()])
    return [
        Finding(
            Code.LEFT_OUT_EARLY,
            f"{len(early)} evaluations of {early['run_id'].nunique()} runs before {cut:.4g} tokens were left out: the "
            "law predicts the largest budgets clearly better without them; --min-train-tokens 1 keeps them",
        )
    ]


def _late_error(
    law: LawModel, rows: pd.DataFrame, cuts: Array, law_for: Redeclaration | None
) -> Array:
    """Return the error at the largest budgets of fits from each cut on, ``(K,)``.

    Where the largest size is asked for too, it is the mean of that error and the error at its largest budgets.
    """
    inputs, loss = row_inputs(law.corpus, rows), rows["loss"].to_numpy(dtype=float)
    tokens, size = inputs["train_tokens"], inputs["model_params"]
    late = tokens > tokens.max() / LATE_SHARE
    errors = [_error_on(law.fit, inputs, loss, ~late, late, cuts)]
    if law_for is not None and len(np.unique(size)) >= FEWEST_SIZES_TO_HIDE:
        is_largest = size == size.max()
        smaller = restated(law.fit, law_for(law, rows[~is_largest]))
        ends = is_largest & (tokens > tokens[is_largest].max() / LATE_SHARE)
        errors.append(_error_on(smaller, inputs, loss, ~is_largest, ends, cuts))
    return np.asarray(np.mean(errors, axis=0))


def _error_on(
    fit: LawFit,
    inputs: LawInputs,
    loss: Array,
    seen: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    cuts: Array,
) -> Array:
    """Return the mean absolute error on some rows of fits to others from each cut on, ``(K,)``, nats per token."""
    weights = np.stack([(inputs["train_tokens"] >= cut) & seen for cut in cuts]).astype(float)
    search, coefficients = refit(fit, inputs, loss[None, :], weights)
    there = {name: values[wanted] for name, values in inputs.items()}
    predicted = predict_draws(fit.law, fit.scales, there, search, coefficients)
    return np.asarray(np.mean(np.abs(predicted - loss[wanted]), axis=1))
