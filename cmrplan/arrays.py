"""The type of an array of floats, and when two sizes are the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SAME_SIZE = 0.01  # relative difference below which two model sizes, or budgets, are the same
