"""One corpus's loss as the weighted average of several fitted laws.

The estimate is the average of the laws' estimates. Each resample belongs to one law, as many to each as its
weight asks for, so an interval holds both what the runs leave open and where the laws differ.

References
----------
Buckland, Burnham & Augustin 1997, Model selection: an integral part of inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.corpus_model import Columns, CorpusModel
from cmrplan.fit.law_model import LawModel
from cmrplan.fit.noise import Noise
from cmrplan.fit.prediction import Prediction

GOLDEN = (np.sqrt(5) - 1) / 2


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
