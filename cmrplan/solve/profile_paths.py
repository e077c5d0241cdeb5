"""How a quantity is fixed at a value while everything else is fitted again: one path for each kind of quantity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.optimize import brentq

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, InputError
from cmrplan.laws.law import Factor, Inputs, Law, link_jacobian, scaled_inputs, to_theta
from cmrplan.solve.identification import MAD_TO_SIGMA, NUMERICAL_NOISE
from cmrplan.solve.law_fit import LawFit
from cmrplan.solve.problem import FitOptimum, FitProblem, box
from cmrplan.solve.varpro import minimize

# Weight of the row that fixes a value, in units of all rows together. The value reached differs a little from the one
# asked for; what is reached is what is reported, so the profile is exact, and a heavier row only slows the descent.
PIN = 1e4
LARGEST_LOGARITHM = 40.0  # logarithm at which a positive quantity counts as 0 or infinite
SECANT = 1e-6  # of the range of an input
NUM_SCANNED = 401  # inputs at which a crossing is looked for


@dataclass(frozen=True)
class ProfiledFit:
    """The fit with its rows, unscaled and scaled."""

    fit: LawFit
    inputs: dict[str, Array]
    target: Array
    weights: Array

    @classmethod
    def of(cls, fit: LawFit, inputs: Inputs, target: Array) -> ProfiledFit:
        """Return them as arrays."""
        target = np.asarray(target, dtype=float)
        rows = {name: np.asarray(inputs[name], dtype=float) for name in fit.law.inputs}
        return cls(fit, rows, target, fit.row_weights)

    def problem(self, law: Law, scales: Mapping[str, float]) -> FitProblem:
        """Return the fit's problem for a law, its inputs divided by ``scales``."""
        return FitProblem(
            law,
            scaled_inputs(self.inputs, scales),
            self.target[None, :],
            self.weights[None, :],
            self.fit.delta,
        )

    @property
    def spare(self) -> int:
        """Rows beyond the number of parameters."""
        return max(int(np.sum(self.weights > 0)) - self.fit.law.num_free, 1)

    def noise_scale(self) -> float:
        """Return ``tau``, what twice the objective gains from one parameter without meaning."""
        size = np.abs(self.fit.residual)
        clipped = np.minimum(size, self.fit.delta)
        inside = np.sum(self.weights * (size <= self.fit.delta)) / np.sum(self.weights)
        variance = np.sum(self.weights * clipped**2) / self.spare
        floor = NUMERICAL_NOISE**2 * float(np.mean(self.weights))
        return max(float(variance / max(inside, 1 / len(size))), floor)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.fit.law.parameter_names[: self.fit.law.num_free]

    def gradient_at(self, point: Inputs) -> Array:
        """Return the derivative of the fitted link of the law at one point by each parameter, ``(p,)``."""
        fit = self.fit
        jacobian = link_jacobian(fit.law, fit.scales, point, fit.search, fit.coefficients)
        return np.asarray(jacobian[0])

    def direction_of(self, name: str) -> Array:
        """Return the derivative of a parameter by each, ``(p,)``."""
        return np.array([float(other == name) for other in self._names])

    def noise_ratio(self, gradient: Array) -> float:
        """Return how much larger a quantity's variance is by each row's own residual than by one noise, at least 1.

        Parameters
        ----------
        gradient : array (p,)
            Of the quantity by the parameters, in any unit.
        """
        fit = self.fit
        free = np.array([name not in fit.at_bound for name in self._names])
        wanted = gradient[free]
        jacobian = link_jacobian(fit.law, fit.scales, self.inputs, fit.search, fit.coefficients)
        jacobian = jacobian[:, free]
        length = np.sqrt(self.weights @ jacobian**2)
        if not wanted.any() or not (length > 0).all():
            return 1.0
        scaled = np.sqrt(self.weights)[:, None] * jacobian / length
        wanted = wanted / length
        pull = np.clip(fit.residual, -fit.delta, fit.delta) * np.sqrt(self.weights)
        # Where the noise is small more residuals lie near 0, and a Huber loss is the steeper there.
        width = max(fit.delta, MAD_TO_SIGMA * float(np.median(np.abs(fit.residual))))
        steep = (np.abs(fit.residual) <= width)[:, None] * scaled
        direction = (
            np.linalg.pinv(steep.T @ steep / np.mean(np.abs(fit.residual) <= width)) @ wanted
        )
        own = float(np.sum((pull * (scaled @ direction)) ** 2)) * int(np.sum(self.weights > 0))
        equal = float(wanted @ np.linalg.pinv(scaled.T @ scaled) @ wanted * np.sum(pull**2))
        return max(own / equal, 1.0) if 0 < equal < np.inf and np.isfinite(own) else 1.0


@dataclass(frozen=True)
class Path:
    """A quantity to profile, in a coordinate of order one.

    ``refit`` takes coordinates ``(K,)`` and starts ``(K, q)`` and returns the coordinates reached, objective and
    search. ``edges`` are the values to report where a side is open; ``gradient`` ``(p,)`` is the quantity's by the
    parameters of the law, in any unit.
    """

    gradient: Array
    estimate: float
    lower: float
    upper: float
    edges: tuple[float, float]
    to_value: Callable[[float], float]
    refit: Callable[[Array, Array], tuple[Array, Array, Array]]


