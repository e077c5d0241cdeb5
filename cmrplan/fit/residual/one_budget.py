"""Where runs were measured at one budget, what later tokens do is taken from other sweeps.

The mean function holds at the budget ``D*``. At other tokens it goes on by ``ln(D/D*)`` times ``c0 + c1 (s - 1/2) +
c2 (ln(s + 0.05) - ln 0.55)``, s the target share. What is thought of the coefficients before any data comes from how
far the losses have moved from the base loss of their size: with ``b0 + b1 (s - 1/2)`` the straight line through these
moves, c0 and c1 are about ``0.3 b0`` and ``0.2 b1`` for the loss that training lowers, and 0 and ``0.2 b1`` for the
general loss. What they miss by is a part of the root mean square of the moves. The numbers are those of the sweeps of
data/, at 2 to 4 times the tokens (benchmarks/one_budget.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmrplan.arrays import Array
from cmrplan.fit.residual.mean_functions import (
    EVEN_RATIO,
    GROWN,
    SHARE_SHIFT,
    MeanFunction,
    Points,
    Prior,
)
from cmrplan.fit.residual.observations import USUAL_EFFECT, Observations

# Of b0 and b1 per factor e of tokens, and what c0, c1 and c2 miss by, over the root mean square of the moves.
GOES_ON = {"domain": (0.3, 0.2), "general": (0.0, 0.2)}
MISSES = {"domain": (0.15, 0.2, 0.1), "general": (0.25, 0.25, 0.1)}


@dataclass(frozen=True)
class ByOneBudget(MeanFunction):
    """A mean function that reads no tokens, and what these do by other sweeps.

    Parameters
    ----------
    name, shape_prior
        Of ``inner``.
    coefficient_sd : array (q + 3,)
        Those of ``inner`` and of c0, c1 and c2.
    inner : MeanFunction
    expected : array (3,)
        What c0, c1 and c2 are expected to be.
    """

    name: str
    shape_prior: Prior
    coefficient_sd: Array
    inner: MeanFunction
    expected: Array

    @classmethod
    def of(cls, inner: MeanFunction, observed: Observations) -> ByOneBudget:
        """Return it for a mean function and the rows of a log."""
        corpus = observed.frame.corpus
        moves = USUAL_EFFECT[corpus] * (observed.effect or 1.0)
        sd = np.append(inner.coefficient_sd, moves * np.array(MISSES[corpus]))
        expected = np.zeros(3)
        if observed.is_anchored:
            straight = _curves(observed.points)[:, :2]
            line = np.linalg.lstsq(straight, observed.log_loss, rcond=None)[0]
            expected[:2] = np.array(GOES_ON[corpus]) * line
        return cls(inner.name, inner.shape_prior, sd, inner, expected)

    def features(self, points: Points, shape: Array) -> tuple[Array, Array]:
        """Return the features and their derivatives."""
        there, changes = _at_budget(points)
        values, slopes = self.inner.features(there, shape)
        none = np.zeros((len(slopes), *changes.shape))
        return np.hstack([values, changes]), np.concatenate([slopes, none], axis=2)

    def offset(self, points: Points) -> Array:
        """Return the log loss that is there whatever the coefficients are, ``(n,)``."""
        there, changes = _at_budget(points)
        return np.asarray(self.inner.offset(there) + changes @ self.expected)


def _at_budget(points: Points) -> tuple[Points, Array]:
    """Return the points at the budget, and how much c0, c1 and c2 count between it and where they are, ``(n, 3)``."""
    part = points.frame.train_tokens / points.columns["train_tokens"]
    back = {name: part * points.columns[name] for name in GROWN if name in points.columns}
    there = points.frame.points({**points.columns, **back})
    return there, (points.tokens - there.tokens)[:, None] * _curves(points)


def _curves(points: Points) -> Array:
    from_even = points.share - EVEN_RATIO
    by_logarithm = points.log_share - np.log(EVEN_RATIO + SHARE_SHIFT)
    return np.stack([np.ones_like(from_even), from_even, by_logarithm], axis=1)
