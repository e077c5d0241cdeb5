"""The covariance of log losses: a mean function, a smooth residual and noise.

Mean function
    Normal coefficients. Beside their value at the reference size they walk with ln N: the level by one variance a unit
    of ln N, the others by another. A walk has independent increments on both sides of the reference.
Residual
    ``a² M(Δln(s + 0.05)/l_s) e^(-|Δln N|/l_N) [c0² + c1² t t' + M(Δt/l_D)]`` with Matérn's 5/2 function ``M`` and
    ``t = ln(D/D0)``: smooth in the share and in the tokens, with room for a shift and a slope of each share.
Noise
    Of an evaluation, of a run (shared by its evaluations) and of a step (shared by the runs of one size and seed, which
    see the same batches).

Hyperparameters are logarithms with normal priors, so that few runs are not read for more than they say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from cmrplan.arrays import Array
from cmrplan.fit.residual.mean_functions import MeanFunction, Points, Prior


class Hyper(IntEnum):
    """Position of each hyperparameter; the shape parameters of the mean function follow."""

    AMPLITUDE = 0
    SHARE_LENGTH = 1
    SIZE_LENGTH = 2
    TOKEN_LENGTH = 3
    SHIFT = 4
    SLOPE = 5
    EVALUATION = 6
    RUN = 7
    STEP = 8
    LEVEL_WALK = 9
    COEFFICIENT_WALK = 10


# Median and standard deviation of the logarithm. Amplitudes and noise are in units of log loss.
_PRIORS: Mapping[Hyper, tuple[float, float]] = {
    Hyper.AMPLITUDE: (0.01, 1.5),
    Hyper.SHARE_LENGTH: (1.5, 0.7),
    Hyper.SIZE_LENGTH: (2.0, 1.0),
    Hyper.TOKEN_LENGTH: (1.5, 0.6),
    Hyper.SHIFT: (0.5, 1.0),
    Hyper.SLOPE: (0.5, 1.0),
    Hyper.EVALUATION: (0.003, 1.0),
    Hyper.RUN: (0.003, 1.0),
    Hyper.STEP: (0.002, 1.0),
    Hyper.LEVEL_WALK: (0.02, 1.0),
    Hyper.COEFFICIENT_WALK: (0.1, 1.0),
}
HYPER_PRIOR = Prior(
    np.array([np.log(_PRIORS[h][0]) for h in Hyper]), np.array([_PRIORS[h][1] for h in Hyper])
)


# A law alone: no residual, and coefficients that are the same at all sizes.
_ABSENT = {Hyper.AMPLITUDE: 1e-6, Hyper.LEVEL_WALK: 1e-6, Hyper.COEFFICIENT_WALK: 1e-6}
_ABSENT_SD = 0.01
LAW_ALONE_PRIOR = Prior(
    np.array([np.log(_ABSENT.get(h, _PRIORS[h][0])) for h in Hyper]),
    np.array([_ABSENT_SD if h in _ABSENT else _PRIORS[h][1] for h in Hyper]),
)


def matern(distance: Array) -> tuple[Array, Array]:
    """Return Matérn's 5/2 correlation at distances in lengths, and its derivative by the log of the length."""
    d = np.sqrt(5.0) * np.abs(distance)
    decay = np.exp(-d)
    return (1 + d + d * d / 3) * decay, d * d / 3 * (1 + d) * decay


def walk(one: Array, other: Array) -> Array:
    """Return the covariance of a walk of unit variance from 0 on, on both sides, ``(n, m)``."""
    a, b = one[:, None], other[None, :]
    return np.where(a * b > 0, np.minimum(np.abs(a), np.abs(b)), 0.0)


