"""A curve over many ratios at one size and budget: computed at nodes, and a spline between them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.interpolate import CubicSpline

from cmrplan.arrays import Array

MOST_POINTS = 129  # that are computed each
NUM_NODES = 97


def curve_nodes(columns: Mapping[str, Array]) -> dict[str, Array] | None:
    """Return the columns at Chebyshev's nodes of the ratios; None where the points are no such curve, or few.

    Nodes stand close at both ends, where losses change fastest.

    Examples
    --------
    >>> import numpy as np
    >>> ratio = np.linspace(0, 1, 1001)
    >>> nodes = curve_nodes({"train_tokens": np.full(1001, 1e9), "domain_ratio": ratio})
    >>> len(nodes["domain_ratio"]), nodes["train_tokens"][0]
    (97, 1000000000.0)
    >>> curve_nodes({"train_tokens": 1e9 * ratio, "domain_ratio": ratio}) is None
    True
    """
    ratio = np.asarray(columns["domain_ratio"], dtype=float)
    others = {
        name: np.asarray(v, dtype=float) for name, v in columns.items() if name != "domain_ratio"
    }
    is_curve = all(np.all(values == values[0]) for values in others.values() if len(values))
    if len(ratio) <= MOST_POINTS or not is_curve or np.ptp(ratio) == 0:
        return None
    angle = np.pi * np.arange(NUM_NODES) / (NUM_NODES - 1)
    low, high = np.min(ratio), np.max(ratio)
    nodes = low + (high - low) * 0.5 * (1 - np.cos(angle))
    nodes[-1] = high
    return {name: np.full(NUM_NODES, values[0]) for name, values in others.items()} | {
        "domain_ratio": nodes
    }


def between_nodes(nodes: Array, values: Array, ratio: Array) -> Array:
    """Return curves ``(B, n)`` at ratios from their values at nodes ``(B, m)``."""
    return np.asarray(CubicSpline(nodes, values, axis=1)(ratio))
