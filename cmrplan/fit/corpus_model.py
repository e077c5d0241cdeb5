"""What the rest of the project may ask of the fitted model of one validation corpus.

A model is one law across runs, an average of such laws, or the CMR laws, which hold for each size and budget. Nobody
outside this folder needs to know which: a model answers for its sizes, its ratios and its laws itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.law_inputs import row_columns
from cmrplan.fit.prediction import Prediction

if TYPE_CHECKING:
    from cmrplan.fit.bootstrap import Resamples
    from cmrplan.fit.law_model import LawModel
    from cmrplan.fit.noise import Noise

Columns = Mapping[str, Array]
# By run: its domain ratio and the derivative of its loss by the logarithm of the tokens, nats.
TokenSlopes = dict[str, tuple[float, float]]


class CorpusModel(ABC):
    """The fitted model of one validation corpus."""

    corpus: str

    @property
    @abstractmethod
    def law(self) -> str:
        """Name of the law."""

    @abstractmethod
    def predict(self, columns: Columns) -> Prediction:
        """Return the loss and its resamples at ``n`` places.

        Parameters
        ----------
        columns : mapping of str to array (n,)
            As in a log: ``model_params``, ``train_tokens``, and ``domain_ratio`` or ``share_<corpus>``.
        """

    @abstractmethod
    def summary(self, confidence: float) -> dict[str, Any]:
        """Return the fit's figures as plain values, numbers unrounded."""

    def summaries(self, confidence: float) -> Iterable[dict[str, Any]]:
        """Return the figures of each law that reports show: one, but for the CMR laws one a size."""
        return (self.summary(confidence),)

    @property
    def components(self) -> tuple[LawModel, ...]:
        """The laws across runs that are averaged, the top-weighted first; none for the CMR laws."""
        return ()

    @property
    def component_weights(self) -> Array:
        """The weight of each component; they sum to one."""
        return np.ones(len(self.components))

    @property
    def top_weighted(self) -> LawModel | None:
        """The law with the largest weight; None for the CMR laws."""
        return self.components[0] if self.components else None

    @property
    def num_draws(self) -> int:
        """Number of resamples B."""
        return sum(component.num_draws for component in self.components)

    @property
    def only_sizes(self) -> Array | None:
        """The only sizes at which the model holds, ascending; None where it goes between sizes."""
        return None

    @property
    def holds_per_budget(self) -> bool:
        """Whether the model holds for one token count at a time, so that it does not read tokens."""
        return False

    @property
    def reads_size(self) -> bool:
        """Whether predictions differ between sizes."""
        return True

    @property
    def reads_mixture(self) -> bool:
        """Whether predictions differ between mixtures."""
        return True

    @property
    def reads_repetition(self) -> bool:
        """Whether predictions know how often the domain tokens repeat."""
        return False

    def fitted_loss(self, rows: pd.DataFrame) -> Array:
        """Return the estimated loss of each row of the log, ``(n,)``."""
        return self.without_resamples().predict(row_columns(rows)).loss

    def fitted_ratios(self, rows: pd.DataFrame) -> Array:
        """Return the domain ratio of each row, or of each run, that a law was fitted to."""
        return rows["domain_ratio"].to_numpy(dtype=float)

    def is_fitted(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows of the log the laws were fitted to, ``(n,)``."""
        return np.ones(len(rows), dtype=bool)

    def run_curves(self, model_params: float, train_tokens: Array, ratios: Array) -> Array | None:
        """Return the mean of the token laws of the runs at each ratio, ``(T, R)``; None where runs have none.

        NaN at ratios without a run that has a token law.
        """
        return None

    def token_slopes(self, model_params: float, train_tokens: float) -> TokenSlopes | None:
        """Return the slopes of the runs' own token laws; None where runs have none."""
        return None

    def resampled(self, rows: pd.DataFrame, resamples: Resamples, noise: Noise) -> CorpusModel:
        """Return the model with one optimum per resample of the rows it was fitted to."""
        return self

    def refitted_from(self, rows: pd.DataFrame, first_tokens: float) -> CorpusModel:
        """Return the model fitted to the rows from ``first_tokens`` on, from its optimum, without resamples."""
        return self

    def without_resamples(self) -> CorpusModel:
        """Return the model for estimates alone, where leaving out the resamples saves time."""
        return self


def top_weighted_laws(models: Mapping[str, CorpusModel]) -> dict[str, LawModel]:
    """Return the top-weighted law of each corpus that has one."""
    return {c: law for c, model in models.items() if (law := model.top_weighted) is not None}
