"""One rule chooses where the data leave a whole valley of equally good fits.

With fewer levels of an input than a law has parameters for it, or with an exponent so large that its factor has died
away, parameters can be exchanged without any change of the residuals. Where a descent ends in such a valley depends on
its start and on rounding, and so would the predictions between and beyond the probes. The rule takes, of all equally
good points, the one nearest to the middle of the box of the search coordinates, each measured by the width of its side.

A direction is null when the residuals change by less than 1e-8 (root mean square) along the whole width of the box;
rounding makes 1e-13 of an exact valley, and data that tell a parameter at all make 1e-5 and more. A walk goes along
the null directions toward the middle, corrects the others by Gauss and Newton's step, and ends where the middle comes
no nearer or the data begin to object.

References
----------
Eriksson, Wedin, Gulliksson & Soderkvist 2005, Regularization methods for uniformly rank-deficient nonlinear
least-squares problems.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.laws.law import to_theta
from cmrplan.solve.problem import FitOptimum, FitProblem, box
from cmrplan.solve.projection import linearized_rows, solve_coefficients
from cmrplan.solve.signed_lstsq import upper_triangle

NULL_CHANGE = 1e-8  # of the residuals, root mean square, over the width of the box
FELT_CHANGE = 1e-6  # from here on a direction is corrected; between the two it is left alone
HELD_COSINE = 1e-6  # of a pull across a bound; a smaller one is rounding
LONGEST_MOVE = 0.1  # in widths of the box
LONGEST_CORRECTION = 0.03
SHORTEST_MOVE = (
    1e-9  # a walk that is stopped before so short a move has come to the end of its valley
)
NEAR_ENOUGH = 3e-8  # widths that the middle could still come nearer
MOST_MOVES = 60
MOST_CORRECTIONS = 6
ALLOWED_RISE = 1e-4  # of the objective; a guard, since moves along a valley raise it by rounding
ALLOWED_RESIDUAL = 1e-7  # the same for a fit without residuals
NEWTON_MIX = 1e-3  # see cmrplan.solve.varpro
EQUAL_OBJECTIVE = 1e-9  # relative difference of equally good ends
EQUAL_RESIDUAL = 1e-12  # the same for ends without residuals
CLEARLY_NEARER = 1e-3


def choose_among_equals(problem: FitProblem, optimum: FitOptimum) -> FitOptimum:
    """Return the best end of a search for one problem; of equally good ends the one nearest to the middle."""
    best = optimum.best()
    lowest = optimum.objective[best]
    rounding = 0.5 * EQUAL_RESIDUAL**2 * float(np.sum(problem.weights[0]))
    equal = optimum.objective <= lowest * (1 + EQUAL_OBJECTIVE) + rounding
    equal[best] = False
    chosen = choose_in_valleys(problem, optimum.select(np.array([best])))
    if equal.any():
        others = choose_in_valleys(problem, optimum.select(np.flatnonzero(equal)))
        distance = distance_from_middle(problem, others.search)
        nearest = int(np.argmin(distance))
        if distance[nearest] < distance_from_middle(problem, chosen.search)[0] - CLEARLY_NEARER:
            return others.select(np.array([nearest]))
    return chosen


def distance_from_middle(problem: FitProblem, search: Array) -> Array:
    """Return how far points are from the middle of the box, in widths of the box, ``(S,)``."""
    lower, upper = box(problem.law)
    return np.asarray(np.linalg.norm((search - (lower + upper) / 2) / (upper - lower), axis=1))


def choose_in_valleys(problem: FitProblem, optimum: FitOptimum) -> FitOptimum:
    """Return the ends of ``S`` searches; those in a valley are moved to its point nearest to the middle of the box.

    Gradient and convergence stay those of the searches.
    """
    if not optimum.search.shape[1]:
        return optimum
    finite = np.flatnonzero(np.isfinite(optimum.objective))
    walk = _Walk(problem.select(finite), optimum.select(finite))
    in_valley = walk.num_null > 0
    if not in_valley.any():
        return optimum
    which = finite[in_valley]
    walk = _Walk(problem.select(which), optimum.select(which))
    walk.run()
    search, coefficients = optimum.search.copy(), optimum.coefficients.copy()
    objective = optimum.objective.copy()
    search[which], coefficients[which] = walk.search, walk.coefficients
    objective[which] = walk.objective
    return replace(optimum, search=search, coefficients=coefficients, objective=objective)


@dataclass(frozen=True)
class _Directions:
    """Where ``S`` points may go.

    ``pull`` leads away from the middle along the ``num_null`` null directions, and ``correction`` back to the bottom of
    the valley; both are ``(S, q)`` in widths of the box. ``is_held`` says which columns stand still, ``(S, p + q)``.
    """

    pull: Array
    correction: Array
    num_null: NDArray[np.intp]
    is_held: NDArray[np.bool_]


class _Walk:
    """Where ``S`` walks stand; each array has one entry or row a walk."""

    def __init__(self, problem: FitProblem, optimum: FitOptimum) -> None:
        self.problem = problem
        self.lower, self.upper = box(problem.law)
        self.width = self.upper - self.lower
        self.signs = np.array([term.sign for term in problem.law.terms])
        self.search = optimum.search.copy()
        self.coefficients = optimum.coefficients.copy()
        self.objective = optimum.objective.copy()
        self.triangle = self._triangle(
            problem, self.search, self.coefficients, np.full(len(self.search), NEWTON_MIX)
        )
        unheld = np.zeros((len(self.search), len(self.signs) + len(self.width)), dtype=bool)
        self.num_null = _Decomposition.of(self.triangle, unheld, len(self.signs)).num_null

    def run(self) -> None:
        """Walk until every point is as near to the middle as its valley allows."""
        count = len(self.search)
        shape = (count, self.problem.weights.shape[1])
        weight = np.sum(np.broadcast_to(self.problem.weights, shape), axis=1)
        ceiling = self.objective * (1 + ALLOWED_RISE) + 0.5 * ALLOWED_RESIDUAL**2 * weight
        pace = _Pace(count, len(self.width))
        active = np.arange(count)
        for _ in range(MOST_MOVES):
            ways = self._directions(active)
            self.num_null[active] = ways.num_null
            point = self._points(self.search[active])
            move = pace.move(active, point, ways.pull)
            correction = np.where(pace.is_smooth[active][:, None], ways.correction, 0.0)
            is_moved, is_ended = self._try(active, move + correction, ways, ceiling[active])
            is_stuck = pace.learn(active, is_moved, is_ended)
            # At the end of one null direction the walk goes on along the others.
            self.num_null[active[is_stuck]] -= 1
            left = np.maximum(np.linalg.norm(ways.pull, axis=1), np.linalg.norm(correction, axis=1))
            done = (is_moved & (left <= NEAR_ENOUGH)) | (self.num_null[active] <= 0)
            active = active[~done]
            if not len(active):
                return

    def _points(self, search: Array) -> Array:
        return (search - (self.lower + self.upper) / 2) / self.width

    def _triangle(
        self, problem: FitProblem, search: Array, coefficients: Array, mix: Array
    ) -> Array:
        """Return the triangle of the linearized rows, as root mean squares and by widths of the box."""
        rows, _ = linearized_rows(problem, search, coefficients, mix)
        rows[:, :, len(self.signs) : -1] *= self.width
        weight = np.sum(np.broadcast_to(problem.weights, rows.shape[:2]), axis=1)
        return upper_triangle(rows / np.sqrt(np.maximum(weight, 1e-300))[:, None, None])

    def _directions(self, active: NDArray[np.intp]) -> _Directions:
        """Return where the active points may go; what would leave its bounds is held."""
        triangle, point = self.triangle[active], self._points(self.search[active])
        num_terms = len(self.signs)
        outward = self._outward(active)
        right = triangle[:, :, -1]
        uphill = np.einsum("skl,sk->sl", triangle[:, :, :-1], right)
        length = np.linalg.norm(triangle[:, :, :-1], axis=1)
        size = length * np.linalg.norm(right, axis=1)[:, None]
        is_held = (outward * uphill > HELD_COSINE * size) & (length > NULL_CHANGE)
        for _ in range(is_held.shape[1] + 1):
            parts = _Decomposition.of(triangle, is_held, num_terms)
            num_null = np.minimum(parts.num_null, self.num_null[active])
            is_null = parts.is_null(num_null)
            free = np.where(is_held[:, num_terms:], 0.0, point)
            along = np.where(is_null, np.einsum("skq,sq->sk", parts.right, free), 0.0)
            pull = np.einsum("skq,sk->sq", parts.right, along)
            exchange = _exchange(parts.triangle, num_terms, -pull)
            change = np.concatenate([exchange, -pull], axis=1)
            crosses = (outward * change > 0) & (np.abs(change) > 1e-12) & ~is_held
            if not crosses.any():
                break
            is_held |= crosses
        return _Directions(pull, parts.correction(num_null), num_null, is_held)

    def _outward(self, active: NDArray[np.intp]) -> Array:
        """Return the sign of the way out of bounds for what stands at one, else 0, ``(S, p + q)``."""
        search, coefficients = self.search[active], self.coefficients[active]
        ends = np.where(search >= self.upper, 1.0, np.where(search <= self.lower, -1.0, 0.0))
        return np.concatenate([np.where(coefficients == 0, -self.signs, 0.0), ends], axis=1)

    def _try(
        self, active: NDArray[np.intp], move: Array, ways: _Directions, ceiling: Array
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Move the points whose valley goes on there; return which, and which have come to its end."""
        part = self.problem.select(active)
        search, coefficients = self.search[active], self.coefficients[active]
        mix = np.ones(len(active))
        bottom = self.objective[active] * (1 + EQUAL_OBJECTIVE)
        for _ in range(MOST_CORRECTIONS):
            search = np.clip(search + move * self.width, self.lower, self.upper)
            design, _ = part.law.design(part.inputs, to_theta(part.law, search))
            coefficients, value = solve_coefficients(part, design, coefficients, mix, 3)
            mix = np.where(value <= ceiling, NEWTON_MIX, 1.0)
            triangle = self._triangle(part, search, coefficients, mix)
            parts = _Decomposition.of(triangle, ways.is_held, len(self.signs))
            is_ended = parts.num_null < ways.num_null
            if ((value <= bottom) | is_ended).all():
                break
            move = np.where((value <= bottom)[:, None], 0.0, parts.correction(ways.num_null))
        is_moved = (value <= ceiling) & ~is_ended
        taken = active[is_moved]
        self.search[taken], self.coefficients[taken] = search[is_moved], coefficients[is_moved]
        self.objective[taken], self.triangle[taken] = value[is_moved], triangle[is_moved]
        return np.asarray(is_moved), np.asarray(is_ended)


