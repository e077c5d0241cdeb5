"""The ratio with the lowest objective among those whose general loss keeps a limit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array


def best_ratio(ratio: Array, general: Array, domain: Array, limit: float) -> Array:
    """Return, for each of ``K`` pairs of curves, the feasible ratio with the lowest domain loss.

    A ratio is feasible when the general loss is at most ``limit`` there and everywhere between it and the ratio
    where the general loss is lowest: beyond a hole, a law is not to be believed. Where a constraint cuts between
    two points of the grid, the crossing is found by a straight line.

    Parameters
    ----------
    ratio : array (G,)
        Ascending domain ratios.
    general, domain : array (K, G)
        Losses, nats per token.
    limit : float
        Nats per token.

    Returns
    -------
    array (K,)
        NaN where no ratio is feasible.

    Examples
    --------
    >>> r = np.linspace(0, 1, 101)
    >>> best_ratio(r, 2.5 + 0.2 * r[None, :], 2.0 - r[None, :], 2.55).round(6).tolist()
    [0.25]
    """
    rows = np.arange(len(general))
    feasible = _connected(general, limit)
    masked = np.where(feasible, domain, np.inf)
    best = np.argmin(masked, axis=1)
    chosen = ratio[best]
    lowest = masked[rows, best]
    for side in (1, -1):
        beside = np.clip(best + side, 0, len(ratio) - 1)
        cut = feasible[rows, best] & ~feasible[rows, beside]
        inside, outside = general[rows, best], general[rows, beside]
        # An infinite loss beside the feasible point leaves the point itself.
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.where(cut, (limit - inside) / (outside - inside), 0.0)
            part = np.where(np.isfinite(part), np.clip(part, 0.0, 1.0), 0.0)
            loss = domain[rows, best] + part * (domain[rows, beside] - domain[rows, best])
        crossing = ratio[best] + part * (ratio[beside] - ratio[best])
        better = cut & (loss < lowest)
        chosen, lowest = np.where(better, crossing, chosen), np.where(better, loss, lowest)
    return np.where(feasible.any(axis=1), chosen, np.nan)


def _connected(general: Array, limit: float) -> NDArray[np.bool_]:
    """Return the feasible points without a hole between them and the lowest general loss, ``(K, G)``."""
    feasible = (general <= limit) | (np.isnan(general) & np.isinf(limit))
    holes = np.cumsum(~feasible, axis=1)
    lowest = np.argmin(general, axis=1)
    before = holes[np.arange(len(general)), lowest][:, None]
    return np.asarray(feasible & (holes == before))
