"""Where losses are asked for, and mean functions of the log loss there.

A mean function is linear in coefficients and not in a few shape parameters. Coefficients have a wide normal prior and
walk with the size (:mod:`cmrplan.fit.residual.covariance`). Any fitted law can be one, around its optimum. The laws of
this project are bilinear in a token term and a ratio term, with ``t = ln(D/D0)`` and the target share ``s``: the token
term is the Box-Cox transform ``d = ((D/D0)^b - 1)/b`` with ``b`` of either sign, ``t`` at 0; the ratio term ``h`` is 0
at a share of 1 and 1 at one half. See docs/laws.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.corpus_model import target_share
from cmrplan.fit.law_model import law_inputs
from cmrplan.solve.law_fit import LawFit, residual_jacobian

SHARE_SHIFT = 0.05  # shares below it are near each other
COEFFICIENT_SD = 0.3  # of a feature whose values are of the order of one, in units of log loss
LEVEL_SD = 0.5
FAINTEST_DIRECTION = (
    1e-3  # of the strongest; what the rows of a log show less of is left at the optimum
)
LAW_SD = (
    0.1  # root mean square of what one direction of a law may add to the log losses of the rows
)
EVEN_RATIO = 0.5
SMALLEST_SHARE = 1e-6
SERIES_BELOW = 1e-4  # the Box-Cox transform is taken from its series there

Terms = list[Array]
# Takes log tokens, shares and shape parameters; returns terms, and for each shape parameter their derivatives.
Basis = Callable[[Array, Array, Array], tuple[Terms, list[Terms]]]

# How the rise over the base shrinks with size: at one rate for all ratios, and faster with the target share. A sweep of
# three small sizes has 0.34 and 1.6 for the general loss, and about 0 for the domain loss (data/probes).
SIZE_DECAY = {"general": (0.3, 0.0), "domain": (0.0, 0.0)}
SIZE_DECAY_SD = 0.3
TOKEN_POWER = (-0.4, 0.5)  # published exponents of the tokens are 0.2 to 0.5


@dataclass(frozen=True)
class Points:
    """``n`` points of one corpus.

    Parameters
    ----------
    size : array (n,)
        Logarithm of the model parameters over their reference.
    tokens : array (n,)
        Logarithm of the train tokens over their reference.
    share : array (n,)
        The target share: that of the corpus whose loss is predicted.
    corpus : str
    columns : mapping of str to array (n,)
        As in a log.
    """

    size: Array
    tokens: Array
    share: Array
    corpus: str
    columns: Mapping[str, Array]

    @property
    def log_share(self) -> Array:
        """The share on the scale on which the residual is smooth, ``(n,)``."""
        return np.log(self.share + SHARE_SHIFT)

    @property
    def inputs(self) -> Mapping[str, Array]:
        """What a law reads there, each ``(n,)``."""
        return law_inputs(self.corpus, self.columns)

    def select(self, index: NDArray[np.intp]) -> Points:
        """Return some of the points."""
        columns = {name: np.asarray(values)[index] for name, values in self.columns.items()}
        here = self.size[index], self.tokens[index], self.share[index]
        return Points(*here, self.corpus, columns)

    def distinct(self) -> tuple[Points, NDArray[np.intp]]:
        """Return each point once, ``m`` of them, and which of them each point is, ``(n,)``."""
        table = np.stack([self.size, self.tokens, self.share, *self.columns.values()], axis=1)
        _, first, which = np.unique(table, axis=0, return_index=True, return_inverse=True)
        return self.select(first), which.reshape(-1)


@dataclass(frozen=True)
class Frame:
    """The references of the coordinates: geometric means of the sizes and of the tokens of a log."""

    corpus: str
    model_params: float
    train_tokens: float

    def points(self, columns: Mapping[str, Array]) -> Points:
        """Return the points of columns as in a log."""
        return Points(
            np.log(columns["model_params"] / self.model_params),
            np.log(columns["train_tokens"] / self.train_tokens),
            target_share(self.corpus, np.asarray(columns["domain_ratio"], dtype=float)),
            self.corpus,
            columns,
        )


def level_slope_sd(is_anchored: bool) -> float:
    """Return how much the level may change with ln N: little where it is counted from the base loss of the size."""
    return 0.01 if is_anchored else 0.1


@dataclass(frozen=True)
class Prior:
    """Independent normal priors: means and standard deviations, ``(p,)`` each."""

    mean: Array
    sd: Array


class MeanFunction(ABC):
    """Features of a mean function with ``q`` coefficients and ``p`` shape parameters.

    ``coefficient_sd`` ``(q,)`` are the prior standard deviations of the coefficients; the first two are those of the
    level and its slope by size.
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
    directions = _orthogonal(_effects(fit, points, is_anchored)) * np.sqrt(len(points.share))
    level = [LEVEL_SD, level_slope_sd(is_anchored)]
    sd = np.append(level, np.full(directions.shape[1], LAW_SD))
    nothing = Prior(np.zeros(0), np.zeros(0))
    return LinearizedLaw(name, nothing, sd, fit, directions, is_anchored)


