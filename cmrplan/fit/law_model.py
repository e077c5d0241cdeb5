"""One corpus's loss as a law of size, tokens and mixture, with its resamples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.corpus_model import Columns, CorpusModel
from cmrplan.fit.law_inputs import LawInputs, law_inputs, require_inputs, row_columns, row_inputs
from cmrplan.fit.noise import Noise, Residuals, run_noise
from cmrplan.fit.prediction import Prediction
from cmrplan.fit.row_weights import Weights, row_weights
from cmrplan.fit.summary import law_summary
from cmrplan.laws import build_law
from cmrplan.laws.law import Law, Link
from cmrplan.laws.registry import FEWEST_RATIOS, REGISTRY, LawEntry
from cmrplan.laws.repetition import REPEAT_SCALE
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.solve.law_fit import (
    LawFit,
    batch_size,
    fit_law,
    moved,
    predict_draws,
    refit,
    residual_jacobian,
)

_MIXTURE_INPUTS = ("share", "domain_ratio", "replay_ratio")


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

    @property
    def reads_mixture(self) -> bool:
        """Whether the law reads the ratio, or the share of a corpus."""
        return any(
            name in _MIXTURE_INPUTS or name.startswith(SHARE_PREFIX) for name in self.fit.law.inputs
        )

    @property
    def reads_repetition(self) -> bool:
        """Whether the law has a term of repeated tokens."""
        return "unique_tokens" in self.fit.law.inputs

    @property
    def entry(self) -> LawEntry:
        """What the registry says of the law."""
        return REGISTRY[self.law]

    def predict(self, columns: Columns) -> Prediction:
        """Return the loss and its resamples at ``n`` points.

        Raises
        ------
        CmrplanError
            If the law reads more than the columns have.
        """
        fit, inputs = self.fit, law_inputs(self.corpus, columns)
        require_inputs(self.law, (*fit.law.inputs, *self._added), inputs)
        draws = predict_draws(fit.law, fit.scales, inputs, self.search, self.coefficients)
        base = inputs["base_loss"] if self._added else 0.0
        return Prediction(columns, fit.predict(inputs) + base, draws + base)

    def fitted_loss(self, rows: pd.DataFrame) -> Array:
        """Return the estimated loss of each row of the log, ``(n,)``."""
        return self.predict(row_columns(rows)).loss

    @property
    def _added(self) -> tuple[str, ...]:
        """What the law's value is added to."""
        return ("base_loss",) if self.entry.fits_rises else ()

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
        inputs = row_inputs(self.corpus, rows)
        loss = fitted_values(self.law, inputs, rows)
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
        loss = fitted_values(self.law, inputs, rows)
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


def fitted_values(law_name: str, inputs: LawInputs, rows: pd.DataFrame) -> Array:
    """Return what a law is fitted to, ``(n,)``: the losses, or their rises over the base checkpoint."""
    loss = rows["loss"].to_numpy(dtype=float)
    return loss - inputs["base_loss"] if REGISTRY[law_name].fits_rises else loss


def _repeat_scale(corpus: str, rows: pd.DataFrame) -> float | None:
    """Return R* to hold, or None to fit it, where some row has passed over its domain tokens."""
    inputs = row_inputs(corpus, rows)
    passes = inputs["train_tokens"] * inputs["share"] / inputs["unique_tokens"]
    return None if (passes > 1).any() else REPEAT_SCALE


def _levels_by_size(corpus: str, rows: pd.DataFrame) -> tuple[tuple[float, int, int], ...]:
    """Return each size with how many ratios and token counts were measured there."""
    levels = rows.groupby("model_params")[["domain_ratio", "train_tokens"]].nunique()
    return tuple((float(size), int(m), int(n)) for size, m, n in levels.itertuples())


