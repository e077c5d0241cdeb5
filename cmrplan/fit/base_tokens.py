"""The pre-training tokens that the base of each size had seen, where a log says it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmrplan.arrays import SAME_SIZE


def knows_base_tokens(log: pd.DataFrame, model_params: float) -> bool:
    """Tell whether a log says what the base of a size had seen."""
    if "base_tokens" not in log:
        return False
    sizes = base_tokens_of(log).index.to_numpy(dtype=float)
    return bool(np.any(np.abs(sizes / model_params - 1) <= SAME_SIZE))


def base_tokens_of(log: pd.DataFrame) -> pd.Series:
    """Return the tokens that the bases had seen by ``model_params``, ascending, where a log says it."""
    return log.dropna(subset="base_tokens").groupby("model_params")["base_tokens"].first()


def base_tokens_at(log: pd.DataFrame, model_params: float) -> float:
    """Return the tokens that the base of a size had seen: the log's, or carried by a straight line in the logarithms.

    Between two sizes the line is theirs, beyond them that through all; of one size the tokens are the same at any.
    """
    known = base_tokens_of(log)
    sizes, seen = known.index.to_numpy(dtype=float), known.to_numpy(dtype=float)
    same = np.abs(sizes / model_params - 1) <= SAME_SIZE
    if same.any() or len(sizes) == 1:
        return float(seen[np.argmax(same)])
    at, x, y = np.log(model_params), np.log(sizes), np.log(seen)
    if x[0] <= at <= x[-1]:
        return float(np.exp(np.interp(at, x, y)))
    slope, level = np.polyfit(x, y, 1)
    return float(np.exp(level + slope * at))
