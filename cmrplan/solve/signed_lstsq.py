"""Small weighted least-squares problems with signs on the coefficients, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from cmrplan.arrays import Array

# Relative to columns of unit length: far above rounding (1e-16), far below any useful direction.
NULL_RIDGE = 1e-11
# Of a column that depends on those before it: what is left of it is rounding, which the ridge above would let grow by
# 1e-16 / 1e-22 along the null direction; this one leaves 1e-2 of the residual.
DEPENDENT = 1e-12
DEPENDENT_RIDGE = 1e-7
ROUNDED_PULL = 1e-12  # relative pull of a held column that is rounding
ROWS_AT_ONCE = 2048  # rows that are reduced at once: few enough for the cache


def signed_least_squares(design: Array, target: Array, signs: Sequence[int]) -> Array:
    """Minimize ``|design c - target|`` over coefficients ``c`` of the given signs.

    A solution that breaks a sign is mended by holding the columns that turn negative. Where a held
    column would rather move, all choices of held columns are tried: the problems are tiny, at most about five
    columns, and the answer is exact.

    Parameters
    ----------
    design : array (S, n, p)
        Rows already multiplied by the square roots of their weights.
    target : array (S, n)
        The same.
    signs : sequence of p of {1, -1, 0}
        1: at or above zero, -1: at or below, 0: free.

    Returns
    -------
    array (S, p)
    """
    num_columns = design.shape[2]
    length = np.sqrt(np.einsum("snp,snp->sp", design, design))
    flip = np.where(np.asarray(signs) < 0, -1.0, 1.0)
    unit = np.where(length > 0, flip / np.where(length > 0, length, 1.0), 0.0)
    stacked = np.concatenate([design * unit[:, None, :], target[:, :, None]], axis=2)
    triangle = upper_triangle(stacked)
    left, right = triangle[:, :, :num_columns], triangle[:, :, num_columns]
    bounded = [j for j in range(num_columns) if signs[j] != 0]
    solution = _ridge_solve(left, right, NULL_RIDGE if bounded else null_ridge(left))
    broken = np.flatnonzero((solution[:, bounded] < 0).any(axis=1))
    if len(broken):
        solution[broken] = _active_set(left[broken], right[broken], solution[broken], bounded)
    return solution * unit


def upper_triangle(stacked: Array) -> Array:
    """Return the triangular factor of each matrix of a stack, ``(S, min(n, k), k)`` for ``(S, n, k)``.

    Many rows go block by block, and then the triangles of the blocks: the same factor, up to signs.
    """
    num_matrices, num_rows, size = stacked.shape
    if num_rows > ROWS_AT_ONCE:
        count = num_rows // ROWS_AT_ONCE
        whole = stacked[:, : count * ROWS_AT_ONCE].reshape(num_matrices * count, ROWS_AT_ONCE, size)
        parts = upper_triangle(whole).reshape(num_matrices, count * size, size)
        return upper_triangle(np.concatenate([parts, stacked[:, count * ROWS_AT_ONCE :]], axis=1))
    triangle: Array = np.asarray(np.linalg.qr(stacked, mode="r"))
    return triangle


def null_ridge(triangle: Array) -> Array:
    """Return the ridge of each of ``S`` problems given by the triangles of their columns, ``(S, 1, 1)``.

    It is larger where columns depend on each other, as when the rows of a resample do not tell a coefficient.
    """
    size = triangle.shape[2]
    length = np.linalg.norm(triangle, axis=1)
    left_over = np.zeros_like(length)
    diagonal = np.abs(np.diagonal(triangle, axis1=1, axis2=2))
    left_over[:, : diagonal.shape[1]] = diagonal[:, :size]
    is_dependent = ((left_over <= DEPENDENT * length) & (length > 0)).any(axis=1)
    return np.where(is_dependent, DEPENDENT_RIDGE, NULL_RIDGE)[:, None, None]


def _ridge_solve(left: Array, right: Array, ridge: Array | float = NULL_RIDGE) -> Array:
    """Solve least squares with a ridge so small that it acts only on null directions."""
    size = left.shape[2]
    rows = np.broadcast_to(ridge * np.eye(size), (len(left), size, size))
    zeros = np.zeros((len(left), size))
    q, r = np.linalg.qr(np.concatenate([left, rows], axis=1))
    rhs = np.einsum("snk,sn->sk", q, np.concatenate([right, zeros], axis=1))
    return np.asarray(np.linalg.solve(r, rhs[:, :, None])[:, :, 0])


def _active_set(left: Array, right: Array, solution: Array, bounded: list[int]) -> Array:
    """Hold what turns negative until nothing does; where that is not the optimum, try all subsets."""
    free = np.ones_like(solution)
    for _ in bounded:
        negative = np.zeros(solution.shape, dtype=bool)
        negative[:, bounded] = solution[:, bounded] < 0
        if not negative.any():
            break
        free[negative] = 0.0
        solution = _ridge_solve(left * free[:, None, :], right) * free
    solution = np.maximum(solution, np.where(free > 0, -np.inf, 0.0))
    miss = right - np.einsum("snp,sp->sn", left, solution)
    pull = np.einsum("snp,sn->sp", left, miss)  # columns have unit length
    scale = np.linalg.norm(right, axis=1)[:, None]
    wants_in = (free == 0) & (pull > ROUNDED_PULL * scale)
    is_negative = (solution[:, bounded] < 0).any(axis=1)
    doubtful = np.flatnonzero(wants_in.any(axis=1) | is_negative)
    if len(doubtful):
        solution[doubtful] = _best_subset(left[doubtful], right[doubtful], bounded)
    return solution


def _best_subset(left: Array, right: Array, bounded: list[int]) -> Array:
    num_columns = left.shape[2]
    best = np.zeros((len(left), num_columns))
    lowest = np.full(len(left), np.inf)
    for count in range(len(bounded) + 1):
        for held in combinations(bounded, count):
            free = [j for j in range(num_columns) if j not in held]
            trial = np.zeros_like(best)
            if free:
                trial[:, free] = _ridge_solve(left[:, :, free], right)
            miss = right - np.einsum("snp,sp->sn", left, trial)
            cost = np.einsum("sn,sn->s", miss, miss)
            better = (trial[:, bounded] >= 0).all(axis=1) & (cost < lowest)
            best[better], lowest[better] = trial[better], cost[better]
    return best
