"""Losses beyond the largest probed budget: by how much the resamples of a mixture's losses miss them.

The laws were chosen by the budgets that were probed, and may bend otherwise later, alike at every mixture. Beyond the
largest one, ``D*``, a resample of a loss is multiplied by ``exp(z MISS s ln(D / D*))``, with ``z`` standard normal and
``s`` the root mean square over the runs of the slope of the log loss against ln D, over the last half of their tokens.
Of runs that were evaluated once, it is a part of what the log loss has moved from the base.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.fit.corpus_model import RandomStream

MISS = 0.87  # of what a loss goes on to change by, root mean square, decision 69


# Of the move from the base by a factor e of tokens: 0.3 with a spread of 0.15 (decision 70). The estimate stays where
# it is, so the spread has room for both.
PART_OF_MOVE = 0.4


def late_slope(rows: pd.DataFrame, base_loss: Mapping[float, float]) -> float:
    """Return the root mean square of the slopes of the log loss at the end of runs, each by ln D.

    From the last evaluation at or before half of a run's tokens, or else its first one, to its last. Where no run has
    two, it is :data:`PART_OF_MOVE` of the moves from the base loss of their size, as far as it is known; without
    any, of those from the mean loss of the size.
    """
    slopes, moves = [], []
    by_size = rows.groupby("model_params")["loss"].mean()
    mean = dict(zip(by_size.index.to_numpy(dtype=float).tolist(), by_size, strict=True))
    from_loss = {size: base_loss[size] for size in mean if size in base_loss} or mean
    for (size, _), run in rows.groupby(["model_params", "run_id"], sort=False):
        at = run.groupby("train_tokens")["loss"].mean()
        tokens, loss = at.index.to_numpy(dtype=float), at.to_numpy(dtype=float)
        if size in from_loss:
            moves.append(np.log(loss[-1] / from_loss[size]))
        if len(tokens) > 1:
            half = max(int(np.sum(tokens <= tokens[-1] / 2)) - 1, 0)
            slopes.append(np.log(loss[-1] / loss[half]) / np.log(tokens[-1] / tokens[half]))
    return float(np.sqrt(np.mean(np.square(slopes or PART_OF_MOVE * np.array(moves)))))


def forecast_factors(
    rows: pd.DataFrame,
    base_loss: Mapping[float, float],
    train_tokens: float,
    seed: int,
    position: int,
    count: int,
) -> Array:
    """Return what each resample of the loss on a corpus is multiplied by, ``(B,)``; 1 up to the largest budget.

    Parameters
    ----------
    rows : DataFrame
        Those that were fitted.
    base_loss : mapping of float to float
        By size, as far as it is known.
    train_tokens : float
    seed, position, count : int
        Of the fit, of the corpus in it, and of its resamples.
    """
    ahead = float(np.log(train_tokens / rows["train_tokens"].max()))
    if ahead <= SAME_SIZE:
        return np.ones(count)
    normal = RandomStream.LATER_BUDGET.generator(seed, 1 + position).standard_normal(count)
    return np.asarray(np.exp(MISS * late_slope(rows, base_loss) * ahead * normal))
