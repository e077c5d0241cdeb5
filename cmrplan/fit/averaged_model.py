"""One corpus's loss as the weighted average of several fitted laws.

The estimate is the average of the laws' estimates. Each resample belongs to one law, as many to each as its
weight asks for, so an interval holds both what the runs leave open and where the laws differ.

References
----------
Buckland, Burnham & Augustin 1997, Model selection: an integral part of inference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.law_model import Surface, resampled
from cmrplan.fit.noise import Noise

GOLDEN = (np.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Average:
    """Laws of one corpus with their weights.

    Parameters
    ----------
    corpus : str
        ``general`` or ``domain``.
    members : tuple of K Surface
        The heaviest first. Each holds only the resamples that belong to it.
    weights : array (K,)
        They sum to one.
    """

    corpus: str
    members: tuple[Surface, ...]
    weights: Array

    @property
    def law(self) -> str:
        """Names of the laws, by the alphabet, so that both losses of a log mostly have one name."""
        return f"average({', '.join(sorted(member.law for member in self.members))})"

    @property
    def lead(self) -> Surface:
        """The law with the largest weight."""
        return self.members[0]

    def predict(
        self, model_params: float, train_tokens: float | Array, domain_ratio: Array
    ) -> tuple[Array, Array]:
        """Return the loss at ``G`` ratios: the estimate ``(G,)`` and the resamples ``(B, G)``."""
        found = [
            member.predict(model_params, train_tokens, domain_ratio) for member in self.members
        ]
        estimate = np.einsum("k,kg->g", self.weights, np.stack([loss for loss, _ in found]))
        draws = np.empty((sum(len(d) for _, d in found), len(estimate)))
        owner = owners(self.weights, len(draws))
        for k, (_, own) in enumerate(found):
            draws[owner == k] = own
        return estimate, draws

    def summary(self, confidence: float) -> dict[str, Any]:
        """Return the figures of the heaviest law, and the name and weight of each.

        Fit quality is that of the heaviest law too: the average was not fitted as a whole.
        """
        figures = self.lead.summary(confidence)
        members = [
            {"law": member.law, "weight": float(weight)}
            for member, weight in zip(self.members, self.weights, strict=True)
        ]
        return figures | {"law": self.law, "members": members}


def owners(weights: Array, count: int) -> NDArray[np.intp]:
    """Return the law to which each of ``count`` resamples belongs, evenly spread, ``(B,)``."""
    place = np.mod((np.arange(count) + 1) * GOLDEN, 1.0)
    owner = np.searchsorted(np.cumsum(weights), place, side="right")
    return np.asarray(np.minimum(owner, len(weights) - 1), dtype=np.intp)


def average(surfaces: Sequence[Surface], weights: Array) -> Surface | Average:
    """Return the average of fitted laws; one law where all weight is on it.

    Parameters
    ----------
    surfaces : list of K Surface
        Fitted to ``rows``, without resamples.
    weights : array (K,)
        Those at zero drop out.
    """
    order = [int(k) for k in np.argsort(-weights, kind="stable") if weights[k] > 0]
    if len(order) == 1:
        return surfaces[order[0]]
    members = tuple(surfaces[k] for k in order)
    return Average(members[0].corpus, members, weights[order])


def resampled_model(
    model: Surface | Average, rows: pd.DataFrame, resamples: Resamples, noise: Noise
) -> Surface | Average:
    """Return the fitted law or laws of a corpus with their resamples."""
    if isinstance(model, Surface):
        return resampled(model, rows, resamples, noise)
    owner = owners(model.weights, resamples.count)
    owned = [np.flatnonzero(owner == k) for k in range(len(model.members))]
    members = (
        resampled(member, rows, resamples.select(own), noise) if len(own) else member
        for member, own in zip(model.members, owned, strict=True)
    )
    return replace(model, members=tuple(members))


def leading_surface(model: object) -> Surface | None:
    """Return the fitted law of a corpus, the heaviest where several are averaged; None for the CMR laws."""
    if isinstance(model, Average):
        return model.lead
    return model if isinstance(model, Surface) else None


def leading_surfaces(models: Mapping[str, object]) -> dict[str, Surface]:
    """Return the leading law of each corpus that has one."""
    return {c: surface for c, model in models.items() if (surface := leading_surface(model))}
