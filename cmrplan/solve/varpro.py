"""Variable projection with signs, bounds and a Huber loss, batched over problems.

The search runs over a law's exponents only. At each point the linear coefficients are solved for,
with the sign the law gives them; the step in the exponents comes from the Jacobian of the residual
projected onto the complement of the free columns (Kaufman's form of Golub and Pereyra's), damped as in
Levenberg and Marquardt's method and kept inside the box.

The Huber loss enters by reweighting inside the projection. The quadratic model of a residual
outside the knee has weight ``mix * delta / |r|``: with ``mix = 1`` it lies above the loss, which is safe and
slow; as ``mix`` goes to zero the step becomes Newton's. ``mix`` adapts with the damping.

``S`` problems share the rows and differ in weights, targets and starts: multi-start fits and
bootstrap resamples are the same call.

References
----------
Golub & Pereyra 1973; Kaufman 1975; O'Leary & Rust 2013 (variable projection). Huber 1964.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.laws.law import Inputs, Law, exponent_slopes
from cmrplan.solve.signed_lstsq import RIDGE, signed_least_squares, upper_triangle

MAX_STEP = 2.0  # largest change of a search coordinate in one step, in log units or exponent units
SMALLEST_MIX = 1e-3
ACCEPTED_GRADIENT = 1e-5  # what still counts as an optimum when rounding stops the descent
RACE_PATIENCE = 30  # steps before a slow start is given up for one that has arrived lower
FARTHEST_ANCHOR = 1e3  # of targets around 1; losses that far from the others would drown them
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


@dataclass(frozen=True)
class Problem:
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
        The knee of the Huber loss, in residual units; infinity for least squares.
    """

    law: Law
    inputs: Inputs
    target: Array
    weights: Array
    delta: float

    def select(self, rows: NDArray[np.intp]) -> Problem:
        """Return the problems ``rows`` (indices into S)."""

        def pick(values: Array) -> Array:
            return values if len(values) == 1 else values[rows]

        return replace(self, target=pick(self.target), weights=pick(self.weights))

    def thinned(self, count: int) -> Problem:
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
        return np.clip(self.target, 1 / FARTHEST_ANCHOR, FARTHEST_ANCHOR)

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


@dataclass(frozen=True)
class Optimum:
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

    def best(self) -> int:
        """Return the index of the lowest objective (the first of equals)."""
        return int(np.argmin(np.where(np.isfinite(self.objective), self.objective, np.inf)))


def box(law: Law) -> tuple[Array, Array]:
    """Return the lower and upper bounds of the search coordinates, each ``(q,)``."""
    lower = [np.log(e.lower) if e.is_log else e.lower for e in law.exponents]
    upper = [np.log(e.upper) if e.is_log else e.upper for e in law.exponents]
    return np.array(lower, dtype=float), np.array(upper, dtype=float)


def to_theta(law: Law, search: Array) -> Array:
    """Return exponents in their own units from search coordinates, ``(S, q)``."""
    is_log = np.array([e.is_log for e in law.exponents], dtype=bool)
    return np.where(is_log, np.exp(np.where(is_log, search, 0.0)), search)


def solve_coefficients(
    problem: Problem, design: Array, start: Array | None, mix: Array, num_rounds: int
) -> tuple[Array, Array]:
    """Return the best coefficients for a given design, and their objective.

    Without a start the first round is aimed at the targets within reason, linearized there.
    Each round linearizes the residual at the last coefficients, weights the rows for the Huber loss and solves
    the signed least-squares problem; the best round is kept.
    """
    signs = [term.sign for term in problem.law.terms]
    num_problems, num_rows, num_columns = design.shape
    shape = (num_problems, num_rows)
    if start is None:
        best = np.zeros((num_problems, num_columns))
        lowest = np.full(num_problems, np.inf)
        predicted = np.broadcast_to(problem.anchor, shape)
        aim = replace(problem, target=problem.anchor)
    else:
        best = start
        predicted = np.einsum("snp,sp->sn", design, start)
        lowest = problem.objective(predicted)
        aim = problem
    for _ in range(num_rounds):
        pull, curvature, inverse = _linearize(aim, predicted, mix)
        aim = problem
        root = np.sqrt(curvature)
        target = np.where(curvature > 0, pull / np.where(root > 0, root, 1.0), 0.0)
        target = target + root * predicted * inverse
        trial = signed_least_squares(design * (root * inverse)[:, :, None], target, signs)
        predicted = np.einsum("snp,sp->sn", design, trial)
        value = problem.objective(predicted)
        better = value < lowest
        best = np.where(better[:, None], trial, best)
        lowest = np.where(better, value, lowest)
        if not better.any():
            break
        predicted = np.where(better[:, None], predicted, np.einsum("snp,sp->sn", design, best))
    return best, lowest


