"""Fit one law to one set of losses and say how the fit ended.

The Huber delta comes from the noise unless it is given: 1.345 robust standard deviations of the residuals, the
classical choice that keeps 95 % efficiency under normal errors. A delta far below the noise would turn the fit
into one of least absolute deviations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.laws.law import (
    Inputs,
    Law,
    link_jacobian,
    predict_draws,
    quiet,
    scaled_inputs,
    to_theta,
)
from cmrplan.solve.identification import MAD_TO_SIGMA, at_bound_names, unidentified_names
from cmrplan.solve.multistart import MANY_ROWS, distinct_ends, minimize_from_many
from cmrplan.solve.problem import FitOptimum, FitProblem
from cmrplan.solve.scaling import input_scales, loss_level, residual_unit
from cmrplan.solve.valley import choose_among_equals, choose_in_valleys
from cmrplan.solve.varpro import Stopping, minimize

DELTA_PER_SIGMA = 1.345
PAPER_DELTA = 1e-3  # the Huber delta that the papers use, for the reported Huber score
SMALLEST_DELTA = 1e-6  # nats; below it a log is free of noise and every row counts fully
LARGEST_UNIT = 1e150  # of plain residuals, which are squared
LARGEST_LOG = 708.0  # exp of it, and of minus it, are normal numbers
# A resample is one of hundreds: its optimum need not be known better than a thousandth of the noise.
ROUGH = Stopping(gradient=1e-4, no_gain=1e-6, idle_steps=4, max_iterations=60)

# Resamples that are fitted at once: enough to fill numpy, few enough for the cache and, with many rows, the memory.
MOST_AT_ONCE = 256
MOST_VALUES = 2**20
# While the Huber delta is still sought, optima need only be told apart.
ON_THE_WAY = Stopping(gradient=1e-5, no_gain=1e-7, idle_steps=6, max_iterations=150)


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
        FitOptimum in search coordinates.
    coefficients : array (p,)
        Linear coefficients for scaled inputs.
    delta : float
        Huber delta, in residual units.
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
        Share of the loss's variance explained; summed Huber loss of log residuals at a delta of 1e-3;
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
        Huber delta in residual units; from the noise by default; infinity is least squares.

    Raises
    ------
    CmrplanError
        If there are fewer rows than free parameters, or no start gives a finite loss.
    """
    target = np.asarray(target, dtype=float)
    num_rows = len(target)
    row_weights = np.ones(num_rows) if weights is None else np.asarray(weights, dtype=float)
    scales = input_scales(law, inputs)
    level = _checked_level(law, target)
    unit = residual_unit(law, level)
    scaled_delta = None if delta is None else delta / unit
    whole = FitProblem(
        law, scaled_inputs(inputs, scales), target[None, :] / level, row_weights[None, :], np.inf
    )
    few = whole.thinned(MANY_ROWS) if num_rows > MANY_ROWS else whole
    few, optimum = _search(few, scaled_delta)
    if not np.isfinite(optimum.objective).any():
        raise CmrplanError(
            f"law {law.name} gives no finite loss on these rows from any start; check the log for values "
            "of extreme size"
        )
    if num_rows > MANY_ROWS:
        few, optimum = _continue(replace(whole, delta=few.delta), optimum, scaled_delta)
    return _describe(few, choose_among_equals(few, optimum), scales, level)


def _checked_level(law: Law, target: Array) -> float:
    """Return the level of losses that a law can be fitted to.

    Raises
    ------
    CmrplanError
        If they are too few, not positive for a log law, or too large to be squared.
    """
    if len(target) < law.num_free:
        raise CmrplanError(
            f"law {law.name} ({law.formula}) has {law.num_free} free parameters and there are "
            f"{len(target)} rows to fit; add probes or token counts"
        )
    if law.link == "log" and not np.all(target > 0):
        raise CmrplanError(
            f"law {law.name} is fitted to log losses and row {int(np.argmin(target)) + 1} has {target.min():g}; a "
            "validation loss is above 0"
        )
    level = loss_level(law, target)
    if residual_unit(law, level) > LARGEST_UNIT:
        raise CmrplanError(
            f"law {law.name} is fitted to plain losses, whose squares must be numbers, and they reach {level:.3g}; "
            "divide them by a constant"
        )
    return level


def _search(problem: FitProblem, delta: float | None) -> tuple[FitProblem, FitOptimum]:
    """Search from many starts; return the problem with its Huber delta, and where the starts ended."""
    if delta is not None:
        problem = replace(problem, delta=delta)
        return problem, minimize_from_many(problem)
    return _with_delta(problem, minimize_from_many(problem, stopping=ON_THE_WAY))