@dataclass(frozen=True)
class _Frozen:
    """A factor that keeps one of its exponents as it is."""

    factor: Factor
    held: str

    @property
    def variables(self) -> tuple[str, ...]:
        """Those of the factor."""
        return self.factor.variables

    @property
    def exponents(self) -> tuple[str, ...]:
        """Those of the factor, without the held one."""
        return tuple(name for name in self.factor.exponents if name != self.held)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value and the derivatives by the other exponents."""
        value, slopes = self.factor(inputs, theta)
        pairs = zip(self.factor.exponents, slopes, strict=True)
        return value, [slope for name, slope in pairs if name != self.held]


@dataclass(frozen=True)
class _Reading(Law):
    """A law with more rows at the end: coefficient ``which`` divided by each of ``values``."""

    which: int = 0
    values: tuple[float, ...] = ()

    def design(self, inputs: Inputs, theta: Array) -> tuple[Array, list[tuple[int, int, Array]]]:
        """Return the law's design and derivatives with the rows added."""
        design, derivatives = super().design(inputs, theta)
        rows = np.zeros((len(theta), len(self.values), len(self.terms)))
        rows[:, :, self.which] = 1.0 / np.array(self.values)
        flat = np.zeros(rows.shape[:2])
        padded = [(j, k, np.concatenate([slope, flat], axis=1)) for j, k, slope in derivatives]
        return np.concatenate([design, rows], axis=1), padded


def exponent_path(data: ProfiledFit, which: int) -> Path:
    """Return the path of an exponent: its derivatives are dropped, so the search leaves it where it starts."""
    law = data.fit.law
    exponent = law.exponents[which]
    terms = tuple(
        replace(term, factors=tuple(_Frozen(factor, exponent.name) for factor in term.factors))
        for term in law.terms
    )
    problem = data.problem(replace(law, terms=terms), data.fit.scales)

    def refit(points: Array, starts: Array) -> tuple[Array, Array, Array]:
        starts = starts.copy()
        starts[:, which] = points
        optimum = minimize(problem, starts)
        return points, optimum.objective, optimum.search

    lower, upper = (float(edge[which]) for edge in box(law))
    return Path(
        gradient=data.direction_of(exponent.name),
        estimate=float(data.fit.search[which]),
        lower=lower,
        upper=upper,
        edges=(exponent.lower, exponent.upper),
        to_value=(lambda t: float(np.exp(t))) if exponent.is_log else float,
        refit=refit,
    )


def coefficient_path(data: ProfiledFit, which: int) -> Path:
    """Return the path of a coefficient, in the caller's units."""
    law = data.fit.law
    term = law.terms[which]
    estimate = data.fit.params[term.coefficient]
    unscaled = data.problem(law, {})
    unit = _coefficient_unit(data, unscaled, which)
    direction = np.sign(estimate) if term.sign and estimate else 0.0
    gradient = data.direction_of(term.coefficient)

    def to_value(t: float) -> float:
        return float(direction * np.exp(t)) if direction else float(t * unit)

    def refit(points: Array, starts: Array) -> tuple[Array, Array, Array]:
        values = np.array([to_value(t) for t in points])
        values[values == 0] = np.finfo(float).tiny
        parts = {f.name: getattr(law, f.name) for f in fields(Law)}
        reading = _Reading(**parts, which=which, values=tuple(values.tolist()))
        ones = np.ones(len(points))
        optimum, objective = _pinned(unscaled, reading, unscaled.inputs, ones, starts)
        value = optimum.coefficients[:, which]
        reached = np.log(np.abs(value)) if direction else value / unit
        return reached, objective, optimum.search

    if direction:  # the logarithm of the size, which may fall to zero
        near = float(np.log(abs(estimate)))
        edges = (0.0, np.inf) if direction > 0 else (0.0, -np.inf)
        low, high = near - LARGEST_LOGARITHM, near + LARGEST_LOGARITHM
        return Path(gradient, near, low, high, edges, to_value, refit)
    far = float(np.exp(LARGEST_LOGARITHM / 2))
    lower = 0.0 if term.sign > 0 else -far
    upper = 0.0 if term.sign < 0 else far
    edges = (0.0 if term.sign > 0 else -np.inf, 0.0 if term.sign < 0 else np.inf)
    return Path(gradient, estimate / unit, lower, upper, edges, to_value, refit)


def _coefficient_unit(data: ProfiledFit, unscaled: FitProblem, which: int) -> float:
    """Return the coefficient whose term is as large as the target."""
    theta = to_theta(data.fit.law, data.fit.search[None, :])
    design, _ = data.fit.law.design(unscaled.inputs, theta)
    column = float(np.max(np.abs(design[0, :, which])))
    largest = float(np.max(np.abs(data.target)))
    return largest / column if column > 0 and largest > 0 else 1.0


