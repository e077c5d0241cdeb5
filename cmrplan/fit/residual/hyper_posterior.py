"""What few runs leave open about the hyperparameters: samples of their posterior.

The posterior is taken to be normal around its mode, with the Fisher information of the marginal likelihood plus the
precision of the prior. The information is a Gram matrix of ``L^-1 (dK/dtheta) L^-T z`` over random signs ``z``.

References
----------
Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, section 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from cmrplan.arrays import Array
from cmrplan.fit.residual.covariance import Hyper, mean_derivatives, residual_covariance
from cmrplan.fit.residual.kriging import FARTHEST, NOISE, SMALLEST_VARIANCE, Kriging, KrigingProblem

NUM_PROBES = 64
MOST_SCORINGS = 40
STEADY = 1e-5  # largest move of a hyperparameter, in posterior standard deviations, after which the mode is known


@dataclass(frozen=True)
class Mode:
    """A kriging at its most probable hyperparameters.

    Parameters
    ----------
    kriging : Kriging
    information : array (p, p)
        Of the observed log losses on the hyperparameters, near the mode.
    log_evidence : float
    """

    kriging: Kriging
    information: Array
    log_evidence: float


def mode_of(problem: KrigingProblem, start: Array | None, generator: np.random.Generator) -> Mode:
    """Return the most probable hyperparameters, so exactly that every processor finds the same.

    A quasi-Newton search comes near; steps of Fisher scoring, the information kept, go on to the mode.

    Parameters
    ----------
    problem : KrigingProblem
    start : array or None
        Hyperparameters to start from.
    generator : Generator
        For the probes of the information.
    """
    hyper = problem.most_probable(start)
    information = fisher_information(Kriging(problem, hyper), generator)
    prior = problem.prior
    reach = FARTHEST * prior.sd
    precision = information + np.diag(prior.sd**-2)
    value, gradient = problem.minus_log_posterior(hyper)
    for _ in range(MOST_SCORINGS):
        step = np.linalg.solve(precision, gradient)
        moved = np.clip(hyper - step, prior.mean - reach, prior.mean + reach)
        if np.max(np.abs(moved - hyper) * np.sqrt(np.diag(precision))) < STEADY:
            break
        new_value, new_gradient = problem.minus_log_posterior(moved)
        if new_value > value:  # far from the mode the information is not the curvature
            precision = 2 * precision
            continue
        hyper, value, gradient = moved, new_value, new_gradient
    kriging = Kriging(problem, hyper)
    return Mode(kriging, information, log_evidence(kriging, information))


def log_evidence(kriging: Kriging, information: Array) -> float:
    """Return the logarithm of the marginal likelihood, hyperparameters integrated out, up to a constant.

    By Laplace's approximation around their mode, which ``kriging`` must stand at.
    """
    spread = kriging.problem.prior.sd
    value, _ = kriging.problem.minus_log_posterior(kriging.hyper)
    shrunk = information * np.outer(spread, spread) + np.eye(len(spread))
    return float(-value - 0.5 * np.linalg.slogdet(shrunk)[1])


def hyper_samples(mode: Mode, count: int, generator: np.random.Generator) -> Array:
    """Return ``count`` samples of the posterior of the hyperparameters, ``(count, p)``.

    They come in pairs on opposite sides of the mode, so that their mean is the mode.
    """
    prior = mode.kriging.problem.prior
    factor = cholesky(mode.information + np.diag(prior.sd**-2), lower=True)
    normal = generator.standard_normal((len(prior.mean), (count + 1) // 2))
    steps = solve_triangular(factor, normal, lower=True, trans="T").T
    samples = mode.kriging.hyper + np.stack([steps, -steps], axis=1).reshape(-1, len(prior.mean))
    reach = FARTHEST * prior.sd
    return np.clip(samples[:count], prior.mean - reach, prior.mean + reach)


def fisher_information(kriging: Kriging, generator: np.random.Generator) -> Array:
    """Return the information of the observed log losses on the hyperparameters, ``(p, p)``."""
    num_rows = len(kriging.problem.target)
    signs = generator.choice([-1.0, 1.0], size=(num_rows, NUM_PROBES))
    probes = solve_triangular(kriging.factor, signs, lower=True, trans="T")
    changed = [product @ probes for product in _derivatives(kriging)]
    whitened = np.stack([solve_triangular(kriging.factor, part, lower=True) for part in changed])
    information = np.einsum("iab,jab->ij", whitened, whitened) / (2 * NUM_PROBES)
    variance = np.exp(2 * kriging.hyper[NOISE])
    scale = 2 * np.outer(variance, 2 * variance)
    for part in kriging.problem.observed.differences:
        information[np.ix_(NOISE, NOISE)] += scale * part.information(variance, SMALLEST_VARIANCE)
    return np.asarray(information)


def _derivatives(kriging: Kriging) -> list[Array]:
    """Return the derivative of the covariance of the rows by each hyperparameter, ``(n, n)`` each."""
    problem, hyper = kriging.problem, kriging.hyper
    points, which = problem.cells
    _, by_residual = residual_covariance(points, points, hyper)
    by_walk, by_shape = mean_derivatives(problem.mean, points, hyper)
    smooth = [part[np.ix_(which, which)] for part in (*by_residual, *by_walk, *by_shape)]
    variance = 2 * np.exp(2 * hyper)
    noise = [
        np.diag(variance[Hyper.EVALUATION] * problem.own),
        variance[Hyper.RUN] * problem.same_run,
        variance[Hyper.STEP] * problem.same_step,
    ]
    count = len(by_residual)
    return [*smooth[:count], *noise, *smooth[count:]]
