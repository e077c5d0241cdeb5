"""Fit one law to one set of losses and say how the fit ended.

The knee of the Huber loss comes from the noise unless it is given: 1.345 robust standard deviations
of the residuals, the classical choice that keeps 95 % efficiency under normal errors. A knee far below
the noise would turn the fit into one of least absolute deviations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.laws.law import Inputs, Law
from cmrplan.solve.multistart import MANY_ROWS, distinct_ends, minimize_from_many
from cmrplan.solve.signed_lstsq import upper_triangle
from cmrplan.solve.varpro import Optimum, Problem, Stopping, box, minimize, to_theta

KNEE_PER_SIGMA = 1.345
MAD_TO_SIGMA = 1.4826
PAPER_DELTA = 1e-3  # the knee that the papers use, for the reported Huber score
SMALLEST_DELTA = 1e-6  # nats; below it a log is free of noise and every row counts fully
# A parameter is not identified when its relative standard error exceeds this.
UNIDENTIFIED = 0.5
LARGEST_UNIT = 1e150  # of plain residuals, which are squared
LARGEST_LOG = 708.0  # exp of it, and of minus it, are normal numbers
NUMERICAL_NOISE = 1e-9  # relative noise that float64 optimization leaves on noise-free data
# A resample is one of hundreds: its optimum need not be known better than a thousandth of the noise.
ROUGH = Stopping(gradient=1e-4, no_gain=1e-6, idle_steps=4, max_iterations=60)

# Resamples that are fitted at once: enough to fill numpy, few enough for the cache and, with many rows, the memory.
MOST_AT_ONCE = 256
MOST_VALUES = 2**20
# While the knee is still being found, optima need only be told apart.
ON_THE_WAY = Stopping(gradient=1e-5, no_gain=1e-7, idle_steps=6, max_iterations=150)

# The outer parts of a box over- and underflow; the search takes what is not finite as no use.
quiet = np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")


class Status(StrEnum):
    """How a fit ended.

    ``converged``: first-order optimal inside the box. ``at_bound``: optimal, with parameters at the edge of
    their box; predictions stand, those parameters mean nothing. ``stalled``: rounding or a flat valley
    stopped the descent before the optimality test was met.
    """

    CONVERGED = "converged"
    AT_BOUND = "at_bound"
    STALLED = "stalled"


@dataclass(frozen=True)
class LawFit:
    """A law at its optimum.

    Parameters
    ----------
    law : Law
    scales : dict
        What the inputs were divided by inside the fit.
    search : array (q,)
        Optimum in search coordinates.
    coefficients : array (p,)
        Linear coefficients for scaled inputs.
    delta : float
        Knee of the Huber loss, in residual units.
    objective : float
        Summed Huber loss at the optimum.
    gradient : float
        Largest cosine between residual and Jacobian; 0 at an optimum.
    status : Status
    residual : array (n,)
        Log or plain residuals of the rows, observed minus predicted.
    row_weights : array (n,)
        How much each row counted.
    unidentified : tuple of str
        Parameters that the data cannot tell.
    at_bound : tuple of str
        Exponents at the edge of their box and coefficients at zero.
    r2, huber, mae : float
        Share of the loss's variance explained; summed Huber loss of log residuals at a knee of 1e-3;
        mean absolute error in the unit of the target.
    """

    law: Law
    scales: dict[str, float]
    search: Array
    coefficients: Array
    delta: float
    objective: float
    gradient: float
    status: Status
    residual: Array
    row_weights: Array
    unidentified: tuple[str, ...]
    at_bound: tuple[str, ...]
    r2: float
    huber: float
    mae: float

    @property
    def params(self) -> dict[str, float]:
        """Parameters by name, in the units of the caller's inputs."""
        values = user_parameters(
            self.law, self.scales, self.search[None, :], self.coefficients[None, :]
        )
        return dict(zip(self.law.parameter_names, values[0].tolist(), strict=True))

    def predict(self, inputs: Inputs) -> Array:
        """Return the law's value for inputs in the caller's units, ``(n,)``."""
        one = predict_draws(
            self.law, self.scales, inputs, self.search[None, :], self.coefficients[None, :]
        )
        return np.asarray(one[0])