def _linearize(problem: Problem, predicted: Array, mix: Array) -> tuple[Array, Array, Array]:
    """Return the pull (minus the loss's slope), the model's curvature, and d(residual scale).

    Each is ``(S, n)``; where a prediction is not positive under a log link the anchor takes its place.
    """
    if problem.law.link == "log":
        predicted = np.where(predicted > 0, predicted, problem.anchor)
        inverse = 1.0 / predicted
    else:
        inverse = np.ones_like(predicted)
    residual = problem.residual(predicted)
    size = np.abs(residual)
    shrink = problem.delta / np.maximum(size, problem.delta) if np.isfinite(problem.delta) else 1.0
    pull = problem.weights * residual * shrink
    curvature = problem.weights * np.where(size <= problem.delta, 1.0, mix[:, None] * shrink)
    return pull, curvature, inverse


def minimize(
    problem: Problem, search: Array, *, stopping: Stopping | None = None, is_race: bool = False
) -> Optimum:
    """Descend from each start to a first-order optimum.

    Parameters
    ----------
    problem : Problem
    search : array (S, q)
        Starts in search coordinates, inside the box.
    stopping : Stopping, optional
        When a descent ends; by default when float64 shows no more progress.
    is_race : bool
        The starts are for one and the same problem: those still on their way after 30 steps are given up
        where another has arrived lower.
    """
    stopping = stopping or Stopping()
    law = problem.law
    lower, upper = box(law)
    num_problems = len(search)
    search = np.clip(search, lower, upper)
    design, _ = law.design(problem.inputs, to_theta(law, search))
    mix = np.ones(num_problems)
    coefficients, objective = solve_coefficients(problem, design, None, mix, 4)
    damping = np.full(num_problems, 1e-2)
    gradient = np.full(num_problems, np.inf)
    idle = np.zeros(num_problems, dtype=int)
    arrived = np.zeros(num_problems, dtype=bool)
    active = np.flatnonzero(np.isfinite(objective))
    iteration = 0
    while len(active) and iteration < stopping.max_iterations:
        iteration += 1
        part = problem.select(active)
        step = _step(part, search[active], coefficients[active], damping[active], mix[active])
        gradient[active] = step.gradient
        trial = np.clip(search[active] + step.search, lower, upper)
        trial_design, _ = law.design(problem.inputs, to_theta(law, trial))
        start = _better_start(
            part,
            trial_design,
            _keep_signs(law, coefficients[active] + step.coefficients),
            coefficients[active],
        )
        new, value = solve_coefficients(part, trial_design, start, mix[active], 2)
        old = objective[active]
        gain = np.where(np.isfinite(value), old - value, -np.inf)
        better = gain > 0
        taken = active[better]
        search[taken], coefficients[taken] = trial[better], new[better]
        objective[taken] = value[better]
        # a gain far below the promise means that steps overshoot and go back and forth across a valley
        kept = gain / np.maximum(step.promise, 1e-300)
        damping[active] *= np.where(kept > 0.5, 0.2, np.where(kept > 0.25, 1.0, 4.0))
        np.clip(damping, 1e-12, 1e12, out=damping)
        mix[active] = np.where(better, mix[active] / 3, mix[active] * 10)
        np.clip(mix, SMALLEST_MIX, 1.0, out=mix)
        idle[active] = np.where(gain > stopping.no_gain * old, 0, idle[active] + 1)
        total = np.sum(np.broadcast_to(part.weights, (len(active), part.weights.shape[1])), axis=1)
        is_exact = objective[active] <= 0.5 * EXACT_RESIDUAL**2 * total
        done = (gradient[active] <= stopping.gradient) | (idle[active] >= stopping.idle_steps)
        done |= is_exact
        gradient[active[is_exact]] = 0.0
        arrived[active[done]] = gradient[active[done]] <= ACCEPTED_GRADIENT
        if is_race and iteration >= RACE_PATIENCE and arrived.any():
            done |= objective[active] >= objective[arrived].min()
        active = active[~done]
    return Optimum(
        search=search,
        coefficients=coefficients,
        objective=objective,
        gradient=gradient,
        is_converged=gradient <= ACCEPTED_GRADIENT,
        num_iterations=iteration,
    )


