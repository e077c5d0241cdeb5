"""Profile-likelihood intervals: of parameters, of a predicted loss, of the input at which a loss is reached.

The quantity is fixed at a value and everything else is fitted again, by the solver of the fit itself and many values at
once; the interval holds the values whose objective stays close to the lowest. Unlike an error from a
covariance it follows curved valleys, and a side on which the data never object is reported as open.

How a quantity is fixed:

- an exponent: its derivatives are dropped, so the search leaves it where it starts;
- a coefficient, a prediction or a crossing: one more, heavy row says what it is. All three are linear in the
  coefficients, so the row is one more equation of the projection. Whatever value the refit then has, it is
  the best refit with that value (the row's pull is the Lagrange multiplier).

The objective is read as a quasi-likelihood: twice its rise over the noise scale ``tau`` is compared with the square of
Student's t. For least squares ``tau`` is the residual variance and the interval of a linear law is the
textbook one; for a Huber loss it is ``mean psi^2 / mean psi'``. Rows that share a run's noise count for less: give the
number of runs.

References
----------
Bates & Watts 1988, ch. 6 (profile t). Heritier & Ronchetti 1994 (robust likelihood ratio). Cameron & Miller 2015
(degrees of freedom with few clusters).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t as student

from cmrplan.errors import CmrplanError, InputError
from cmrplan.fitting.lawfit import NUMERICAL_NOISE, LawFit
from cmrplan.fitting.varpro import Optimum, Problem, box, minimize, to_theta
from cmrplan.laws.law import Array, Factor, Inputs, Law

# Weight of the row that fixes a value, in units of all rows together. The value reached differs a little from the one
# asked for; what is reached is what is reported, so the profile is exact, and a heavier row only slows the descent.
PIN = 1e4
FIRST_STEP = 1e-5  # of the walk outward, in coordinate units; far inside any interval of a real log
GROWTH = 4.0
GROUP = 4  # steps that are fitted at once
FARTHEST = 40.0  # logarithm at which a positive quantity counts as 0 or infinite
NARROWING = (0.1, 0.01, 1e-3)  # of a bracket, on both sides of where its end is expected
ROUNDS = 6
PRECISION = 1e-6  # of an end, relative to its distance from the estimate
SECANT = 1e-6  # of the range of an input
NUM_SCANNED = 401  # inputs at which a crossing is looked for


@dataclass(frozen=True)
class ProfileInterval:
    """An interval from a profile.

    Parameters
    ----------
    name : str
    estimate, low, high : float
        In the caller's units.
    is_open : (bool, bool)
        The data do not bound the low or the high side: that end is the edge of the range, 0 or infinity.
    confidence : float
    values, ratio : array (K,)
        The profile: values in ascending order, and how far the objective rises there, in units of
        ``tau / 2``; the square root is Student's t.
    objective_gain : float
        How far below the fit's objective a refit came; above rounding, the fit was not at its optimum.
    """

    name: str
    estimate: float
    low: float
    high: float
    is_open: tuple[bool, bool]
    confidence: float
    values: Array
    ratio: Array
    objective_gain: float


def profile_parameter(
    fit: LawFit,
    inputs: Inputs,
    target: Array,
    name: str,
    *,
    weights: Array | None = None,
    confidence: float = 0.9,
    num_clusters: int | None = None,
) -> ProfileInterval:
    """Return the interval of a named parameter.

    Parameters
    ----------
    fit : LawFit
    inputs : mapping of str to array (n,)
        The rows that were fitted, in the caller's units.
    target : array (n,)
        Their losses, nats per token.
    name : str
        A coefficient or an exponent that the fit estimates.
    weights : array (n,), optional
        The row weights of the fit; all one by default.
    confidence : float
        In (0, 1).
    num_clusters : int, optional
        Number of runs, where the rows of a run share its noise: the rows then count as that many.

    Raises
    ------
    InputError
        If the law has no such parameter or holds it.
    """
    data = _Data.of(fit, inputs, target, weights)
    law = fit.law
    exponents = [e.name for e in law.exponents]
    coefficients = [term.coefficient for term in law.terms]
    if name in exponents:
        path = _exponent_path(data, exponents.index(name))
    elif name in coefficients:
        path = _coefficient_path(data, coefficients.index(name))
    else:
        free = ", ".join(coefficients + exponents)
        raise InputError(f"the law {law.name} has no free parameter {name!r}; it has {free}")
    return _interval(data, path, name, confidence, num_clusters)


def profile_prediction(
    fit: LawFit,
    inputs: Inputs,
    target: Array,
    at: Mapping[str, float],
    *,
    weights: Array | None = None,
    confidence: float = 0.9,
    num_clusters: int | None = None,
) -> ProfileInterval:
    """Return the interval of the law's value at one point, without the noise of a new run.

    Parameters
    ----------
    fit, inputs, target, weights, confidence, num_clusters
        As in :func:`profile_parameter`.
    at : mapping of str to float
        The law's inputs at the point, in the caller's units.
    """
    data = _Data.of(fit, inputs, target, weights)
    path = _prediction_path(data, {key: float(value) for key, value in at.items()})
    return _interval(data, path, "prediction", confidence, num_clusters)


def profile_crossing(
    fit: LawFit,
    inputs: Inputs,
    target: Array,
    at: Mapping[str, float],
    variable: str,
    level: float,
    between: tuple[float, float],
    *,
    weights: Array | None = None,
    confidence: float = 0.9,
    num_clusters: int | None = None,
) -> ProfileInterval:
    """Return the interval of the input at which the law reaches a level, such as a critical share.

    Parameters
    ----------
    fit, inputs, target, weights, confidence, num_clusters
        As in :func:`profile_parameter`.
    at : mapping of str to float
        The law's other inputs, in the caller's units.
    variable : str
        The input that is asked for.
    level : float
        The value to reach, in the unit of the target.
    between : (float, float)
        The range of the input; the first crossing in it is taken.

    Raises
    ------
    CmrplanError
        If the fitted law does not cross the level in the range.
    """
    data = _Data.of(fit, inputs, target, weights)
    point = {key: float(value) for key, value in at.items() if key != variable}
    path = _crossing_path(data, point, variable, level, between)
    return _interval(data, path, variable, confidence, num_clusters)


@dataclass(frozen=True)
class _Data:
    """The fit with its rows, unscaled and scaled."""

    fit: LawFit
    inputs: dict[str, Array]
    target: Array
    weights: Array

    @classmethod
    def of(cls, fit: LawFit, inputs: Inputs, target: Array, weights: Array | None) -> _Data:
        """Return them as arrays."""
        target = np.asarray(target, dtype=float)
        rows = {name: np.asarray(inputs[name], dtype=float) for name in fit.law.inputs}
        row_weights = np.ones(len(target)) if weights is None else np.asarray(weights, dtype=float)
        return cls(fit, rows, target, row_weights)

    def problem(self, law: Law, scales: Mapping[str, float]) -> Problem:
        """Return the fit's problem for a law, its inputs divided by ``scales``."""
        return Problem(
            law,
            _divide(self.inputs, scales),
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


@dataclass(frozen=True)
class _Path:
    """A quantity to profile, in a coordinate of order one.

    ``refit`` takes coordinates ``(K,)`` and starts ``(K, q)`` and returns the coordinates reached, objective and
    search. ``edges`` are the values to report where a side is open.
    """

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


def _exponent_path(data: _Data, which: int) -> _Path:
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
    return _Path(
        estimate=float(data.fit.search[which]),
        lower=lower,
        upper=upper,
        edges=(exponent.lower, exponent.upper),
        to_value=(lambda t: float(np.exp(t))) if exponent.is_log else float,
        refit=refit,
    )


def _coefficient_path(data: _Data, which: int) -> _Path:
    law = data.fit.law
    term = law.terms[which]
    estimate = data.fit.params[term.coefficient]
    unscaled = data.problem(law, {})
    unit = _coefficient_unit(data, unscaled, which)
    direction = np.sign(estimate) if term.sign and estimate else 0.0

    def to_value(t: float) -> float:
        return float(direction * np.exp(t)) if direction else float(t * unit)

    def refit(points: Array, starts: Array) -> tuple[Array, Array, Array]:
        values = np.array([to_value(t) for t in points])
        values[values == 0] = np.finfo(float).tiny
        parts = {f.name: getattr(law, f.name) for f in fields(Law)}
        reading = _Reading(**parts, which=which, values=tuple(values.tolist()))
        ones = np.ones(len(points))
        optimum, objective = _pinned(unscaled, reading, unscaled.inputs, ones, starts)
        found = optimum.coefficients[:, which]
        reached = np.log(np.abs(found)) if direction else found / unit
        return reached, objective, optimum.search

    if direction:  # the logarithm of the size, which may fall to zero
        near = float(np.log(abs(estimate)))
        edges = (0.0, np.inf) if direction > 0 else (0.0, -np.inf)
        return _Path(near, near - FARTHEST, near + FARTHEST, edges, to_value, refit)
    far = float(np.exp(FARTHEST / 2))
    lower = 0.0 if term.sign > 0 else -far
    upper = 0.0 if term.sign < 0 else far
    edges = (0.0 if term.sign > 0 else -np.inf, 0.0 if term.sign < 0 else np.inf)
    return _Path(estimate / unit, lower, upper, edges, to_value, refit)


def _coefficient_unit(data: _Data, unscaled: Problem, which: int) -> float:
    """Return the coefficient whose term is as large as the target."""
    theta = to_theta(data.fit.law, data.fit.search[None, :])
    design, _ = data.fit.law.design(unscaled.inputs, theta)
    column = float(np.max(np.abs(design[0, :, which])))
    largest = float(np.max(np.abs(data.target)))
    return largest / column if column > 0 and largest > 0 else 1.0


def _prediction_path(data: _Data, at: dict[str, float]) -> _Path:
    law = data.fit.law
    problem = data.problem(law, data.fit.scales)
    point = _divide({name: np.array([at[name]]) for name in law.inputs}, data.fit.scales)
    estimate = float(data.fit.predict({name: np.array([at[name]]) for name in law.inputs})[0])
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
        found = _values(law, point, optimum)[:, 0]
        return np.log(found) if is_log else found / unit, objective, optimum.search

    if is_log:
        near = float(np.log(estimate))
        return _Path(near, near - FARTHEST, near + FARTHEST, (0.0, np.inf), to_value, refit)
    near, far = estimate / unit, float(np.exp(FARTHEST / 2))
    return _Path(near, near - far, near + far, (-np.inf, np.inf), to_value, refit)


def _crossing_path(
    data: _Data,
    at: dict[str, float],
    variable: str,
    level: float,
    between: tuple[float, float],
) -> _Path:
    law = data.fit.law
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
        pins = _divide(row(lower + span * points), data.fit.scales)
        rows = {
            name: np.concatenate([values, pins[name]]) for name, values in problem.inputs.items()
        }
        optimum, objective = _pinned(problem, law, rows, np.full(len(points), level), starts)
        # one secant step to where the refitted law is at the level
        near = np.stack([points, points + SECANT], axis=1)
        value = np.array(
            [
                _values(law, _divide(row(lower + span * pair), data.fit.scales), optimum)[k]
                for k, pair in enumerate(near)
            ]
        )
        slope = (value[:, 1] - value[:, 0]) / SECANT
        return points - (value[:, 0] - level) / slope, objective, optimum.search

    return _Path((root - lower) / span, 0.0, 1.0, between, lambda t: lower + span * t, refit)


def _pinned(
    problem: Problem, law: Law, inputs: Inputs, wanted: Array, starts: Array
) -> tuple[Optimum, Array]:
    """Refit with one more row a problem; return the optimum and the objective of the data alone.

    ``law`` on ``inputs`` has the ``n`` rows of ``problem`` and ``K`` more; problem ``k`` counts the
    ``k``-th of these, whose target is ``wanted[k]``.
    """
    count = len(wanted)
    target = np.concatenate([problem.target[0], wanted])[None, :]
    pins = PIN * float(np.sum(problem.weights)) * np.eye(count)
    weights = np.concatenate([np.repeat(problem.weights, count, axis=0), pins], axis=1)
    optimum = minimize(Problem(law, inputs, target, weights, problem.delta), starts)
    return optimum, problem.objective(_values(problem.law, problem.inputs, optimum))


def _values(law: Law, inputs: Inputs, optimum: Optimum) -> Array:
    return law.predict(inputs, to_theta(law, optimum.search), optimum.coefficients)


def _divide(inputs: Inputs, scales: Mapping[str, float]) -> dict[str, Array]:
    return {name: values / scales.get(name, 1.0) for name, values in inputs.items()}


def _interval(
    data: _Data, path: _Path, name: str, confidence: float, num_clusters: int | None
) -> ProfileInterval:
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be between 0 and 1, got {confidence:g}")
    scale, freedom = data.noise_scale(), data.spare
    if num_clusters is not None:
        if num_clusters < 2:
            raise InputError(f"num_clusters must be 2 or more, got {num_clusters}")
        scale *= max(float(np.sum(data.weights > 0)) / num_clusters, 1.0)
        freedom = min(freedom, num_clusters - 1)
    limit = float(student.ppf((1 + confidence) / 2, freedom))
    sides = [_Side(data, path, scale, direction) for direction in (-1.0, 1.0)]
    ends = [side.end(limit) for side in sides]
    points = np.array([path.estimate, *(p for side in sides for p in side.points)])
    ratio = np.array([0.0, *(r for side in sides for r in side.ratio)])
    values = np.array([path.to_value(t) for t in points])
    order = np.argsort(values, kind="stable")
    found = [
        (edge, True) if end is None else (path.to_value(end), False)
        for end, edge in zip(ends, path.edges, strict=True)
    ]
    (low, low_open), (high, high_open) = sorted(found)
    return ProfileInterval(
        name=name,
        estimate=path.to_value(path.estimate),
        low=low,
        high=high,
        is_open=(low_open, high_open),
        confidence=confidence,
        values=values[order],
        ratio=np.maximum(ratio[order], 0.0),
        objective_gain=max(0.0, -0.5 * scale * float(np.min(ratio))),
    )


class _Side:
    """The walk along one side of a profile, and all that was fitted on it, outward."""

    def __init__(self, data: _Data, path: _Path, scale: float, direction: float) -> None:
        self.data, self.path, self.scale, self.direction = data, path, scale, direction
        self.points: list[float] = []
        self.ratio: list[float] = []
        self.search: list[Array] = []

    def end(self, limit: float) -> float | None:
        """Return where the profile's t first reaches ``limit``, or None where it never does."""
        bracket = self._walk(limit)
        if bracket is None:
            return None
        for _ in range(ROUNDS):
            (inner, low), (outer, high) = bracket
            if outer - inner <= PRECISION * outer:
                break
            guess = inner + (outer - inner) * _share(low, high, limit)
            offsets = (outer - inner) * np.array(NARROWING)
            inside = np.concatenate([guess - offsets[::-1], guess + offsets])
            self._fit(inside[(inside > inner) & (inside < outer)])
            bracket = self._bracket(limit) or bracket
        (inner, low), (outer, high) = bracket
        found = inner + (outer - inner) * _share(low, high, limit)
        return self.path.estimate + self.direction * found

    def _walk(self, limit: float) -> tuple[tuple[float, float], tuple[float, float]] | None:
        edge = self.path.upper if self.direction > 0 else self.path.lower
        room = abs(edge - self.path.estimate)
        step = FIRST_STEP
        while step / GROWTH < room:
            steps = np.unique(np.minimum(step * GROWTH ** np.arange(GROUP), room))
            self._fit(steps)
            if bracket := self._bracket(limit):
                return bracket
            step *= GROWTH**GROUP
        return None

    def _fit(self, distances: Array) -> None:
        """Refit at distances from the estimate, each from its inner neighbor and from the optimum."""
        if not len(distances):
            return
        known = np.abs(np.array(self.points) - self.path.estimate)
        starts = []
        for distance in distances:
            nearer = np.flatnonzero(known <= distance)
            near = nearer[np.argmax(known[nearer])] if len(nearer) else None
            starts.append(self.data.fit.search if near is None else self.search[near])
        count = len(distances)
        points = self.path.estimate + self.direction * distances
        both = np.concatenate([np.array(starts), np.repeat(self.data.fit.search[None], count, 0)])
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            reached, objective, search = self.path.refit(np.tile(points, 2), both)
        # far out, where a term has vanished, the value reached may be none
        reached = np.where(np.isfinite(reached), reached, np.tile(points, 2))
        objective = np.where(np.isfinite(objective), objective, np.inf).reshape(2, count)
        best = np.argmin(objective, axis=0)
        kept = (best, np.arange(count))
        self.points += reached.reshape(2, count)[kept].tolist()
        rise = objective[kept] - self.data.fit.objective
        self.ratio += (2 * rise / self.scale).tolist()
        self.search += list(search.reshape(2, count, -1)[kept])

    def _bracket(self, limit: float) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Return distance and t on either side of the first crossing."""
        distance = np.abs(np.array([self.path.estimate, *self.points]) - self.path.estimate)
        order = np.argsort(distance, kind="stable")
        root = np.sqrt(np.maximum([0.0, *self.ratio], 0.0))[order]
        beyond = np.flatnonzero(root >= limit)
        if not len(beyond):
            return None
        k = int(beyond[0])
        distance = distance[order]
        return (
            (float(distance[k - 1]), float(root[k - 1])),
            (float(distance[k]), float(root[k])),
        )


def _share(low: float, high: float, limit: float) -> float:
    """Return where ``limit`` lies between ``low`` and ``high``, from 0 to 1."""
    return (limit - low) / (high - low) if np.isfinite(high) else 0.5
