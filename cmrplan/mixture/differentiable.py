"""Losses, their weighted sum and what they exceed limits by: functions of the mixture that know their derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmrplan.arrays import Array
from cmrplan.mixture.run_residual import RunResidual
from cmrplan.mixture.simplex import Values, gradient


@dataclass(frozen=True)
class MixtureLosses:
    """``S`` losses as functions of the mixture: laws, some multiplied by what stands above them.

    Parameters
    ----------
    laws : callable
        Mixtures ``(G, m)`` to values ``(S, G)``.
    above : tuple of (slice, RunResidual)
        Which rows a residual multiplies; it has as many curves.
    """

    laws: Values
    above: tuple[tuple[slice, RunResidual], ...] = ()

    def __call__(self, shares: Array) -> Array:
        """Return the losses, ``(S, G)``."""
        losses = self.laws(shares)
        for rows, residual in self.above:
            losses[rows] *= residual.factors(shares)
        return losses

    def gradient(self, shares: Array) -> Array:
        """Return their derivatives at one mixture ``(m,)``, ``(S, m)``."""
        slopes = gradient(self.laws, shares)
        if not self.above:
            return slopes
        here = self.laws(shares[None, :])
        for rows, residual in self.above:
            factor = residual.factors(shares[None, :])
            slopes[rows] = factor * (slopes[rows] + here[rows] * residual.log_gradient(shares))
        return slopes


@dataclass(frozen=True)
class WeightedSum:
    """A weighted sum of losses, ``(G,)``."""

    losses: MixtureLosses
    weights: Array

    def __call__(self, shares: Array) -> Array:
        """Return the sum at mixtures ``(G, m)``."""
        return np.asarray(self.weights @ self.losses(shares))

    def gradient(self, shares: Array) -> Array:
        """Return its derivatives at one mixture, ``(m,)``."""
        return np.asarray(self.weights @ self.losses.gradient(shares))


@dataclass(frozen=True)
class ExcessByBoth:
    """How far the estimates, and behind them the resamples, lie above their limits, ``(P, 1 + B, G)``, nats."""

    estimated: ExcessOfLimits
    drawn: ExcessOfLimits

    def __call__(self, shares: Array) -> Array:
        """Return the excess at mixtures ``(G, m)``."""
        return np.concatenate([self.estimated(shares), self.drawn(shares)], axis=1)

    def gradient(self, shares: Array) -> Array:
        """Return its derivatives at one mixture, ``(P, 1 + B, m)``."""
        both = [self.estimated.gradient(shares), self.drawn.gradient(shares)]
        return np.concatenate(both, axis=1)


@dataclass(frozen=True)
class ExcessOfLimits:
    """How far losses lie above their limits, ``(P, B, G)``, nats.

    Parameters
    ----------
    losses : MixtureLosses
        ``P B`` rows, the draws of the first limit first.
    ceilings : array (P, B)
        What a loss must stay below.
    """

    losses: MixtureLosses
    ceilings: Array

    def __call__(self, shares: Array) -> Array:
        """Return the excess at mixtures ``(G, m)``."""
        over = self.losses(shares) - self.ceilings.reshape(-1, 1)
        return np.asarray(over.reshape(*self.ceilings.shape, -1))

    def gradient(self, shares: Array) -> Array:
        """Return its derivatives at one mixture, ``(P, B, m)``."""
        return self.losses.gradient(shares).reshape(*self.ceilings.shape, -1)