@dataclass(frozen=True)
class _Step:
    search: Array
    coefficients: Array
    gradient: Array
    promise: Array  # gain of the objective by the quadratic model


def _step(
    problem: Problem, search: Array, coefficients: Array, damping: Array, mix: Array
) -> _Step:
    """Return the damped step of exponents and coefficients together, and the gradient's size."""
    law = problem.law
    theta = to_theta(law, search)
    design, derivatives = law.design(problem.inputs, theta)
    slopes = exponent_slopes(derivatives, coefficients, design.shape[1], search.shape[1])
    is_log = np.array([e.is_log for e in law.exponents], dtype=bool)
    slopes *= np.where(is_log, theta, 1.0)[:, None, :]
    predicted = np.einsum("snp,sp->sn", design, coefficients)
    pull, curvature, inverse = _linearize(problem, predicted, mix)
    root = np.sqrt(curvature)
    right = np.where(curvature > 0, pull / np.where(root > 0, root, 1.0), 0.0)
    num_columns = design.shape[2]
    stacked = np.concatenate([design, slopes, right[:, :, None]], axis=2)
    jacobian = stacked[
        :, :, :-1
    ]  # a view: what follows happens in place, since these are the largest arrays
    jacobian *= (root * inverse)[:, :, None]
    # hold what sits at a bound and is pushed outward
    uphill = np.einsum("snk,sn->sk", jacobian, right)
    free = _is_free(law, search, coefficients, uphill)
    length = free * np.sqrt(np.einsum("snk,snk->sk", jacobian, jacobian))
    # an exponent that moves the prediction by less than its rounding is left alone: its step would be
    # without bound, and shortening that would stop all the others
    size = np.sqrt(np.einsum("sn,sn->s", root * inverse * predicted, root * inverse * predicted))
    is_felt = length[:, num_columns:] > np.finfo(float).eps * size[:, None]
    length[:, num_columns:] = np.where(is_felt, length[:, num_columns:], 0.0)
    unit = np.where(length > 0, 1.0 / np.where(length > 0, length, 1.0), 0.0)
    gradient = _cosine(right, uphill * unit)
    jacobian *= unit[:, None, :]
    triangle = upper_triangle(stacked)
    left, goal = triangle[:, :, :-1], triangle[:, :, -1]
    change = _damped_step(left, goal, damping, num_columns)
    signs = np.array([term.sign for term in law.terms])
    for _ in range(num_columns):
        # a coefficient at zero must not step across: hold it and let the others move
        crosses = (coefficients == 0) & (signs * change[:, :num_columns] < 0)
        if not crosses.any():
            break
        left[:, :, :num_columns] *= np.where(crosses, 0.0, 1.0)[:, None, :]
        change = _damped_step(left, goal, damping, num_columns)
    largest = np.max(np.abs(change * unit)[:, num_columns:], axis=1, initial=0.0)
    change *= np.minimum(1.0, MAX_STEP / np.maximum(largest, 1e-300))[:, None]
    effect = np.einsum("skl,sl->sk", left, change)
    promise = np.einsum("sk,sk->s", effect, goal - 0.5 * effect)
    change *= unit
    return _Step(change[:, num_columns:], change[:, :num_columns], gradient, promise)


def _damped_step(left: Array, goal: Array, damping: Array, num_columns: int) -> Array:
    """Solve the damped least-squares problem; only the exponents are damped, ``(S, p + q)``."""
    size = left.shape[2]
    diagonal = np.where(np.arange(size) < num_columns, RIDGE, np.sqrt(damping)[:, None])
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


def _better_start(problem: Problem, design: Array, first: Array, second: Array) -> Array:
    """Return, for each problem, the coefficients with the lower objective on a design."""
    values = [
        problem.objective(np.einsum("snp,sp->sn", design, coefficients))
        for coefficients in (first, second)
    ]
    return np.where((values[0] <= values[1])[:, None], first, second)


def _keep_signs(law: Law, coefficients: Array) -> Array:
    signs = np.array([term.sign for term in law.terms])
    return np.where(signs * coefficients < 0, 0.0, coefficients)