def _orthogonal(effects: Array) -> Array:
    """Return changes of the parameters ``(p, k)`` whose effects are orthonormal, one parameter after the other.

    A parameter whose effect is nearly that of those before it adds none. In this order, unlike by singular values, the
    signs are the same on every processor.
    """
    changes: list[Array] = []
    spanned: list[Array] = []
    for j, effect in enumerate(effects.T):
        change = np.zeros(effects.shape[1])
        change[j] = 1.0
        left = effect
        for other, known in zip(changes, spanned, strict=True):
            part = known @ left
            left, change = left - part * known, change - part * other
        size = np.linalg.norm(left)
        if size > FAINTEST_DIRECTION * np.linalg.norm(effect):
            changes.append(change / size)
            spanned.append(left / size)
    return np.array(changes).T


def _effects(fit: LawFit, points: Points, is_anchored: bool) -> Array:
    """Return the derivative of the log loss by each parameter of a law, ``(n, p)``."""
    effects = residual_jacobian(fit, points.inputs)
    return effects - residual_jacobian(fit, _reference(points).inputs) if is_anchored else effects


def _reference(points: Points) -> Points:
    """Return for each point the one at its size with the reference tokens and an even mixture."""
    even = np.full_like(points.share, EVEN_RATIO)
    tokens = points.columns["train_tokens"] / np.exp(points.tokens)
    return replace(points, columns={**points.columns, "domain_ratio": even, "train_tokens": tokens})


def box_cox(t: Array, power: float) -> tuple[Array, Array]:
    """Return ``(e^(power t) - 1)/power`` and its derivative by the power.

    Examples
    --------
    >>> import numpy as np
    >>> box_cox(np.log([1.0, 4.0]), 0.5)[0].round(12).tolist(), box_cox(np.array([2.0]), 0.0)[0].tolist()
    ([0.0, 2.0], [2.0])
    """
    z = power * t
    is_small = np.abs(z) < SERIES_BELOW
    safe = np.where(is_small, 1.0, z)
    growth = np.expm1(safe)
    value = np.where(is_small, t * (1 + z / 2 + z * z / 6), t * growth / safe)
    slope = np.where(
        is_small, t * t * (0.5 + z / 3), (t / safe) ** 2 * (safe * np.exp(safe) - growth)
    )
    return value, slope


def _anchored(raw: Callable[[Array], Terms], share: Array) -> Terms:
    """Return a function of the share and its derivatives, scaled to 0 at a share of 1 and 1 at one half."""
    at, one, half = raw(share), raw(np.ones(1)), raw(np.full(1, 0.5))
    top, bottom = at[0] - one[0], half[0] - one[0]
    slopes = [
        ((a - o) * bottom - top * (h - o)) / bottom**2
        for a, o, h in zip(at[1:], one[1:], half[1:], strict=True)
    ]
    return [top / bottom, *slopes]


def power_of_share(share: Array, log_gamma: float, log_epsilon: float) -> Terms:
    """Return ``(s + epsilon)^-gamma``, anchored, and its derivatives by both logarithms."""
    gamma, epsilon = np.exp(log_gamma), np.exp(log_epsilon)

    def raw(s: Array) -> Terms:
        value = (s + epsilon) ** -gamma
        return [
            value,
            -gamma * np.log(s + epsilon) * value,
            -gamma * epsilon * value / (s + epsilon),
        ]

    return _anchored(raw, share)


def exponential_of_share(share: Array, log_rate: float) -> Terms:
    """Return ``e^(-k s)``, anchored, and its derivative by ``ln k``."""
    rate = np.exp(log_rate)

    def raw(s: Array) -> Terms:
        value = np.exp(-rate * s)
        return [value, -rate * s * value]

    return _anchored(raw, share)


def _bilinear(t: Array, power: float, ratio_term: Terms) -> tuple[Terms, list[Terms]]:
    d, slope = box_cox(t, power)
    h, *slopes = ratio_term
    none = np.zeros_like(d)
    by_power = [slope, none, slope * h]
    return [d, h, d * h], [by_power, *([none, by, d * by] for by in slopes)]


def bilinear(t: Array, share: Array, shape: Array) -> tuple[Terms, list[Terms]]:
    """Return ``d``, ``h`` and ``d h`` with ``h`` a shifted power of the share."""
    return _bilinear(t, shape[0], power_of_share(share, shape[1], shape[2]))


