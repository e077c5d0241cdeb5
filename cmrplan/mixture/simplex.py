"""Minimize a smooth function of shares that sum to one, inside a box and under a chance constraint.

The chance constraint asks that at least ``needed`` of ``B`` draws keep every limit. Which draws may break theirs is
chosen at the current point (the worst ones), the smooth problem with the others is solved by sequential quadratic
programming, and so on while the function falls. Each round starts feasible, so it never gets worse. Where no start is
feasible, the largest excess over the limits is minimized first.

Where several mixtures are equally good, the one nearest to a given center is taken: directions in which the objective
is flat all over the box are followed toward it. Of optima that lie apart and are equally good the first one is taken,
in the order of the starts. So rounding, which differs between processors, chooses nothing.

Gradients are those that a function knows, or central differences over a step of 1e-4 in the share: a law with a power
of the share below one has an infinite slope at zero, and nobody mixes a corpus to a finer grain. Everything is
deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls

from cmrplan.arrays import Array
from cmrplan.mixture.plane import Plane, project

STEP = 1e-4  # of a share, in finite differences
LIKE_DIGITS = 8  # of an excess in nats: what differs by less differs by rounding
ACTIVE = 1e-6  # a share this near to its bound, or a limit this near in nats, holds the answer
MARGIN = 1e-9  # nats that the search keeps from a limit, so that rounding does not break it
GAIN = 1e-9  # nats; a round that gains less ends the search, and optima nearer than this are equally good
FLAT = 1e-6  # nats for each unit of share; slopes below it all over the box are no reason for a mixture
MOST_ROUNDS = 12
MOST_DESCENT_STEPS = 150
HALVINGS = 12

Values = Callable[[Array], Array]


@runtime_checkable
class Differentiable(Protocol):
    """A function of mixtures that knows its derivatives."""

    def __call__(self, shares: Array) -> Array:
        """Return the values at mixtures ``(G, m)``, ``(..., G)``."""
        ...

    def gradient(self, shares: Array) -> Array:
        """Return the derivatives at one mixture ``(m,)`` by each share, ``(..., m)``."""
        ...


@dataclass(frozen=True)
class SimplexProblem:
    """What to minimize over mixtures.

    Parameters
    ----------
    objective : callable
        Mixtures ``(G, m)`` to values ``(G,)``.
    low, high : array (m,)
        Bounds of the shares; their sums enclose 1.
    excess : callable, optional
        Mixtures ``(G, m)`` to what each draw of each limit exceeds it by, ``(P, B, G)``, nats; fine at or below 0.
    needed : int
        Number of draws in which all ``P`` limits must hold.
    center : array (m,), optional
        Of equally good mixtures the nearest to this one is sought; equal shares by default.
    num_held : int
        How many of the first draws must keep the limits beside these, whatever the others do.
    plane : Plane, optional
        Where mixtures must lie too.
    """

    objective: Values
    low: Array
    high: Array
    excess: Values | None = None
    needed: int = 0
    center: Array | None = None
    num_held: int = 0
    plane: Plane | None = None

    def worst(self, shares: Array) -> float:
        """Return the smallest number that the excess of enough draws stays under; at most 0 is feasible."""
        if self.excess is None:
            return -np.inf
        largest = self.excess(shares[None, :])[:, :, 0].max(axis=0)
        drawn = np.sort(largest[self.num_held :])[self.needed - 1]
        return float(max([drawn, *largest[: self.num_held]]))

    def kept(self, shares: Array) -> NDArray[np.intp]:
        """Return the draws that must keep their limits: the held ones, and those with the smallest excess here."""
        assert self.excess is not None
        largest = np.round(self.excess(shares[None, :])[:, :, 0].max(axis=0), LIKE_DIGITS)
        smallest = np.argsort(largest[self.num_held :], kind="stable")[: self.needed]
        return np.concatenate([np.arange(self.num_held), self.num_held + np.sort(smallest)])

    def value(self, shares: Array) -> float:
        """Return the objective at one mixture."""
        return float(self.objective(shares[None, :])[0])

    @property
    def middle(self) -> Array:
        """The center, ``(m,)``."""
        num = len(self.low)
        return np.full(num, 1 / num) if self.center is None else self.center

    @property
    def held(self) -> Array:
        """What mixtures keep: their sum, and the rows of the plane, ``(1 + k, m)``."""
        return np.ones((1, len(self.low))) if self.plane is None else self.plane.held

    def missed(self, shares: Array) -> Array:
        """Return by how much shares ``(m,)`` miss the sum of one and the plane, ``(1 + k,)``."""
        total = np.array([shares.sum() - 1])  # summed as it is, so that processors agree
        if self.plane is None:
            return total
        return np.append(total, self.plane.rows @ shares - self.plane.values)

    def project(self, shares: Array) -> Array:
        """Return the nearest mixture in the box and on the plane, ``(m,)``."""
        return project(shares, self.low, self.high, self.plane)

    def slopes(self) -> Array:
        """Return how the objective changes with the shares at points all over the box, ``(m + 1, m)``, mean 0."""
        box = (tuple(self.low.tolist()), tuple(self.high.tolist()))
        spread = _spread(*box, tuple(self.middle.tolist()), self.plane)
        slopes = np.stack([gradient(self.objective, point) for point in spread])
        if self.plane is not None:
            slopes = slopes - slopes @ self.plane.rows.T @ self.plane.rows
        return np.asarray(slopes - slopes.mean(axis=1, keepdims=True))


@dataclass(frozen=True)
class SimplexOptimum:
    """The best mixture found.

    Parameters
    ----------
    shares : array (m,)
    value : float
    worst : float
        See :meth:`SimplexProblem.worst`; above 0 where nothing feasible was found, and then as small as it gets.
    """

    shares: Array
    value: float
    worst: float

    @property
    def is_feasible(self) -> bool:
        """Whether enough draws keep their limits."""
        return self.worst <= 0


@lru_cache(maxsize=16)  # resamples share a box
def _spread(
    low: tuple[float, ...],
    high: tuple[float, ...],
    middle: tuple[float, ...],
    plane: Plane | None,
) -> Array:
    """Return a center and points on the way to every corner, moved into the box, ``(m + 1, m)``."""
    center = np.array(middle)
    points = [center, *(0.5 * (center + np.eye(len(center))))]
    return np.stack([project(point, np.array(low), np.array(high), plane) for point in points])


def solve(problem: SimplexProblem, starts: Sequence[Array]) -> SimplexOptimum:
    """Return the best of the optima reached from several starts.

    Parameters
    ----------
    problem : SimplexProblem
    starts : sequence of array (m,)
        Moved into the box first.
    """
    ends = [_solve_from(problem, problem.project(start)) for start in starts]
    feasible = [end for end in ends if end.is_feasible]
    if feasible:
        lowest = min(end.value for end in feasible)
        best = next(end for end in feasible if end.value <= lowest + GAIN)
        return _nearest_to_center(problem, best)
    least = min(end.worst for end in ends)
    return next(end for end in ends if end.worst <= least + GAIN)


def _nearest_to_center(problem: SimplexProblem, best: SimplexOptimum) -> SimplexOptimum:
    """Return the nearest mixture to the center among those that differ from a best one in flat directions only."""
    _, sizes, directions = np.linalg.svd(problem.slopes())
    told = directions[: np.count_nonzero(sizes > FLAT)]
    held = np.vstack([problem.held, told])
    if len(held) >= len(best.shares):
        return best
    constraints: list[dict[str, Any]] = [
        {"type": "eq", "fun": lambda x: held @ (x - best.shares), "jac": lambda x: held}
    ]
    if problem.excess is not None:
        constraints.append(_room(problem.excess, problem.kept(best.shares)))
    with np.errstate(all="ignore"):
        solution = minimize(  # type: ignore[call-overload]
            lambda x: float(np.sum((x - problem.middle) ** 2)),
            best.shares,
            jac=lambda x: 2 * (x - problem.middle),
            bounds=[*zip(problem.low, problem.high, strict=True)],
            constraints=constraints,
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": MOST_DESCENT_STEPS},
        )
    if not np.isfinite(solution.x).all():
        return best
    nearest = problem.project(solution.x)
    moved = _nearest_feasible(problem, nearest, best)
    # In a narrow box the slopes may have seen too few points to know every direction.
    return moved if moved.value <= best.value + FLAT else best


def _solve_from(problem: SimplexProblem, shares: Array) -> SimplexOptimum:
    if problem.excess is None:
        return _end(problem, _descend(problem, shares, None, is_relaxed=False))
    here = _end(problem, shares)
    for _ in range(MOST_ROUNDS):
        if here.is_feasible:
            break
        lower = _end(problem, _descend(problem, here.shares, problem.kept(here.shares), True))
        if lower.worst >= here.worst - GAIN:
            return here
        here = lower
    if not here.is_feasible:
        return here
    # The smallest excess lies in a corner far from where the objective is low; a descent from there may end early.
    here = _nearest_feasible(problem, shares, here)
    for _ in range(MOST_ROUNDS):
        kept = problem.kept(here.shares)
        lower = _end(problem, _descend(problem, here.shares, kept, False))
        if not lower.is_feasible:  # by rounding, or by the limit of another draw
            lower = _nearest_feasible(problem, lower.shares, here)
        if lower.value >= here.value - GAIN:
            break
        here = lower
    return here


def _nearest_feasible(
    problem: SimplexProblem, shares: Array, reached: SimplexOptimum
) -> SimplexOptimum:
    """Go from a feasible mixture toward another one, as far as it stays feasible."""
    if (end := _end(problem, shares)).is_feasible:
        return end
    near, far = 0.0, 1.0
    best, way = reached, reached.shares - shares
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        here = _end(problem, shares + middle * way)
        if here.is_feasible:
            best, far = here, middle
        else:
            near = middle
    return best


def _end(problem: SimplexProblem, shares: Array) -> SimplexOptimum:
    return SimplexOptimum(shares, problem.value(shares), problem.worst(shares))


def _descend(
    problem: SimplexProblem, shares: Array, kept: NDArray[np.intp] | None, is_relaxed: bool
) -> Array:
    """Solve the smooth problem with the kept draws; relaxed, minimize the largest excess instead.

    The variables are the shares and, relaxed, that excess.
    """
    num, held = len(shares), problem.held
    spare = int(is_relaxed)
    start = np.append(shares, [max(problem.worst(shares), 0.0) + MARGIN] * spare)
    bounds = [*zip(problem.low, problem.high, strict=True), *[(-1.0, None)] * spare]
    unit = np.append(np.zeros(num), np.ones(spare))

    def value(z: Array) -> float:
        return float(z[num]) if is_relaxed else problem.value(z[:num])

    def slope(z: Array) -> Array:
        return unit if is_relaxed else gradient(problem.objective, z[:num])

    constraints: list[dict[str, Any]] = [
        {
            "type": "eq",
            "fun": lambda z: problem.missed(z[:num]),
            "jac": lambda z: np.hstack([held, np.zeros((len(held), spare))]),
        }
    ]
    if kept is not None and problem.excess is not None:
        constraints.append(_room(problem.excess, kept, is_relaxed))
    with np.errstate(all="ignore"):
        solution = minimize(  # type: ignore[call-overload]
            value,
            start,
            jac=slope,
            bounds=bounds,
            constraints=constraints,
            method="SLSQP",
            options={"ftol": 1e-10, "maxiter": MOST_DESCENT_STEPS},
        )
    if not np.isfinite(solution.x).all():
        return shares
    return problem.project(solution.x[:num])


def _room(excess: Values, kept: NDArray[np.intp], is_relaxed: bool = False) -> dict[str, Any]:
    """Return the constraint that the kept draws stay below their limits; relaxed, below the last variable."""

    def room(z: Array) -> Array:
        shares, most = (z[:-1], z[-1]) if is_relaxed else (z, 0.0)
        return np.asarray(most - excess(shares[None, :])[:, kept, 0].ravel() - MARGIN)

    def slope(z: Array) -> Array:
        shares = z[:-1] if is_relaxed else z
        slopes = gradient(excess, shares)[:, kept].reshape(-1, len(shares))
        return np.hstack([-slopes, np.ones((len(slopes), int(is_relaxed)))])

    return {"type": "ineq", "fun": room, "jac": slope}


def gradient(function: Values, shares: Array) -> Array:
    """Return the derivative of a function of mixtures by each share, ``(..., m)`` for values ``(..., G)``."""
    shares = np.maximum(shares, 0.0)
    if isinstance(function, Differentiable):
        return function.gradient(shares)
    num = len(shares)
    up, down = shares + STEP * np.eye(num), np.maximum(shares - STEP * np.eye(num), 0.0)
    values = function(np.concatenate([up, down]))
    width = np.diag(up - down)
    return np.asarray((values[..., :num] - values[..., num:]) / width)


@dataclass(frozen=True)
class Prices:
    """What holds an optimum: Lagrange multipliers, all 0 or more.

    Parameters
    ----------
    limits : array (P,)
        Fall of the objective for each nat that a limit is raised by.
    low, high : array (m,)
        Fall of the objective for each unit of share that a bound is moved outward by.
    residual : float
        What is left of the projected gradient, relative to the largest one in the box; 0 at an optimum.
    """

    limits: Array
    low: Array
    high: Array
    residual: float


def prices(problem: SimplexProblem, shares: Array, *, is_relaxed: bool = False) -> Prices:
    """Return the multipliers that explain the gradient at an optimum best.

    Relaxed, they are those of the smallest excess where nothing is feasible: what it falls by, in nats, in the place of
    the objective.
    """
    num, spare = len(shares), int(is_relaxed)
    slope = np.append(np.zeros(num), 1.0) if is_relaxed else gradient(problem.objective, shares)
    at_low = np.flatnonzero(shares <= problem.low + ACTIVE)
    at_high = np.flatnonzero(shares >= problem.high - ACTIVE)
    held = problem.held
    columns = np.vstack([held, -held, np.eye(num)[at_low], -np.eye(num)[at_high]])
    columns = np.hstack([columns, np.zeros((len(columns), spare))])
    which = np.zeros(0, dtype=np.intp)
    limits = 0
    if problem.excess is not None:
        kept = problem.kept(shares)
        over = problem.excess(shares[None, :])[:, kept, 0]
        limits = len(over)
        most = problem.worst(shares) if is_relaxed else 0.0
        which, draw = np.nonzero(over >= most - ACTIVE)
        slopes = gradient(problem.excess, shares)[which, kept[draw]]
        columns = np.vstack([columns, np.hstack([-slopes, np.ones((len(slopes), spare))])])
    # The slope is a sum of columns times multipliers, each 0 or more.
    multipliers, rest = nnls(columns.T, slope)
    ends = np.cumsum([2 * len(held), len(at_low), len(at_high)])
    low, high = np.zeros(num), np.zeros(num)
    low[at_low], high[at_high] = multipliers[ends[0] : ends[1]], multipliers[ends[1] : ends[2]]
    largest = 1.0
    if not is_relaxed:
        steepest = np.linalg.norm(problem.slopes(), axis=1)
        largest = max(*steepest, np.linalg.norm(slope - slope.mean()))
    return Prices(
        limits=np.bincount(which, weights=multipliers[ends[2] :], minlength=limits).astype(float),
        low=low,
        high=high,
        residual=float(rest / largest) if largest > 0 else 0.0,
    )
