"""A Gaussian process on the simplex above a fitted mixture law: how much a residual would lift ``regmix.py``.

What the law leaves of the log losses is smooth in the roots ``x_j^0.35`` of the shares, by Matérn's 5/2 function with a
length of each corpus. Hyperparameters are the most probable ones under weak priors. Rows far outside count less: their
noise is raised as Huber's weights ask, first by what the law leaves of them, then by their leave-one-out errors.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky
from scipy.optimize import minimize
from scipy.spatial.distance import squareform

ROOT = 0.35
HUBER = 1.345 * 1.4826  # of the median absolute residual
STEPS = (15, 25)  # of the search, before and after the second weighing
LOG_RATE, LOG_AMPLITUDE, LOG_NOISE = -4.0, 0.0, np.log(0.1)  # medians of the priors
PRIOR_SD = 2.0
LEVEL_VARIANCE = 1.0


def residual_at(shares: np.ndarray, residual: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return what a law leaves of the log losses at other mixtures: ``(n, m)``, ``(n,)`` and ``(g, m)`` to ``(g,)``."""
    spread = (shares**ROOT).std(axis=0)
    seen, asked = shares**ROOT / spread, wanted**ROOT / spread
    apart = np.stack([pairs(column) for column in seen.T])
    unit = residual.std()
    target = residual / unit
    raised = huber_noise(target)
    prior = np.array([LOG_RATE] * shares.shape[1] + [LOG_AMPLITUDE, LOG_NOISE])
    hyper = prior
    for steps in STEPS:
        answer = minimize(
            energy,
            hyper,
            (apart, target, raised, prior),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": steps},
        )
        hyper = answer.x
        rate, amplitude = np.exp(hyper[:-2]), np.exp(hyper[-2])
        correlation = squareform(matern(rate @ apart)[0]) + np.eye(len(target))
        covariance = amplitude * correlation + LEVEL_VARIANCE + np.diag(np.exp(hyper[-1]) * raised)
        factor = cho_factor(covariance, lower=True)
        weights = cho_solve(factor, target)
        raised = huber_noise(weights / np.diag(cho_solve(factor, np.eye(len(target)))))
    squares = sum(
        r * (a[:, None] - b[None, :]) ** 2 for r, a, b in zip(rate, asked.T, seen.T, strict=True)
    )
    return unit * ((amplitude * matern(squares)[0] + LEVEL_VARIANCE) @ weights)


def pairs(column: np.ndarray) -> np.ndarray:
    """Return the squared differences of the pairs of a column, in the order of scipy's condensed matrices."""
    first, second = np.triu_indices(len(column), 1)
    return (column[first] - column[second]) ** 2


def matern(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Matérn's 5/2 correlation at squared distances in lengths, and its derivative by them."""
    distance = np.sqrt(5 * squares)
    decay = np.exp(-distance)
    return (1 + distance + distance**2 / 3) * decay, -5 / 6 * (1 + distance) * decay


def huber_noise(residual: np.ndarray) -> np.ndarray:
    """Return by what the noise of each row is raised: the inverse of its Huber weight."""
    return np.maximum(1.0, np.abs(residual) / (HUBER * np.median(np.abs(residual))))


def energy(
    hyper: np.ndarray,
    apart: np.ndarray,
    target: np.ndarray,
    raised: np.ndarray,
    prior: np.ndarray,
) -> tuple[float, np.ndarray]:
    """Return minus the log posterior of the hyperparameters, and its gradient."""
    rate, amplitude, noise = np.exp(hyper[:-2]), np.exp(hyper[-2]), np.exp(hyper[-1])
    along, slope = matern(rate @ apart)
    covariance = amplitude * squareform(along) + LEVEL_VARIANCE
    covariance[np.diag_indices(len(target))] += amplitude + noise * raised
    lower = cholesky(covariance, lower=True)
    inverse = cho_solve((lower, True), np.eye(len(target)))
    weights = inverse @ target
    pull = (inverse - np.outer(weights, weights)) / 2
    by_pair = 2 * squareform(pull, checks=False)  # a pair stands twice
    by_rate = rate * (apart @ (amplitude * slope * by_pair))
    by_amplitude = amplitude * (along @ by_pair + np.trace(pull))
    by_noise = noise * np.diag(pull) @ raised
    off = (hyper - prior) / PRIOR_SD
    value = target @ weights / 2 + np.log(np.diag(lower)).sum() + off @ off / 2
    return value, np.array([*by_rate, by_amplitude, by_noise]) + off / PRIOR_SD
