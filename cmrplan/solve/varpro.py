"""Variable projection with signs, bounds and a Huber loss, batched over problems.

The search runs over a law's exponents only; :mod:`cmrplan.solve.projection` gives the coefficients at each point.
The step in the exponents comes from the Jacobian of the residual projected onto the complement of the free columns
(Kaufman's form of Golub and Pereyra's), damped as in Levenberg and Marquardt's method and kept inside the box.

The quadratic model of a residual outside the Huber delta has weight ``mix * delta / |r|``: with ``mix = 1`` it lies
above the loss, which is safe and slow; as ``mix`` goes to zero the step becomes
Newton's. ``mix`` adapts with the damping.

References
----------
Golub & Pereyra 1973; Kaufman 1975; O'Leary & Rust 2013 (variable projection). Huber 1964.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.laws.law import Law, to_theta
from cmrplan.solve.problem import FitOptimum, FitProblem, box
from cmrplan.solve.projection import linearized_rows, solve_coefficients
from cmrplan.solve.signed_lstsq import NULL_RIDGE, null_ridge, upper_triangle

LARGEST_STEP = 2.0  # of a search coordinate, in log units or exponent units
SMALLEST_MIX = 1e-3
ACCEPTED_GRADIENT = 1e-5  # what still counts as an optimum when rounding stops the descent
RACE_PATIENCE = 30  # steps before a slow start is given up for one that has arrived lower
EXACT_RESIDUAL = 1e-14  # root mean square residual at which a fit is exact in float64


@dataclass(frozen=True)
class Stopping:
    """When a descent ends.

    Parameters
    ----------
    gradient : float
        Cosine between the residual and each free Jacobian column. The gain of a step is of the order of its
        square, so a descent that compares objectives in float64 sees no further than the default, the square root
        of its precision.
    no_gain : float
        Relative gain of a step that does not count as progress.
    idle_steps : int
        Steps without progress after which to end.
    max_iterations : int
        Steps tried at most.
    """

    gradient: float = float(np.sqrt(np.finfo(float).eps))
    no_gain: float = 1e-11
    idle_steps: int = 12
    max_iterations: int = 300


def minimize(
    problem: FitProblem,
    search: Array,
    *,
    stopping: Stopping | None = None,
    is_race: bool = False,
) -> FitOptimum:
    """Descend from each start to a first-order optimum.

    Parameters
    ----------
    problem : FitProblem
    search : array (S, q)
        Starts in search coordinates, inside the box.
    stopping : Stopping, optional
        When a descent ends; by default when float64 shows no more progress.
    is_race : bool
        The starts are for one and the same problem: those still on their way after 30 steps are given up
        where another has arrived lower.
    """
    stopping = stopping or Stopping()
    descent = _Descent(problem, search)
    active = np.flatnonzero(np.isfinite(descent.objective))
    iteration = 0
    while len(active) and iteration < stopping.max_iterations:
        iteration += 1
        done = descent.advance(active, stopping)
        if is_race and iteration >= RACE_PATIENCE and descent.arrived.any():
            lowest = descent.objective[descent.arrived].min()
            done |= descent.objective[active] >= lowest
        active = active[~done]
    return FitOptimum(
        search=descent.search,
        coefficients=descent.coefficients,
        objective=descent.objective,
        gradient=descent.gradient,
        is_converged=descent.gradient <= ACCEPTED_GRADIENT,
        num_iterations=iteration,
    )


class _Descent:
    """Where ``S`` descents stand; each array has one entry or row a descent."""

    def __init__(self, problem: FitProblem, search: Array) -> None:
        self.problem = problem
        self.box = box(problem.law)
        count = len(search)
        self.search = np.clip(search, *self.box)
        design, _ = problem.law.design(problem.inputs, to_theta(problem.law, self.search))
        self.mix = np.ones(count)
        self.coefficients, self.objective = solve_coefficients(problem, design, None, self.mix, 4)
        self.damping = np.full(count, 1e-2)
        self.gradient = np.full(count, np.inf)
        self.idle = np.zeros(count, dtype=int)
        self.arrived = np.zeros(count, dtype=bool)

    def advance(self, active: NDArray[np.intp], stopping: Stopping) -> NDArray[np.bool_]:
        """Take one step of the active descents and return which of them end."""
        part = self.problem.select(active)
        old = self.objective[active]
        gain = self._step(part, active)
        self.idle[active] = np.where(gain > stopping.no_gain * old, 0, self.idle[active] + 1)
        weights = np.broadcast_to(part.weights, (len(active), part.weights.shape[1]))
        is_exact = self.objective[active] <= 0.5 * EXACT_RESIDUAL**2 * np.sum(weights, axis=1)
        done = self.gradient[active] <= stopping.gradient
        done |= (self.idle[active] >= stopping.idle_steps) | is_exact
        self.gradient[active[is_exact]] = 0.0
        self.arrived[active[done]] = self.gradient[active[done]] <= ACCEPTED_GRADIENT
        return np.asarray(done)

    def _step(self, part: FitProblem, active: NDArray[np.intp]) -> Array:
        """Try a step of the active descents, keep those that gain, and return the gains."""
        law = part.law
        here, coefficients = self.search[active], self.coefficients[active]
        step = damped_step(part, here, coefficients, self.damping[active], self.mix[active])
        self.gradient[active] = step.gradient
        trial = np.clip(here + step.search, *self.box)
        design, _ = law.design(part.inputs, to_theta(law, trial))
        moved = _keep_signs(law, coefficients + step.coefficients)
        start = _better_start(part, design, moved, coefficients)
        new, value = solve_coefficients(part, design, start, self.mix[active], 2)
        gain = np.where(np.isfinite(value), self.objective[active] - value, -np.inf)
        better = gain > 0
        taken = active[better]
        self.search[taken], self.coefficients[taken] = trial[better], new[better]
        self.objective[taken] = value[better]
        # A gain far below the promise means that steps overshoot and go back and forth across a valley.
        kept = gain / np.maximum(step.promise, 1e-300)
        self.damping[active] *= np.where(kept > 0.5, 0.2, np.where(kept > 0.25, 1.0, 4.0))
        np.clip(self.damping, 1e-12, 1e12, out=self.damping)
        self.mix[active] = np.where(better, self.mix[active] / 3, self.mix[active] * 10)
        np.clip(self.mix, SMALLEST_MIX, 1.0, out=self.mix)
        return gain


@dataclass(frozen=True)
class _Step:
    search: Array
    coefficients: Array
    gradient: Array
    promise: Array  # gain of the objective by the quadratic model


def damped_step(
    problem: FitProblem, search: Array, coefficients: Array, damping: Array, mix: Array
) -> _Step:
    """Return the damped step of exponents and coefficients together, and the gradient's size."""
    law = problem.law
    num_columns = len(law.terms)
    rows, size = linearized_rows(problem, search, coefficients, mix)
    jacobian, right = rows[:, :, :-1], rows[:, :, -1]
    # What sits at a bound and is pushed outward is held.
    uphill = np.einsum("snk,sn->sk", jacobian, right)
    free = _is_free(law, search, coefficients, uphill)
    length = free * np.sqrt(np.einsum("snk,snk->sk", jacobian, jacobian))
    # An exponent that moves the prediction by less than its rounding is left alone: its step would be
    # without bound, and shortening that would stop all the others.
    is_felt = length[:, num_columns:] > np.finfo(float).eps * size[:, None]
    length[:, num_columns:] = np.where(is_felt, length[:, num_columns:], 0.0)
    unit = np.where(length > 0, 1.0 / np.where(length > 0, length, 1.0), 0.0)
    gradient = _cosine(right, uphill * unit)
    jacobian *= unit[:, None, :]
    triangle = upper_triangle(rows)
    left, goal = triangle[:, :, :-1], triangle[:, :, -1]
    signs = np.array([term.sign for term in law.terms])
    ridge = NULL_RIDGE if signs.any() else null_ridge(left[:, :, :num_columns])[:, :, 0]
    change = _solve_damped(left, goal, damping, num_columns, ridge)
    for _ in range(num_columns):
        # A coefficient at zero must not step across: hold it and let the others move.
        crosses = (coefficients == 0) & (signs * change[:, :num_columns] < 0)
        if not crosses.any():
            break
        left[:, :, :num_columns] *= np.where(crosses, 0.0, 1.0)[:, None, :]
        change = _solve_damped(left, goal, damping, num_columns, ridge)
    largest = np.max(np.abs(change * unit)[:, num_columns:], axis=1, initial=0.0)
    change *= np.minimum(1.0, LARGEST_STEP / np.maximum(largest, 1e-300))[:, None]
    effect = np.einsum("skl,sl->sk", left, change)
    promise = np.einsum("sk,sk->s", effect, goal - 0.5 * effect)
    change *= unit
    return _Step(change[:, num_columns:], change[:, :num_columns], gradient, promise)


