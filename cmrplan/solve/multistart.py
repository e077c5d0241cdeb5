"""Deterministic starts: a low-discrepancy set over the box, screened, the best kept."""

from __future__ import annotations

import numpy as np

from cmrplan.arrays import Array
from cmrplan.solve.varpro import (
    Optimum,
    Problem,
    Stopping,
    box,
    minimize,
    solve_coefficients,
    to_theta,
)

NUM_SCREENED = 128
NUM_STARTS = 16
MANY_ROWS = (
    4000  # beyond this the starts race on about so many rows, and their best end goes on to all
)
MOST_DISTINCT = 6


def halton_starts(lower: Array, upper: Array, count: int) -> Array:
    """Return ``count`` points of the Halton sequence in the box, ``(count, q)``; always the same.

    Point ``n`` has in dimension ``k`` the digits of ``n`` in the base of the ``k``-th prime, mirrored at the
    point. (The sequence in scipy.stats takes longer to import than a fit takes.)
    """
    if not len(lower):
        return np.zeros((1, 0))
    points = np.zeros((count, len(lower)))
    for k, base in enumerate(_primes(len(lower))):
        rest, place = np.arange(1, count + 1), 1.0 / base
        while rest.any():
            points[:, k] += place * (rest % base)
            rest, place = rest // base, place / base
    return np.asarray(lower + points * (upper - lower))


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def minimize_from_many(problem: Problem, *, stopping: Stopping | None = None) -> Optimum:
    """Screen starts over the box for one problem and descend from the best of them.

    Parameters
    ----------
    problem : Problem
        With one target and one set of weights.
    stopping : Stopping, optional
        When a descent ends.
    """
    lower, upper = box(problem.law)
    starts = halton_starts(lower, upper, NUM_SCREENED)
    design, _ = problem.law.design(problem.inputs, to_theta(problem.law, starts))
    _, value = solve_coefficients(problem, design, None, np.ones(len(starts)), 2)
    order = np.argsort(np.where(np.isfinite(value), value, np.inf), kind="stable")
    return minimize(problem, starts[order[:NUM_STARTS]], stopping=stopping, is_race=True)


def distinct_ends(optimum: Optimum) -> Array:
    """Return the best ends of a search that differ, at most six, ``(K, q)``."""
    order = np.argsort(optimum.objective, kind="stable")
    ends = optimum.search[order[np.isfinite(optimum.objective[order])]]
    _, first = np.unique(np.round(ends, 3), axis=0, return_index=True)
    return np.asarray(ends[np.sort(first)[:MOST_DISTINCT]])
