"""The largest feasible domain ratio, drawn against tokens and against model size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from cmrplan.arrays import Array
from cmrplan.fit.fit import Fit
from cmrplan.numbers import compact
from cmrplan.plan.optimum import SAME_RATIO
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.critical_curve import (
    Axis,
    CriticalCurve,
    curve_along,
    default_values,
    measured_critical,
)
from cmrplan.plots.artists import (
    DATA,
    FORBIDDEN,
    LIMIT,
    TOKENS_LABEL,
    axes_or_new,
    count_axis,
    draw_band,
    draw_beyond,
    draw_star,
    padded,
    percent_ticks,
    point_face,
    point_style,
    say_why,
)
from cmrplan.plots.legends import finished
from cmrplan.plots.view import is_same, nearest, require_plan
from cmrplan.plots.wording import allowed_title, choice_label, law_title, no_ratio_text, percent

SAME_AROUND = 0.1  # of an axis beside the ratio, where all are the same
LABELS = {"train_tokens": TOKENS_LABEL, "model_params": "model parameters"}


@dataclass(frozen=True)
class CriticalData:
    """The numbers of :func:`plot_critical`.

    Parameters
    ----------
    curve : CriticalCurve
    measured_count, measured_ratio : array (M,)
        By the measurements alone, at the probed tokens or size nearest to the plan's.
    measured_fixed : float
        That size, or these tokens.
    probed : array (k,)
        Probed tokens or sizes, ascending.
    plan : Plan
    base_sizes : array (b,)
        Probed sizes whose base loss was measured, ascending.
    """

    curve: CriticalCurve
    measured_count: Array
    measured_ratio: Array
    measured_fixed: float
    probed: Array
    plan: Plan
    base_sizes: Array

    @property
    def title(self) -> str:
        """What the panel shows."""
        return f"{law_title(self.plan.law)}, {self.at(self.curve.fixed)}"

    def at(self, fixed: float) -> str:
        """Return size or tokens, whichever stays fixed, in words."""
        name, unit = ("N", "") if self.curve.axis == "train_tokens" else ("D", " tokens")
        return f"{name} = {compact(fixed)}{unit}"

    @property
    def measured_label(self) -> str:
        """What a legend calls the points."""
        if is_same(self.measured_fixed, self.curve.fixed):
            return "by the measured losses alone"
        return f"by the measured losses at {self.at(self.measured_fixed)}"


def critical_data(
    fit: Fit, against: Axis = "train_tokens", *, plan: Plan | None = None
) -> CriticalData:
    """Return the numbers of :func:`plot_critical`, which has the same parameters."""
    plan = require_plan("critical", plan)
    here, fixed = plan.train_tokens, plan.model_params
    if against == "model_params":
        here, fixed = fixed, here
    counts = np.append(default_values(fit, against, here), here)
    curve = curve_along(fit, plan.asked, against, counts, fixed)
    measured, ratio = measured_critical(fit, plan.asked, against, fixed)
    rows = fit.log[fit.log["train_tokens"] > 0]
    other = "model_params" if against == "train_tokens" else "train_tokens"
    near = nearest(fit.rows("general" if "general" in fit.models else "domain")[other], fixed)
    probed = np.unique(rows[against].to_numpy(dtype=float))
    base_sizes = np.array(sorted(fit.base_loss.get("general", {})))
    return CriticalData(curve, measured, ratio, near, probed, plan, base_sizes)


def plot_critical(
    fit: Fit, against: Axis = "train_tokens", *, plan: Plan | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the best feasible ratio against tokens or size, beyond what was probed.

    Parameters
    ----------
    fit : Fit
    against : {"train_tokens", "model_params"}
    plan : Plan
        Sets the limits, and the size or budget that stays fixed.
    ax : Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If there is no plan.
    CmrplanError
        If no tokens or size has a feasible ratio.
    """
    data = critical_data(fit, against, plan=plan)
    title = f"{allowed_title(data.plan)}\n{data.title}"
    return finished(draw_critical(data, axes_or_new(ax)), title)


def draw_critical(data: CriticalData, ax: Axes) -> Axes:
    """Draw the numbers, without title and legend."""
    curve, plan = data.curve, data.plan
    is_known = np.isfinite([curve.domain_ratio, curve.best_estimate]).any()
    if not (plan.is_feasible or is_known or len(data.measured_ratio)):
        other = "budgets" if curve.axis == "train_tokens" else "sizes"
        return say_why(ax, f"{no_ratio_text(plan)} None holds it at other {other} either.")
    _draw_curve(curve, ax)
    if len(data.measured_count):
        ax.plot(
            data.measured_count,
            data.measured_ratio,
            "o",
            markersize=5,
            label=data.measured_label,
            **point_face(not is_same(data.measured_fixed, curve.fixed), DATA),
        )
    here = plan.train_tokens if curve.axis == "train_tokens" else plan.model_params
    draw_star(ax, here, plan.evaluated_ratio, size=13, label=choice_label(plan))
    along = np.concatenate([curve.values, data.probed, [here]])
    count_axis(ax, along, LABELS[curve.axis])
    draw_beyond(ax, data.probed[0], data.probed[-1], along)
    shown = [curve.domain_ratio, curve.best_estimate, curve.low, curve.high, data.measured_ratio]
    if np.isnan(curve.domain_ratio).any():
        shown.append(np.zeros(1))
    shown.append(np.array([plan.evaluated_ratio]))
    low, high = padded(shown)
    if np.nanmax(np.concatenate(shown)) - np.nanmin(np.concatenate(shown)) < SAME_RATIO:
        low, high = plan.evaluated_ratio - SAME_AROUND, plan.evaluated_ratio + SAME_AROUND
    ax.set_ylim(max(low, -0.04), min(high, 1.04))
    if curve.axis == "model_params" and len(data.probed) > 1:
        _draw_probed_sizes(data, ax)
    ax.yaxis.set_major_formatter(percent_ticks())
    ax.set_ylabel("recommended domain ratio")
    return ax


def _draw_probed_sizes(data: CriticalData, ax: Axes) -> None:
    """Mark the sizes whose base loss is measured, where the interval is narrow for that reason; without any, all."""
    sizes, label = data.base_sizes, "size with its base loss measured, hence a narrower interval"
    if not len(sizes):
        sizes, label = data.probed, "probed size"
    ax.plot(
        sizes,
        np.zeros(len(sizes)),
        "|",
        transform=ax.get_xaxis_transform(),
        color=LIMIT,
        markersize=9,
        markeredgewidth=1.4,
        label=label,
    )


def _draw_curve(curve: CriticalCurve, ax: Axes) -> None:
    """Draw the ratio, its best estimate and interval, and a cross where none holds."""
    level = percent(curve.confidence)
    band = f"{level} interval of the best ratio"
    draw_band(ax, curve.values, curve.low, curve.high, color=DATA, alpha=0.18, label=band)
    ax.plot(
        curve.values,
        curve.best_estimate,
        color=DATA,
        linewidth=1,
        linestyle=":",
        label="best estimate",
    )
    ax.plot(
        curve.values,
        curve.domain_ratio,
        color=DATA,
        linewidth=1.8,
        label=f"holds with {level}",
        **point_style(int(np.isfinite(curve.domain_ratio).sum())),
    )
    missing = np.isnan(curve.domain_ratio)
    if missing.any():
        floor = np.zeros(int(missing.sum()))
        style: dict[str, Any] = {"color": FORBIDDEN, "markersize": 5}
        ax.plot(curve.values[missing], floor, "x", label=f"none holds with {level}", **style)