def _solve_damped(
    left: Array, goal: Array, damping: Array, num_columns: int, ridge: Array | float
) -> Array:
    """Solve the damped least-squares problem; only the exponents are damped, ``(S, p + q)``."""
    size = left.shape[2]
    diagonal = np.where(np.arange(size) < num_columns, ridge, np.sqrt(damping)[:, None])
    rows = diagonal[:, :, None] * np.eye(size)
    q, r = np.linalg.qr(np.concatenate([left, rows], axis=1))
    right = np.einsum("snk,sn->sk", q[:, : left.shape[1]], goal)
    return np.asarray(np.linalg.solve(r, right[:, :, None])[:, :, 0])


def _cosine(right: Array, pulls: Array) -> Array:
    """Return the largest cosine between the clipped residual and a free column, ``(S,)``.

    ``pulls`` are the products of the residual with the columns at unit length, 0 for those that are held.
    """
    length = np.sqrt(np.einsum("sn,sn->s", right, right))
    return np.asarray(np.max(np.abs(pulls), axis=1, initial=0.0) / np.maximum(length, 1e-300))


def _is_free(law: Law, search: Array, coefficients: Array, uphill: Array) -> Array:
    """Return 1 for parameters that may move, 0 for those held at a bound, ``(S, p + q)``.

    ``uphill`` is the direction that lowers the objective.
    """
    lower, upper = box(law)
    signs = np.array([term.sign for term in law.terms])
    num_columns = len(signs)
    pushed = uphill[:, num_columns:]
    held = ((search <= lower) & (pushed < 0)) | ((search >= upper) & (pushed > 0))
    at_zero = (signs != 0) & (coefficients == 0) & (uphill[:, :num_columns] * signs <= 0)
    return np.where(np.concatenate([at_zero, held], axis=1), 0.0, 1.0)


def _better_start(problem: FitProblem, design: Array, first: Array, second: Array) -> Array:
    """Return, for each problem, the coefficients with the lower objective on a design."""
    values = [
        problem.objective(np.einsum("snp,sp->sn", design, coefficients))
        for coefficients in (first, second)
    ]
    return np.where((values[0] <= values[1])[:, None], first, second)


def _keep_signs(law: Law, coefficients: Array) -> Array:
    signs = np.array([term.sign for term in law.terms])
    return np.where(signs * coefficients < 0, 0.0, coefficients)
