"""What is fitted, and where a fit ends: ``S`` fits of one law on the same rows.

The fits differ in their weights, targets and starts. Multi-start fits and bootstrap resamples are both such a
problem, solved in one call.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.laws.law import Inputs, Law

LARGEST_ANCHOR = 1e3  # of targets around 1; losses that far from the others would drown them


@dataclass(frozen=True)
class FitProblem:
    """The data of ``S`` fits of one law.

    Parameters
    ----------
    law : Law
    inputs : mapping of str to array (n,)
        Scaled inputs.
    target : array (S, n) or (1, n)
        Losses, nats per token.
    weights : array (S, n) or (1, n)
        Nonnegative; a resample's counts.
    delta : float
        Huber delta, in residual units; infinity for least squares.
    """

    law: Law
    inputs: Inputs
    target: Array
    weights: Array
    delta: float

    def select(self, rows: NDArray[np.intp]) -> FitProblem:
        """Return the problems ``rows`` (indices into S)."""

        def pick(values: Array) -> Array:
            return values if len(values) == 1 else values[rows]

        return replace(self, target=pick(self.target), weights=pick(self.weights))

    def thinned(self, count: int) -> FitProblem:
        """Return the problem on ``count`` rows drawn at random, always the same ones.

        Of an input with few levels, such as the ratio, one row of each level comes in addition.
        """
        order = np.random.default_rng(0).permutation(self.target.shape[1])
        kept = order[:count]
        for values in self.inputs.values():
            levels, first = np.unique(values[order], return_index=True)
            if len(levels) <= count // 10:
                kept = np.union1d(kept, order[first])
        return replace(
            self,
            inputs={name: values[kept] for name, values in self.inputs.items()},
            target=self.target[:, kept],
            weights=self.weights[:, kept],
        )

    @property
    def anchor(self) -> Array:
        """The target within reason: where rows are linearized that have no prediction yet."""
        if self.law.link == "identity":
            return self.target
        return np.clip(self.target, 1 / LARGEST_ANCHOR, LARGEST_ANCHOR)

    def residual(self, predicted: Array) -> Array:
        """Return ``log y - log m`` or ``y - m``; infinite where a log law is not positive."""
        if self.law.link == "identity":
            return self.target - predicted
        positive = predicted > 0
        return np.where(
            positive, np.log(self.target) - np.log(np.where(positive, predicted, 1.0)), np.inf
        )

    def objective(self, predicted: Array) -> Array:
        """Return the weighted sum of Huber losses, ``(S,)``."""
        size = np.abs(self.residual(predicted))
        inside = np.minimum(size, self.delta)
        with np.errstate(invalid="ignore"):
            loss = np.where(size <= self.delta, 0.5 * size**2, self.delta * size - 0.5 * inside**2)
            weighted = np.where(self.weights > 0, self.weights * loss, 0.0)
        return np.asarray(np.sum(weighted, axis=1))

    def linearize(self, predicted: Array, mix: Array) -> tuple[Array, Array, Array]:
        """Return the pull (minus the loss's slope), the model's curvature, and d(residual scale).

        Each is ``(S, n)``; where a prediction is not positive under a log link the anchor takes its place.
        """
        if self.law.link == "log":
            predicted = np.where(predicted > 0, predicted, self.anchor)
            inverse = 1.0 / predicted
        else:
            inverse = np.ones_like(predicted)
        residual = self.residual(predicted)
        size = np.abs(residual)
        shrink = self.delta / np.maximum(size, self.delta) if np.isfinite(self.delta) else 1.0
        pull = self.weights * residual * shrink
        curvature = self.weights * np.where(size <= self.delta, 1.0, mix[:, None] * shrink)
        return pull, curvature, inverse


@dataclass(frozen=True)
class FitOptimum:
    """Where ``S`` searches ended.

    Parameters
    ----------
    search : array (S, q)
        Search coordinates (logarithms of the exponents that are searched so).
    coefficients : array (S, p)
    objective : array (S,)
        Weighted sum of Huber losses.
    gradient : array (S,)
        Largest cosine between the residual and a free Jacobian column; 0 at an optimum.
    is_converged : bool array (S,)
        First-order optimality was reached.
    num_iterations : int
    """

    search: Array
    coefficients: Array
    objective: Array
    gradient: Array
    is_converged: NDArray[np.bool_]
    num_iterations: int

    def select(self, rows: NDArray[np.intp]) -> FitOptimum:
        """Return the ends ``rows`` (indices into S)."""
        return replace(
            self,
            search=self.search[rows],
            coefficients=self.coefficients[rows],
            objective=self.objective[rows],
            gradient=self.gradient[rows],
            is_converged=self.is_converged[rows],
        )

    def best(self) -> int:
        """Return the index of the lowest objective (the first of equals)."""
        return int(np.argmin(np.where(np.isfinite(self.objective), self.objective, np.inf)))


def box(law: Law) -> tuple[Array, Array]:
    """Return the lower and upper bounds of the search coordinates, each ``(q,)``."""
    lower = [np.log(e.lower) if e.is_log else e.lower for e in law.exponents]
    upper = [np.log(e.upper) if e.is_log else e.upper for e in law.exponents]
    return np.array(lower, dtype=float), np.array(upper, dtype=float)