def bilinear_exp(t: Array, share: Array, shape: Array) -> tuple[Terms, list[Terms]]:
    """Return ``d``, ``h`` and ``d h`` with ``h`` an exponential of the share."""
    return _bilinear(t, shape[0], exponential_of_share(share, shape[1]))


def bilinear_dip(t: Array, share: Array, shape: Array) -> tuple[Terms, list[Terms]]:
    """Return the terms of :func:`bilinear` and ``s - 1`` and ``(s - 1) d``: the loss may dip at an inner ratio."""
    terms, slopes = bilinear(t, share, shape)
    none = np.zeros_like(t)
    more = [[none, (share - 1) * slopes[0][0]], [none, none], [none, none]]
    return [*terms, share - 1, (share - 1) * terms[0]], [
        [*by, *extra] for by, extra in zip(slopes, more, strict=True)
    ]


def relearning(t: Array, share: Array, shape: Array) -> tuple[Terms, list[Terms]]:
    """Return ``ln(1 + D/D0)``, ``1 - (1 + s^eta D/(D0 d0))^-beta`` and ``s ln(1 + D/D0)``."""
    eta, start, beta = np.exp(shape)
    share_or_less = np.maximum(share, SMALLEST_SHARE)
    growth = np.exp(t)
    line = np.log1p(growth)
    seen = share_or_less**eta * growth / start
    kept = (1 + seen) ** -beta
    by_seen = beta * (1 + seen) ** (-beta - 1)
    none = np.zeros_like(line)
    slopes = (
        by_seen * seen * np.log(share_or_less) * eta,
        -by_seen * seen,
        beta * np.log1p(seen) * kept,
    )
    return [line, 1 - kept, share * line], [[none, slope, none] for slope in slopes]


@dataclass(frozen=True)
class OwnLaw(MeanFunction):
    """One of this project's laws, all terms beside the level shrinking with the size.

    Parameters
    ----------
    name : str
    basis : callable
        Takes log tokens, shares and the shape parameters but the last two, and returns the terms and their
        derivatives by each of these.
    shape_prior : Prior
        The last two are of ``alpha0`` and ``alpha1``: the terms carry the factor ``(N/N0)^-(alpha0 + alpha1 s)``.
    coefficient_sd : array (q,)
    """

    name: str
    basis: Basis
    shape_prior: Prior
    coefficient_sd: Array

    def features(self, points: Points, shape: Array) -> tuple[Array, Array]:
        """Return the features and their derivatives."""
        terms, slopes = self.basis(points.tokens, points.share, shape[:-2])
        factor = np.exp(-(shape[-2] + shape[-1] * points.share) * points.size)[:, None]
        shrinking = factor * np.stack(terms, axis=1)
        level = np.stack([np.ones_like(points.size), points.size], axis=1)
        size, share = points.size[:, None], points.share[:, None]
        changes = [factor * np.stack(slope, axis=1) for slope in slopes]
        changes += [-size * shrinking, -size * share * shrinking]
        none = np.zeros_like(level)
        return (
            np.hstack([level, shrinking]),
            np.stack([np.hstack([none, change]) for change in changes]),
        )


_SHARE_POWER = [(np.log(0.5), 0.7), (np.log(0.1), 0.7)]  # gamma and epsilon
_BASES: dict[str, tuple[Basis, list[tuple[float, float]], list[float]]] = {
    "bilinear": (bilinear, [TOKEN_POWER, *_SHARE_POWER], [COEFFICIENT_SD] * 3),
    "bilinear_exp": (bilinear_exp, [TOKEN_POWER, (np.log(3.0), 0.7)], [COEFFICIENT_SD] * 3),
    "bilinear_dip": (bilinear_dip, [TOKEN_POWER, *_SHARE_POWER], [COEFFICIENT_SD] * 5),
    "relearning": (
        relearning,
        [(np.log(0.7), 0.6), (np.log(0.5), 1.0), (np.log(0.5), 0.7)],
        [COEFFICIENT_SD, 0.5, COEFFICIENT_SD],
    ),
}
OWN_LAWS = tuple(_BASES)


def own_law(name: str, corpus: str, *, is_anchored: bool) -> OwnLaw:
    """Return one of this project's laws with its priors.

    Parameters
    ----------
    name : str
        One of :data:`OWN_LAWS`.
    corpus : str
    is_anchored : bool
        Whether losses are counted from the base loss of their size, which leaves little of the level to the size.
    """
    basis, shape, coefficients = _BASES[name]
    both = [*shape, *((decay, SIZE_DECAY_SD) for decay in SIZE_DECAY.get(corpus, (0.0, 0.0)))]
    prior = Prior(np.array([mean for mean, _ in both]), np.array([sd for _, sd in both]))
    sd = np.array([LEVEL_SD, level_slope_sd(is_anchored), *coefficients])
    return OwnLaw(name, basis, prior, sd)
