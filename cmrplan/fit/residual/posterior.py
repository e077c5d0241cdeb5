"""The posterior of log losses at given points, and what it is once some of them were measured.

Measuring rows at points ``D`` takes ``S_ZD (S_DD + V)^-1 S_DZ`` from the posterior covariance ``S`` of all points,
whatever is measured; ``V`` is the covariance of the noise. A draw ``f`` of the posterior becomes one of the posterior
after the measured values ``y`` by Matheron's rule, with ``e`` drawn from ``V``, ::

    f + S_ZD (S_DD + V)^-1 (y - f_D - e)

References
----------
Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, chapter 2.
Wilson et al. 2020, Efficiently sampling functions from Gaussian process posteriors, arXiv:2002.09309.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

from cmrplan.arrays import Array
from cmrplan.fit.corpus_model import Columns
from cmrplan.fit.residual.covariance import mean_cross, residual_covariance
from cmrplan.fit.residual.hyper import Hyper
from cmrplan.fit.residual.kriging import SMALLEST_VARIANCE, Kriging
from cmrplan.fit.residual.mean_functions import Points

BLOCKS_AT_ONCE = 40  # of which whole covariances are computed


@dataclass(frozen=True)
class Conditional:
    """The posterior of one kriging at ``m`` points, given its rows and those that were taken as measured since.

    Parameters
    ----------
    kriging : Kriging
    points : Points
    whitened : array (n, m)
        Covariance of the rows with the points, times the inverse of the Cholesky factor of the rows.
    forecast : array (m,)
        Standard deviation of what all points beyond the probed tokens miss together, beside the kriging.
    """

    kriging: Kriging
    points: Points
    whitened: Array
    forecast: Array

    def covariance(self, index: NDArray[np.intp]) -> Array:
        """Return the covariance of all points with some of them, ``(m, k)``."""
        some = self.points.select(index)
        left = self.whitened.T @ self.whitened[:, index]
        return self._prior(self.points, some) + np.outer(self.forecast, self.forecast[index]) - left

    def blocks(self, index: NDArray[np.intp]) -> Array:
        """Return the covariance within each of ``c`` sets of points ``(c, e)``, ``(c, e, e)``."""
        parts = []
        for few in np.array_split(index, max(len(index) // BLOCKS_AT_ONCE, 1)):
            flat, each = few.ravel(), np.arange(len(few))
            some, whitened = self.points.select(flat), self.whitened[:, flat]
            whole = self._prior(some, some) - whitened.T @ whitened
            whole += np.outer(self.forecast[flat], self.forecast[flat])
            parts.append(whole.reshape(*few.shape, *few.shape)[each, :, each, :])
        return np.concatenate(parts)

    def noise(self, counts: Array) -> Array:
        """Return the covariance of the noise of one new run, ``(e, e)``.

        Parameters
        ----------
        counts : array (e,)
            How many evaluations each value is a mean of.
        """
        variance = np.exp(2 * self.kriging.hyper[: len(Hyper)])
        own = (variance[Hyper.EVALUATION] + variance[Hyper.STEP]) / counts
        return np.asarray(variance[Hyper.RUN] + np.diag(own + SMALLEST_VARIANCE))

    def after(self, index: NDArray[np.intp], noise: Array) -> tuple[Conditional, Array, Array]:
        """Return the posterior with some points measured, the change of the whitened covariance and its factor.

        Parameters
        ----------
        index : int array (k,)
        noise : array (k, k)

        Returns
        -------
        Conditional
        gain : array (k, m)
            Covariance of the measured with all points, times the inverse of the factor.
        factor : array (k, k)
            Lower Cholesky factor of the covariance of the measured values.
        """
        covariance = self.covariance(index)
        factor = cholesky(covariance[index] + noise, lower=True)
        gain = solve_triangular(factor, covariance.T, lower=True)
        return replace(self, whitened=np.vstack([self.whitened, gain])), gain, factor

    def _prior(self, one: Points, other: Points) -> Array:
        problem, hyper = self.kriging.problem, self.kriging.hyper
        law = mean_cross(problem.mean, one, other, hyper)
        return law + residual_covariance(one, other, hyper)


@dataclass(frozen=True)
class Posterior:
    """The posterior of a corpus's log losses at ``m`` points.

    Parameters
    ----------
    members : tuple of Conditional
        One for each mean function.
    weights : array (K,)
    log_draws : array (B, m)
    """

    members: tuple[Conditional, ...]
    weights: Array
    log_draws: Array


def conditional(kriging: Kriging, columns: Columns, spread: float) -> Conditional:
    """Return the posterior of a kriging at points.

    Parameters
    ----------
    kriging : Kriging
    columns : mapping of str to array (m,)
        As in a log.
    spread : float
        Of the change of the log loss beyond the probed tokens, what a root of ln D misses.
    """
    problem, hyper, points = kriging.problem, kriging.hyper, kriging.points(columns)
    cells, which = problem.cells
    cross = mean_cross(problem.mean, cells, points, hyper)
    cross = (cross + residual_covariance(cells, points, hyper))[which]
    whitened = solve_triangular(kriging.factor, cross, lower=True)
    ahead, at_largest = problem.observed.points.beyond(columns)
    forecast = np.zeros_like(ahead)
    if spread and ahead.any():
        change = kriging.log_loss(points) - kriging.log_loss(kriging.points(at_largest))
        forecast = spread * np.sqrt(ahead) * change
    return Conditional(kriging, points, whitened, forecast)
