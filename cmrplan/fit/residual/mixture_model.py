"""One corpus's loss by laws of the mixture, with what they leave of it as a Gaussian process above them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.corpus_model import Columns, CorpusModel, Prediction, RandomStream, row_columns
from cmrplan.fit.law_model import LawModel
from cmrplan.fit.noise import Noise
from cmrplan.fit.residual.kriging import one_thread
from cmrplan.fit.residual.mixture_process import (
    NUM_NOISES,
    MixtureCoordinates,
    MixtureProcess,
    ProcessCurves,
    fit_process,
)
from cmrplan.log.columns import share_columns

FEWEST_PROCESS_RUNS = 20
NOTHING_LEFT = 1e-6  # nats: laws that leave no more are exact
MOST_PROCESS_ROWS = 600  # a process of n rows takes n^3 steps


@dataclass(frozen=True)
class ProcessRows:
    """The rows that a process knows, in an order that the names of runs do not change.

    Parameters
    ----------
    columns : dict of str to array (n,)
        Of a log, as laws read them.
    loss : array (n,)
        Nats per token.
    runs : array (n,) of int
    coordinates : MixtureCoordinates
    """

    columns: dict[str, Array]
    loss: Array
    runs: NDArray[np.intp]
    coordinates: MixtureCoordinates

    @cached_property
    def at(self) -> Array:
        """Their coordinates, ``(n, q)``."""
        return self.coordinates.at(self.columns)

    def left_by(self, losses: Array) -> Array:
        """Return what losses ``(..., n)`` leave of the logarithms of the measured ones."""
        return np.asarray(np.log(self.loss) - np.log(losses))


def process_rows(rows: pd.DataFrame) -> ProcessRows:
    """Return the rows of one corpus for a process: of each run a few even ones, where there are more than it takes.

    Parameters
    ----------
    rows : DataFrame
        Fitted rows of one validation corpus.
    """
    numbers = [*share_columns(rows), "model_params", "train_tokens", "loss"]
    ordered = rows.sort_values(numbers, kind="stable").reset_index(drop=True)
    kept = _thinned(ordered)
    columns = row_columns(kept)
    names = [*share_columns(kept), "train_tokens", "model_params"]
    return ProcessRows(
        columns,
        kept["loss"].to_numpy(dtype=float),
        pd.factorize(kept["run_id"])[0].astype(np.intp),
        MixtureCoordinates.of(columns, names),
    )


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """Return at most :data:`MOST_PROCESS_ROWS` rows, the last ones of each run among them while there is room."""
    if len(rows) <= MOST_PROCESS_ROWS:
        return rows
    of_run = max(1, MOST_PROCESS_ROWS // rows["run_id"].nunique())
    kept = [
        own.index[np.unique(np.linspace(len(own) - 1, 0, of_run).round().astype(int))]
        for _, own in rows.sort_values("train_tokens", kind="stable").groupby("run_id", sort=False)
    ]
    chosen = np.sort(np.concatenate(kept))
    even = np.linspace(0, len(chosen) - 1, min(len(chosen), MOST_PROCESS_ROWS)).round().astype(int)
    thinned: pd.DataFrame = rows.loc[chosen[even]].reset_index(drop=True)
    return thinned


@dataclass(frozen=True)
class KrigedMixture(CorpusModel):
    """Laws of the mixture with a process above them.

    Parameters
    ----------
    corpus : str
    laws : CorpusModel
        The fitted laws, with their resamples: each draw of the process is conditioned on what one of them leaves.
    rows : ProcessRows
    process : MixtureProcess
    seed : int
    number : int
        Of the corpus among those of the fit, so that each has random numbers of its own.
    """

    corpus: str
    laws: CorpusModel
    rows: ProcessRows
    process: MixtureProcess
    seed: int
    number: int

    @property
    def law(self) -> str:
        """Name of the law below, marked as one with a process above it."""
        return f"gp({self.laws.law})"

    @property
    def components(self) -> tuple[LawModel, ...]:
        """The laws that are averaged."""
        return self.laws.components

    @property
    def component_weights(self) -> Array:
        """Their weights."""
        return self.laws.component_weights

    @property
    def follows_rows(self) -> bool:
        """What the laws leave of the rows is part of the model."""
        return True

    @property
    def left_by_laws(self) -> Array:
        """What the laws' estimate leaves of the logarithms of the losses of the rows, ``(n,)``."""
        return self.rows.left_by(self.laws.without_resamples().predict(self.rows.columns).loss)

    @cached_property
    def curves(self) -> ProcessCurves:
        """What the process adds to the logarithm of the loss: the estimate, then each draw."""
        of_laws = self.laws.predict(self.rows.columns)
        generator = RandomStream.POSTERIOR.generator(self.seed, self.number)
        with one_thread():
            return self.process.curves(
                self.rows.left_by(of_laws.loss), self.rows.left_by(of_laws.draws), generator
            )

    def predict(self, columns: Columns) -> Prediction:
        """Return the loss and its draws, see :meth:`CorpusModel.predict`."""
        of_laws = self.laws.predict(columns)
        curves = self.curves
        if not len(of_laws.draws):
            curves = curves.take(np.zeros(1, dtype=np.intp))
        factor = np.exp(curves(self.rows.coordinates.at(columns)))
        return replace(of_laws, loss=of_laws.loss * factor[0], draws=of_laws.draws * factor[1:])

    def parts(self, columns: Columns) -> tuple[Array, Array]:
        """Return the loss by the laws alone, and what the process adds to it, nats per token."""
        loss, whole = (model.predict(columns).loss for model in (self.laws, self))
        return loss, whole - loss

    def summary(self, confidence: float) -> dict[str, Any]:
        """Return the figures of the fitted laws, and by what laws and process miss rows."""
        return self.laws.summary(confidence) | {"residual": self._figures}

    @cached_property
    def _missed(self) -> tuple[Array, Array]:
        """What the laws leave of the rows, and by what these are missed when their run is left out, log losses."""
        left = self.left_by_laws
        with one_thread():
            return left, self.process.left_out(left)

    @property
    def _figures(self) -> dict[str, float]:
        left, missed = self._missed
        return {
            "laws_mae": float(np.mean(np.abs(left * self.rows.loss))),
            "left_out_mae": float(np.mean(np.abs(missed * self.rows.loss))),
        }

    @property
    def is_worse_than_laws(self) -> bool:
        """Whether rows left out with their runs are missed by more than the laws miss them, fitted to all.

        By more than one standard error of the mean difference over runs (Hastie, Tibshirani & Friedman 2009, 7.10).
        """
        left, missed = self._missed
        excess = pd.Series(np.abs(missed) - np.abs(left)).groupby(self.rows.runs).mean()
        return bool(excess.mean() > excess.std(ddof=1) / np.sqrt(len(excess)))

    def require_whole(self) -> None:
        """Refuse a process that is not one of the rows.

        Raises
        ------
        ValueError
            Saying what does not fit.
        """
        process = self.process
        count, dimension = self.rows.at.shape
        if (len(process.raised), len(process.log_hyper)) != (count, dimension + NUM_NOISES):
            raise ValueError(
                f"a process of {len(process.raised)} rows with {len(process.log_hyper)} hyperparameters, where the log "
                f"has {count} rows and {dimension + NUM_NOISES} belong"
            )
        if not (process.unit > 0 and (process.raised >= 1).all() and self.number >= 0):
            raise ValueError("a process whose unit, noise or number no fit has")

    def resampled(self, rows: pd.DataFrame, resamples: Resamples, noise: Noise) -> KrigedMixture:
        """Return the model with resamples of its laws, and so with draws."""
        return replace(self, laws=self.laws.resampled(rows, resamples, noise))

    def without_resamples(self) -> KrigedMixture:
        """Return the model for estimates alone."""
        return replace(self, laws=self.laws.without_resamples())


def with_process(
    laws: CorpusModel, rows: pd.DataFrame, seed: int, number: int
) -> KrigedMixture | None:
    """Return laws of the mixture with a process above them; None where runs are few or nothing is left.

    Parameters
    ----------
    laws : CorpusModel
    rows : DataFrame
        The rows of its corpus that they were fitted to.
    seed, number : int
        See :class:`KrigedMixture`.
    """
    if rows["run_id"].nunique() < FEWEST_PROCESS_RUNS:
        return None
    known = process_rows(rows)
    left = known.left_by(laws.without_resamples().predict(known.columns).loss)
    if not np.std(left) > NOTHING_LEFT:
        return None
    with one_thread():
        process = fit_process(known.at, known.runs, left)
    return KrigedMixture(laws.corpus, laws, known, process, seed, number)
