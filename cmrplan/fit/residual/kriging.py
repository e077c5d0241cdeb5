"""Marginal likelihood, prediction and posterior draws of one mean function with its residual.

A draw is a function: the same curve wherever it is asked for. A draw of the prior is one in closed form, coefficients
with their walks by size and random Fourier features of the residual. It becomes a draw of the posterior by adding what
kriging makes of the difference between the measured log losses and the draw's own, noise included (Matheron's rule).

References
----------
Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, chapters 2 and 5.
Wilson et al. 2020, Efficiently sampling functions from Gaussian process posteriors, arXiv:2002.09309.
Rahimi & Recht 2007, Random features for large-scale kernel machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky
from scipy.linalg.lapack import dpotri

from cmrplan.arrays import Array
from cmrplan.fit.residual.covariance import (
    HYPER_PRIOR,
    LAW_ALONE_PRIOR,
    Hyper,
    mean_covariance,
    mean_cross,
    residual_covariance,
    walk_variances,
)
from cmrplan.fit.residual.mean_functions import MeanFunction, Points, Prior
from cmrplan.fit.residual.observations import Observations

SMALLEST_VARIANCE = 1e-9  # of log losses, added to every row: the covariance can be factorised
FARTHEST = 4.0  # standard deviations of the prior that the search stays within
NOISE = np.array([Hyper.EVALUATION, Hyper.RUN, Hyper.STEP])
SUSPECT = 1e12  # stands for a likelihood that cannot be computed
NUM_FEATURES = 128
KNOT_DISTANCE = 0.1  # in ln N
NUM_KNOTS = 150  # on each side of the reference size
MATERN_DEGREES = 5  # of Student's distribution, in which the frequencies of Matérn's 5/2 lie


@dataclass(frozen=True)
class KrigingProblem:
    """Observations and a mean function, with what does not depend on the hyperparameters.

    Parameters
    ----------
    observed : Observations
    mean : MeanFunction
    has_residual : bool
        Without one the mean function holds as it is at all sizes, up to noise.
    """

    observed: Observations
    mean: MeanFunction
    has_residual: bool = True

    @cached_property
    def cells(self) -> tuple[Points, NDArray[np.intp]]:
        """The points, each once, and which of them each row is."""
        return self.observed.points.distinct()

    @cached_property
    def target(self) -> Array:
        """Log losses over the mean function's offset, about 0, ``(n,)``."""
        return self.observed.log_loss - self.mean.offset(self.observed.points) - self.center

    @cached_property
    def center(self) -> float:
        """What the target is counted from."""
        return float(np.mean(self.observed.log_loss - self.mean.offset(self.observed.points)))

    @cached_property
    def prior(self) -> Prior:
        """Prior of hyperparameters and shape parameters."""
        hyper, shape = HYPER_PRIOR if self.has_residual else LAW_ALONE_PRIOR, self.mean.shape_prior
        return Prior(np.append(hyper.mean, shape.mean), np.append(hyper.sd, shape.sd))

    @cached_property
    def same_run(self) -> Array:
        """The covariance of the rows by runs of unit variance, ``(n, n)``."""
        return self._shared(self.observed.run)

    @cached_property
    def same_step(self) -> Array:
        """The covariance of the rows by steps of unit variance, ``(n, n)``."""
        return self._shared(self.observed.step)

    @cached_property
    def own(self) -> Array:
        """The variance of the rows by evaluations of unit variance, ``(n,)``."""
        return 1 / (self.observed.counts * self.observed.seeds)

    @cached_property
    def floor(self) -> Array:
        """What is added to the variance of each row, ``(n,)``."""
        return SMALLEST_VARIANCE / self.observed.seeds

    def _shared(self, label: NDArray[np.intp]) -> Array:
        return np.asarray((label[:, None] == label) / self.observed.seeds, dtype=float)

    def by_cell(self, values: Array) -> Array:
        """Return values of the rows summed over those at one point, ``(m, ...)``."""
        points, which = self.cells
        summed = np.zeros((len(points.share), *values.shape[1:]))
        np.add.at(summed, which, values)
        return summed

    def covariance(self, hyper: Array) -> Array:
        """Return the covariance of the observed log losses, ``(n, n)``."""
        points, which = self.cells
        smooth = mean_covariance(self.mean, points, hyper).values
        smooth = smooth + residual_covariance(points, points, hyper)[0]
        return self._with_noise(smooth[np.ix_(which, which)], hyper)

    def _with_noise(self, covariance: Array, hyper: Array) -> Array:
        variance = np.exp(2 * hyper)
        covariance = covariance + variance[Hyper.RUN] * self.same_run
        covariance += variance[Hyper.STEP] * self.same_step
        rows = np.arange(len(covariance))
        covariance[rows, rows] += variance[Hyper.EVALUATION] * self.own + self.floor
        return covariance

    def minus_log_posterior(self, hyper: Array) -> tuple[float, Array]:
        """Return minus the log of marginal likelihood times prior, without constants, and its gradient."""
        points, which = self.cells
        mean = mean_covariance(self.mean, points, hyper)
        residual, by_residual = residual_covariance(points, points, hyper)
        whole = (mean.values + residual)[np.ix_(which, which)]
        try:
            factor = cholesky(self._with_noise(whole, hyper), lower=True, check_finite=False)
        except LinAlgError:
            return SUSPECT, np.zeros_like(hyper)
        solved = cho_solve((factor, True), self.target, check_finite=False)
        away = (hyper - self.prior.mean) / self.prior.sd
        value = 0.5 * self.target @ solved + np.sum(np.log(np.diag(factor))) + 0.5 * away @ away
        weight = 0.5 * (inverse_of(factor) - np.outer(solved, solved))
        by_cell = _summed(weight, which, len(points.share))
        gradient = np.zeros_like(hyper)
        gradient[: len(by_residual)] = [np.vdot(by_cell, each) for each in by_residual]
        variance = 2 * np.exp(2 * hyper)
        by_noise = np.array(
            [
                np.diag(weight) @ self.own,
                np.vdot(weight, self.same_run),
                np.vdot(weight, self.same_step),
            ]
        )
        for part in self.observed.differences:
            more, slope = part.minus_log_likelihood(0.5 * variance[NOISE], SMALLEST_VARIANCE)
            value, by_noise = value + more, by_noise + slope
        gradient[NOISE] = variance[NOISE] * by_noise
        (
            gradient[Hyper.LEVEL_WALK],
            gradient[Hyper.COEFFICIENT_WALK],
            gradient[len(Hyper) :],
        ) = mean.gradient(by_cell)
        return float(value), gradient + away / self.prior.sd