@quiet
def user_parameters(
    law: Law, scales: dict[str, float], search: Array, coefficients: Array
) -> Array:
    """Return coefficients and exponents in the caller's units, ``(S, num parameters)``."""
    theta = to_theta(law, search)
    named = law.columns(theta)
    columns = [
        coefficients[:, j] * term.scale(scales, named)[:, 0] for j, term in enumerate(law.terms)
    ]
    columns += [theta[:, k] for k in range(theta.shape[1])]
    columns += [np.full(len(theta), value) for _, value in law.fixed]
    return np.stack(columns, axis=1)


@quiet
def predict_draws(
    law: Law, scales: dict[str, float], inputs: Inputs, search: Array, coefficients: Array
) -> Array:
    """Return predictions of ``S`` parameter sets for inputs in the caller's units, ``(S, n)``."""
    return law.predict(_scaled(inputs, scales), to_theta(law, search), coefficients)


@quiet
def fit_law(
    law: Law,
    inputs: Inputs,
    target: Array,
    *,
    weights: Array | None = None,
    delta: float | None = None,
) -> LawFit:
    """Fit ``law`` to losses.

    Parameters
    ----------
    law : Law
    inputs : mapping of str to array (n,)
        In the caller's units.
    target : array (n,)
        Losses in nats per token (positive for a log law).
    weights : array (n,), optional
        Nonnegative row weights; all one by default.
    delta : float, optional
        Knee of the Huber loss in residual units; from the noise by default; infinity is least squares.

    Raises
    ------
    CmrplanError
        If there are fewer rows than free parameters, or no start gives a finite loss.
    """
    num_rows = len(target)
    if num_rows < law.num_free:
        raise CmrplanError(
            f"law {law.name} ({law.formula}) has {law.num_free} free parameters and there are "
            f"{num_rows} rows to fit; add probes or token counts"
        )
    target = np.asarray(target, dtype=float)
    if law.link == "log" and not np.all(target > 0):
        raise CmrplanError(
            f"law {law.name} is fitted to log losses and row {int(np.argmin(target)) + 1} has {target.min():g}; a "
            "validation loss is above 0"
        )
    row_weights = np.ones(num_rows) if weights is None else np.asarray(weights, dtype=float)
    scales = _scales(law, inputs)
    scaled = _scaled(inputs, scales)
    level = _level(law, target)
    unit = _residual_unit(law, level)
    if unit > LARGEST_UNIT:
        raise CmrplanError(
            f"law {law.name} is fitted to plain losses, whose squares must be numbers, and they reach {level:.3g}; "
            "divide them by a constant"
        )
    knee = None if delta is None else delta / unit
    whole = Problem(law, scaled, target[None, :] / level, row_weights[None, :], np.inf)
    few = whole.thinned(MANY_ROWS) if num_rows > MANY_ROWS else whole
    few, optimum = _search(few, knee)
    if not np.isfinite(optimum.objective).any():
        raise CmrplanError(
            f"law {law.name} gives no finite loss on these rows from any start; check the log for values "
            "of extreme size"
        )
    if num_rows > MANY_ROWS:
        few, optimum = _continue(replace(whole, delta=few.delta), optimum, knee)
    return _describe(few, optimum, optimum.best(), scales, level)


def _search(problem: Problem, delta: float | None) -> tuple[Problem, Optimum]:
    """Search from many starts; return the problem with its knee, and where the starts ended."""
    if delta is not None:
        problem = replace(problem, delta=delta)
        return problem, minimize_from_many(problem)
    return _with_knee(problem, minimize_from_many(problem, stopping=ON_THE_WAY))


def _with_knee(problem: Problem, optimum: Optimum) -> tuple[Problem, Optimum]:
    """Take the knee from the noise, twice, each time going on from the distinct ends."""
    for stopping in (ON_THE_WAY, Stopping()):
        if np.isfinite(optimum.objective).any():
            problem = replace(problem, delta=knee_from_noise(problem, optimum))
            optimum = minimize(problem, distinct_ends(optimum), stopping=stopping, is_race=True)
    return problem, optimum


def _continue(problem: Problem, optimum: Optimum, delta: float | None) -> tuple[Problem, Optimum]:
    """Descend on all rows from that end of a search on few rows which is lowest on all."""
    here = Stopping(max_iterations=0)
    ends = [minimize(problem, end[None, :], stopping=here) for end in distinct_ends(optimum)]
    best = min(ends, key=lambda end: float(end.objective[0]))
    if delta is not None:
        return problem, minimize(problem, best.search)
    return _with_knee(problem, best)


