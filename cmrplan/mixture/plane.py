"""The plane of the probed mixtures, where their shares were tied to each other, and the nearest mixture on it.

Where two corpora stood in one proportion in every run, or their shares always added up to the same, every probed
mixture lies on a plane. Nothing shows what the losses do off it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.optimize import linprog, minimize

from cmrplan.arrays import Array

ROUNDED = 1e-3  # standard deviation of a share that is the same in all mixtures, at most
LITTLE = 0.02  # of what shares vary by, up to which mixtures are taken not to leave the plane; of a mean share, for one


@dataclass(frozen=True, eq=False)
class Plane:
    """Mixtures ``x`` with ``rows @ x = values``.

    Parameters
    ----------
    rows : array (k, m)
        Orthonormal, and each adds up to 0.
    values : array (k,)
    """

    rows: Array
    values: Array

    def meets(self, low: Array, high: Array) -> bool:
        """Tell whether a mixture on the plane lies in a box."""
        equal = np.vstack([np.ones(len(low)), self.rows])
        bounds = [*zip(low.tolist(), np.maximum(low, high).tolist(), strict=True)]
        solution = linprog(
            np.zeros(len(low)), A_eq=equal, b_eq=np.append(1.0, self.values), bounds=bounds
        )
        return bool(solution.status == 0)


def plane_of(mixtures: Array) -> Plane | None:
    """Return the plane that mixtures ``(R, m)`` do not leave; None where their shares are free of each other.

    A corpus whose share is the same in all of them is none of it.
    """
    varied = np.flatnonzero(np.ptp(mixtures, axis=0) > 0)
    flat = _flat_directions(mixtures[:, varied])
    if not len(flat):
        return None
    rows = np.zeros((len(flat), mixtures.shape[1]))
    rows[:, varied] = flat
    return Plane(rows, rows @ mixtures.mean(axis=0))


def held_positions(mixtures: Array) -> list[int]:
    """Return which corpora have one share in all mixtures ``(R, m)``, but for rounding."""
    most = np.minimum(ROUNDED, LITTLE * mixtures.mean(axis=0))
    return np.flatnonzero(mixtures.std(axis=0) <= most).tolist()


def tied_groups(mixtures: Array) -> list[list[int]]:
    """Return the corpora that are tied: groups that go along a line with each other, or else all that vary."""
    held = held_positions(mixtures)
    varied = [j for j in range(mixtures.shape[1]) if j not in held]
    if len(varied) < 3 or not len(_flat_directions(mixtures[:, varied])):
        return []
    groups: list[list[int]] = []
    for one, other in combinations(varied, 2):
        if _is_line(mixtures[:, [one, other]]):
            apart = [group for group in groups if not {one, other} & set(group)]
            joined = {one, other}.union(*(group for group in groups if {one, other} & set(group)))
            groups = [*apart, sorted(joined)]
    return groups or [varied]


def project(shares: Array, low: Array, high: Array, plane: Plane | None = None) -> Array:
    """Return the nearest point of the box, and of the plane, whose shares sum to one, ``(m,)``.

    Examples
    --------
    >>> project(np.array([0.9, 0.9]), np.zeros(2), np.array([0.3, 1.0])).round(9).tolist()
    [0.3, 0.7]
    """
    if plane is not None:
        return _projected_on(plane, shares, low, high)
    down, up = float(np.min(low - shares)), float(np.max(high - shares))
    for _ in range(100):
        middle = (down + up) / 2
        if np.clip(shares + middle, low, high).sum() < 1:
            down = middle
        else:
            up = middle
    projected = np.clip(shares + up, low, high)
    free = (projected > low) & (projected < high)
    if free.any():  # the last digits
        projected[free] += (1 - projected.sum()) / free.sum()
    return np.asarray(np.clip(projected, low, high))


def _projected_on(plane: Plane, shares: Array, low: Array, high: Array) -> Array:
    equal = np.vstack([np.ones(len(shares)), plane.rows])
    values = np.append(1.0, plane.values)
    solution = minimize(  # type: ignore[call-overload]
        lambda x: float(np.sum((x - shares) ** 2)),
        np.clip(shares, low, high),
        jac=lambda x: 2 * (x - shares),
        bounds=[*zip(low, high, strict=True)],
        constraints=[{"type": "eq", "fun": lambda x: equal @ x - values, "jac": lambda x: equal}],
        method="SLSQP",
        options={"ftol": 1e-15},
    )
    return np.asarray(np.clip(solution.x, low, high))


def _flat_directions(shares: Array) -> Array:
    """Return orthonormal directions, beside that of the sum, along which mixtures do not differ, ``(k, v)``.

    What a corpus varies by is the unit of its share, so that small ones count as large ones do.
    """
    count, num = shares.shape
    scale = shares.std(axis=0)
    scale[held_positions(shares)] = ROUNDED / LITTLE
    _, sizes, directions = np.linalg.svd((shares - shares.mean(axis=0)) / scale, full_matrices=True)
    spread = np.zeros(num)
    spread[: len(sizes)] = sizes / np.sqrt(count)
    flat = directions[spread <= LITTLE] / scale
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    ones = np.full(num, 1 / np.sqrt(num))
    # The sum of the shares is one of them.
    beside = np.linalg.svd(flat - np.outer(flat @ ones, ones))[2]
    return np.asarray(beside[: max(len(flat) - 1, 0)])


def _is_line(shares: Array) -> bool:
    """Tell whether mixtures lie on a line, in units of what each share varies by."""
    scaled = (shares - shares.mean(axis=0)) / shares.std(axis=0)
    return bool(np.linalg.svd(scaled, compute_uv=False)[-1] <= LITTLE * np.sqrt(len(shares)))
