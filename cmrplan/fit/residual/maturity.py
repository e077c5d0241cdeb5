"""What a base had seen before: the tokens of replay count as a part of it.

What more of its own data do to a base depends on how much it has seen; what other data do hardly does. So a run of
``D`` tokens at a share ``s`` has the mean function ``f(s, D) - f(1, D) + f(1, D')``, where ``D'`` adds to the base of
the geometric mean what ``D`` adds to the base of the run: ``D'/base' = D/base``. At the sizes of one base nothing
changes; what one size learned from replay is carried to a base that has seen more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.fit.residual.mean_functions import MeanFunction, Points, Prior


def mean_base_tokens(rows: pd.DataFrame) -> float | None:
    """Return the tokens that the bases of the sizes had seen, their geometric mean.

    None where rows do not say it, or say several of one size, of which losses are counted from one base.
    """
    if "base_tokens" not in rows or rows["base_tokens"].isna().any():
        return None
    by_size = rows.groupby("model_params")["base_tokens"]
    if (by_size.nunique() > 1).any():
        return None
    seen = by_size.first().to_numpy(dtype=float)
    return float(np.exp(np.mean(np.log(seen)))) if np.ptp(seen) else float(seen[0])


@dataclass(frozen=True)
class ByMaturity(MeanFunction):
    """A mean function whose replay counts by what the base had seen.

    Parameters
    ----------
    name, shape_prior, coefficient_sd
        Of ``inner``.
    inner : MeanFunction
    """

    name: str
    shape_prior: Prior
    coefficient_sd: Array
    inner: MeanFunction

    @classmethod
    def of(cls, inner: MeanFunction) -> ByMaturity:
        """Return it for a mean function."""
        return cls(inner.name, inner.shape_prior, inner.coefficient_sd, inner)

    def features(self, points: Points, shape: Array) -> tuple[Array, Array]:
        """Return the features and their derivatives."""
        values, changes = self.inner.features(points, shape)
        if (times := _counts_as(points)) is not None:
            alone, counted = (self.inner.features(points.replay(k), shape) for k in (1.0, times))
            values = values - alone[0] + counted[0]
            changes = changes - alone[1] + counted[1]
        return values, changes

    def offset(self, points: Points) -> Array:
        """Return the log loss that is there whatever the coefficients are, ``(n,)``."""
        value = self.inner.offset(points)
        if (times := _counts_as(points)) is not None:
            alone, counted = (self.inner.offset(points.replay(k)) for k in (1.0, times))
            value = value - alone + counted
        return value


def _counts_as(points: Points) -> Array | None:
    """Return the multiple of its tokens that a run counts as for the mean base, ``(n,)``; None where all count as 1.

    None counts as fewer tokens than the shortest probe had, where nothing was measured.
    """
    frame, columns = points.frame, points.columns
    assert frame.base_tokens is not None
    least = np.minimum(frame.least_tokens / columns["train_tokens"], 1.0)
    times = np.maximum(frame.base_tokens / columns["base_tokens"], least)
    return None if np.all(times == 1) else times