def inverse_of(factor: Array) -> Array:
    """Return the inverse of a matrix from its lower Cholesky factor."""
    lower, _ = dpotri(factor, lower=1)
    lower = np.tril(lower)
    return np.asarray(lower + np.tril(lower, -1).T)


def _summed(values: Array, which: NDArray[np.intp], count: int) -> Array:
    """Return a matrix over rows summed to one over cells, ``(count, count)``."""
    if len(which) == count:
        order = np.argsort(which)
        return values[np.ix_(order, order)]
    order = np.argsort(which, kind="stable")
    first = np.searchsorted(which[order], np.arange(count))
    rows = np.add.reduceat(values[order], first, axis=0)
    return np.asarray(np.add.reduceat(rows[:, order], first, axis=1))


@dataclass(frozen=True)
class Kriging:
    """A problem at given hyperparameters."""

    problem: KrigingProblem
    hyper: Array

    @cached_property
    def factor(self) -> Array:
        """Lower Cholesky factor of the covariance of the observed log losses, ``(n, n)``."""
        return np.asarray(cholesky(self.problem.covariance(self.hyper), lower=True))

    @cached_property
    def solved(self) -> Array:
        """The inverse covariance times the target, ``(n,)``."""
        return np.asarray(cho_solve((self.factor, True), self.problem.target))

    def parts(self, points: Points) -> tuple[Array, Array]:
        """Return the law's own part of the log loss and the residual's part, ``(n,)`` each."""
        problem = self.problem
        cells, solved = problem.cells[0], problem.by_cell(self.solved)
        law = mean_cross(problem.mean, points, cells, self.hyper) @ solved
        residual = residual_covariance(points, cells, self.hyper)[0] @ solved
        return law + problem.mean.offset(points) + problem.center, residual

    def carried(self, points: Points, solved: Array) -> Array:
        """Return the covariance with the rows times ``solved`` ``(n, B)``, at points, ``(m, B)``."""
        problem = self.problem
        cells = problem.cells[0]
        cross = mean_cross(problem.mean, points, cells, self.hyper)
        cross = cross + residual_covariance(points, cells, self.hyper)[0]
        return cross @ problem.by_cell(solved)

    def log_loss(self, points: Points) -> Array:
        """Return the posterior mean of the log loss, ``(m,)``."""
        law, residual = self.parts(points)
        return law + residual


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
