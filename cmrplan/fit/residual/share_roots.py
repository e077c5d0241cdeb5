"""The coordinate in which mixtures are compared: a root of each share, ``(x + 0.001)^0.35``."""

from __future__ import annotations

import numpy as np

from cmrplan.arrays import Array

ROOT = 0.35  # of the shares: a step from 1 to 2 % counts as one from 10 to 14 %
LEAST_SHARE = 1e-3  # added to each: without it a corpus's first tokens would count without end


def root_of_share(share: Array) -> Array:
    """Return the coordinate of shares, before it is divided by its spread."""
    return np.asarray((share + LEAST_SHARE) ** ROOT)


def slope_of_root(share: Array) -> Array:
    """Return the derivative of :func:`root_of_share`."""
    return np.asarray(ROOT * (share + LEAST_SHARE) ** (ROOT - 1))
