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
from scipy.optimize import minimize

from cmrplan.arrays import Array
from cmrplan.fit.residual.covariance import residual_parts
from cmrplan.fit.residual.hyper import Hyper
from cmrplan.fit.residual.kriging import SMALLEST_VARIANCE, Kriging, KrigingProblem, by_row
from cmrplan.fit.residual.likelihood import NOISE, SUSPECT, mean_derivatives, minus_log_posterior

NUM_PROBES = 64
FARTHEST = 4.0  # standard deviations of the prior that the search stays within
MOST_DESCENTS = 80
MOST_ITERATIONS = 150
NO_GAIN = 1e-7  # of minus the log posterior, relative; what is left is done from the information
STEADY = 1e-7  # largest move of a hyperparameter, in posterior standard deviations, after which the mode is known
ROUNDING_OF_VALUE = 1e-5  # of minus the log posterior
SHORT_STEP = 3e-6  # move of a hyperparameter, in posterior standard deviations, that rounding alone may cause
PATIENCE = 5  # steps in a row that are short or lower nothing: rounding is all that is left
DIFFERENCE = 0.02  # over which the gradient is differentiated, in posterior standard deviations
SMALLEST_CURVATURE = 0.2  # over what the information says


@dataclass(frozen=True)
class Mode:
    """A kriging at its most probable hyperparameters, or near them.

    Parameters
    ----------
    kriging : Kriging
    signs : array (n, M)
        Probes that the information was found with: 1 and -1 at random.
    information : array (p, p)
        Of the observed log losses on the hyperparameters there.
    log_evidence : float
    """

    kriging: Kriging
    signs: Array
    information: Array
    log_evidence: float


@dataclass(frozen=True)
class NearMode:
    """Hyperparameters near the most probable ones.

    Parameters
    ----------
    problem : KrigingProblem
    hyper : array (p,)
        Hyperparameters and shape parameters.
    log_posterior : float
        Their density, up to a constant that all problems of the same observations share.
    """

    problem: KrigingProblem
    hyper: Array
    log_posterior: float


def surveyed(near: NearMode, generator: np.random.Generator) -> Mode:
    """Return the information and the evidence as far as the search near the mode got.

    Parameters
    ----------
    near : NearMode
    generator : Generator
        For the probes of the information.
    """
    signs = generator.choice([-1.0, 1.0], size=(len(near.problem.target), NUM_PROBES))
    return _mode_at(Kriging(near.problem, near.hyper), signs)


def mode_of(near: Mode) -> Mode:
    """Return the most probable hyperparameters, so exactly that every processor finds the same."""
    problem = near.kriging.problem
    curvature = near.information + np.diag(problem.prior.sd**-2)
    hyper = _descended(problem, near.kriging.hyper, curvature)
    return _mode_at(Kriging(problem, hyper), near.signs)


def _mode_at(kriging: Kriging, signs: Array) -> Mode:
    information = fisher_information(kriging, signs)
    return Mode(kriging, signs, information, log_evidence(kriging, information))


def _descended(problem: KrigingProblem, hyper: Array, curvature: Array) -> Array:
    """Return the minimum near ``hyper`` by Newton's method, from a curvature that is nearly right.

    The curvature is found by differences of the gradient and kept up as in the BFGS method. The value of the posterior
    is rounded far more than its gradient, so a step counts that lowers the gradient, or the value, as it is or by the
    gradients at both ends of the step.
    """
    prior = problem.prior
    low, high = prior.mean - FARTHEST * prior.sd, prior.mean + FARTHEST * prior.sd
    sd = np.sqrt(np.diag(np.linalg.inv(curvature)))
    value, gradient = minus_log_posterior(problem, hyper)
    curvature = _curvature_by_differences(problem, hyper, gradient, sd)
    idle, part = 0, 1.0
    for _ in range(MOST_DESCENTS):
        free = ~(((hyper <= low) & (gradient > 0)) | ((hyper >= high) & (gradient < 0)))
        step = np.zeros_like(hyper)
        step[free] = -np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        step = np.clip(hyper + part * step, low, high) - hyper
        if np.max(np.abs(step) / sd) < STEADY or idle == PATIENCE:
            break
        new_value, new_gradient = minus_log_posterior(problem, hyper + step)
        if new_value >= SUSPECT:  # there is no likelihood, and the gradient says nothing
            part, idle = 0.25 * part, idle + 1
            continue
        if part == 1:  # rounding has too large a part in a short one
            curvature = _updated(curvature, step, new_gradient - gradient)
        part = 1.0
        pull, new_pull = (np.linalg.norm((sd * g)[free]) for g in (gradient, new_gradient))
        falls = new_value < value + ROUNDING_OF_VALUE and step @ (gradient + new_gradient) < 0
        if new_pull >= pull and not falls and new_value > value - ROUNDING_OF_VALUE:
            curvature, idle = 2 * curvature, idle + 1
            continue
        hyper, value, gradient = hyper + step, new_value, new_gradient
        idle = idle + 1 if np.max(np.abs(step) / sd) < SHORT_STEP else 0
    return hyper


