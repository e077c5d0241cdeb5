"""The covariance of one mean function and of its residual between points.

Mean function
    Normal coefficients. Beside their value at the reference size they walk with ln N: the level by one variance a unit
    of ln N, the others by another. A walk has independent increments on both sides of the reference.
Residual
    ``a² M(Δln(s + 0.05)/l_s) e^(-|Δln N|/l_N) [c0² + c1² t t' + M(Δt/l_D)]`` with Matérn's 5/2 function ``M`` and
    ``t = ln(D/D0)``: smooth in the share and in the tokens, with room for a shift and a slope of each share.

The shares, sizes and tokens of a sweep are few: each correlation is worked out once for each pair of different values.

References
----------
Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, chapters 2 and 5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cmrplan.arrays import Array
from cmrplan.fit.residual.hyper import Hyper
from cmrplan.fit.residual.mean_functions import MeanFunction, Points


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


def mean_cross(mean: MeanFunction, one: Points, other: Points, hyper: Array) -> Array:
    """Return the covariance of the mean function between two sets of points, ``(n, m)``."""
    shape = hyper[len(Hyper) :]
    left, right = mean.features(one, shape)[0], mean.features(other, shape)[0]
    by_walk = walk_variances(hyper, left.shape[1])
    walked = walk(one.size, other.size) * ((left * by_walk) @ right.T)
    return (left * mean.coefficient_sd**2) @ right.T + walked


@dataclass(frozen=True)
class ResidualParts:
    """The covariance of the residual, ``along_share * along_size * (shift + slope * product + along_tokens)``.

    Parameters
    ----------
    along_share, by_share : array (n, m)
        Correlation by shares, and its derivative by the log of the length.
    along_size, apart : array (n, m)
        Squared amplitude with the correlation by sizes, and the distances of these in lengths.
    along_tokens, by_tokens : array (n, m)
        Correlation by tokens, and its derivative by the log of the length.
    tokens, other_tokens : array (n,), (m,)
        As logarithms.
    shift, slope : float
        Variances.
    """

    along_share: Array
    by_share: Array
    along_size: Array
    apart: Array
    along_tokens: Array
    by_tokens: Array
    tokens: Array
    other_tokens: Array
    shift: float
    slope: float

    @cached_property
    def over_tokens(self) -> Array:
        """The factor of the tokens, ``(n, m)``."""
        over = np.outer(self.slope * self.tokens, self.other_tokens)
        over += self.along_tokens
        over += self.shift
        return over

    @cached_property
    def values(self) -> Array:
        """The covariance, ``(n, m)``."""
        return self.along_share * self.along_size * self.over_tokens

    def gradient(self, weight: Array) -> Array:
        """Return the derivatives of ``sum(weight * values)`` by the first six hyperparameters, ``(6,)``."""
        by_size = weight * self.along_size
        base = by_size * self.along_share
        without_share = by_size * self.over_tokens
        whole = without_share * self.along_share
        return np.array(
            [
                2 * np.sum(whole),
                np.vdot(without_share, self.by_share),
                np.vdot(whole, self.apart),
                np.vdot(base, self.by_tokens),
                2 * self.shift * np.sum(base),
                2 * self.slope * (self.tokens @ base @ self.other_tokens),
            ]
        )

    def derivatives(self) -> list[Array]:
        """Return the derivatives of the covariance by the first six hyperparameters, ``(n, m)`` each."""
        base = self.along_share * self.along_size
        return [
            2 * self.values,
            self.by_share * self.along_size * self.over_tokens,
            self.values * self.apart,
            base * self.by_tokens,
            2 * self.shift * base,
            2 * self.slope * np.outer(self.tokens, self.other_tokens) * base,
        ]


def residual_parts(one: Points, other: Points, hyper: Array) -> ResidualParts:
    """Return the covariance of the residual between two sets of points with what its derivatives need."""
    scale = np.exp(hyper[: len(Hyper)])
    along_share, by_share = _by_pairs(
        matern, one.log_share, other.log_share, scale[Hyper.SHARE_LENGTH]
    )
    correlation, apart = _by_pairs(_fading, one.size, other.size, scale[Hyper.SIZE_LENGTH])
    along_tokens, by_tokens = _by_pairs(matern, one.tokens, other.tokens, scale[Hyper.TOKEN_LENGTH])
    return ResidualParts(
        along_share,
        by_share,
        scale[Hyper.AMPLITUDE] ** 2 * correlation,
        apart,
        along_tokens,
        by_tokens,
        one.tokens,
        other.tokens,
        scale[Hyper.SHIFT] ** 2,
        scale[Hyper.SLOPE] ** 2,
    )


def _fading(distance: Array) -> tuple[Array, Array]:
    """Return the correlation of a walk that forgets, and the distances themselves, without signs."""
    apart = np.abs(distance)
    return np.exp(-apart), apart


def _by_pairs(
    function: Callable[[Array], tuple[Array, Array]], one: Array, other: Array, length: float
) -> tuple[Array, Array]:
    """Return a function of the distances in lengths ``(n, m)``, worked out once for each pair of different values."""
    left, row = np.unique(one, return_inverse=True)
    right, column = np.unique(other, return_inverse=True)
    first, second = function((left[:, None] - right) / length)
    return first[row][:, column], second[row][:, column]


def residual_covariance(one: Points, other: Points, hyper: Array) -> Array:
    """Return the covariance of the residual between two sets of points, ``(n, m)``."""
    return residual_parts(one, other, hyper).values
