"""The best ratio at one size and budget under all constraints, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.fit import Fit
from cmrplan.fit.other_sizes import OTHER_SIZE
from cmrplan.plan.constraints import SAME_RATIO, Binding, Window, window_of
from cmrplan.plan.extrapolation import extrapolation_findings
from cmrplan.plan.loss_curves import NUM_GRID, Landscape, survey
from cmrplan.plan.request import Limits
from cmrplan.plan.turning_point import multiplier_at


@dataclass(frozen=True)
class Decision:
    """A ratio, and what it was taken from.

    Parameters
    ----------
    land : Landscape
    window : Window
    ratio : float
        Holds the tolerance with confidence.
    point : float
        The best estimate; NaN where only the safe quantile is feasible.
    draws : array (B,)
        The best ratio of each resample.
    unconstrained : float
        The best ratio without any constraint.
    """

    land: Landscape
    window: Window
    ratio: float
    point: float
    draws: Array
    unconstrained: float

    def findings(self, binding: Binding) -> list[Finding]:
        """Return remarks on a ratio at the edge of what was probed, and on a domain loss that turns."""
        lowest, highest = self.window.probed
        found = []
        if self.ratio >= highest - SAME_RATIO and highest < 1:
            found.append(
                Finding(
                    Code.RATIO_AT_EDGE,
                    f"the ratio is the largest that was probed ({highest:g}); probe larger ones to see whether more is "
                    "feasible",
                )
            )
        if self.ratio <= lowest + SAME_RATIO and lowest > 0:
            found.append(
                Finding(
                    Code.RATIO_AT_EDGE,
                    f"the ratio is the smallest that was probed ({lowest:g}); probe smaller ones",
                )
            )
        is_weighted = bool(np.any(self.land.objective != self.land.domain.loss))
        if binding == "none" and self.ratio < highest - SAME_RATIO and not is_weighted:
            found.append(
                Finding(
                    Code.DOMAIN_LOSS_TURNS,
                    f"the fitted domain loss has its lowest value at {self.ratio:.3g} and rises beyond; more domain "
                    "data should not hurt the domain loss, so look at the fit",
                )
            )
        return found


def decide(
    fit: Fit,
    limits: Limits,
    *,
    model_params: float,
    train_tokens: float,
    num_grid: int = NUM_GRID,
) -> Decision:
    """Return the best ratio under all constraints.

    Raises
    ------
    CmrplanError
        If no ratio is feasible, with the smallest change that would make one.
    """
    window = window_of(fit, limits, model_params=model_params, train_tokens=train_tokens)
    if window.low > min(window.high, window.probed[1]):
        raise CmrplanError(_empty(fit, window, limits, model_params, train_tokens))
    land = survey(
        fit,
        limits,
        model_params=model_params,
        train_tokens=train_tokens,
        marks=window.marks,
        num_grid=num_grid,
    )
    ratio = land.safe_ratio(window.low, window.high)
    point = land.point_ratio(window.low, window.high)
    if np.isnan(ratio):
        far = extrapolation_findings(fit, model_params=model_params, train_tokens=train_tokens)
        carried = [finding for finding in land.findings if finding.code in OTHER_SIZE]
        remarks = [finding.message for finding in (*far, *carried)]
        raise CmrplanError("; ".join([_infeasible(land, window, limits, point), *remarks]))
    return Decision(
        land=land,
        window=window,
        ratio=ratio,
        point=point,
        draws=land.drawn_ratios(window.low, window.high),
        unconstrained=land.safe_ratio(*window.probed, allowed=np.inf),
    )


def _empty(
    fit: Fit, window: Window, limits: Limits, model_params: float, train_tokens: float
) -> str:
    """Return why the constraints leave no ratio, and the smallest change of each that would."""
    lowest, highest = window.probed
    if window.low > highest:
        return (
            f"min_ratio {window.low:g} is above the largest fitted ratio {highest:g}; probe larger ratios, or lower "
            f"min_ratio to {highest:g}"
        )
    name, low = window.tightest, window.low
    is_floor = window.floor is not None and window.floor > lowest
    what = f"min_ratio {window.floor:g}" if is_floor else f"the smallest probed ratio {lowest:g}"
    way_out = f"lower min_ratio to {window.high:.4g}" if is_floor else "probe smaller ratios"
    if name == "domain_tokens":
        assert limits.domain_tokens is not None
        needed = low * train_tokens
        change = (
            f"give {needed / limits.max_epochs:.4g} domain_tokens, or allow {needed / limits.domain_tokens:.3g} "
            "max_epochs"
        )
    elif name == "turning_point":
        weight = multiplier_at(
            fit, model_params=model_params, train_tokens=train_tokens, domain_ratio=low
        )
        change = "train longer" if weight is None else f"lower turning_point to {weight:.4g}"
    else:
        change = f"raise max_ratio to {low:.4g}"
    return f"{name} allows a domain ratio of at most {window.high:.4g}, below {what}; {way_out}, or {change}"


def _infeasible(land: Landscape, window: Window, limits: Limits, point: float) -> str:
    k = land.between(window.low, window.high)
    ratio, rise = land.domain_ratio[k], land.rise_safe[k]
    best = int(np.argmin(rise))
    needed = land.tolerance.least_above(float(rise[best]))
    over = (
        f"the base loss {land.base_loss:.4f}"
        if limits.rise_over == "base"
        else "pure replay's loss"
    )
    text = (
        f"no domain ratio keeps the general loss within {land.tolerance} of {over} with confidence "
        f"{limits.confidence:g} at model_params = {land.model_params:.4g}, train_tokens = "
        f"{float(land.train_tokens[0]):.4g}; smallest feasible tolerance is {needed} (at domain_ratio "
        f"{ratio[best]:.3g})"
    )
    if np.isfinite(point):
        text += f"; the best estimate {point:.3g} would break it about every other time"
    if window.floor is not None:
        lower = window.without("ratio_floor")
        reachable = land.safe_ratio(lower.low, lower.high)
        if np.isfinite(reachable):
            text += f"; or lower min_ratio to {np.floor(reachable * 1e4) / 1e4:g}"
    return text
