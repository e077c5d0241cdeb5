"""Starts of a search that are the same every time: Halton points over the box, screened, and the best of them kept."""

from __future__ import annotations

import numpy as np

from cmrplan.arrays import Array
from cmrplan.laws.law import to_theta
from cmrplan.solve.problem import FitOptimum, FitProblem, box
from cmrplan.solve.projection import solve_coefficients
from cmrplan.solve.varpro import Stopping, minimize

NUM_SCREENED = 128
NUM_STARTS = 16
# Above so many rows the starts descend on a sample of about that size, and their best ends go on with all rows.
MANY_ROWS = 4000
MOST_DISTINCT = 6


def halton_starts(lower: Array, upper: Array, count: int) -> Array:
    """Return ``count`` points of the Halton sequence in the box, ``(count, q)``; always the same.

    The ``k``-th coordinate of point ``n`` is its radical inverse in the ``k``-th prime: the digits of ``n`` in that
    base, written backward behind the point. (scipy.stats has the sequence too, and takes longer to import than a fit
    takes.)
    """
    if not len(lower):
        return np.zeros((1, 0))
    points = np.zeros((count, len(lower)))
    for k, base in enumerate(_primes(len(lower))):
        rest, unit = np.arange(1, count + 1), 1.0 / base
        while rest.any():
            points[:, k] += unit * (rest % base)
            rest, unit = rest // base, unit / base
    return np.asarray(lower + points * (upper - lower))


def _primes(count: int) -> list[int]:
    primes: list[int] = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % prime for prime in primes):
            primes.append(candidate)
        candidate += 1
    return primes


def minimize_from_many(problem: FitProblem, *, stopping: Stopping | None = None) -> FitOptimum:
    """Screen starts over the box for one problem and descend from the best of them.

    Parameters
    ----------
    problem : FitProblem
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


def distinct_ends(optimum: FitOptimum) -> Array:
    """Return the best ends of a search that differ, at most six, ``(K, q)``."""
    order = np.argsort(optimum.objective, kind="stable")
    ends = optimum.search[order[np.isfinite(optimum.objective[order])]]
    _, first = np.unique(np.round(ends, 3), axis=0, return_index=True)
    return np.asarray(ends[np.sort(first)[:MOST_DISTINCT]])
