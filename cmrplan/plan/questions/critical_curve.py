"""The ratio that a run stands as a curve over its tokens and over its size, beyond what was probed.

The losses are carried to each place first and the ratio is found there, as the CMR paper proposes for going
between sizes. Where the domain loss falls with the ratio, this is the critical ratio: the largest feasible one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.numbers import require_positive
from cmrplan.plan.constraints import SAME_RATIO
from cmrplan.plan.extrapolation import ROUNDING, ratio_range
from cmrplan.plan.optimum import decide
from cmrplan.plan.request import Limits
from cmrplan.solve.feasible import best_ratio
from cmrplan.tolerance import base_loss_at

NUM_PLACES = 25
NUM_GRID = 201
BEYOND = 10.0  # how far past the largest probed size or budget a curve goes by default

Axis = Literal["train_tokens", "model_params"]


@dataclass(frozen=True)
class CriticalCurve:
    """The best feasible ratio at ``P`` places along tokens or size.

    Parameters
    ----------
    axis : {"train_tokens", "model_params"}
        What varies.
    place : array (P,)
        Ascending tokens or parameters.
    fixed : float
        The other of the two.
    confidence : float
    domain_ratio, point, low, high : array (P,)
        The ratio that holds with confidence, the best estimate and its interval. NaN where none is feasible, and
        bounds where there are no resamples.
    at_edge : array (P,) of bool
        Whether the ratio is the largest fitted one, so that more may be feasible.
    reason : tuple of str
        Why there is no ratio; empty where there is one.
    warnings : tuple of Finding
        Each code once, as at its last place.
    """

    axis: Axis
    place: Array
    fixed: float
    confidence: float
    domain_ratio: Array
    point: Array
    low: Array
    high: Array
    at_edge: Array
    reason: tuple[str, ...]
    warnings: tuple[Finding, ...]

    def table(self) -> pd.DataFrame:
        """Return one row a place."""
        return pd.DataFrame(
            {
                self.axis: self.place,
                "domain_ratio": self.domain_ratio,
                "domain_ratio_low": self.low,
                "domain_ratio_high": self.high,
                "point_domain_ratio": self.point,
                "at_edge": self.at_edge,
                "reason": self.reason,
            }
        )


def critical_over_tokens(
    fit: Fit, *, model_params: float, train_tokens: Sequence[float] | None = None, **limits: Any
) -> CriticalCurve:
    """Return the best feasible ratio against tokens at one size.

    Parameters
    ----------
    fit : Fit
    model_params : float
    train_tokens : sequence of float, optional
        From the smallest probed to ten times the largest probed tokens by default.
    **limits
        Fields of :class:`~cmrplan.plan.request.Limits`.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If no place has a feasible ratio.
    """
    require_positive("model_params", model_params)
    places = default_places(fit, "train_tokens") if train_tokens is None else train_tokens
    return curve_along(fit, Limits(**limits), "train_tokens", places, model_params)


def critical_over_sizes(
    fit: Fit, *, train_tokens: float, model_params: Sequence[float] | None = None, **limits: Any
) -> CriticalCurve:
    """Return the best feasible ratio against size at one budget; see :func:`critical_over_tokens`.

    The CMR laws hold at the probed sizes alone, so with them these are the places by default.
    """
    require_positive("train_tokens", train_tokens)
    places = default_places(fit, "model_params") if model_params is None else model_params
    return curve_along(fit, Limits(**limits), "model_params", places, train_tokens)


def default_places(fit: Fit, axis: Axis, reach: float | None = None) -> Array:
    """Return places along an axis, from the smallest probed to ten times the largest, or to ``reach`` if farther.

    The probed ones alone where there is a single one, since no trend is known then, and over sizes with the CMR laws.
    """
    rows = fit.log[fit.log["train_tokens"] > 0]
    probed = np.unique(rows[axis].to_numpy(dtype=float))
    if len(probed) == 1 or (axis == "model_params" and fit.holds_per_size):
        return probed
    places = np.geomspace(probed[0], max(BEYOND * probed[-1], reach or 0.0), NUM_PLACES)
    # a probed size knows more than those beside it
    return np.union1d(places, probed) if axis == "model_params" else places


def curve_along(
    fit: Fit, limits: Limits, axis: Axis, places: Sequence[float] | Array, fixed: float
) -> CriticalCurve:
    """Return the best feasible ratio at each place of one axis, the other fixed."""
    where = np.unique(np.asarray(places, dtype=float))
    if not len(where):
        raise InputError(f"{axis} must be one or more numbers above 0, got none")
    for place in (where[0], where[-1]):
        require_positive(axis, float(place))
    other = "model_params" if axis == "train_tokens" else "train_tokens"
    if axis == "model_params":
        limits = limits.for_any_size()
    tail = (1 - limits.confidence) / 2
    highest = ratio_range(fit)[1]
    rows, reasons = [], []
    remarks: dict[str, Finding] = {}
    for place in where:
        try:
            made = decide(fit, limits, **{axis: float(place), other: fixed}, num_grid=NUM_GRID)
        except InputError:
            raise
        except CmrplanError as error:
            rows.append((np.nan,) * 4)
            reasons.append(str(error))
            continue
        remarks |= {finding.code: finding for finding in made.land.findings}
        bounds = (np.nan, np.nan)
        if len(made.draws):
            bounds = tuple(np.quantile(made.draws, [tail, 1 - tail]))
        rows.append((made.ratio, made.point, *bounds))
        reasons.append("")
    if all(reasons):
        raise CmrplanError(reasons[-1])
    ratio, point, low, high = np.array(rows).T
    return CriticalCurve(
        axis=axis,
        place=where,
        fixed=float(fixed),
        confidence=limits.confidence,
        domain_ratio=ratio,
        point=point,
        low=low,
        high=high,
        at_edge=ratio >= highest - SAME_RATIO,
        reason=tuple(reasons),
        warnings=tuple(remarks.values()),
    )


def measured_critical(fit: Fit, limits: Limits, axis: Axis, fixed: float) -> tuple[Array, Array]:
    """Return the places along an axis where probes were measured, and the critical ratio by the measurements alone.

    At the probed size or tokens nearest to ``fixed``; both ``(M,)``. The losses of the probed ratios are joined by
    straight lines; only the tolerance counts. Places without the base loss or the general loss at two ratios
    are left out.
    """
    other = "model_params" if axis == "train_tokens" else "train_tokens"
    if axis == "model_params":
        limits = limits.for_any_size()
    rows = fit.rows("general")
    known = np.unique(rows[other].to_numpy(dtype=float))
    nearest = known[np.argmin(np.abs(np.log(known / fixed)))]
    found = []
    for place, group in rows[np.abs(rows[other] / nearest - 1) <= ROUNDING].groupby(axis):
        mean = group.groupby("domain_ratio")["loss"].mean()
        ratio, loss = mean.index.to_numpy(dtype=float), mean.to_numpy(dtype=float)
        size = float(place) if axis == "model_params" else float(nearest)
        reference = _measured_reference(fit, limits, size, ratio, loss)
        if reference is None or len(ratio) < 2 or limits.tolerance is None:
            continue
        grid = np.linspace(ratio[0], ratio[-1], NUM_GRID)
        rise = limits.tolerance.rise(np.interp(grid, ratio, loss), reference)
        allowed = limits.tolerance.largest_rise
        critical = best_ratio(grid, rise[None, :], -grid[None, :], allowed)[0]
        found.append((float(place), float(critical)))
    place, critical = np.array(found, dtype=float).reshape(-1, 2).T
    return place[np.isfinite(critical)], critical[np.isfinite(critical)]


def _measured_reference(
    fit: Fit, limits: Limits, size: float, ratio: Array, loss: Array
) -> float | None:
    if limits.rise_over == "replay":
        return float(loss[0]) if ratio[0] == 0 else None
    if limits.base_loss is not None:
        return limits.base_loss
    measured = fit.base_loss.get("general", {})
    if not measured:
        return None
    value, findings = base_loss_at(measured, size)
    return None if findings else value