@quiet
def residual_jacobian(fit: LawFit, inputs: Inputs) -> Array:
    """Return the derivative of the fitted residual scale by the parameters that can move, ``(n, k)``.

    Log losses for a log law, losses otherwise; parameters at a bound are left out. Columns are in no particular
    scale: what they span is what matters.
    """
    law = fit.law
    scaled = _scaled(inputs, fit.scales)
    theta, coefficients = to_theta(law, fit.search[None, :]), fit.coefficients[None, :]
    jacobian = law.jacobian(scaled, theta, coefficients)[0]
    if law.link == "log":
        jacobian = jacobian / law.predict(scaled, theta, coefficients)[0][:, None]
    names = [*(t.coefficient for t in law.terms), *(e.name for e in law.exponents)]
    free = [k for k, name in enumerate(names) if name not in fit.at_bound]
    return np.asarray(jacobian[:, free])


@quiet
def refit(
    fit: LawFit, inputs: Inputs, targets: Array, weights: Array, *, stopping: Stopping = ROUGH
) -> tuple[Array, Array]:
    """Fit the same law to other losses or weights, from the optimum of the first fit.

    Parameters
    ----------
    fit : LawFit
    inputs : mapping of str to array (n,)
        The rows of the first fit, in the caller's units.
    targets : array (B, n) or (1, n)
    weights : array (B, n) or (1, n)
        Counts, or 0 for what is left out; they multiply the row weights of the first fit.
    stopping : Stopping
        By default rough, for one of hundreds of resamples.

    Returns
    -------
    search : array (B, q)
    coefficients : array (B, p)
    """
    count = max(len(targets), len(weights))
    level = _level(fit.law, targets[0])
    knee = fit.delta / _residual_unit(fit.law, level)
    row_weights = weights * fit.row_weights
    problem = Problem(fit.law, _scaled(inputs, fit.scales), targets / level, row_weights, knee)
    ends = []
    size = batch_size(len(targets[0]))
    for first in range(0, count, size):
        rows = np.arange(first, min(first + size, count))
        start = np.repeat(fit.search[None, :], len(rows), axis=0)
        ends.append(minimize(problem.select(rows), start, stopping=stopping))
    return (
        np.concatenate([end.search for end in ends]),
        np.concatenate([end.coefficients for end in ends]) * level,
    )


def moved(fit: LawFit, loss: Array, shifts: Array) -> Array:
    """Return the fitted values of the rows moved in residual units: ``(n,)`` losses, ``(B, n)`` shifts.

    Those of a log law stay inside float64: a row far outside the law has a residual that no loss could follow twice.
    """
    if fit.law.link == "identity":
        return np.asarray(loss - fit.residual + shifts)
    logarithm = np.log(loss) - fit.residual + shifts
    return np.asarray(np.exp(np.clip(logarithm, -LARGEST_LOG, LARGEST_LOG)))


def residual_of(law: Law, loss: Array, fitted: Array) -> Array:
    """Return observed less fitted in residual units: log losses for a log law, losses otherwise."""
    return np.asarray(np.log(loss / fitted) if law.link == "log" else loss - fitted)