def _curvature_by_differences(
    problem: KrigingProblem, hyper: Array, gradient: Array, sd: Array
) -> Array:
    """Return the second derivatives ``(p, p)``, made positive; ``sd`` are posterior standard deviations, nearly."""
    columns = []
    for k, length in enumerate(DIFFERENCE * sd):
        moved = hyper.copy()
        moved[k] += length
        columns.append((minus_log_posterior(problem, moved)[1] - gradient) / length)
    scaled = np.array(columns) * np.outer(sd, sd)
    values, vectors = np.linalg.eigh(0.5 * (scaled + scaled.T))
    positive = (vectors * np.maximum(values, SMALLEST_CURVATURE)) @ vectors.T
    return np.asarray(positive / np.outer(sd, sd))


def _updated(curvature: Array, step: Array, change: Array) -> Array:
    """Return the curvature after the gradient was seen to change by ``change`` over ``step``, by the BFGS method."""
    if (along := step @ change) <= 0:
        return curvature
    pushed = curvature @ step
    lost = np.outer(pushed, pushed) / (step @ pushed)
    return np.asarray(curvature - lost + np.outer(change, change) / along)


def near_mode(problem: KrigingProblem, start: Array | None) -> NearMode:
    """Return hyperparameters and shape parameters near the largest posterior density, by a quasi-Newton search.

    Parameters
    ----------
    problem : KrigingProblem
    start : array or None
        Hyperparameters to start from, with the shape parameters or without; these start at their prior mean then.
    """
    prior = problem.prior
    first = prior.mean.copy()
    if start is not None:
        first[: len(start)] = start

    def in_deviations(away: Array) -> tuple[float, Array]:
        value, gradient = minus_log_posterior(problem, prior.mean + prior.sd * away)
        return value, prior.sd * gradient

    optimum = minimize(
        in_deviations,
        (first - prior.mean) / prior.sd,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-FARTHEST, FARTHEST)] * len(first),
        options={"maxiter": MOST_ITERATIONS, "ftol": NO_GAIN},
    )
    return NearMode(problem, prior.mean + prior.sd * optimum.x, -float(optimum.fun))


def log_evidence(kriging: Kriging, information: Array) -> float:
    """Return the logarithm of the marginal likelihood, hyperparameters integrated out, up to a constant.

    By Laplace's approximation around their mode, which ``kriging`` must stand at.
    """
    spread = kriging.problem.prior.sd
    value, _ = minus_log_posterior(kriging.problem, kriging.hyper)
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


def fisher_information(kriging: Kriging, signs: Array) -> Array:
    """Return the information of the observed log losses on the hyperparameters, ``(p, p)``.

    Parameters
    ----------
    kriging : Kriging
    signs : array (n, M)
        Probes: 1 and -1 at random.
    """
    probes = solve_triangular(kriging.factor, signs, lower=True, trans="T")
    changed = [product @ probes for product in _derivatives(kriging)]
    whitened = np.stack([solve_triangular(kriging.factor, part, lower=True) for part in changed])
    information = np.einsum("iab,jab->ij", whitened, whitened) / (2 * signs.shape[1])
    variance = np.exp(2 * kriging.hyper[NOISE])
    scale = 2 * np.outer(variance, 2 * variance)
    for part in kriging.problem.observed.differences:
        information[np.ix_(NOISE, NOISE)] += scale * part.information(variance, SMALLEST_VARIANCE)
    return np.asarray(information)


def _derivatives(kriging: Kriging) -> list[Array]:
    """Return the derivative of the covariance of the rows by each hyperparameter, ``(n, n)`` each."""
    problem, hyper = kriging.problem, kriging.hyper
    points, which = problem.cells
    by_residual = residual_parts(points, points, hyper).derivatives()
    by_walk, by_shape = mean_derivatives(problem.mean, points, hyper)
    smooth = [by_row(part, which) for part in (*by_residual, *by_walk, *by_shape)]
    variance = 2 * np.exp(2 * hyper[: len(Hyper)])
    noise = [
        np.diag(variance[Hyper.EVALUATION] * problem.own),
        variance[Hyper.RUN] * problem.same_run,
        variance[Hyper.STEP] * problem.same_step,
    ]
    count = len(by_residual)
    return [*smooth[:count], *noise, *smooth[count:]]
