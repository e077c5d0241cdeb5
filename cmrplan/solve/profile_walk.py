"""The walk outward along a profile, and the interval where it has risen by the limit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.numbers import require_confidence
from cmrplan.solve.profile_paths import Path, ProfiledFit

FIRST_STEP = 1e-5  # of the walk outward, in coordinate units; far inside any interval of a real log
GROWTH = 4.0
GROUP = 4  # steps that are fitted at once
NARROWING = (0.1, 0.01, 1e-3)  # of a bracket, on both sides of where its end is expected
ROUNDS = 6
PRECISION = 1e-6  # of an end, relative to its distance from the estimate


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


@dataclass(frozen=True)
class RowNoise:
    """How sure an interval is to be, and what is known of the noise; see :mod:`cmrplan.solve.profile`."""

    confidence: float
    num_clusters: int | None
    is_unequal: bool


def walk(data: ProfiledFit, path: Path, name: str, noise: RowNoise) -> ProfileInterval:
    """Walk both sides of a profile and return the interval.

    Raises
    ------
    InputError
        If ``confidence`` is not in (0, 1), or there are fewer than two clusters.
    """
    confidence, num_clusters = noise.confidence, noise.num_clusters
    require_confidence(confidence)
    scale, degrees_of_freedom = data.noise_scale(), data.spare
    if noise.is_unequal:
        scale *= data.noise_ratio(path.gradient)
    if num_clusters is not None:
        if num_clusters < 2:
            raise InputError(f"num_clusters must be 2 or more, got {num_clusters}")
        scale *= max(float(np.sum(data.weights > 0)) / num_clusters, 1.0)
        degrees_of_freedom = min(degrees_of_freedom, num_clusters - 1)
    limit = float(student.ppf((1 + confidence) / 2, degrees_of_freedom))
    sides = [_Side(data, path, scale, direction) for direction in (-1.0, 1.0)]
    ends = [side.end(limit) for side in sides]
    points = np.array([path.estimate, *(p for side in sides for p in side.points)])
    ratio = np.array([0.0, *(r for side in sides for r in side.ratio)])
    values = np.array([path.to_value(t) for t in points])
    order = np.argsort(values, kind="stable")
    bounds = [
        (edge, True) if end is None else (path.to_value(end), False)
        for end, edge in zip(ends, path.edges, strict=True)
    ]
    (low, low_open), (high, high_open) = sorted(bounds)
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

    def __init__(self, data: ProfiledFit, path: Path, scale: float, direction: float) -> None:
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
        distance = inner + (outer - inner) * _share(low, high, limit)
        return self.path.estimate + self.direction * distance

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
        # Far out, where a term has vanished, the value reached may not be a number.
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
