"""Posterior draws as functions: one draw is the same curve wherever it is asked for.

A draw of the prior is a function in closed form: coefficients with their walks by size, and random Fourier features of
the residual. It becomes a draw of the posterior by adding what kriging makes of the difference between the measured
log losses and the draw's own, noise included (Matheron's rule).

References
----------
Wilson et al. 2020, Efficiently sampling functions from Gaussian process posteriors, arXiv:2002.09309.
Rahimi & Recht 2007, Random features for large-scale kernel machines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve

from cmrplan.arrays import Array
from cmrplan.fit.residual.covariance import Hyper, walk_variances
from cmrplan.fit.residual.kriging import Kriging
from cmrplan.fit.residual.points import Points

NUM_FEATURES = 128
KNOT_DISTANCE = 0.1  # in ln N
NUM_KNOTS = 150  # on each side of the reference size
MATERN_DEGREES = (
    5  # of Student's distribution, in which the frequencies of Matérn's 5/2 function lie
)


@dataclass(frozen=True)
class PriorPaths:
    """``B`` draws of the prior as functions of points.

    Parameters
    ----------
    coefficients : array (B, q)
        At the reference size.
    walks : array (B, q, 2 K + 1)
        What they change by, at knots in ln N.
    frequencies : array (F, 3)
        By log share, ln N and ln D.
    phases : array (F,)
    weights : array (3, F, B)
        Of the shift, the slope and the smooth part of the residual.
    """

    kriging: Kriging
    coefficients: Array
    walks: Array
    frequencies: Array
    phases: Array
    weights: Array

    def law(self, points: Points) -> Array:
        """Return the mean function's part beside its offset, ``(B, m)``."""
        problem, hyper = self.kriging.problem, self.kriging.hyper
        features, _ = problem.mean.features(points, hyper[len(Hyper) :])
        draws = np.empty((len(self.coefficients), len(features)))
        for size in np.unique(points.size):
            here = points.size == size
            draws[:, here] = (self.coefficients + self._walked(size)) @ features[here].T
        return draws

    def _walked(self, size: float) -> Array:
        position = np.clip(size / KNOT_DISTANCE + NUM_KNOTS, 0, 2 * NUM_KNOTS)
        low = min(int(position), 2 * NUM_KNOTS - 1)
        part = position - low
        return np.asarray((1 - part) * self.walks[:, :, low] + part * self.walks[:, :, low + 1])

    def residual(self, points: Points) -> Array:
        """Return the residual's part, ``(B, m)``."""
        scale = np.exp(self.kriging.hyper)
        along = np.stack([points.log_share, points.size], axis=1) @ self.frequencies[:, :2].T
        along = along + self.phases
        still = np.cos(along)
        moving = np.cos(along + points.tokens[:, None] * self.frequencies[:, 2])
        values = (
            scale[Hyper.SHIFT] * (still @ self.weights[0])
            + scale[Hyper.SLOPE] * points.tokens[:, None] * (still @ self.weights[1])
            + moving @ self.weights[2]
        )
        return np.asarray(scale[Hyper.AMPLITUDE] * np.sqrt(2 / len(self.phases)) * values.T)


def prior_paths(kriging: Kriging, count: int, generator: np.random.Generator) -> PriorPaths:
    """Return draws of the prior at the hyperparameters of a kriging."""
    mean, hyper = kriging.problem.mean, kriging.hyper
    num_coefficients = len(mean.coefficient_sd)
    by_walk = np.sqrt(walk_variances(hyper, num_coefficients) * KNOT_DISTANCE)
    steps = generator.standard_normal((2, count, num_coefficients, NUM_KNOTS))
    sides = np.cumsum(steps, axis=3) * by_walk[:, None]
    start = np.zeros((count, num_coefficients, 1))
    scale = np.exp(hyper)
    student = generator.standard_t(MATERN_DEGREES, (NUM_FEATURES, 2))
    cauchy = generator.standard_cauchy(NUM_FEATURES)
    return PriorPaths(
        kriging,
        coefficients=mean.coefficient_sd * generator.standard_normal((count, num_coefficients)),
        walks=np.concatenate([sides[0][:, :, ::-1], start, sides[1]], axis=2),
        frequencies=np.stack(
            [
                student[:, 0] / scale[Hyper.SHARE_LENGTH],
                cauchy / scale[Hyper.SIZE_LENGTH],
                student[:, 1] / scale[Hyper.TOKEN_LENGTH],
            ],
            axis=1,
        ),
        phases=generator.uniform(0, 2 * np.pi, NUM_FEATURES),
        weights=generator.standard_normal((3, NUM_FEATURES, count)),
    )


@dataclass(frozen=True)
class PosteriorPaths:
    """``B`` draws of the posterior of one kriging as functions of points.

    Parameters
    ----------
    prior : PriorPaths
    solved : array (n, B)
        The inverse covariance times what each draw of the prior misses of the rows.
    """

    prior: PriorPaths
    solved: Array

    def log_loss(self, points: Points) -> Array:
        """Return the noise-free log loss of each draw, ``(B, m)``."""
        kriging = self.prior.kriging
        constant = kriging.problem.mean.offset(points) + kriging.problem.center
        own = self.prior.law(points) + self.prior.residual(points)
        return np.asarray(constant + own + kriging.carried(points, self.solved).T)


def posterior_paths(kriging: Kriging, count: int, generator: np.random.Generator) -> PosteriorPaths:
    """Return draws of the posterior."""
    prior = prior_paths(kriging, count, generator)
    problem = kriging.problem
    points, which = problem.cells
    smooth = (prior.law(points) + prior.residual(points))[:, which]
    measured = smooth + _noise(kriging, count, generator)
    missed = problem.target[:, None] - measured.T
    return PosteriorPaths(prior, np.asarray(cho_solve((kriging.factor, True), missed)))


def _noise(kriging: Kriging, count: int, generator: np.random.Generator) -> Array:
    """Return the noise of the rows in each draw, ``(B, n)``."""
    observed = kriging.problem.observed
    sd = np.exp(kriging.hyper[[Hyper.EVALUATION, Hyper.RUN, Hyper.STEP]])
    run = generator.standard_normal((count, observed.run.max() + 1))[:, observed.run]
    step = generator.standard_normal((count, observed.step.max() + 1))[:, observed.step]
    own = generator.standard_normal((count, len(observed.run))) / np.sqrt(observed.counts)
    noise = sd[0] * own + sd[1] * run + sd[2] * step
    return np.asarray(noise / np.sqrt(observed.seeds))
