r"""What a probe would tell, before it is run.

The uncertainty of a fit is held as ``B`` simulated fits: losses drawn from the fitted law and its run noise, each
fitted again. For every one the log losses that a candidate run would show, ``Y``, and the answer of interest, ``R``,
are known. A run with noise covariance ``V`` then leaves of the answer the expected variance

.. math:: Var(R) - Cov(R, Y) (Cov(Y) + V)^{-1} Cov(Y, R)

and :func:`conditioned` moves the draws themselves so that their covariance is what it would be after the run.
Covariances over draws stand in for Jacobians, so bounds and bends of the law are in them.

References
----------
Evensen 2003 (ensembles); Bishop, Etherton & Majumdar 2001 (the transform, and choosing what to observe).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from cmrplan.fits import Fit
from cmrplan.fitting.lawfit import predict_draws, refit, residual_jacobian
from cmrplan.fitting.surface import Surface, law_inputs, row_inputs
from cmrplan.laws.law import Array
from cmrplan.planning.noise import RunNoise, run_noise


def noise_of(surface: Surface, fit: Fit) -> RunNoise:
    """Return the noise of one loss, from the residuals of its fit."""
    rows = fit.rows(surface.corpus)
    jacobian = residual_jacobian(surface.fit, row_inputs(surface.corpus, rows))
    return run_noise(jacobian, rows["run_id"].tolist(), surface.fit.residual)


def simulated_fits(
    surface: Surface, fit: Fit, noise: RunNoise, *, count: int, seed: int
) -> tuple[Array, Array]:
    """Return optima for logs simulated from the fitted law, with the runs and rows of the log.

    Returns
    -------
    search : array (B, q)
    coefficients : array (B, p)
    """
    rows = fit.rows(surface.corpus)
    names, run = np.unique(rows["run_id"].to_numpy(dtype=str), return_inverse=True)
    generator = np.random.Generator(np.random.Philox(seed))
    shared = np.sqrt(noise.run) * generator.standard_normal((count, len(names)))
    own = np.sqrt(noise.checkpoint) * generator.standard_normal((count, len(rows)))
    fitted = rows["loss"].to_numpy(dtype=float) * np.exp(-surface.fit.residual)
    targets = fitted * np.exp(shared[:, run] + own)
    inputs = row_inputs(surface.corpus, rows)
    return refit(surface.fit, inputs, targets, np.ones((1, len(rows))))


def log_losses(
    surface: Surface,
    optima: tuple[Array, Array],
    model_params: Array,
    train_tokens: Array,
    domain_ratio: Array,
) -> Array:
    """Return the log losses of ``B`` simulated fits at ``m`` places, ``(B, m)``."""
    inputs = law_inputs(surface.corpus, model_params, train_tokens, domain_ratio)
    return np.asarray(np.log(predict_draws(surface.fit.law, surface.fit.scales, inputs, *optima)))


def explained_share(answer: Array, seen: Array, covariance: Array) -> float:
    """Return the share of the answer's variance that a run is expected to take away.

    Like an adjusted R², without what as many draws of noise would explain by chance; below 0 where a run
    tells nothing.

    Parameters
    ----------
    answer : array (B,)
    seen : array (B, m)
        What the run would show.
    covariance : array (m, m)
        Its noise.
    """
    spare = len(answer) - 1
    off = answer - answer.mean()
    total = float(off @ off)
    if total <= 0:
        return 0.0
    centered = (seen - seen.mean(axis=0)) / np.sqrt(spare)
    factor = np.linalg.cholesky(centered.T @ centered + covariance)
    apart = solve_triangular(factor, centered.T, lower=True)
    share = float(np.sum((apart @ off) ** 2)) / total
    return share - (1 - share) * float(np.sum(apart**2)) / spare


def conditioned(draws: Array, seen: Array, covariance: Array) -> Array:
    """Return draws whose covariance is that expected after a run; their mean stays.

    The symmetric square root of the ensemble transform: each draw stays as near to itself as can be.

    Parameters
    ----------
    draws : array (B, k)
        Anything that was computed from the simulated fits.
    seen : array (B, m)
        What the run would show, from the same fits.
    covariance : array (m, m)
        Its noise.
    """
    centered = seen - seen.mean(axis=0)
    told = centered @ np.linalg.solve(covariance, centered.T) / (len(draws) - 1)
    gain, axes = np.linalg.eigh(told)
    shrink = 1 / np.sqrt(1 + np.maximum(gain, 0.0))
    mean = draws.mean(axis=0)
    return np.asarray((axes * shrink) @ (axes.T @ (draws - mean)) + mean)
