r"""What a run would tell, before it is run.

The uncertainty of a fit is held by its ``B`` resamples. For every one the losses that a run would show, ``Y``, and
the answer of interest, ``R``, are known. A run with noise covariance ``V`` leaves of the answer the expected variance

.. math:: Var(R) - Cov(R, Y) (Cov(Y) + V)^{-1} Cov(Y, R)

and :func:`transform_after` moves the resamples themselves so that their covariance is what it would be after the run.
Covariances over resamples stand in for Jacobians, so bounds and bends of the law are in them.

References
----------
Evensen 2003 (ensembles); Bishop, Etherton & Majumdar 2001 (the transform, and choosing what to observe).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from cmrplan.laws.law import Array
from cmrplan.noise import Noise

LEAST_NOISE = 1e-6  # of an evaluation, in residual units: below what anyone measures


def run_covariance(noise: Noise, count: int) -> Array:
    """Return the noise covariance of ``count`` evaluations of one run, in squared residual units.

    What a run shares is taken to be at least what an evaluation has of its own: a few runs can by chance
    show no noise, and a single long run would then seem to tell everything.
    """
    own = max(noise.checkpoint, LEAST_NOISE) ** 2
    return np.asarray(max(noise.run**2, own) + own * np.eye(count))


def explained_share(answer: Array, seen: Array, covariance: Array) -> float:
    """Return the share of the answer's variance that a run is expected to take away.

    Like an adjusted R², without what as many columns of pure noise would explain by chance; below 0 where a
    run tells nothing.

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


def transform_after(seen: Array, covariance: Array) -> Array:
    """Return what moves the resamples' deviations to those expected after a run, ``(B, B)``.

    The symmetric square root of the ensemble transform: each resample stays as near to itself as can be.

    Parameters
    ----------
    seen : array (B, m)
        What the run would show.
    covariance : array (m, m)
        Its noise.
    """
    centered = seen - seen.mean(axis=0)
    told = centered @ np.linalg.solve(covariance, centered.T) / (len(seen) - 1)
    gain, axes = np.linalg.eigh(told)
    return np.asarray((axes / np.sqrt(1 + np.maximum(gain, 0.0))) @ axes.T)


def conditioned(draws: Array, transform: Array) -> Array:
    """Return draws ``(B, ...)`` whose covariance is that expected after a run; their mean stays."""
    mean = draws.mean(axis=0)
    flat = (draws - mean).reshape(len(draws), -1)
    return np.asarray((transform @ flat).reshape(draws.shape) + mean)
