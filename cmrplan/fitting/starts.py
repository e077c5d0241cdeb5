"""Deterministic starts: a low-discrepancy set over the box, screened, the best kept."""

from __future__ import annotations

import numpy as np
from scipy.stats import qmc

from cmrplan.fitting.varpro import Optimum, Problem, box, minimize, solve_coefficients, to_theta
from cmrplan.laws.law import Array

NUM_SCREENED = 128
NUM_STARTS = 16


def halton_starts(lower: Array, upper: Array, count: int) -> Array:
    """Return ``count`` points of the Halton sequence in the box, ``(count, q)``; always the same."""
    if not len(lower):
        return np.zeros((1, 0))
    points = qmc.Halton(len(lower), scramble=False).random(count + 1)[1:]
    return np.asarray(lower + points * (upper - lower))


def minimize_from_many(problem: Problem, extra: Array | None = None) -> Optimum:
    """Screen starts over the box for one problem and descend from the best of them.

    Parameters
    ----------
    problem : Problem
        With one target and one set of weights.
    extra : array (K, q), optional
        Starts that are kept without screening.
    """
    lower, upper = box(problem.law)
    starts = halton_starts(lower, upper, NUM_SCREENED)
    design, _ = problem.law.design(problem.inputs, to_theta(problem.law, starts))
    _, value = solve_coefficients(problem, design, None, np.ones(len(starts)), 2)
    order = np.argsort(np.where(np.isfinite(value), value, np.inf), kind="stable")
    kept = starts[order[:NUM_STARTS]]
    if extra is not None:
        kept = np.concatenate([extra, kept])
    return minimize(problem, kept, is_race=True)