@dataclass(frozen=True)
class MeanCovariance:
    """The covariance of the mean function between the same points, and what its gradient needs.

    Parameters
    ----------
    values : array (m, m)
    features, slopes : array (m, q), (p, m, q)
    prior_variance : array (q,)
    walked : array (m, m)
        Covariance of a unit walk.
    walk_variance : array (q,)
        By coefficient, a unit of ln N.
    """

    values: Array
    features: Array
    slopes: Array
    prior_variance: Array
    walked: Array
    walk_variance: Array

    def gradient(self, weight: Array) -> tuple[float, float, Array]:
        """Return the derivative of ``sum(weight * values)`` by both log walk deviations and the shape, ``(p,)``."""
        features, walked = self.features, weight * self.walked
        spread = walked @ features
        by_walk = 2 * self.walk_variance * np.sum(features * spread, axis=0)
        by_feature = 2 * (weight @ features * self.prior_variance + spread * self.walk_variance)
        by_shape = np.einsum("pmq,mq->p", self.slopes, by_feature)
        return float(by_walk[0]), float(np.sum(by_walk[1:])), by_shape


def walk_variances(hyper: Array, count: int) -> Array:
    """Return the variance by which each of ``count`` coefficients walks a unit of ln N; the slope by size does not."""
    level, other = np.exp(2 * hyper[[Hyper.LEVEL_WALK, Hyper.COEFFICIENT_WALK]])
    return np.concatenate([[level, 0.0], np.full(count - 2, other)])


def mean_covariance(mean: MeanFunction, points: Points, hyper: Array) -> MeanCovariance:
    """Return the covariance of the mean function between points."""
    features, slopes = mean.features(points, hyper[len(Hyper) :])
    prior = mean.coefficient_sd**2
    walked, by_walk = walk(points.size, points.size), walk_variances(hyper, features.shape[1])
    values = (features * prior) @ features.T + walked * ((features * by_walk) @ features.T)
    return MeanCovariance(values, features, slopes, prior, walked, by_walk)


def mean_derivatives(
    mean: MeanFunction, points: Points, hyper: Array
) -> tuple[list[Array], list[Array]]:
    """Return the derivatives of the mean function's covariance by both log walk deviations, and by the shape."""
    whole = mean_covariance(mean, points, hyper)
    features, walked = whole.features, whole.walked
    level, other = whole.walk_variance.copy(), whole.walk_variance.copy()
    level[1:], other[0] = 0.0, 0.0
    by_walk = [2 * walked * ((features * part) @ features.T) for part in (level, other)]
    by_shape = []
    for slope in whole.slopes:
        half = (slope * whole.prior_variance) @ features.T
        half = half + walked * ((slope * whole.walk_variance) @ features.T)
        by_shape.append(half + half.T)
    return by_walk, by_shape


def mean_cross(mean: MeanFunction, one: Points, other: Points, hyper: Array) -> Array:
    """Return the covariance of the mean function between two sets of points, ``(n, m)``."""
    shape = hyper[len(Hyper) :]
    left, right = mean.features(one, shape)[0], mean.features(other, shape)[0]
    by_walk = walk_variances(hyper, left.shape[1])
    walked = walk(one.size, other.size) * ((left * by_walk) @ right.T)
    return (left * mean.coefficient_sd**2) @ right.T + walked


def residual_covariance(one: Points, other: Points, hyper: Array) -> tuple[Array, list[Array]]:
    """Return the covariance of the residual ``(n, m)``, and its derivatives by the first six hyperparameters."""
    scale = np.exp(hyper)
    along_share, by_share = matern(
        (one.log_share[:, None] - other.log_share) / scale[Hyper.SHARE_LENGTH]
    )
    apart = np.abs(one.size[:, None] - other.size) / scale[Hyper.SIZE_LENGTH]
    along_size = scale[Hyper.AMPLITUDE] ** 2 * np.exp(-apart)
    along_tokens, by_tokens = matern(
        (one.tokens[:, None] - other.tokens) / scale[Hyper.TOKEN_LENGTH]
    )
    shift = scale[Hyper.SHIFT] ** 2
    slope = scale[Hyper.SLOPE] ** 2 * one.tokens[:, None] * other.tokens
    over_tokens = shift + slope + along_tokens
    base = along_share * along_size
    values = base * over_tokens
    return values, [
        2 * values,
        by_share * along_size * over_tokens,
        values * apart,
        base * by_tokens,
        2 * shift * base,
        2 * slope * base,
    ]


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let linear algebra take one thread: some hundred rows are slower on two, and sums would differ."""
    with _controller().limit(limits=1, user_api="blas"):
        yield