# How each option of a law follows from the rows of a corpus.
_OPTIONS: dict[str, Callable[[str, pd.DataFrame], Any]] = {
    "size_levels": lambda corpus, rows: int(rows["model_params"].nunique()),
    "token_levels": lambda corpus, rows: int(rows["train_tokens"].nunique()),
    "smallest_share": lambda corpus, rows: float(row_inputs(corpus, rows)["share"].min()),
    "share_levels": lambda corpus, rows: len(np.unique(row_inputs(corpus, rows)["share"])),
    "levels_by_size": _levels_by_size,
    "token_scale": lambda corpus, rows: float(np.exp(np.mean(np.log(rows["train_tokens"])))),
    "repeat_scale": _repeat_scale,
    "repeated_share": lambda corpus, rows: "share",
    "corpus": lambda corpus, rows: corpus,
    "base_levels": lambda corpus, rows: 1,
}


def declare(law_name: str, corpus: str, rows: pd.DataFrame, link: Link = "log") -> Law:
    """Return a law with the terms and bounds that the levels of the rows support.

    A law of differences keeps residuals of losses whatever ``link`` says.
    """
    wanted = REGISTRY[law_name].options
    options = {name: _OPTIONS[name](corpus, rows) for name in wanted if name in _OPTIONS}
    law = build_law(law_name, {name: value for name, value in options.items() if value is not None})
    return law if law.link == "identity" else replace(law, link=link)


def fit_law_model(
    rows: pd.DataFrame,
    corpus: str,
    *,
    law_name: str = "dcpt",
    delta: float | None = None,
    link: Link = "log",
    weights: Weights = "equal",
) -> LawModel:
    """Fit a law, reduced to what the log supports, to one corpus's rows.

    Of laws with repetition, only the domain loss gets the repetition: nothing else is known to repeat.

    Parameters
    ----------
    rows : DataFrame
        Rows of one ``eval_corpus`` with ``train_tokens`` above 0 and the columns that the law reads.
    corpus : str
    law_name : str
        A law of :data:`~cmrplan.laws.registry.REGISTRY` across runs.
    delta : float, optional
        Huber delta in residual units, infinity for least squares; from the noise by default.
    link : {"log", "identity"}
        Residuals of log losses, or of losses.
    weights : {"equal", "stderr", "seeds"}
        See :func:`cmrplan.fit.row_weights.row_weights`.

    Raises
    ------
    CmrplanError
        If the log has too few or too many ratios or sizes for the law, or fewer rows than parameters.
    """
    entry = REGISTRY[law_name]
    if entry.plain and corpus != "domain":
        entry = REGISTRY[entry.plain]
    if entry.fewest_ratios > 1:
        require_ratios(rows, corpus)
    else:
        _require_one_ratio(rows, corpus, entry)
    if entry.is_of_one_size:
        require_one_size(rows, corpus, entry.name)
    inputs = row_inputs(corpus, rows)
    law = declare(entry.name, corpus, rows, link)
    require_inputs(entry.name, law.inputs, inputs)
    loss = fitted_values(entry.name, inputs, rows)
    fit = fit_law(law, inputs, loss, weights=row_weights(rows, weights), delta=delta)
    return law_model(corpus, fit, rows)


def _require_one_ratio(rows: pd.DataFrame, corpus: str, entry: LawEntry) -> None:
    """Refuse several ratios for a law that would read them all as one."""
    number = rows["domain_ratio"].nunique()
    if number > 1:
        raise CmrplanError(
            f"the law {entry.name} does not read the domain ratio and the {corpus} loss was measured at {number}; take "
            f"--law {entry.instead}, or the rows of one ratio"
        )


def require_one_size(rows: pd.DataFrame, corpus: str, law_name: str) -> None:
    """Refuse several sizes for a law without a term of size.

    Raises
    ------
    CmrplanError
        Naming the sizes.
    """
    sizes = np.unique(rows["model_params"].to_numpy(dtype=float))
    if len(sizes) > 1:
        known = ", ".join(f"{size:.4g}" for size in sizes)
        raise CmrplanError(
            f"the law {law_name} holds at one model size and the {corpus} loss was measured at {known}; choose one "
            "with --model-params"
        )


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
