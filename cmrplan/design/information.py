r"""What a run would tell of an answer is computed before it is run.

The uncertainty of a fit is held by its ``B`` resamples; let ``d`` be how far one of them lies from the middle, at any
point. Two questions are asked of a run with Jacobian :math:`J_c` and noise covariance ``V``.

*How much does it know of the answer?* For an answer ``R``, the best that could be made of the run takes away

.. math:: Cov(R, d_c) (Cov(d_c) + V)^{-1} Cov(d_c, R)

of its variance, with covariances over resamples, which hold the bounds and bends of the law. By this runs are chosen.

*How narrow will the interval be?* The fit does not make the best of a run: it is least squares over rows, which count
alike though those of a run share their noise. To first order it takes in the new rows by

.. math:: d' = d + J (J'J + J_c'J_c)^{-1} J_c' (\epsilon - d_c)

where :math:`\epsilon` is the noise of the run, since the run shows the truth and not what the resample holds for it.
The spread of the moved resamples is the expected one.

References
----------
Evensen 2003 (covariances over an ensemble); Plackett 1950 (least squares taking in more rows); Fedorov 1972 (which
to observe next).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cmrplan.arrays import Array
from cmrplan.fit.corpus_model import RandomStream
from cmrplan.fit.noise import Noise

INFORMATION_FLOOR = 1e-9  # of each parameter's own information, so that no direction is without any
LEAST_NOISE = 1e-6  # of an evaluation, in residual units: below what anyone measures


@dataclass(frozen=True)
class LossOutlook:
    """What the resamples hold of one loss, at ``p`` points and in ``c`` possible runs of ``m`` evaluations.

    All in residual units.

    Parameters
    ----------
    off : array (B, p)
        How far each resample lies from the middle at the points.
    off_runs : array (B, c, m)
        The same in the runs.
    at_points, at_runs : array (p, k), (c, m, k)
        Derivatives by the ``k`` parameters.
    information : array (k, k)
        ``J'J`` of the rows so far.
    """

    off: Array
    off_runs: Array
    at_points: Array
    at_runs: Array
    information: Array

    def variance_reduction(self, answer: Array, covariance: Array) -> Array:
        """Return the part of an answer's variance that the best use of each run would take away, ``(c,)``.

        Like an adjusted R², without what as many columns of pure noise would explain by chance; below 0 where
        a run tells nothing.

        Parameters
        ----------
        answer : array (B,)
            One for each resample.
        covariance : array (m, m)
            Noise of a run's evaluations.
        """
        spare = len(answer) - 1
        away = answer - answer.mean()
        off = self.off_runs - self.off_runs.mean(axis=0)
        spread = np.einsum("bcm,bcn->cmn", off, off) / spare
        shared = np.einsum("bcm,b->cm", off, away) / spare
        inverse = np.linalg.inv(spread + covariance)
        part = np.einsum("cm,cmn,cn->c", shared, inverse, shared)
        degrees_of_freedom = np.einsum("cmn,cnm->c", spread, inverse)
        return np.asarray(part - (np.var(away, ddof=1) - part) * degrees_of_freedom / spare)

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
            off=self.off + step @ self.at_points.T,
            off_runs=self.off_runs + np.einsum("bk,cmk->bcm", step, self.at_runs),
            information=information,
        )


def information_of(jacobian: Array) -> Array:
    """Return ``J'J`` of the fitted rows ``(n, k)``, with a trace of information on every parameter."""
    information = jacobian.T @ jacobian
    return np.asarray(information + INFORMATION_FLOOR * np.diag(np.diag(information)))


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
        The beginning of its own :class:`~cmrplan.fit.corpus_model.RandomStream`.
    """
    generator = RandomStream.NEXT_PROBE.generator(seed)
    normal = generator.standard_normal((len(off), len(covariance)))
    basis, _ = np.linalg.qr(np.column_stack([np.ones(len(off)), off]))
    normal -= basis @ (basis.T @ normal)
    normal *= np.sqrt((len(off) - 1) / (len(off) - basis.shape[1]))
    return np.asarray(normal @ np.linalg.cholesky(covariance).T)