def batch_size(num_rows: int) -> int:
    """Return how many resamples of ``num_rows`` rows to fit at once."""
    return min(max(MOST_VALUES // num_rows, 1), MOST_AT_ONCE)


def knee_from_noise(problem: Problem, optimum: Optimum) -> float:
    """Return 1.345 robust standard deviations of the residuals at the best point found."""
    residual = _residual(problem, optimum, optimum.best())
    spread = MAD_TO_SIGMA * float(np.median(np.abs(residual)))
    spare = max(len(residual) - problem.law.num_free, 1)
    knee = KNEE_PER_SIGMA * spread * float(np.sqrt(len(residual) / spare))
    return max(knee, SMALLEST_DELTA)


def _residual(problem: Problem, optimum: Optimum, which: int) -> Array:
    theta = to_theta(problem.law, optimum.search[which : which + 1])
    predicted = problem.law.predict(problem.inputs, theta, optimum.coefficients[which : which + 1])
    return np.asarray(problem.residual(predicted)[0])


def _level(law: Law, target: Array) -> float:
    """Return what losses are divided by inside a fit: their geometric mean, or the largest of differences."""
    if law.link == "log":
        return float(np.exp(np.mean(np.log(target))))
    return float(np.max(np.abs(target))) or 1.0


def _residual_unit(law: Law, level: float) -> float:
    """Return what a residual inside the fit is worth outside: logarithms have no unit."""
    return 1.0 if law.link == "log" else level


def _describe(
    problem: Problem, optimum: Optimum, best: int, scales: dict[str, float], level: float
) -> LawFit:
    law = problem.law
    search, coefficients = optimum.search[best], optimum.coefficients[best]
    residual = _residual(problem, optimum, best)
    target = problem.target[0]
    predicted = target - residual if law.link == "identity" else target * np.exp(-residual)
    variance = float(np.sum((target - target.mean()) ** 2))
    miss = target - predicted  # in units of the level
    unit = _residual_unit(law, level)
    size = np.abs(residual) * unit
    clipped = np.minimum(size, PAPER_DELTA)
    at_bound = _at_bound(law, search, coefficients)
    status = Status.STALLED
    if optimum.is_converged[best]:
        status = Status.AT_BOUND if at_bound else Status.CONVERGED
    return LawFit(
        law=law,
        scales=scales,
        search=search,
        coefficients=coefficients * level,
        delta=float(problem.delta) * unit,
        objective=float(optimum.objective[best]) * unit**2,
        gradient=float(optimum.gradient[best]),
        status=status,
        residual=residual * unit,
        row_weights=problem.weights[0],
        unidentified=_unidentified(problem, search, coefficients, residual),
        at_bound=at_bound,
        r2=1.0 - float(np.sum(miss**2)) / variance if variance > 0 else float("nan"),
        huber=float(np.sum(clipped * (size - 0.5 * clipped))),
        mae=float(np.mean(np.abs(miss))) * level,
    )


def _at_bound(law: Law, search: Array, coefficients: Array) -> tuple[str, ...]:
    lower, upper = box(law)
    edge = 1e-9 * np.maximum(upper - lower, 1.0)
    exponents = [
        e.name
        for k, e in enumerate(law.exponents)
        if search[k] <= lower[k] + edge[k] or search[k] >= upper[k] - edge[k]
    ]
    zeros = [t.coefficient for j, t in enumerate(law.terms) if t.sign and coefficients[j] == 0]
    return (*zeros, *exponents)


def _unidentified(
    problem: Problem, search: Array, coefficients: Array, residual: Array
) -> tuple[str, ...]:
    """Return parameters whose relative standard error, to first order, is above one half.

    The Jacobian is taken by the logarithm of each coefficient and of each exponent searched so, and by the plain
    value of the other exponents. A coefficient at zero leaves the exponents of its term alone
    without meaning.
    """
    law = problem.law
    theta = to_theta(law, search[None, :])
    jacobian = law.jacobian(problem.inputs, theta, coefficients[None, :])[0]
    predicted = law.predict(problem.inputs, theta, coefficients[None, :])[0]
    if law.link == "log":
        jacobian = jacobian / predicted[:, None]
    is_log = np.array([e.is_log for e in law.exponents], dtype=bool)
    unit = np.concatenate([coefficients, np.where(is_log, theta[0], 1.0)])
    jacobian = jacobian * unit * np.sqrt(problem.weights[0])[:, None]
    spare = max(len(residual) - law.num_free, 1)
    noise = MAD_TO_SIGMA * float(np.median(np.abs(residual))) * np.sqrt(len(residual) / spare)
    noise = max(noise, NUMERICAL_NOISE)
    used = np.flatnonzero(np.any(jacobian != 0, axis=0))
    triangle = upper_triangle(jacobian[None, :, used])[0]
    _, singular, right = np.linalg.svd(triangle, full_matrices=False)
    floor = np.finfo(float).eps * len(residual) * singular[0]
    spread = noise * np.sqrt(np.sum((right / np.maximum(singular, floor)[:, None]) ** 2, axis=0))
    relative = np.full(len(unit), np.inf)
    relative[used] = spread
    return tuple(
        name
        for name, value in zip(law.parameter_names, relative, strict=False)
        if value > UNIDENTIFIED
    )


def _scales(law: Law, inputs: Inputs) -> dict[str, float]:
    """Return the geometric mean of each input that the law wants scaled."""
    return {
        name: float(np.exp(np.mean(np.log(inputs[name]))))
        for name in law.scaled
        if name in law.inputs
    }


def _scaled(inputs: Inputs, scales: dict[str, float]) -> dict[str, Array]:
    return {
        name: np.asarray(values, dtype=float) / scales.get(name, 1.0)
        for name, values in inputs.items()
    }