def _with_delta(problem: FitProblem, optimum: FitOptimum) -> tuple[FitProblem, FitOptimum]:
    """Take the Huber delta from the noise, twice, each time going on from the distinct ends."""
    for stopping in (ON_THE_WAY, Stopping()):
        if np.isfinite(optimum.objective).any():
            problem = replace(problem, delta=delta_from_noise(problem, optimum))
            optimum = minimize(problem, distinct_ends(optimum), stopping=stopping, is_race=True)
    return problem, optimum


def _continue(
    problem: FitProblem, optimum: FitOptimum, delta: float | None
) -> tuple[FitProblem, FitOptimum]:
    """Descend on all rows from that end of a search on few rows which is lowest on all."""
    here = Stopping(max_iterations=0)
    ends = [minimize(problem, end[None, :], stopping=here) for end in distinct_ends(optimum)]
    best = min(ends, key=lambda end: float(end.objective[0]))
    if delta is not None:
        return problem, minimize(problem, best.search)
    return _with_delta(problem, best)


@quiet
def residual_jacobian(fit: LawFit, inputs: Inputs) -> Array:
    """Return the derivative of the fitted residual scale by the parameters that can move, ``(n, k)``.

    Log losses for a log law, losses otherwise; parameters at a bound are left out. Columns are in no particular
    scale: what they span is what matters.
    """
    jacobian = link_jacobian(fit.law, fit.scales, inputs, fit.search, fit.coefficients)
    names = fit.law.parameter_names[: fit.law.num_free]
    return np.asarray(jacobian[:, [name not in fit.at_bound for name in names]])


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
    level = loss_level(fit.law, targets[0])
    delta = fit.delta / residual_unit(fit.law, level)
    row_weights = weights * fit.row_weights
    problem = FitProblem(
        fit.law, scaled_inputs(inputs, fit.scales), targets / level, row_weights, delta
    )
    ends = []
    size = batch_size(len(targets[0]))
    for first in range(0, count, size):
        rows = np.arange(first, min(first + size, count))
        start = np.repeat(fit.search[None, :], len(rows), axis=0)
        part = problem.select(rows)
        ends.append(choose_in_valleys(part, minimize(part, start, stopping=stopping)))
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


def delta_from_noise(problem: FitProblem, optimum: FitOptimum) -> float:
    """Return 1.345 robust standard deviations of the residuals at the best point found."""
    residual = _residual(problem, optimum, optimum.best())
    spread = MAD_TO_SIGMA * float(np.median(np.abs(residual)))
    spare = max(len(residual) - problem.law.num_free, 1)
    delta = DELTA_PER_SIGMA * spread * float(np.sqrt(len(residual) / spare))
    return max(delta, SMALLEST_DELTA)


def _residual(problem: FitProblem, optimum: FitOptimum, which: int) -> Array:
    theta = to_theta(problem.law, optimum.search[which : which + 1])
    predicted = problem.law.predict(problem.inputs, theta, optimum.coefficients[which : which + 1])
    return np.asarray(problem.residual(predicted)[0])


def _describe(
    problem: FitProblem, optimum: FitOptimum, scales: dict[str, float], level: float
) -> LawFit:
    law = problem.law
    search, coefficients = optimum.search[0], optimum.coefficients[0]
    residual = _residual(problem, optimum, 0)
    target = problem.target[0]
    predicted = target - residual if law.link == "identity" else target * np.exp(-residual)
    variance = float(np.sum((target - target.mean()) ** 2))
    miss = target - predicted  # in units of the level
    unit = residual_unit(law, level)
    size = np.abs(residual) * unit
    clipped = np.minimum(size, PAPER_DELTA)
    at_bound = at_bound_names(law, search, coefficients)
    status = Status.STALLED
    if optimum.is_converged[0]:
        status = Status.AT_BOUND if at_bound else Status.CONVERGED
    return LawFit(
        law=law,
        scales=scales,
        search=search,
        coefficients=coefficients * level,
        delta=float(problem.delta) * unit,
        objective=float(optimum.objective[0]) * unit**2,
        gradient=float(optimum.gradient[0]),
        status=status,
        residual=residual * unit,
        row_weights=problem.weights[0],
        unidentified=unidentified_names(problem, search, coefficients, residual),
        at_bound=at_bound,
        r2=1.0 - float(np.sum(miss**2)) / variance if variance > 0 else float("nan"),
        huber=float(np.sum(clipped * (size - 0.5 * clipped))),
        mae=float(np.mean(np.abs(miss))) * level,
    )
