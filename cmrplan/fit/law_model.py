"""One corpus's loss as a law of size, tokens and mixture, with its resamples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.corpus_model import Columns, CorpusModel
from cmrplan.fit.law_inputs import law_inputs, row_inputs
from cmrplan.fit.noise import Noise, Residuals, run_noise
from cmrplan.fit.prediction import Prediction
from cmrplan.fit.row_weights import Weights, row_weights
from cmrplan.fit.summary import law_summary
from cmrplan.laws import build_law
from cmrplan.laws.law import Law, Link
from cmrplan.solve.law_fit import (
    LawFit,
    batch_size,
    fit_law,
    moved,
    predict_draws,
    refit,
    residual_jacobian,
)

FEWEST_RATIOS = 3
RATIO_LAWS = (
    "dcpt",
    "dcpt_no_mixture",
    "dcpt_sum",
    "dcpt_exp",
    "dcpt_product_exp",
    "dcpt_sum_exp",
)


@dataclass(frozen=True)
class LawModel(CorpusModel):
    """A fitted law for one corpus.

    Parameters
    ----------
    corpus : str
        The validation corpus.
    fit : LawFit
    search, coefficients : array (B, q), (B, p)
        One optimum per resample; B may be 0.
    num_rows, num_runs : int
        What the fit rests on.
    """

    corpus: str
    fit: LawFit
    search: Array
    coefficients: Array
    num_rows: int
    num_runs: int

    @property
    def law(self) -> str:
        """Name of the law."""
        return self.fit.law.name

    @property
    def components(self) -> tuple[LawModel, ...]:
        """The law itself."""
        return (self,)

    @property
    def num_draws(self) -> int:
        """Number of resamples B."""
        return len(self.search)

    @property
    def reads_size(self) -> bool:
        """Whether the law has a term of size."""
        return "model_params" in self.fit.law.inputs

    def predict(self, columns: Columns) -> Prediction:
        """Return the loss and its resamples at ``n`` places."""
        fit, inputs = self.fit, law_inputs(self.corpus, columns)
        draws = predict_draws(fit.law, fit.scales, inputs, self.search, self.coefficients)
        return Prediction(columns, fit.predict(inputs), draws)

    def summary(self, confidence: float) -> dict[str, Any]:
        """Return the fit's figures for reports, numbers unrounded."""
        figures = law_summary(self.fit, self.search, self.coefficients, confidence)
        return figures | {"n_rows": self.num_rows, "n_runs": self.num_runs}

    def residuals(self, rows: pd.DataFrame) -> Residuals:
        """Return what the law left of the rows it was fitted to, in units of a row of weight one."""
        root = np.sqrt(self.fit.row_weights)
        jacobian = residual_jacobian(self.fit, row_inputs(self.corpus, rows))
        return Residuals(
            self.fit.residual * root, jacobian * root[:, None], rows["run_id"].tolist()
        )

    def resampled(
        self, rows: pd.DataFrame, resamples: Resamples, noise: Noise | None = None
    ) -> LawModel:
        """Return the law with one optimum per resample of the rows it was fitted to.

        ``noise`` is that of the whole log; by default it is taken from this law alone.
        """
        if not resamples.count:
            return self
        fit, left = self.fit, self.residuals(rows)
        noise = noise or run_noise([left])
        inputs, loss = row_inputs(self.corpus, rows), rows["loss"].to_numpy(dtype=float)
        ends = []
        for first in range(0, resamples.count, size := batch_size(len(rows))):
            some = resamples.select(np.arange(first, min(first + size, resamples.count)))
            shifts = some.shifts(self.corpus, left, noise) / np.sqrt(fit.row_weights)
            ends.append(refit(fit, inputs, moved(fit, loss, shifts), some.weights(left.runs)))
        search, coefficients = (np.concatenate(parts) for parts in zip(*ends, strict=True))
        return replace(self, search=search, coefficients=coefficients)

    def refitted_from(self, rows: pd.DataFrame, first_tokens: float) -> LawModel:
        """Return the law fitted to the rows from ``first_tokens`` on, starting from its optimum."""
        inputs = row_inputs(self.corpus, rows)
        loss = rows["loss"].to_numpy(dtype=float)
        weights = (inputs["train_tokens"] >= first_tokens).astype(float)
        search, coefficients = refit(self.fit, inputs, loss[None, :], weights[None, :])
        later = replace(self.fit, search=search[0], coefficients=coefficients[0])
        return replace(self, fit=later, search=search[:0], coefficients=coefficients[:0])


def law_model(corpus: str, fit: LawFit, rows: pd.DataFrame) -> LawModel:
    """Return a law fitted to some rows as a model without resamples."""
    return LawModel(
        corpus=corpus,
        fit=fit,
        search=np.zeros((0, len(fit.law.exponents))),
        coefficients=np.zeros((0, len(fit.law.terms))),
        num_rows=len(rows),
        num_runs=rows["run_id"].nunique(),
    )


def declare(law_name: str, corpus: str, rows: pd.DataFrame, link: Link = "log") -> Law:
    """Return a law with the terms and bounds that the levels of the rows support."""
    share = row_inputs(corpus, rows)["share"]
    options = {
        "size_levels": int(rows["model_params"].nunique()),
        "token_levels": int(rows["train_tokens"].nunique()),
        "smallest_share": float(share.min()),
        "share_levels": len(np.unique(share)),
    }
    return replace(build_law(law_name, options), link=link)


def fit_law_model(
    rows: pd.DataFrame,
    corpus: str,
    *,
    law_name: str = "dcpt",
    delta: float | None = None,
    link: Link = "log",
    weights: Weights = "equal",
) -> LawModel:
    """Fit a law of the ratio, reduced to what the log supports, to one corpus's rows.

    Parameters
    ----------
    rows : DataFrame
        Rows of one ``eval_corpus`` with ``train_tokens`` above 0.
    corpus : str
    law_name : str
        One of :data:`RATIO_LAWS`.
    delta : float, optional
        Huber delta in residual units, infinity for least squares; from the noise by default.
    link : {"log", "identity"}
        Residuals of log losses, or of losses.
    weights : {"equal", "stderr", "seeds"}
        See :func:`cmrplan.fit.row_weights.row_weights`.

    Raises
    ------
    CmrplanError
        If the log has fewer than three ratios or fewer rows than parameters.
    """
    inputs = row_inputs(corpus, rows)
    require_ratios(rows, corpus)
    law = declare(law_name, corpus, rows, link)
    loss = rows["loss"].to_numpy(dtype=float)
    fit = fit_law(law, inputs, loss, weights=row_weights(rows, weights), delta=delta)
    return law_model(corpus, fit, rows)


def require_ratios(rows: pd.DataFrame, corpus: str) -> None:
    """Refuse a log whose ratios cannot show a trend.

    Raises
    ------
    CmrplanError
        If there are fewer than three distinct ratios.
    """
    ratios = np.unique(rows["domain_ratio"].to_numpy(dtype=float))
    if len(ratios) < FEWEST_RATIOS:
        known = ", ".join(f"{ratio:g}" for ratio in ratios)
        raise CmrplanError(
            f"the {corpus} loss was measured at {len(ratios)} domain ratio(s) ({known}); a law of the ratio "
            f"needs at least {FEWEST_RATIOS}, better 5: add probes at other ratios"
        )
