"""Minimize a smooth function of shares that sum to one, inside a box and under a chance constraint.

The chance constraint asks that at least ``needed`` of ``B`` draws keep every limit. Which draws may break theirs is
chosen at the current point (the worst ones), the smooth problem with the others is solved by sequential quadratic
programming, and so on while the function falls. Each round starts feasible, so it never gets worse. Where no start is
feasible, the largest excess over the limits is minimized first.

Gradients are central differences over a step of 1e-4 in the share: a law with a power of the share below one has an
infinite slope at zero, and nobody mixes a corpus to a finer grain. Everything is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls

from cmrplan.arrays import Array

STEP = 1e-4  # of a share, in finite differences
ACTIVE = 1e-6  # a share this near to its bound, or a limit this near in nats, holds the answer
MARGIN = 1e-9  # nats that the search keeps from a limit, so that rounding does not break it
GAIN = 1e-9  # nats; a round that gains less ends the search
MOST_ROUNDS = 12
MOST_DESCENT_STEPS = 150
HALVINGS = 12

Values = Callable[[Array], Array]


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
    """

    objective: Values
    low: Array
    high: Array
    excess: Values | None = None
    needed: int = 0

    def worst(self, shares: Array) -> float:
        """Return the smallest number that the excess of enough draws stays under; at most 0 is feasible."""
        if self.excess is None:
            return -np.inf
        largest = self.excess(shares[None, :])[:, :, 0].max(axis=0)
        return float(np.sort(largest)[self.needed - 1])

    def kept(self, shares: Array) -> NDArray[np.intp]:
        """Return the draws that must keep their limits: those with the smallest excess here."""
        assert self.excess is not None
        largest = self.excess(shares[None, :])[:, :, 0].max(axis=0)
        return np.sort(np.argsort(largest, kind="stable")[: self.needed])

    def value(self, shares: Array) -> float:
        """Return the objective at one mixture."""
        return float(self.objective(shares[None, :])[0])


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


def project(shares: Array, low: Array, high: Array) -> Array:
    """Return the nearest point of the box whose shares sum to one, ``(m,)``.

    Examples
    --------
    >>> project(np.array([0.9, 0.9]), np.zeros(2), np.array([0.3, 1.0])).round(9).tolist()
    [0.3, 0.7]
    """
    down, up = float(np.min(low - shares)), float(np.max(high - shares))
    for _ in range(100):
        middle = (down + up) / 2
        if np.clip(shares + middle, low, high).sum() < 1:
            down = middle
        else:
            up = middle
    projected = np.clip(shares + up, low, high)
    free = (projected > low) & (projected < high)
    if free.any():  # the last digits
        projected[free] += (1 - projected.sum()) / free.sum()
    return np.asarray(np.clip(projected, low, high))


def solve(problem: SimplexProblem, starts: Sequence[Array]) -> SimplexOptimum:
    """Return the best of the optima reached from several starts.

    Parameters
    ----------
    problem : SimplexProblem
    starts : sequence of array (m,)
        Moved into the box first.
    """
    ends = [_solve_from(problem, project(start, problem.low, problem.high)) for start in starts]
    feasible = [end for end in ends if end.is_feasible]
    if feasible:
        return min(feasible, key=lambda end: end.value)
    return min(ends, key=lambda end: end.worst)


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
    if not problem.worst(shares) <= 0:
        here = _nearest_feasible(problem, shares, here)
    for _ in range(MOST_ROUNDS):
        kept = problem.kept(here.shares)
        lower = _end(problem, _descend(problem, here.shares, kept, False))
        if not lower.is_feasible or lower.value >= here.value - GAIN:
            break
        here = lower
    return here


def _nearest_feasible(
    problem: SimplexProblem, shares: Array, reached: SimplexOptimum
) -> SimplexOptimum:
    """Go back from a feasible mixture toward the start, as far as it stays feasible.

    The smallest excess lies in a corner far from where the objective is low, and a descent from there may end early.
    """
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
    num = len(shares)
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
            "fun": lambda z: np.array([z[:num].sum() - 1]),
            "jac": lambda z: np.append(np.ones(num), np.zeros(spare))[None, :],
        }
    ]
    if kept is not None and problem.excess is not None:
        excess = problem.excess

        def room(z: Array) -> Array:
            over = excess(z[None, :num])[:, kept, 0].ravel()
            return np.asarray((z[num] if is_relaxed else 0.0) - over - MARGIN)

        def room_slope(z: Array) -> Array:
            slopes = gradient(lambda x: excess(x)[:, kept], z[:num]).reshape(-1, num)
            return np.hstack([-slopes, np.ones((len(slopes), spare))])

        constraints.append({"type": "ineq", "fun": room, "jac": room_slope})
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
    return project(solution.x[:num], problem.low, problem.high)


def gradient(function: Values, shares: Array) -> Array:
    """Return the derivative of a function of mixtures by each share, ``(..., m)`` for values ``(..., G)``."""
    shares = np.maximum(shares, 0.0)
    num = len(shares)
    up, down = shares + STEP * np.eye(num), np.maximum(shares - STEP * np.eye(num), 0.0)
    values = function(np.concatenate([up, down]))
    width = np.diag(up) - np.diag(down)
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
        What is left of the projected gradient, relative to it; 0 at an optimum.
    """

    limits: Array
    low: Array
    high: Array
    residual: float


def prices(problem: SimplexProblem, shares: Array) -> Prices:
    """Return the multipliers that explain the gradient at an optimum best."""
    num = len(shares)
    slope = gradient(problem.objective, shares)
    at_low = np.flatnonzero(shares <= problem.low + ACTIVE)
    at_high = np.flatnonzero(shares >= problem.high - ACTIVE)
    columns = [np.ones(num), -np.ones(num), *np.eye(num)[at_low], *-np.eye(num)[at_high]]
    which = np.zeros(0, dtype=np.intp)
    limits = 0
    if problem.excess is not None:
        kept = problem.kept(shares)
        over = problem.excess(shares[None, :])[:, kept, 0]
        limits = len(over)
        which, draw = np.nonzero(over >= -ACTIVE)
        slopes = gradient(problem.excess, shares)[which, kept[draw]]
        columns += [*-slopes]
    # slope = sum of columns times multipliers, each 0 or more
    multipliers, rest = nnls(np.stack(columns, axis=1), slope)
    ends = np.cumsum([2, len(at_low), len(at_high)])
    low, high = np.zeros(num), np.zeros(num)
    low[at_low], high[at_high] = multipliers[ends[0] : ends[1]], multipliers[ends[1] : ends[2]]
    centered = float(np.linalg.norm(slope - slope.mean()))
    return Prices(
        limits=np.bincount(which, weights=multipliers[ends[2] :], minlength=limits).astype(float),
        low=low,
        high=high,
        residual=float(rest) / centered if centered > 0 else 0.0,
    )
