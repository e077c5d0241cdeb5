"""The best feasible ratio changes with tokens and with size, and is followed beyond what was probed.

The losses are carried to each run first and the ratio is decided there, as the CMR paper proposes for going
between sizes. Where the domain loss falls with the ratio, this is the critical ratio: the largest feasible one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Unpack

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.fit.probed import TWO_DIGITS, base_loss_at, is_among, other_base
from cmrplan.fit.tabular import Tabular
from cmrplan.plan.findings import infeasible_text
from cmrplan.plan.loss_curves import COARSE_GRID, best_ratio
from cmrplan.plan.optimum import SAME_RATIO, decide
from cmrplan.plan.request import (
    CountOrText,
    FitOrPath,
    PlanRequest,
    SizeOptions,
    TokensOptions,
    fit_of,
    named_arguments,
    parse_named_count,
    request_of,
)

NUM_CURVE_POINTS = 25
BEYOND = 10.0  # how far past the largest probed size or budget a curve goes by default

Axis = Literal["train_tokens", "model_params"]


@dataclass(frozen=True, repr=False)
class CriticalCurve(Tabular):
    """The best feasible ratio of ``P`` runs along tokens or size.

    Parameters
    ----------
    axis : {"train_tokens", "model_params"}
        What varies.
    values : array (P,)
        Ascending tokens or parameters.
    fixed : float
        The other of the two.
    confidence : float
    domain_ratio, best_estimate, low, high : array (P,)
        The ratio that holds with confidence, NaN where none does; the best estimate, NaN where the estimates allow
        none; and its interval, NaN where no resamples have one.
    at_edge : array (P,) of bool
        Whether the ratio is the largest fitted one, so that more may be feasible.
    reason : tuple of str
        Why there is no ratio; empty where there is one.
    warnings : tuple of Finding
        Each code once, as at its last run.
    """

    axis: Axis
    values: Array
    fixed: float
    confidence: float
    domain_ratio: Array
    best_estimate: Array
    low: Array
    high: Array
    at_edge: Array
    reason: tuple[str, ...]
    warnings: tuple[Finding, ...]

    def table(self) -> pd.DataFrame:
        """Return one row a run."""
        return pd.DataFrame(
            {
                self.axis: self.values,
                "domain_ratio": self.domain_ratio,
                "domain_ratio_low": self.low,
                "domain_ratio_high": self.high,
                "point_domain_ratio": self.best_estimate,
                "at_edge": self.at_edge,
                "reason": self.reason,
            }
        )


@named_arguments
def critical_over_tokens(
    fit: FitOrPath,
    request: PlanRequest | None = None,
    *,
    train_tokens: Sequence[CountOrText] | None = None,
    **options: Unpack[SizeOptions],
) -> CriticalCurve:
    """Return the best feasible ratio against tokens at one size.

    Parameters
    ----------
    fit : Fit or path
    request : PlanRequest, optional
        The size and the limits; its own tokens and compute are not looked at.
    train_tokens : sequence of float or str, optional
        From the smallest probed to ten times the largest probed tokens by default.
    **options
        Fields of :class:`~cmrplan.plan.request.PlanRequest`.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If no run has a feasible ratio.
    """
    fit, asked = fit_of(fit), request_of(request, options)
    values = default_values(fit, "train_tokens") if train_tokens is None else train_tokens
    return curve_along(fit, asked, "train_tokens", values, asked.size)


@named_arguments
def critical_over_sizes(
    fit: FitOrPath,
    request: PlanRequest | None = None,
    *,
    model_params: Sequence[CountOrText] | None = None,
    **options: Unpack[TokensOptions],
) -> CriticalCurve:
    """Return the best feasible ratio against size at one budget; see :func:`critical_over_tokens`.

    The CMR laws hold at the probed sizes alone, so with them these are looked at by default.
    """
    fit, asked = fit_of(fit), request_of(request, options)
    values = default_values(fit, "model_params") if model_params is None else model_params
    if asked.train_tokens is None:
        raise InputError("train_tokens must be given")
    return curve_along(fit, asked, "model_params", values, float(asked.train_tokens))


def default_values(fit: Fit, axis: Axis, reach: float | None = None) -> Array:
    """Return values along an axis, from the smallest probed to ten times the largest, or to ``reach`` if farther.

    The probed ones alone where there is a single one, since no trend is known then, and over sizes with the CMR laws.
    """
    rows = fit.log[fit.log["train_tokens"] > 0]
    probed = np.unique(rows[axis].to_numpy(dtype=float))
    if len(probed) == 1 or (axis == "model_params" and fit.holds_per_size):
        return probed
    values = np.geomspace(probed[0], max(BEYOND * probed[-1], reach or 0.0), NUM_CURVE_POINTS)
    if axis == "train_tokens":
        return values
    # A size that was probed, or whose base loss was measured, knows more than those beside it.
    measured = np.array(sorted(fit.base_loss.get("general", {})))
    inside = measured[(measured >= values[0]) & (measured <= values[-1])]
    return np.union1d(np.union1d(values, probed), inside)


def curve_along(
    fit: Fit, request: PlanRequest, axis: Axis, values: Sequence[CountOrText] | Array, fixed: float
) -> CriticalCurve:
    """Return the best feasible ratio at each value of one axis, the other fixed."""
    along = np.unique([parse_named_count(axis, value) for value in values])
    if not len(along):
        raise InputError(f"{axis} must be one or more numbers above 0, got none")
    reasons: list[str] = []
    refused: list[CmrplanError] = []
    rows: list[tuple[float | None, ...]] = []
    remarks: dict[str, Finding] = {}
    for value in along.tolist():
        asked = _run_on(request, axis, value, fixed)
        try:
            decision = decide(fit, asked, num_grid=COARSE_GRID)
        except InputError:
            raise
        except CmrplanError as error:
            refused.append(error)
            rows.append((np.nan,) * 4)
            reasons.append(str(error))
            continue
        best = decision.interval(request.confidence)
        rows.append((decision.ratio, best.estimate, best.low, best.high))
        if not decision.is_feasible:
            reasons.append(infeasible_text(fit, asked, decision))
            continue
        remarks |= {finding.code: finding for finding in decision.curves.findings}
        reasons.append("")
    if len(refused) == len(along):
        raise refused[-1]
    ratio, best_estimate, low, high = np.array(rows, dtype=float).T
    return CriticalCurve(
        axis=axis,
        values=along,
        fixed=float(fixed),
        confidence=request.confidence,
        domain_ratio=ratio,
        best_estimate=best_estimate,
        low=low,
        high=high,
        at_edge=ratio >= fit.probed.ratio_range[1] - SAME_RATIO,
        reason=tuple(reasons),
        warnings=tuple(remarks.values()),
    )


def _run_on(request: PlanRequest, axis: Axis, value: float, fixed: float) -> PlanRequest:
    """Return the question at one value of an axis; a given base loss is that of the size that was asked for."""
    if axis == "train_tokens":
        return request.at(fixed, value)
    is_own = request.model_params is not None and is_among(np.array([value]), request.size)
    return (request if is_own else request.for_any_size()).at(value, fixed)


def measured_critical(
    fit: Fit, request: PlanRequest, axis: Axis, fixed: float
) -> tuple[Array, Array]:
    """Return the values along an axis where probes were measured, and the critical ratio by the measurements alone.

    At the probed size or tokens nearest to ``fixed``; both ``(M,)``. The losses of the probed ratios are joined by
    straight lines; of the ratios that the tolerance allows it is the one with the lowest domain loss, and the largest
    where that was not measured at each. Runs without the base loss or the general loss at two ratios are left out.
    """
    other = "model_params" if axis == "train_tokens" else "train_tokens"
    if axis == "model_params":
        request = request.for_any_size()
    if "general" not in fit.models:
        return np.zeros(0), np.zeros(0)
    rows = fit.rows("general")
    known = np.unique(rows[other].to_numpy(dtype=float))
    nearest = known[np.argmin(np.abs(np.log(known / fixed)))]
    domain = fit.rows("domain") if "domain" in fit.corpora else rows.iloc[:0]
    domain = domain[np.abs(domain[other] / nearest - 1) <= TWO_DIGITS]
    points = []
    for value, group in rows[np.abs(rows[other] / nearest - 1) <= TWO_DIGITS].groupby(axis):
        mean = group.groupby("domain_ratio")["loss"].mean()
        ratio, loss = mean.index.to_numpy(dtype=float), mean.to_numpy(dtype=float)
        size = float(value) if axis == "model_params" else float(nearest)
        reference = _measured_reference(fit, request, size, ratio, loss)
        if reference is None or len(ratio) < 2 or request.tolerance is None:
            continue
        grid = np.linspace(ratio[0], ratio[-1], COARSE_GRID)
        general = np.interp(grid, ratio, loss)
        rise, allowed = request.tolerance.rise(general, reference), request.tolerance.largest_rise
        gained = domain[domain[axis] == value].groupby("domain_ratio")["loss"].mean()
        objective = -grid
        if set(ratio) <= set(gained.index):
            objective = np.interp(grid, gained.index, gained) + request.weight * general
        critical = best_ratio(grid, rise[None, :], objective[None, :], allowed)[0]
        points.append((float(value), float(critical)))
    values, critical = np.array(points, dtype=float).reshape(-1, 2).T
    return values[np.isfinite(critical)], critical[np.isfinite(critical)]


def _measured_reference(
    fit: Fit, request: PlanRequest, size: float, ratio: Array, loss: Array
) -> float | None:
    if request.rise_over == "replay":
        return float(loss[0]) if ratio[0] == 0 else None
    is_of_size = request.model_params is None or abs(size / request.size - 1) <= TWO_DIGITS
    given = request.base_loss if is_of_size else None
    measured = fit.base_loss.get("general", {})
    if not measured:
        return given
    value, findings = base_loss_at(measured, size)
    if given is not None and (findings or not other_base(given, value, size)):
        return given
    # Of probes from another base than the planned one it is their own.
    return None if findings else value
