"""One corpus's loss as a law of size, tokens and mixture, or as the weighted average of several, with its resamples.

Laws of two corpora read ``share``, the target share: the share of training tokens from the corpus whose loss is
predicted, which is the domain ratio for the domain loss and one minus it for the general loss. Laws of several
corpora read the ``share_<corpus>`` columns as they are. Some laws read more: the columns of
:data:`~cmrplan.fit.corpus_model.MORE_COLUMNS`.

The estimate of an average is the average of the laws' estimates. Each resample belongs to one law, as many to each as
its weight asks for, so an interval holds both what the runs leave open and where the laws differ.

References
----------
Buckland, Burnham & Augustin 1997, Model selection: an integral part of inference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.corpus_model import (
    MORE_COLUMNS,
    Columns,
    CorpusModel,
    LawInputs,
    Prediction,
    law_inputs,
    row_columns,
)
from cmrplan.fit.evaluation_bins import evaluation_counts
from cmrplan.fit.noise import Noise, Residuals, run_noise
from cmrplan.fit.summary import law_summary
from cmrplan.laws.law import predict_draws
from cmrplan.laws.registry import REGISTRY, LawEntry
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.solve.law_fit import LawFit, batch_size, moved, refit, residual_jacobian

GOLDEN = (np.sqrt(5) - 1) / 2
_MIXTURE_INPUTS = ("share", "domain_ratio", "replay_ratio")


def row_inputs(corpus: str, rows: pd.DataFrame) -> LawInputs:
    """Return a law's inputs for the rows of a log of one validation corpus."""
    return law_inputs(corpus, row_columns(rows))


def require_inputs(law: str, needed: Iterable[str], inputs: Mapping[str, Array]) -> None:
    """Refuse inputs that lack one that a law reads.

    Raises
    ------
    CmrplanError
        Naming what is missing.
    """
    missing = [name for name in needed if name not in inputs]
    if missing:
        raise CmrplanError(
            f"the law {law} reads {', '.join(missing)}, which a size, a budget and a ratio do not tell; ask the fit, "
            "which knows its log, or give it"
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
        base = inputs["base_loss"] if self._added else 0.0

        def losses(search: Array, coefficients: Array) -> Array:
            return predict_draws(fit.law, fit.scales, inputs, search, coefficients) + base

        (estimate,) = losses(fit.search[None, :], fit.coefficients[None, :])
        return Prediction(columns, estimate, losses(self.search, self.coefficients))

    def with_shifts(self, losses: Array, shifts: Array) -> Array:
        """Return losses moved by shifts: of their logarithms for a law that was fitted to these."""
        return losses * np.exp(shifts) if self.fit.law.link == "log" else losses + shifts

    @property
    def more_columns(self) -> tuple[str, ...]:
        """The columns beside size, tokens and mixture that the law reads, or is added to."""
        needed = (*self.fit.law.inputs, *self._added)
        return tuple(name for name in MORE_COLUMNS if name in needed)

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
        """Return what the law left of the rows it was fitted to, in units of a row of weight one.

        That a row is the mean of several evaluations does not count here: the evaluations of a stretch of a run share
        nearly all of their noise, and all of what the law misses.
        """
        root = self._root_weights(rows)
        jacobian = residual_jacobian(self.fit, row_inputs(self.corpus, rows))
        return Residuals(
            self.fit.residual * root,
            jacobian * root[:, None],
            rows["run_id"].tolist(),
        )

    def _root_weights(self, rows: pd.DataFrame) -> Array:
        return np.asarray(np.sqrt(self.fit.row_weights / evaluation_counts(rows)))

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
            shifts = some.shifts(self.corpus, left, noise) / self._root_weights(rows)
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


@dataclass(frozen=True)
class AveragedModel(CorpusModel):
    """Laws of one corpus with their weights.

    Parameters
    ----------
    corpus : str
        The validation corpus.
    members : tuple of K LawModel
        The top-weighted first. Each holds only the resamples that belong to it.
    weights : array (K,)
        They sum to one.
    """

    corpus: str
    members: tuple[LawModel, ...]
    weights: Array

    @property
    def law(self) -> str:
        """Names of the laws, by the alphabet, so that both losses of a log mostly have one name."""
        return f"average({', '.join(sorted(member.law for member in self.members))})"

    @property
    def components(self) -> tuple[LawModel, ...]:
        """The laws, the top-weighted first."""
        return self.members

    @property
    def component_weights(self) -> Array:
        """The weights, ``(K,)``."""
        return self.weights

    @property
    def reads_size(self) -> bool:
        """Whether the top-weighted law has a term of size."""
        return self.members[0].reads_size

    def predict(self, columns: Columns) -> Prediction:
        """Return the loss and its resamples at ``n`` places."""
        parts = [member.predict(columns) for member in self.members]
        estimate = np.einsum("k,kg->g", self.weights, np.stack([part.loss for part in parts]))
        draws = np.empty((self.num_draws, len(estimate)))
        component = component_of_draws(self.weights, len(draws))
        for k, part in enumerate(parts):
            draws[component == k] = part.draws
        return Prediction(columns, estimate, draws)

    def with_shifts(self, losses: Array, shifts: Array) -> Array:
        """Return losses moved by shifts in the residuals of the top-weighted law."""
        return self.members[0].with_shifts(losses, shifts)

    @property
    def more_columns(self) -> tuple[str, ...]:
        """What the top-weighted law reads."""
        return self.members[0].more_columns

    def summary(self, confidence: float) -> dict[str, Any]:
        """Return the figures of the top-weighted law, and the name and weight of each.

        Fit quality is that of the top-weighted law too: the average was not fitted as a whole.
        """
        figures = self.members[0].summary(confidence)
        members = [
            {"law": member.law, "weight": float(weight)}
            for member, weight in zip(self.members, self.weights, strict=True)
        ]
        return figures | {"law": self.law, "members": members}

    def resampled(self, rows: pd.DataFrame, resamples: Resamples, noise: Noise) -> AveragedModel:
        """Return the laws with their resamples."""
        component = component_of_draws(self.weights, resamples.count)
        members = (
            member.resampled(rows, resamples.select(np.flatnonzero(component == k)), noise)
            for k, member in enumerate(self.members)
        )
        return replace(self, members=tuple(members))

    def refitted_from(self, rows: pd.DataFrame, first_tokens: float) -> AveragedModel:
        """Return the average of the laws fitted to the rows from ``first_tokens`` on."""
        members = (member.refitted_from(rows, first_tokens) for member in self.members)
        return replace(self, members=tuple(members))


def component_of_draws(weights: Array, count: int) -> NDArray[np.intp]:
    """Return the law to which each of ``count`` resamples belongs, evenly spread, ``(B,)``."""
    quantile = np.mod((np.arange(count) + 1) * GOLDEN, 1.0)
    component = np.searchsorted(np.cumsum(weights), quantile, side="right")
    return np.asarray(np.minimum(component, len(weights) - 1), dtype=np.intp)


def averaged(models: Sequence[LawModel], weights: Array) -> LawModel | AveragedModel:
    """Return the average of fitted laws; one law where all weight is on it.

    Parameters
    ----------
    models : list of K LawModel
        Fitted to the same rows, without resamples.
    weights : array (K,)
        Those at zero drop out.
    """
    order = [int(k) for k in np.argsort(-weights, kind="stable") if weights[k] > 0]
    if len(order) == 1:
        return models[order[0]]
    members = tuple(models[k] for k in order)
    return AveragedModel(members[0].corpus, members, weights[order])
