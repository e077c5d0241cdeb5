"""Arrays of floats, and what several folders ask of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SAME_SIZE = 0.01  # relative difference below which two model sizes are the same


def is_among(sizes: Array, model_params: float) -> bool:
    """Tell whether a size is one of those, to within one percent."""
    return bool(np.any(np.abs(sizes / model_params - 1) <= SAME_SIZE))


def central_interval(draws: Array, confidence: float) -> tuple[Array, Array]:
    """Return the bounds that leave half of the rest on either side, each ``(...,)``.

    Parameters
    ----------
    draws : array (B, ...)
        At least one.
    confidence : float
        In (0, 1).
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return low, high
