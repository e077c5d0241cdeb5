"""Where losses are asked for, and mean functions of the log loss there.

A mean function is linear in coefficients and not in a few shape parameters. Coefficients have a wide normal prior and
walk with the size (:mod:`cmrplan.fit.residual.kriging`). The laws of this project are mean functions, their terms at
one size the features, and so is any fitted law, around its optimum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.corpus_model import law_inputs, target_share
from cmrplan.fit.schedule_areas import RateScales
from cmrplan.fit.supply import discounted_tokens
from cmrplan.laws import build_law
from cmrplan.laws.law import Law, link_jacobian, predict_draws
from cmrplan.solve.law_fit import LawFit

SHARE_SHIFT = 0.05  # shares below it are near each other
COEFFICIENT_SD = 0.3  # of a feature whose values are of the order of one, in units of log loss
HARM_SD = 0.01  # of the log loss per squared logarithm of the passes: 0.05 at ten passes
ANNEALING_SD = 0.03  # of the log loss at the largest annealing area of a log
REGAINED_SD = 0.5  # of what relearning regains, all of it
LEVEL_SD = 0.5
# Of a parameter's effect, that no other has; a parameter with less is left at the optimum.
FAINTEST_DIRECTION = 1e-2
LEAST_EFFECT = 1e-9  # of the largest effect of a parameter; what is less is rounding
LAW_SD = 0.1  # root mean square of what one direction may add to the log losses of the rows
EVEN_RATIO = 0.5
GROWN = ("train_tokens", "s1_cpt")  # columns that grow with the tokens of a run
NUM_BETWEEN = 41  # ratios at which a law's directions are kept in bounds, beside those probed
OWN_LAWS = ("bilinear", "bilinear_exp", "bilinear_dip", "relearning")

# Mean and standard deviation of each exponent, or of its logarithm where a law searches that. Published exponents of
# the tokens are 0.2 to 0.5. D0 is counted from the reference tokens.
EXPONENT_PRIORS = {
    "beta": (0.4, 0.5),
    "gamma": (np.log(0.5), 0.7),
    "ratio_offset": (np.log(0.1), 0.7),
    "k": (np.log(3.0), 0.7),
    "eta": (np.log(0.7), 0.6),
    "D0": (np.log(0.5), 1.0),
}
# The beta of relearning is another: of the whole, not of the tokens.
REGAINED_BETA = (np.log(0.5), 0.7)
# How the rise over the base shrinks with size: at one rate for all ratios, and faster with the target share. A sweep of
# three small sizes has 0.34 and 1.6 for the general loss, and about 0 for the domain loss (data/probes).
SIZE_DECAY = {"general": (0.3, 0.0), "domain": (0.0, 0.0)}
SIZE_DECAY_SD = 0.25


@dataclass(frozen=True)
class Points:
    """``n`` points of one corpus.

    Parameters
    ----------
    size : array (n,)
        Logarithm of the model parameters over their reference.
    tokens : array (n,)
        Logarithm of the train tokens over their reference.
        Effective ones where domain data repeat.
    share : array (n,)
        The target share: that of the corpus whose loss is predicted.
    frame : Frame
    columns : mapping of str to array (n,)
        As in a log.
    """

    size: Array
    tokens: Array
    share: Array
    frame: Frame
    columns: Mapping[str, Array]

    @property
    def log_share(self) -> Array:
        """The share on the scale on which the residual is smooth, ``(n,)``."""
        return np.log(self.share + SHARE_SHIFT)

    @property
    def inputs(self) -> Mapping[str, Array]:
        """What a law reads there, each ``(n,)``."""
        return law_inputs(self.frame.corpus, self.columns)

    @property
    def effective_inputs(self) -> Mapping[str, Array]:
        """The same with effective tokens, for a law that knows of no repetition."""
        if self.frame.repeat_scale is None and self.frame.rates is None:
            return self.inputs
        return {**self.inputs, "train_tokens": self.frame.train_tokens * np.exp(self.tokens)}

    @property
    def log_passes(self) -> Array:
        """The logarithm of the passes over the domain data, 0 up to one, ``(n,)``."""
        drawn = self.columns["train_tokens"] * self.columns["domain_ratio"]
        return np.log(np.maximum(drawn / self.inputs["unique_tokens"], 1.0))

    @property
    def more_terms(self) -> list[Array]:
        """What repetition and a falling learning rate add to a law's terms, ``(n, 1)`` or ``(n, 2)`` each."""
        terms = []
        if self.frame.repeat_scale is not None:
            terms.append(self.log_passes[:, None] ** 2)
        if self.frame.rates is not None:
            annealed = self.frame.rates.annealed(
                self.columns["model_params"], self.columns["s2_cpt"]
            )
            both = np.stack([annealed, self.columns["cooled"]], axis=1)
            terms.append(np.hstack([both, both * self.share[:, None]]))
        return terms

    def beyond(self, columns: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Return how far columns lie beyond the most tokens here, by logarithms ``(m,)``, and the columns at these."""
        ahead = np.log(columns["train_tokens"] / np.max(self.columns["train_tokens"]))
        ahead = np.maximum(ahead, 0)
        grown = [name for name in GROWN if name in columns]
        return ahead, {**columns, **{name: columns[name] * np.exp(-ahead) for name in grown}}

    def replay(self, times: Array | float = 1.0) -> Points:
        """Return the same runs on general data alone, after a multiple of their tokens ``(n,)``."""
        grown = {name: times * self.columns[name] for name in GROWN if name in self.columns}
        none = np.zeros_like(self.share)
        return self.frame.points({**self.columns, **grown, "domain_ratio": none})

    def select(self, index: NDArray[np.intp]) -> Points:
        """Return some of the points."""
        columns = {name: np.asarray(values)[index] for name, values in self.columns.items()}
        here = self.size[index], self.tokens[index], self.share[index]
        return Points(*here, self.frame, columns)

    def distinct(self) -> tuple[Points, NDArray[np.intp]]:
        """Return each point once, ``m`` of them, and which of them each point is, ``(n,)``."""
        table = np.stack([self.size, self.tokens, self.share, *self.columns.values()], axis=1)
        _, first, which = np.unique(table, axis=0, return_index=True, return_inverse=True)
        return self.select(first), which.reshape(-1)


@dataclass(frozen=True)
class Frame:
    """The references of the coordinates: geometric means of the sizes and of the tokens of a log.

    ``repeat_scale`` is R* of the domain tokens that repeat; None where none do, or they do not matter to the corpus.
    ``rates`` are of a log whose learning rate falls; None of others. ``base_tokens`` are those that the bases had seen,
    geometric mean over the sizes, where these count, and ``least_tokens`` the fewest of a probe.
    """

    corpus: str
    model_params: float
    train_tokens: float
    repeat_scale: float | None = None
    rates: RateScales | None = None
    base_tokens: float | None = None
    least_tokens: float = 0.0

    def points(self, columns: Mapping[str, Array]) -> Points:
        """Return the points of columns as in a log."""
        ratio = np.asarray(columns["domain_ratio"], dtype=float)
        tokens = columns["train_tokens"]
        if self.repeat_scale is not None:
            unique = law_inputs(self.corpus, columns)["unique_tokens"]
            tokens = discounted_tokens(tokens, ratio, unique, self.repeat_scale)
        if self.rates is not None:
            by_rates = self.rates.tokens(columns["model_params"], columns["s1_cpt"])
            tokens = by_rates * (tokens / columns["train_tokens"])
        return Points(
            np.log(columns["model_params"] / self.model_params),
            np.log(tokens / self.train_tokens),
            target_share(self.corpus, ratio),
            self,
            columns,
        )


def level_slope_sd(is_anchored: bool) -> float:
    """Return how much the level may change with ln N: little where it is counted from the base loss of the size."""
    return 0.005 if is_anchored else 0.1


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
        Changes of the parameters whose effects on the log losses, of the rows and between their shares, are orthogonal
        and of root mean square 1.
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
        value = _log_law(self.fit, points)
        if not self.is_anchored:
            return value
        return value - _log_law(self.fit, _reference(points))


def linearized_law(name: str, fit: LawFit, points: Points, *, is_anchored: bool) -> LinearizedLaw:
    """Return a fitted law as a mean function for the points that it was fitted to.

    Its directions are orthogonal over these points and the shares between them. What moves the loss at a share that
    was not probed, and hardly at those that were, would otherwise have next to no prior there.
    """
    between = _between(points)
    effects = np.vstack([_effects(fit, here, is_anchored) for here in (points, between)])
    directions = _orthogonal(effects) * np.sqrt(len(effects))
    level = [LEVEL_SD, level_slope_sd(is_anchored)]
    sd = np.append(level, np.full(directions.shape[1], LAW_SD))
    nothing = Prior(np.zeros(0), np.zeros(0))
    return LinearizedLaw(name, nothing, sd, fit, directions, is_anchored)


def _between(points: Points) -> Points:
    """Return points at each size, over the range of the ratios, at the reference tokens."""
    ratio = np.asarray(points.columns["domain_ratio"], dtype=float)
    grid = np.linspace(np.min(ratio), np.max(ratio), NUM_BETWEEN)
    _, first = np.unique(points.size, return_index=True)
    there = points.select(np.repeat(first, NUM_BETWEEN))
    return _at_reference(there, np.tile(grid, len(first)))


def _orthogonal(effects: Array) -> Array:
    """Return changes of the parameters ``(p, k)`` whose effects are orthonormal, one parameter after the other.

    A parameter whose effect is nearly that of those before it, or none at all, adds none. In this order, unlike by
    singular values, the signs are the same on every processor.
    """
    changes: list[Array] = []
    spanned: list[Array] = []
    least = LEAST_EFFECT * np.max(np.linalg.norm(effects, axis=0), initial=0.0)
    for j, effect in enumerate(effects.T):
        change = np.zeros(effects.shape[1])
        change[j] = 1.0
        left = effect
        for other, known in zip(changes, spanned, strict=True):
            part = known @ left
            left, change = left - part * known, change - part * other
        size = np.linalg.norm(left)
        if size > max(FAINTEST_DIRECTION * np.linalg.norm(effect), least):
            changes.append(change / size)
            spanned.append(left / size)
    return np.array(changes).reshape(-1, effects.shape[1]).T


def _effects(fit: LawFit, points: Points, is_anchored: bool) -> Array:
    """Return the derivative of the log loss by each parameter of a law, ``(n, p)``."""
    names = fit.law.parameter_names[: fit.law.num_free]
    free = [name not in fit.at_bound for name in names]
    places = [points, _reference(points)] if is_anchored else [points]
    effects = [
        link_jacobian(fit.law, fit.scales, at.inputs, fit.search, fit.coefficients)[:, free]
        for at in places
    ]
    return effects[0] - effects[1] if is_anchored else effects[0]


def _log_law(fit: LawFit, points: Points) -> Array:
    """Return the log of a fitted law, ``(n,)``."""
    law, search, coefficients = fit.law, fit.search[None, :], fit.coefficients[None, :]
    loss = predict_draws(law, fit.scales, points.inputs, search, coefficients)
    return np.asarray(np.log(loss[0]))


def _reference(points: Points) -> Points:
    """Return for each point the one at its size with the reference tokens and an even mixture."""
    return _at_reference(points, np.full_like(points.share, EVEN_RATIO))


def _at_reference(points: Points, ratio: Array) -> Points:
    tokens = np.full_like(ratio, points.frame.train_tokens)
    columns = {**points.columns, "domain_ratio": ratio, "train_tokens": tokens}
    return points.frame.points(columns)


@dataclass(frozen=True)
class OwnLaw(MeanFunction):
    """One of this project's laws at one size, all terms beside the level shrinking with the size.

    Parameters
    ----------
    name : str
    law : Law
        Its terms are the features; its first is the level. Where domain data repeat, the squared logarithm of the
        passes is one more: many passes may harm. Where the learning rate falls, the annealing area and the part by
        which it has fallen are, at all shares and at the target share.
    shape_prior : Prior
        Of the law's exponents, logarithms where it searches these, and of ``alpha0`` and ``alpha1``: the terms carry
        the factor ``(N/N0)^-(alpha0 + alpha1 s)``.
    coefficient_sd : array (q,)
    """

    name: str
    law: Law
    shape_prior: Prior
    coefficient_sd: Array

    def features(self, points: Points, shape: Array) -> tuple[Array, Array]:
        """Return the features and their derivatives."""
        is_log = np.array([exponent.is_log for exponent in self.law.exponents])
        theta = np.where(is_log, np.exp(shape[:-2]), shape[:-2])
        design, slopes = self.law.design(points.effective_inputs, theta[None, :])
        size, share = points.size[:, None], points.share[:, None]
        factor = np.exp(-(shape[-2] + shape[-1] * share) * size)
        shrinking = factor * np.hstack([design[0, :, 1:], *points.more_terms])
        level = np.hstack([np.ones_like(size), size])
        values = np.hstack([level, shrinking])
        changes = np.zeros((len(shape), *values.shape))
        for j, k, slope in slopes:
            unit = theta[k] if is_log[k] else 1.0
            changes[k, :, j + 1] = unit * factor[:, 0] * slope[0]
        changes[-2, :, 2:] = -size * shrinking
        changes[-1, :, 2:] = -size * share * shrinking
        return values, changes


def own_law(name: str, frame: Frame, *, is_anchored: bool) -> OwnLaw:
    """Return one of this project's laws with its priors.

    Parameters
    ----------
    name : str
        One of :data:`OWN_LAWS`.
    frame : Frame
        Its tokens are the scale of the law.
    is_anchored : bool
        Whether losses are counted from the base loss of their size, which leaves little of the level to the size.
    """
    law = build_law(name, {"token_scale": frame.train_tokens})
    decays = SIZE_DECAY.get(frame.corpus, (0.0, 0.0))
    mean, sd = [], []
    for exponent in law.exponents:
        is_regained = name == "relearning" and exponent.name == "beta"
        middle, width = REGAINED_BETA if is_regained else EXPONENT_PRIORS[exponent.name]
        mean.append(middle + (np.log(frame.train_tokens) if exponent.name == "D0" else 0.0))
        sd.append(width)
    prior = Prior(np.array([*mean, *decays]), np.array([*sd, *[SIZE_DECAY_SD] * len(decays)]))
    terms = [REGAINED_SD if term.coefficient == "G" else COEFFICIENT_SD for term in law.terms[1:]]
    level = [LEVEL_SD, level_slope_sd(is_anchored)]
    harm = [] if frame.repeat_scale is None else [HARM_SD]
    annealing = [] if frame.rates is None else [ANNEALING_SD] * 4
    return OwnLaw(name, law, prior, np.array([*level, *terms, *harm, *annealing]))
