"""The marginal likelihood of one mean function with its residual, times the prior of its hyperparameters.

References
----------
Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, section 5.4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky

from cmrplan.arrays import Array
from cmrplan.fit.residual.covariance import MeanCovariance, mean_covariance, residual_parts
from cmrplan.fit.residual.hyper import Hyper
from cmrplan.fit.residual.kriging import SMALLEST_VARIANCE, KrigingProblem, by_row
from cmrplan.fit.residual.mean_functions import MeanFunction, Points
from cmrplan.fit.residual.replicates import inverse_of

NOISE = np.array([Hyper.EVALUATION, Hyper.RUN, Hyper.STEP])
SUSPECT = 1e12  # stands for a likelihood that cannot be computed


def minus_log_posterior(problem: KrigingProblem, hyper: Array) -> tuple[float, Array]:
    """Return minus the log of marginal likelihood times prior, without constants, and its gradient."""
    points, which = problem.cells
    mean = mean_covariance(problem.mean, points, hyper)
    residual = residual_parts(points, points, hyper)
    whole = by_row(mean.values + residual.values, which)
    try:
        factor = cholesky(problem.with_noise(whole, hyper), lower=True, check_finite=False)
    except LinAlgError:
        return SUSPECT, np.zeros_like(hyper)
    solved = cho_solve((factor, True), problem.target, check_finite=False)
    away = (hyper - problem.prior.mean) / problem.prior.sd
    value = 0.5 * problem.target @ solved + np.sum(np.log(np.diag(factor))) + 0.5 * away @ away
    weight = 0.5 * (inverse_of(factor) - np.outer(solved, solved))
    by_cell = _summed(weight, which, len(points.share))
    gradient = np.zeros_like(hyper)
    by_residual = residual.gradient(by_cell)
    gradient[: len(by_residual)] = by_residual
    variance = 2 * np.exp(2 * hyper[: len(Hyper)])
    by_noise = np.array(
        [
            np.diag(weight) @ problem.own,
            np.vdot(weight, problem.same_run),
            np.vdot(weight, problem.same_step),
        ]
    )
    for part in problem.observed.differences:
        more, slope = part.minus_log_likelihood(0.5 * variance[NOISE], SMALLEST_VARIANCE)
        value, by_noise = value + more, by_noise + slope
    gradient[NOISE] = variance[NOISE] * by_noise
    (
        gradient[Hyper.LEVEL_WALK],
        gradient[Hyper.COEFFICIENT_WALK],
        gradient[len(Hyper) :],
    ) = _mean_gradient(mean, by_cell)
    return float(value), gradient + away / problem.prior.sd


def _mean_gradient(mean: MeanCovariance, weight: Array) -> tuple[float, float, Array]:
    """Return the derivative of ``sum(weight * values)`` by both log walk deviations and the shape, ``(p,)``."""
    features, walked = mean.features, weight * mean.walked
    spread = walked @ features
    by_walk = 2 * mean.walk_variance * np.sum(features * spread, axis=0)
    by_feature = 2 * (weight @ features * mean.prior_variance + spread * mean.walk_variance)
    by_shape = np.einsum("pmq,mq->p", mean.slopes, by_feature)
    return float(by_walk[0]), float(np.sum(by_walk[1:])), by_shape


def mean_derivatives(
    mean: MeanFunction, points: Points, hyper: Array
) -> tuple[list[Array], list[Array]]:
    """Return the derivatives of the mean function's covariance by both log walk deviations, and by the shape."""
    whole = mean_covariance(mean, points, hyper)
    features, walked = whole.features, whole.walked
    level, other = whole.walk_variance.copy(), whole.walk_variance.copy()
    level[1:], other[0] = 0.0, 0.0
    by_walk = [2 * walked * ((features * part) @ features.T) for part in (level, other)]
    by_shape = []
    for slope in whole.slopes:
        half = (slope * whole.prior_variance) @ features.T
        half = half + walked * ((slope * whole.walk_variance) @ features.T)
        by_shape.append(half + half.T)
    return by_walk, by_shape


def _summed(values: Array, which: NDArray[np.intp], count: int) -> Array:
    """Return a matrix over rows summed to one over cells, ``(count, count)``."""
    if len(which) == count:
        return values
    order = np.argsort(which, kind="stable")
    first = np.searchsorted(which[order], np.arange(count))
    rows = np.add.reduceat(values[order], first, axis=0)
    return np.asarray(np.add.reduceat(rows[:, order], first, axis=1))