class _Pace:
    """Which share of its pull each walk goes along next: Barzilai and Borwein's, less after a move that failed."""

    def __init__(self, count: int, size: int) -> None:
        self.factor, self.longest = np.ones(count), np.full(count, np.inf)
        self.is_smooth = np.ones(count, dtype=bool)  # the last move was taken
        self.point, self.pull = np.full((count, size), np.nan), np.zeros((count, size))

    def move(self, active: NDArray[np.intp], point: Array, pull: Array) -> Array:
        """Return the next move against the pull, in widths of the box, ``(S, q)``."""
        moved, change = point - self.point[active], pull - self.pull[active]
        along = np.einsum("sq,sq->s", moved, change)
        is_known = self.is_smooth[active] & (along > 0)
        secant = np.einsum("sq,sq->s", moved, moved) / np.where(is_known, along, 1.0)
        factor = np.where(is_known, np.clip(secant, 0.05, 2.0), self.factor[active])
        self.factor[active] = np.minimum(factor, self.longest[active])
        self.point[active], self.pull[active] = point, pull
        return _shortened(-self.factor[active][:, None] * pull, LONGEST_MOVE)

    def learn(
        self, active: NDArray[np.intp], is_moved: NDArray[np.bool_], is_ended: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Take up which moves were taken and which met an end; return which walks are stuck and start anew."""
        factor = np.where(is_moved, self.factor[active], self.factor[active] / 2)
        self.factor[active], self.is_smooth[active] = factor, is_moved
        self.longest[active] = np.where(is_ended, factor, self.longest[active])
        is_stuck = factor < SHORTEST_MOVE
        stuck = active[is_stuck]
        self.factor[stuck], self.longest[stuck] = 1.0, np.inf
        self.is_smooth[stuck], self.point[stuck] = True, np.nan
        return np.asarray(is_stuck)


@dataclass(frozen=True)
class _Decomposition:
    """Singular values and vectors of the slopes by the exponents, the coefficients projected out.

    ``singular`` (S, q) has the largest first, ``left`` and ``right`` (S, q, q) have the vectors in rows, and
    ``triangle`` is that of the free columns. Each of ``num_held`` held exponents, (S,), gives a singular value of 0.
    """

    singular: Array
    left: Array
    right: Array
    triangle: Array
    num_held: NDArray[np.intp]

    @classmethod
    def of(cls, triangle: Array, is_held: NDArray[np.bool_], num_terms: int) -> _Decomposition:
        """Decompose slopes given by their triangle ``(S, k, p + q + 1)``."""
        free = np.where(np.pad(is_held, ((0, 0), (0, 1))), 0.0, 1.0)
        small = upper_triangle(triangle * free[:, None, :])
        last = small.shape[2] - 1
        left, singular, right = np.linalg.svd(small[:, num_terms:last, num_terms:last])
        num_held = np.sum(is_held[:, num_terms:], axis=1)
        return cls(singular, np.swapaxes(left, 1, 2), right, small, num_held)

    def is_null(self, num_null: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which singular values are those of null directions and held exponents, (S, q)."""
        count = self.singular.shape[1]
        return np.asarray(np.arange(count) >= count - (num_null + self.num_held)[:, None])

    def correction(self, num_null: NDArray[np.intp]) -> Array:
        """Return Gauss and Newton's step in all but the null directions, (S, q)."""
        count = self.singular.shape[1]
        residual = self.triangle[:, -1 - count : -1, -1]
        goal = np.einsum("skl,sl->sk", self.left, residual)
        is_felt = (self.singular > FELT_CHANGE) & ~self.is_null(num_null)
        steps = np.where(is_felt, goal / np.where(is_felt, self.singular, 1.0), 0.0)
        return _shortened(np.einsum("skq,sk->sq", self.right, steps), LONGEST_CORRECTION)

    @property
    def num_null(self) -> NDArray[np.intp]:
        """Number of null directions, (S,)."""
        return np.asarray(np.sum(self.singular <= NULL_CHANGE, axis=1) - self.num_held)


def _shortened(moves: Array, longest: float) -> Array:
    length = np.linalg.norm(moves, axis=1)[:, None]
    return np.asarray(moves * np.minimum(1.0, longest / np.maximum(length, 1e-300)))


def _exchange(triangle: Array, num_terms: int, move: Array) -> Array:
    """Return how the coefficients make up for a move of the exponents, ``(S, p)``."""
    own = triangle[:, :num_terms, :num_terms]
    others = triangle[:, :num_terms, num_terms:-1]
    effect = np.einsum("skq,sq->sk", others, move)
    return np.asarray(-np.einsum("spk,sk->sp", np.linalg.pinv(own, rcond=1e-12), effect))
