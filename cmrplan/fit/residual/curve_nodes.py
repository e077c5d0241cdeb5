"""A curve over the ratio is computed at nodes, and everything between them follows from the polynomial through them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cmrplan.arrays import Array

MOST_POINTS = 161  # of a curve over ratios that are computed each
NUM_NODES = 161  # that are computed of a longer one
CURVE_PARAMETER = 0.5 * (1 - np.cos(np.pi * np.arange(NUM_NODES) / (NUM_NODES - 1)))
SAME_NODE = 1e-14


def curve_nodes(columns: Mapping[str, Array]) -> dict[str, Array] | None:
    """Return the columns at nodes of the ratios; None where the points are no such curve, or few.

    Nodes stand very close at both ends, where a loss may bend as a power of the share.

    Examples
    --------
    >>> import numpy as np
    >>> ratio = np.linspace(0, 1, 1001)
    >>> nodes = curve_nodes({"train_tokens": np.full(1001, 1e9), "domain_ratio": ratio})
    >>> len(nodes["domain_ratio"]), float(nodes["train_tokens"][0])
    (161, 1000000000.0)
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
    low, high = np.min(ratio), np.max(ratio)
    nodes = low + (high - low) * CURVE_PARAMETER**2 * (3 - 2 * CURVE_PARAMETER)
    nodes[-1] = high
    return {name: np.full(NUM_NODES, values[0]) for name, values in others.items()} | {
        "domain_ratio": nodes
    }


def between_nodes(nodes: Array, values: Array, ratio: Array) -> Array:
    """Return curves ``(B, n)`` at ratios from their values at nodes ``(B, m)``, by the polynomial through them.

    The polynomial is one of ``z`` with ``ratio = 3 z^2 - 2 z^3`` between the ends, and its nodes are Chebyshev's.

    References
    ----------
    Berrut & Trefethen 2004, Barycentric Lagrange interpolation.

    Examples
    --------
    >>> import numpy as np
    >>> nodes = curve_nodes({"domain_ratio": np.linspace(0, 1, 200)})["domain_ratio"]
    >>> at = np.array([0.0, 0.123, 1.0])
    >>> np.abs(between_nodes(nodes, np.sqrt(nodes)[None, :], at) - np.sqrt(at)).max() < 1e-6
    np.True_
    """
    part = np.clip((ratio - nodes[0]) / (nodes[-1] - nodes[0]), 0, 1)
    parameter = 0.5 - np.sin(np.arcsin(1 - 2 * part) / 3)
    weights = (-1.0) ** np.arange(len(nodes))
    weights[[0, -1]] *= 0.5
    away = parameter[:, None] - CURVE_PARAMETER
    is_node = np.abs(away) < SAME_NODE
    pull = weights / np.where(is_node, 1.0, away)
    pull = np.where(is_node.any(axis=1)[:, None], is_node, pull)
    return np.asarray(values @ (pull / pull.sum(axis=1, keepdims=True)).T)