def prediction_path(data: ProfiledFit, at: dict[str, float]) -> Path:
    """Return the path of the law's value at a point, in the caller's units."""
    law = data.fit.law
    problem = data.problem(law, data.fit.scales)
    point = scaled_inputs({name: np.array([at[name]]) for name in law.inputs}, data.fit.scales)
    there = {name: np.array([at[name]]) for name in law.inputs}
    estimate, gradient = float(data.fit.predict(there)[0]), data.gradient_at(there)
    is_log = law.link == "log"
    unit = 1.0 if is_log else float(np.max(np.abs(data.target))) or 1.0

    def to_value(t: float) -> float:
        return float(np.exp(t)) if is_log else float(t * unit)

    def refit(points: Array, starts: Array) -> tuple[Array, Array, Array]:
        rows = {
            name: np.concatenate([values, np.repeat(point[name], len(points))])
            for name, values in problem.inputs.items()
        }
        wanted = np.array([to_value(t) for t in points])
        optimum, objective = _pinned(problem, law, rows, wanted, starts)
        value = _values(law, point, optimum)[:, 0]
        return np.log(value) if is_log else value / unit, objective, optimum.search

    if is_log:
        near = float(np.log(estimate))
        low, high = near - LARGEST_LOGARITHM, near + LARGEST_LOGARITHM
        return Path(gradient, near, low, high, (0.0, np.inf), to_value, refit)
    near, far = estimate / unit, float(np.exp(LARGEST_LOGARITHM / 2))
    return Path(gradient, near, near - far, near + far, (-np.inf, np.inf), to_value, refit)


@dataclass(frozen=True)
class Crossing:
    """The input at which a law first reaches a level in a range.

    Parameters
    ----------
    variable : str
        The input that is asked for.
    level : float
        The value to reach, in the unit of the target.
    between : (float, float)
        The range of the input.
    """

    variable: str
    level: float
    between: tuple[float, float]


def crossing_path(data: ProfiledFit, at: dict[str, float], crossing: Crossing) -> Path:
    """Return the path of the input at which the law first reaches a level in a range."""
    law = data.fit.law
    variable, level, between = crossing.variable, crossing.level, crossing.between
    if variable not in law.inputs:
        raise InputError(f"variable must be one of {', '.join(law.inputs)}, got {variable!r}")
    lower, upper = between
    if not lower < upper:
        raise InputError(f"between must be two ascending numbers, got {between}")
    problem = data.problem(law, data.fit.scales)
    span = upper - lower

    def row(value: Array) -> dict[str, Array]:
        others = {name: np.full(len(value), at[name]) for name in law.inputs if name != variable}
        return others | {variable: value}

    def miss(value: float) -> float:
        return float(data.fit.predict(row(np.array([value])))[0]) - level

    grid = np.linspace(lower, upper, NUM_SCANNED)
    signs = np.sign(data.fit.predict(row(grid)) - level)
    changes = np.flatnonzero(signs[:-1] * signs[1:] <= 0)
    if not len(changes):
        raise CmrplanError(
            f"the fitted law does not reach {level:g} for {variable} between {lower:g} and {upper:g}; "
            "ask for another level or a wider range"
        )
    root = float(brentq(miss, grid[changes[0]], grid[changes[0] + 1], xtol=1e-14 * span))

    def refit(points: Array, starts: Array) -> tuple[Array, Array, Array]:
        pins = scaled_inputs(row(lower + span * points), data.fit.scales)
        rows = {
            name: np.concatenate([values, pins[name]]) for name, values in problem.inputs.items()
        }
        optimum, objective = _pinned(problem, law, rows, np.full(len(points), level), starts)
        # This is one secant step to where the refitted law is at the level.
        near = np.stack([points, points + SECANT], axis=1)
        value = np.array(
            [
                _values(law, scaled_inputs(row(lower + span * pair), data.fit.scales), optimum)[k]
                for k, pair in enumerate(near)
            ]
        )
        slope = (value[:, 1] - value[:, 0]) / SECANT
        return points - (value[:, 0] - level) / slope, objective, optimum.search

    gradient = data.gradient_at(row(np.array([root])))
    return Path(
        gradient, (root - lower) / span, 0.0, 1.0, between, lambda t: lower + span * t, refit
    )


def _pinned(
    problem: FitProblem, law: Law, inputs: Inputs, wanted: Array, starts: Array
) -> tuple[FitOptimum, Array]:
    """Refit with one more row a problem; return the optimum and the objective of the data alone.

    ``law`` on ``inputs`` has the ``n`` rows of ``problem`` and ``K`` more; problem ``k`` counts the
    ``k``-th of these, whose target is ``wanted[k]``.
    """
    count = len(wanted)
    target = np.concatenate([problem.target[0], wanted])[None, :]
    pins = PIN * float(np.sum(problem.weights)) * np.eye(count)
    weights = np.concatenate([np.repeat(problem.weights, count, axis=0), pins], axis=1)
    optimum = minimize(FitProblem(law, inputs, target, weights, problem.delta), starts)
    return optimum, problem.objective(_values(problem.law, problem.inputs, optimum))


def _values(law: Law, inputs: Inputs, optimum: FitOptimum) -> Array:
    return law.predict(inputs, to_theta(law, optimum.search), optimum.coefficients)
