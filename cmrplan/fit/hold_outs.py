"""What to hide from a law to see how it predicts: ratios, the largest budgets, the largest model.

Each holdout is one question that a plan asks of a law. The rows are those of one corpus after the base
checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FEWEST_TRAINING_RATIOS = 3
LATE_SHARE = 2.0  # the largest budgets are those within this factor of the largest


@dataclass(frozen=True)
class Holdout:
    """Rows to hide.

    Parameters
    ----------
    kind : str
        ``ratio``, ``tokens`` or ``size``: what is new in the hidden rows.
    name : str
        The level or threshold, for people.
    hidden : bool array (n,)
        True for the rows to predict.
    """

    kind: str
    name: str
    hidden: NDArray[np.bool_]


def holdouts(rows: pd.DataFrame) -> list[Holdout]:
    """Return every holdout that the levels of a log support.

    - one for each ratio strictly between 0 and 1, where three others stay;
    - the budgets within a factor of two of the largest, where three smaller ones stay;
    - the largest model, where two others stay.

    Examples
    --------
    >>> frame = pd.DataFrame(
    ...     {"domain_ratio": [0, 0.3, 0.6, 1], "train_tokens": 1e6, "model_params": 1e6})
    >>> [(h.kind, h.name) for h in holdouts(frame)]
    [('ratio', '0.3'), ('ratio', '0.6')]
    """
    found: list[Holdout] = []
    ratio = rows["domain_ratio"].to_numpy(dtype=float)
    tokens = rows["train_tokens"].to_numpy(dtype=float)
    size = rows["model_params"].to_numpy(dtype=float)
    levels = np.unique(ratio)
    if len(levels) > FEWEST_TRAINING_RATIOS:
        inner = levels[(levels > 0) & (levels < 1)]
        found += [Holdout("ratio", f"{level:g}", ratio == level) for level in inner]
    late = tokens > tokens.max() / LATE_SHARE
    if len(np.unique(tokens[~late])) >= 3:
        found.append(Holdout("tokens", f"> {tokens.max() / LATE_SHARE:.3g}", late))
    sizes = np.unique(size)
    if len(sizes) >= 3:
        found.append(Holdout("size", f"{sizes[-1]:.3g}", size == sizes[-1]))
    return found
