r"""What a run would tell, before it is run.

A fit is least squares over rows, so to first order it takes in the rows of a new run by

.. math:: \theta' = \theta + (J'J + J_c'J_c)^{-1} J_c' (y_c - f_c(\theta))

with the Jacobians of the rows so far and of the new ones. The uncertainty of the fit is held by its ``B`` resamples;
let ``d`` be how far one of them lies from the middle. Had the fit been off by that much, the new run would still show
the truth and its own noise, and the error at any other place would become

.. math:: d' = d + J (J'J + J_c'J_c)^{-1} J_c' (\epsilon - d_c).

The spread of the moved resamples is the expected one. It is that of the fit as it is done: rows count alike, though
those of a run share their noise; a fit that weighed runs by their noise would get more from the same run.

References
----------
Plackett 1950 (least squares taking in more rows); Fedorov 1972 (which to observe next).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cmrplan.laws.law import Array
from cmrplan.noise import Noise

RIDGE = 1e-9  # of each parameter's own information, so that no direction is without any
LEAST_NOISE = 1e-6  # of an evaluation, in residual units: below what anyone measures


@dataclass(frozen=True)
class LossOutlook:
    """One loss at ``p`` places and in ``c`` possible runs of ``m`` evaluations, in residual units.

    Parameters
    ----------
    off : array (B, p)
        How far each resample lies from the middle at the places.
    off_runs : array (B, c, m)
        The same in the runs.
    at_places, at_runs : array (p, k), (c, m, k)
        Derivatives by the ``k`` parameters.
    information : array (k, k)
        ``J'J`` of the rows so far.
    """

    off: Array
    off_runs: Array
    at_places: Array
    at_runs: Array
    information: Array

    def spread_after(self, direction: Array, covariance: Array) -> tuple[Array, Array]:
        """Return a sum over places after each run without its noise, and the variance that the noise adds.

        Parameters
        ----------
        direction : array (p,)
            What each place counts.
        covariance : array (m, m)
            Noise of a run's evaluations.

        Returns
        -------
        array (B, c), array (c,)
        """
        rows = np.swapaxes(self.at_runs, 1, 2)
        pull = np.linalg.solve(self.information + rows @ self.at_runs, direction @ self.at_places)
        gain = np.einsum("cmk,ck->cm", self.at_runs, pull)
        left = (self.off @ direction)[:, None] - np.einsum("bcm,cm->bc", self.off_runs, gain)
        return left, np.einsum("cm,mn,cn->c", gain, covariance, gain)

    def after(self, run: int, noise: Array) -> LossOutlook:
        """Return the outlook with one of the runs taken as made.

        Parameters
        ----------
        run : int
        noise : array (B, m)
            Of its evaluations, one draw for each resample.
        """
        rows = self.at_runs[run]
        information = self.information + rows.T @ rows
        surprise = noise - self.off_runs[:, run]
        step = surprise @ np.linalg.solve(information, rows.T).T
        return replace(
            self,
            off=self.off + step @ self.at_places.T,
            off_runs=self.off_runs + np.einsum("bk,cmk->bcm", step, self.at_runs),
            information=information,
        )


def information_of(jacobian: Array) -> Array:
    """Return ``J'J`` of the fitted rows ``(n, k)``, with a trace of information on every parameter."""
    information = jacobian.T @ jacobian
    return np.asarray(information + RIDGE * np.diag(np.diag(information)))


def run_covariance(noise: Noise, count: int) -> Array:
    """Return the noise covariance of ``count`` evaluations of one run, in squared residual units.

    What a run shares is taken to be at least what an evaluation has of its own: a few runs can by chance
    show no noise, and a single long run would then seem to tell everything.
    """
    own = max(noise.checkpoint, LEAST_NOISE) ** 2
    return np.asarray(max(noise.run**2, own) + own * np.eye(count))


def noise_beside(off: Array, covariance: Array, seed: int) -> Array:
    """Draw the noise of one run for each resample, uncorrelated with deviations that are there, ``(B, m)``.

    Parameters
    ----------
    off : array (B, q)
        Without the deviations' part, chance correlations do not pass for knowledge.
    covariance : array (m, m)
    seed : int
    """
    generator = np.random.Generator(np.random.Philox(seed))
    normal = generator.standard_normal((len(off), len(covariance)))
    basis, _ = np.linalg.qr(np.column_stack([np.ones(len(off)), off]))
    normal -= basis @ (basis.T @ normal)
    normal *= np.sqrt((len(off) - 1) / (len(off) - basis.shape[1]))
    return np.asarray(normal @ np.linalg.cholesky(covariance).T)


def linear_part(answer: Array, values: Array) -> Array:
    """Return the coefficients of least squares of an answer ``(B,)`` on values ``(B, q)``, both centered."""
    centered = values - values.mean(axis=0)
    return np.asarray(np.linalg.lstsq(centered, answer - answer.mean(), rcond=1e-4)[0])
