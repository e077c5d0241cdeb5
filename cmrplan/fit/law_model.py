"""One corpus's loss as a law of model size, tokens and ratio, with its resamples.

The law reads ``share``, the share of training tokens from the corpus that is predicted: the domain ratio for the
domain loss, one minus it for the general loss. That conversion happens here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.noise import Noise, Residuals, run_noise
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
SURFACE_LAWS = (
    "dcpt",
    "dcpt_no_mixture",
    "dcpt_sum",
    "dcpt_exp",
    "dcpt_product_exp",
    "dcpt_sum_exp",
)


@dataclass(frozen=True)
class Surface:
    """A fitted law for one corpus.

    Parameters
    ----------
    corpus : str
        ``general`` or ``domain``.
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

    def predict(
        self, model_params: float, train_tokens: float | Array, domain_ratio: Array
    ) -> tuple[Array, Array]:
        """Return the loss at ``G`` ratios: the estimate ``(G,)`` and the resamples ``(B, G)``."""
        ratio = np.asarray(domain_ratio, dtype=float)
        inputs = law_inputs(
            self.corpus,
            np.full(ratio.shape, float(model_params)),
            np.full(ratio.shape, train_tokens),
            ratio,
        )
        fit = self.fit
        draws = predict_draws(fit.law, fit.scales, inputs, self.search, self.coefficients)
        return fit.predict(inputs), draws

    def summary(self, confidence: float) -> dict[str, Any]:
        """Return the fit's figures for reports, numbers unrounded."""
        figures = law_summary(self.fit, self.search, self.coefficients, confidence)
        return figures | {"n_rows": self.num_rows, "n_runs": self.num_runs}


def law_inputs(
    corpus: str, model_params: Array, train_tokens: Array, domain_ratio: Array
) -> dict[str, Array]:
    """Return inputs by name, with the share of the corpus that is predicted."""
    ratio = np.asarray(domain_ratio, dtype=float)
    return {
        "model_params": np.asarray(model_params, dtype=float),
        "train_tokens": np.asarray(train_tokens, dtype=float),
        "share": ratio if corpus == "domain" else 1.0 - ratio,
    }


def row_inputs(corpus: str, rows: pd.DataFrame) -> dict[str, Array]:
    """Return the law's inputs for the rows of a log."""
    return law_inputs(
        corpus,
        rows["model_params"].to_numpy(dtype=float),
        rows["train_tokens"].to_numpy(dtype=float),
        rows["domain_ratio"].to_numpy(dtype=float),
    )


def declare(law_name: str, corpus: str, rows: pd.DataFrame, link: Link = "log") -> Law:
    """Return a law with the terms and bounds that the levels of the rows support."""
    options = {
        "size_levels": int(rows["model_params"].nunique()),
        "token_levels": int(rows["train_tokens"].nunique()),
        "smallest_share": float(row_inputs(corpus, rows)["share"].min()),
    }
    return replace(build_law(law_name, options), link=link)


def fit_surface(
    rows: pd.DataFrame,
    corpus: str,
    resamples: Resamples | None,
    *,
    law_name: str = "dcpt",
    delta: float | None = None,
    link: Link = "log",
    weights: Weights = "equal",
) -> Surface:
    """Fit the D-CPT law, reduced to what the log supports, to one corpus's rows.

    Parameters
    ----------
    rows : DataFrame
        Rows of one ``eval_corpus`` with ``train_tokens`` above 0.
    corpus : str
    resamples : Resamples or None
        None skips the bootstrap.
    law_name : str
        One of :data:`SURFACE_LAWS`.
    delta : float, optional
        Knee of the Huber loss in residual units, infinity for least squares; from the noise by default.
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
    surface = Surface(
        corpus=corpus,
        fit=fit,
        search=np.zeros((0, len(law.exponents))),
        coefficients=np.zeros((0, len(law.terms))),
        num_rows=len(rows),
        num_runs=rows["run_id"].nunique(),
    )
    return surface if resamples is None else resampled(surface, rows, resamples)


def resampled(
    surface: Surface, rows: pd.DataFrame, resamples: Resamples, noise: Noise | None = None
) -> Surface:
    """Return the surface with one optimum per resample of the rows it was fitted to.

    ``noise`` is that of the whole log; by default it is taken from this surface alone.
    """
    fit, left = surface.fit, residuals(surface, rows)
    noise = noise or run_noise([left])
    inputs, loss = row_inputs(surface.corpus, rows), rows["loss"].to_numpy(dtype=float)
    ends = []
    for first in range(0, resamples.count, size := batch_size(len(rows))):
        some = resamples.select(np.arange(first, min(first + size, resamples.count)))
        shifts = some.shifts(surface.corpus, left, noise) / np.sqrt(fit.row_weights)
        ends.append(refit(fit, inputs, moved(fit, loss, shifts), some.weights(left.runs)))
    search, coefficients = (np.concatenate(parts) for parts in zip(*ends, strict=True))
    return replace(surface, search=search, coefficients=coefficients)


def residuals(surface: Surface, rows: pd.DataFrame) -> Residuals:
    """Return what a surface left of the rows it was fitted to, in units of a row of weight one."""
    root = np.sqrt(surface.fit.row_weights)
    jacobian = residual_jacobian(surface.fit, row_inputs(surface.corpus, rows))
    return Residuals(surface.fit.residual * root, jacobian * root[:, None], rows["run_id"].tolist())


def require_ratios(rows: pd.DataFrame, corpus: str) -> None:
    """Refuse a log whose ratios cannot show a trend.

    Raises
    ------
    CmrplanError
        If there are fewer than three distinct ratios.
    """
    ratios = np.unique(rows["domain_ratio"].to_numpy(dtype=float))
    if len(ratios) < FEWEST_RATIOS:
        found = ", ".join(f"{ratio:g}" for ratio in ratios)
        raise CmrplanError(
            f"the {corpus} loss was measured at {len(ratios)} domain ratio(s) ({found}); a law of the ratio "
            f"needs at least {FEWEST_RATIOS}, better 5: add probes at other ratios"
        )
