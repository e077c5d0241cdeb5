"""A Gaussian process over mixtures: what the laws of several corpora leave of the logarithms of the losses.

Covariance between evaluations, in the unit of what the laws leave: ``a M(d) + 1`` and the noise of a run and of an
evaluation, with Matérn's 5/2 function ``M`` and ``d² = sum_j rate_j (u_j - u'_j)²``. The coordinates ``u`` are the
roots of the shares, and the logarithms of tokens and size where these differ, each over its spread; the constant is a
level of variance 1. Rates, amplitude and noise are the most probable ones under weak priors; that of the rates has the
same sum in the middle however many coordinates there are, at which two runs of a log share little of what the laws
leave. Rows far outside count less: their noise is raised as Huber's weights ask, first by what the laws leave of them,
then by their errors when left out.

References
----------
Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, chapters 2 and 5. Rahimi & Recht 2007 (random
features). Wilson et al. 2020 (draws of a posterior as functions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import Bounds, minimize
from scipy.spatial.distance import pdist, squareform

from cmrplan.arrays import Array
from cmrplan.fit.residual.covariance import matern
from cmrplan.fit.residual.replicates import inverse_of
from cmrplan.fit.residual.share_roots import root_of_share

HUBER = 1.345 * 1.4826  # of the median absolute residual
STEPS = (15, 25)  # of the search, before and after the second weighing
TOTAL_RATE = 3.0  # of all coordinates, by the prior: two rows are twice that apart, squared
LOG_AMPLITUDE, LOG_NOISE = 0.0, float(np.log(0.1))  # medians of the priors
PRIOR_SD = 2.0
MOST_OFF = 5 * PRIOR_SD  # from the medians; beyond it a covariance may have no factor
LEVEL_VARIANCE = 1.0
NUM_DIRECTIONS = 512  # of the waves that a draw from the prior is made of, a cosine and a sine each
DEGREES_OF_FREEDOM = 5.0  # of the spectrum of Matérn's 5/2 function
NUM_NOISES = 3  # amplitude, noise of a run, noise of an evaluation: the last hyperparameters


@dataclass(frozen=True)
class MixtureCoordinates:
    """Where a row stands: what differs between the rows of a log, over its spread.

    Parameters
    ----------
    names : tuple of q str
        Columns of a log: those of the shares, then ``train_tokens`` and ``model_params`` where these differ.
    spread : array (q,)
    """

    names: tuple[str, ...]
    spread: Array

    @classmethod
    def of(cls, columns: Mapping[str, Array], names: Sequence[str]) -> MixtureCoordinates:
        """Return the coordinates of some rows, of those of the columns that differ."""
        differing = [name for name in names if np.ptp(columns[name]) > 0]
        spread = [np.std(_coordinate(name, columns[name])) for name in differing]
        return cls(tuple(differing), np.array(spread))

    def at(self, columns: Mapping[str, Array]) -> Array:
        """Return the coordinates of ``n`` rows, ``(n, q)``."""
        values = [_coordinate(name, np.asarray(columns[name], dtype=float)) for name in self.names]
        return np.asarray(np.stack(values, axis=1) / self.spread)


def _coordinate(name: str, values: Array) -> Array:
    is_count = name in ("train_tokens", "model_params")
    return np.asarray(np.log(values) if is_count else root_of_share(values))


@dataclass(frozen=True)
class ProcessHyper:
    """Hyperparameters: ``rate (q,)`` of the coordinates, and variances in the squared unit of the residuals."""

    rate: Array
    amplitude: float
    run_noise: float
    noise: float

    @classmethod
    def of_logs(cls, logs: Array) -> ProcessHyper:
        """Return them from their logarithms ``(q + 3,)``."""
        rate, others = np.exp(logs[:-NUM_NOISES]), np.exp(logs[-NUM_NOISES:])
        return cls(rate, *(float(value) for value in others))


@dataclass(frozen=True)
class ProcessCurves:
    """The estimate of a process and its draws, as functions of the coordinates.

    Parameters
    ----------
    seen : array (n, q)
        Coordinates of the rows, by the roots of the rates.
    weights : array (n, S)
        Of the covariance with each row; the estimate first, then the draws.
    directions : array (q, F)
        Of the waves that draws from the prior are made of.
    prior : array (2 F, S)
        Weights of these; 0 of the estimate.
    level : array (S,)
    root_rate : array (q,)
    """

    seen: Array
    weights: Array
    directions: Array
    prior: Array
    level: Array
    root_rate: Array

    def __call__(self, coordinates: Array) -> Array:
        """Return the values at ``g`` points, nats of the logarithm of the loss, ``(S, g)``."""
        asked = coordinates * self.root_rate
        values = matern(_distances(asked, self.seen))[0] @ self.weights + self.level
        if self.prior.any():
            values += _waves(asked, self.directions) @ self.prior
        return np.asarray(values.T)

    def slopes(self, coordinates: Array) -> Array:
        """Return the derivatives at one point ``(q,)`` by each coordinate, ``(S, q)``."""
        asked = coordinates * self.root_rate
        away = asked - self.seen
        scaled = np.sqrt(5 * np.sum(away**2, axis=1))
        by_point = -5 / 3 * ((1 + scaled) * np.exp(-scaled))[:, None] * away
        slopes = self.weights.T @ by_point
        if self.prior.any():
            angles = asked @ self.directions
            turned = np.hstack([-np.sin(angles), np.cos(angles)])
            slopes += self.prior.T @ (turned * np.tile(self.directions, 2)).T
        return np.asarray(slopes * self.root_rate)

    def take(self, which: NDArray[np.intp]) -> ProcessCurves:
        """Return some of the curves."""
        return replace(
            self,
            weights=self.weights[:, which],
            prior=self.prior[:, which],
            level=self.level[which],
        )


@dataclass(frozen=True)
class MixtureProcess:
    """A process above the laws of one validation corpus, with the rows that it knows.

    Parameters
    ----------
    coordinates : array (n, q)
    runs : array (n,) of int
        Number of the run of each row.
    unit : float
        Standard deviation of what the laws leave, nats of the logarithm of the loss.
    log_hyper : array (q + 3,)
    raised : array (n,)
        By what the noise of each row is raised.
    """

    coordinates: Array
    runs: NDArray[np.intp]
    unit: float
    log_hyper: Array
    raised: Array

    @cached_property
    def hyper(self) -> ProcessHyper:
        """The hyperparameters."""
        return ProcessHyper.of_logs(self.log_hyper)

    @cached_property
    def _factor(self) -> Array:
        """The lower Cholesky factor of the covariance of the rows."""
        hyper = self.hyper
        apart = pdist(self.coordinates * np.sqrt(hyper.rate))
        covariance = hyper.amplitude * squareform(matern(apart)[0]) + LEVEL_VARIANCE
        covariance += hyper.run_noise * _same(self.runs)
        covariance[np.diag_indices(len(covariance))] += hyper.amplitude + hyper.noise * self.raised
        return np.asarray(cholesky(covariance, lower=True))

    def left_out(self, residual: Array) -> Array:
        """Return by what each row is missed when its run is left out, ``(n,)``, in the unit that they are given in."""
        inverse = inverse_of(self._factor)
        solved, missed = inverse @ residual, np.zeros(len(residual))
        for run in np.unique(self.runs):
            own = np.flatnonzero(self.runs == run)
            missed[own] = np.linalg.solve(inverse[np.ix_(own, own)], solved[own])
        return missed

    def curves(
        self, residual: Array, drawn: Array, generator: np.random.Generator
    ) -> ProcessCurves:
        """Return the estimate, and a draw of the posterior for each draw of the laws.

        Parameters
        ----------
        residual : array (n,)
            What the laws' estimate leaves of the logarithms of the losses, nats.
        drawn : array (B, n)
            What each draw of the laws leaves of them.
        generator : Generator
        """
        hyper, count = self.hyper, len(drawn)
        root_rate = np.sqrt(hyper.rate)
        seen = self.coordinates * root_rate
        chi_square = generator.chisquare(DEGREES_OF_FREEDOM, NUM_DIRECTIONS)
        directions = generator.standard_normal((seen.shape[1], NUM_DIRECTIONS))
        directions *= np.sqrt(DEGREES_OF_FREEDOM / chi_square)
        prior = generator.standard_normal((2 * NUM_DIRECTIONS, count))
        prior *= np.sqrt(hyper.amplitude / NUM_DIRECTIONS)
        level = np.sqrt(LEVEL_VARIANCE) * generator.standard_normal(count)
        of_runs = generator.standard_normal((int(self.runs.max()) + 1, count))
        noise = np.sqrt(hyper.run_noise) * of_runs[self.runs]
        own = generator.standard_normal((len(seen), count))
        noise += np.sqrt(hyper.noise * self.raised)[:, None] * own
        imagined = _waves(seen, directions) @ prior + level + noise
        wanted = np.column_stack([residual / self.unit, drawn.T / self.unit - imagined])
        solved = cho_solve((self._factor, True), wanted)
        zero = np.zeros(1)
        return ProcessCurves(
            seen=seen,
            weights=self.unit * hyper.amplitude * solved,
            directions=directions,
            prior=self.unit * np.column_stack([np.zeros(len(prior)), prior]),
            level=self.unit * (LEVEL_VARIANCE * solved.sum(axis=0) + np.concatenate([zero, level])),
            root_rate=root_rate,
        )


def fit_process(coordinates: Array, runs: NDArray[np.intp], residual: Array) -> MixtureProcess:
    """Return the most probable process above what laws leave.

    Parameters
    ----------
    coordinates : array (n, q)
    runs : array (n,) of int
    residual : array (n,)
        Of the logarithms of the losses, nats; not all 0.
    """
    unit = float(np.std(residual))
    target = residual / unit
    first, second = np.triu_indices(len(target), 1)
    apart = (coordinates[first] - coordinates[second]).T ** 2
    number = coordinates.shape[1]
    medians = [np.log(TOTAL_RATE / number)] * number + [LOG_AMPLITUDE, LOG_NOISE, LOG_NOISE]
    prior, same = np.array(medians), _same(runs)
    process = MixtureProcess(coordinates, runs, unit, prior, _huber_noise(target))
    for steps in STEPS:
        end = minimize(
            _energy,
            process.log_hyper,
            (apart, target, process.raised, prior, same),
            method="L-BFGS-B",
            jac=True,
            bounds=Bounds(prior - MOST_OFF, prior + MOST_OFF),
            options={"maxiter": steps},
        )
        process = replace(process, log_hyper=end.x)
        if steps != STEPS[-1]:
            process = replace(process, raised=_huber_noise(process.left_out(target)))
    return process


def _energy(
    log_hyper: Array, apart: Array, target: Array, raised: Array, prior: Array, same: Array
) -> tuple[float, Array]:
    """Return minus the log posterior of the hyperparameters, and its gradient.

    Parameters
    ----------
    log_hyper, prior : array (q + 3,)
    apart : array (q, n (n - 1) / 2)
        Squared differences of the pairs in each coordinate.
    target, raised : array (n,)
    same : array (n, n)
        Which rows share a run, as 0 and 1.
    """
    hyper = ProcessHyper.of_logs(log_hyper)
    distance = np.sqrt(hyper.rate @ apart)
    along = matern(distance)[0]
    covariance = hyper.amplitude * squareform(along) + LEVEL_VARIANCE + hyper.run_noise * same
    covariance[np.diag_indices(len(target))] += hyper.amplitude + hyper.noise * raised
    lower = cholesky(covariance, lower=True)
    inverse = inverse_of(lower)
    weights = inverse @ target
    pull = (inverse - np.outer(weights, weights)) / 2
    by_pair = 2 * squareform(pull, checks=False)  # a pair stands twice
    scaled = np.sqrt(5.0) * distance
    slope = -5 / 6 * (1 + scaled) * np.exp(-scaled)  # of Matérn's function by the squared distance
    by_rate = hyper.rate * (apart @ (hyper.amplitude * slope * by_pair))
    by_amplitude = hyper.amplitude * (along @ by_pair + np.trace(pull))
    by_run = hyper.run_noise * np.vdot(pull, same)
    by_noise = hyper.noise * np.diag(pull) @ raised
    off = (log_hyper - prior) / PRIOR_SD
    value = target @ weights / 2 + np.log(np.diag(lower)).sum() + off @ off / 2
    slopes = np.array([*by_rate, by_amplitude, by_run, by_noise]) + off / PRIOR_SD
    return float(value), slopes


def _waves(points: Array, directions: Array) -> Array:
    """Return cosine and sine along each direction, ``(g, 2 F)``."""
    angles = points @ directions
    return np.hstack([np.cos(angles), np.sin(angles)])


def _same(runs: NDArray[np.intp]) -> Array:
    return np.asarray((runs[:, None] == runs[None, :]).astype(float))


def _distances(one: Array, other: Array) -> Array:
    """Return the distances between points, ``(g, n)``."""
    squares = np.sum(one**2, axis=1)[:, None] + np.sum(other**2, axis=1) - 2 * one @ other.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def _huber_noise(residual: Array) -> Array:
    """Return by what the noise of each row is raised: the inverse of its Huber weight."""
    size = np.abs(residual)
    return np.maximum(1.0, size / max(HUBER * float(np.median(size)), np.finfo(float).tiny))
