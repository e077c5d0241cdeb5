"""Mean functions of the log loss, linear in coefficients and not in a few shape parameters.

Coefficients have a wide normal prior and walk with the size (:mod:`cmrplan.fit.residual.covariance`). The laws of this
project are in :mod:`cmrplan.fit.residual.own_laws`; any fitted law can be one, around its optimum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from cmrplan.arrays import Array
from cmrplan.fit.residual.points import Points
from cmrplan.solve.law_fit import LawFit, residual_jacobian

COEFFICIENT_SD = 0.3  # of a feature whose values are of the order of one, in units of log loss
LEVEL_SD = 1.0
FAINTEST_DIRECTION = (
    1e-3  # of the strongest; what the rows of a log show less of is left at the optimum
)
LAW_SD = (
    0.1  # root mean square of what one direction of a law may add to the log losses of the rows
)
EVEN_SHARE = 0.5


def level_slope_sd(is_anchored: bool) -> float:
    """Return how much the level may change with ln N: little where it is counted from the base loss of the size."""
    return 0.01 if is_anchored else 0.1


@dataclass(frozen=True)
class Prior:
    """Independent normal priors.

    Parameters
    ----------
    mean, sd : array (p,)
    """

    mean: Array
    sd: Array


class MeanFunction(ABC):
    """Features of a mean function with ``q`` coefficients and ``p`` shape parameters.

    Parameters
    ----------
    name : str
    shape_prior : Prior
    coefficient_sd : array (q,)
        Prior standard deviations of the coefficients; the first two are those of the level and its slope by size.
    """

    name: str
    shape_prior: Prior
    coefficient_sd: Array

    @abstractmethod
    def features(self, points: Points, shape: Array) -> tuple[Array, Array]:
        """Return the features ``(n, q)`` and their derivatives by the shape parameters ``(p, n, q)``."""

    def offset(self, points: Points) -> Array:
        """Return the log loss that is there whatever the coefficients are, ``(n,)``."""
        return np.zeros(len(points.share))


@dataclass(frozen=True)
class LinearizedLaw(MeanFunction):
    """A fitted law, free to move along what the rows say of its parameters.

    Parameters
    ----------
    name : str
    shape_prior : Prior
        Of nothing: all parameters of the law are coefficients here.
    coefficient_sd : array (q,)
        Those of the level, of its slope by size, and of each direction.
    fit : LawFit
    directions : array (p, k)
        Changes of the parameters whose effects on the log losses of the rows are orthogonal and of root mean square 1.
    is_anchored : bool
        Whether losses are counted from the base loss of their size. The law then gives the change from its value at
        the reference tokens and an even mixture.
    """

    name: str
    shape_prior: Prior
    coefficient_sd: Array
    fit: LawFit
    directions: Array
    is_anchored: bool

    def features(self, points: Points, shape: Array) -> tuple[Array, Array]:
        """Return the level, its slope by size, and the effect of each direction."""
        effects = _effects(self.fit, points, self.is_anchored) @ self.directions
        level = np.stack([np.ones_like(points.size), points.size], axis=1)
        values = np.hstack([level, effects])
        return values, np.zeros((0, *values.shape))

    def offset(self, points: Points) -> Array:
        """Return the log of the law."""
        value = np.log(self.fit.predict(points.inputs))
        if not self.is_anchored:
            return value
        return value - np.log(self.fit.predict(_reference(points).inputs))


def linearized_law(name: str, fit: LawFit, points: Points, *, is_anchored: bool) -> LinearizedLaw:
    """Return a fitted law as a mean function for the points that it was fitted to."""
    effects = _effects(fit, points, is_anchored)
    _, strength, directions = np.linalg.svd(effects, full_matrices=False)
    is_seen = strength > FAINTEST_DIRECTION * strength[0]
    scale = np.sqrt(len(points.share)) / strength[is_seen]
    level = [LEVEL_SD, level_slope_sd(is_anchored)]
    sd = np.append(level, np.full(int(np.sum(is_seen)), LAW_SD))
    nothing = Prior(np.zeros(0), np.zeros(0))
    return LinearizedLaw(name, nothing, sd, fit, directions[is_seen].T * scale, is_anchored)


def _effects(fit: LawFit, points: Points, is_anchored: bool) -> Array:
    """Return the derivative of the log loss by each parameter of a law, ``(n, p)``."""
    effects = residual_jacobian(fit, points.inputs)
    return effects - residual_jacobian(fit, _reference(points).inputs) if is_anchored else effects


def _reference(points: Points) -> Points:
    """Return for each point the one at its size with the reference tokens and an even mixture."""
    even = np.full_like(points.share, EVEN_SHARE)
    mixture = {name: even for name in ("share", "replay_ratio") if name in points.inputs}
    tokens = points.inputs["train_tokens"] / np.exp(points.tokens)
    return replace(points, inputs={**points.inputs, **mixture, "train_tokens": tokens})
