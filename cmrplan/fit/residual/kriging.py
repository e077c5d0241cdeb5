"""Prediction and posterior draws of one mean function with its residual: their covariance, kriging, and paths.

The covariance of the smooth parts stands in ``covariance.py``. To it comes the noise of an evaluation, of a run (shared
by its evaluations) and of a step (shared by the runs of one size and seed, which see the same batches).

A curve over the ratio is computed at nodes, and everything between them follows from the polynomial through them.

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

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from cmrplan.arrays import Array
from cmrplan.fit.corpus_model import Columns
from cmrplan.fit.residual.covariance import (
    mean_covariance,
    mean_cross,
    residual_covariance,
    walk_variances,
)
from cmrplan.fit.residual.hyper import Hyper, hyper_prior
from cmrplan.fit.residual.mean_functions import MeanFunction, Points, Prior
from cmrplan.fit.residual.observations import Observations

ROUNDED_AWAY = (0.0, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-6)  # of the largest variance
SMALLEST_VARIANCE = 1e-9  # of log losses, added to every row: the covariance can be factorised
NUM_FEATURES = 128
KNOT_DISTANCE = 0.1  # in ln N
NUM_KNOTS = 150  # on each side of the reference size
MATERN_DEGREES = 5  # of Student's distribution, in which the frequencies of Matérn's 5/2 lie
MOST_POINTS = 161  # of a curve over ratios that are computed each
NUM_NODES = 161  # that are computed of a longer one
CURVE_PARAMETER = 0.5 * (1 - np.cos(np.pi * np.arange(NUM_NODES) / (NUM_NODES - 1)))
SAME_NODE = 1e-14


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
        points, which = self.observed.points.distinct()
        if len(points.share) == len(which):
            return self.observed.points, np.arange(len(which))
        return points, which

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
        effect, is_one = self.observed.effect, self.observed.borrows_tokens
        hyper = hyper_prior(effect, has_residual=self.has_residual, is_one_budget=is_one)
        shape = self.mean.shape_prior
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
        smooth = smooth + residual_covariance(points, points, hyper)
        return self.with_noise(by_row(smooth, which), hyper)

    def with_noise(self, covariance: Array, hyper: Array) -> Array:
        """Add the covariance of the noise to that of the smooth parts, ``(n, n)``."""
        variance = np.exp(2 * hyper[: len(Hyper)])
        covariance = covariance + variance[Hyper.RUN] * self.same_run
        covariance += variance[Hyper.STEP] * self.same_step
        rows = np.arange(len(covariance))
        covariance[rows, rows] += variance[Hyper.EVALUATION] * self.own + self.floor
        return covariance


def by_row(values: Array, which: NDArray[np.intp]) -> Array:
    """Return a matrix over cells as one over the rows, ``(n, n)``, from the cell of each row."""
    if len(which) == len(values):  # each row has a cell of its own, in the same order
        return values
    return values[np.ix_(which, which)]


@dataclass(frozen=True)
class Kriging:
    """A problem at given hyperparameters."""

    problem: KrigingProblem
    hyper: Array

    def points(self, columns: Columns) -> Points:
        """Return the points of columns as in a log."""
        return self.problem.observed.frame.points(columns)

    @cached_property
    def factor(self) -> Array:
        """Lower Cholesky factor of the covariance of the observed log losses, ``(n, n)``.

        Where that is far larger than the noise, rounding may leave it without one; as little noise as helps is added.
        """
        covariance = self.problem.covariance(self.hyper)
        rows, largest = np.arange(len(covariance)), float(np.max(np.diag(covariance)))
        for part in ROUNDED_AWAY:
            covariance[rows, rows] += part * largest
            with suppress(LinAlgError):
                return np.asarray(cholesky(covariance, lower=True))
        raise FloatingPointError(f"no covariance at the hyperparameters {self.hyper.tolist()}")

    @cached_property
    def solved(self) -> Array:
        """The inverse covariance times the target, ``(n,)``."""
        return np.asarray(cho_solve((self.factor, True), self.problem.target))

    def parts(self, points: Points) -> tuple[Array, Array]:
        """Return the law's own part of the log loss and the residual's part, ``(n,)`` each."""
        problem = self.problem
        cells, solved = problem.cells[0], problem.by_cell(self.solved)
        law = mean_cross(problem.mean, points, cells, self.hyper) @ solved
        residual = residual_covariance(points, cells, self.hyper) @ solved
        return law + problem.mean.offset(points) + problem.center, residual

    def carried(self, points: Points, solved: Array) -> Array:
        """Return the covariance with the rows times ``solved`` ``(n, B)``, at points, ``(m, B)``."""
        problem = self.problem
        cells = problem.cells[0]
        cross = mean_cross(problem.mean, points, cells, self.hyper)
        cross = cross + residual_covariance(points, cells, self.hyper)
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
        scale = np.exp(self.kriging.hyper[: len(Hyper)])
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
    scale = np.exp(hyper[: len(Hyper)])
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


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let linear algebra take one thread: some hundred rows are slower on two, and sums would differ."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


def curve_nodes(columns: Mapping[str, Array]) -> dict[str, Array] | None:
    """Return the columns at nodes of the ratios; None where the points are no such curve, or few.

    Nodes stand very close at both ends, where a loss may bend as a power of the share.

    Examples
    --------
    >>> import numpy as np
    >>> ratio = np.linspace(0, 1, 1001)
    >>> nodes = curve_nodes({"train_tokens": np.full(1001, 1e9), "domain_ratio": ratio})
    >>> len(nodes["domain_ratio"]), float(nodes["train_tokens"][0])
    (161, 1000000000.0)
    >>> curve_nodes({"train_tokens": 1e9 * ratio, "domain_ratio": ratio}) is None
    True
    """
    ratio = np.asarray(columns["domain_ratio"], dtype=float)
    others = {
        name: np.asarray(v, dtype=float) for name, v in columns.items() if name != "domain_ratio"
    }
    is_curve = all(np.all(values == values[0]) for values in others.values() if len(values))
    if len(ratio) <= MOST_POINTS or not is_curve or np.ptp(ratio) == 0:
        return None
    return {name: np.full(NUM_NODES, values[0]) for name, values in others.items()} | {
        "domain_ratio": ratio_nodes(float(np.min(ratio)), float(np.max(ratio)))
    }


def ratio_nodes(low: float, high: float) -> Array:
    """Return ratios between which :func:`between_nodes` draws curves."""
    nodes = low + (high - low) * CURVE_PARAMETER**2 * (3 - 2 * CURVE_PARAMETER)
    return np.append(nodes[:-1], high)


def between_nodes(nodes: Array, values: Array, ratio: Array) -> Array:
    """Return curves ``(B, n)`` at ratios from their values at nodes ``(B, m)``, by the polynomial through them.

    The polynomial is one of ``z`` with ``ratio = 3 z^2 - 2 z^3`` between the ends, and its nodes are Chebyshev's.

    References
    ----------
    Berrut & Trefethen 2004, Barycentric Lagrange interpolation.

    Examples
    --------
    >>> nodes = curve_nodes({"domain_ratio": np.linspace(0, 1, 200)})["domain_ratio"]
    >>> at = np.array([0.0, 0.123, 1.0])
    >>> np.abs(between_nodes(nodes, np.sqrt(nodes)[None, :], at) - np.sqrt(at)).max() < 1e-6
    np.True_
    """
    part = np.clip((ratio - nodes[0]) / (nodes[-1] - nodes[0]), 0, 1)
    parameter = 0.5 - np.sin(np.arcsin(1 - 2 * part) / 3)
    weights = (-1.0) ** np.arange(len(nodes))
    weights[[0, -1]] *= 0.5
    away = parameter[:, None] - CURVE_PARAMETER
    is_node = np.abs(away) < SAME_NODE
    pull = weights / np.where(is_node, 1.0, away)
    pull = np.where(is_node.any(axis=1)[:, None], is_node, pull)
    return np.asarray(values @ (pull / pull.sum(axis=1, keepdims=True)).T)
