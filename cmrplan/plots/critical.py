"""The ratio that a run stands, against its tokens and against its size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from cmrplan.arrays import Array
from cmrplan.fit.fit import Fit
from cmrplan.numbers import compact
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.critical_curve import (
    Axis,
    CriticalCurve,
    curve_along,
    default_values,
    measured_critical,
)
from cmrplan.plots.artists import (
    CHOICE,
    DATA,
    FORBIDDEN,
    TOKENS_LABEL,
    axes_or_new,
    count_axis,
    draw_band,
    padded,
    percent_ticks,
)
from cmrplan.plots.view import require_plan
from cmrplan.plots.wording import law_title, percent, recommendation

LABELS = {"train_tokens": TOKENS_LABEL, "model_params": "model parameters"}


@dataclass(frozen=True)
class CriticalData:
    """The numbers of :func:`plot_critical`.

    Parameters
    ----------
    curve : CriticalCurve
    measured_place, measured_ratio : array (M,)
        By the measurements alone, at the probed place nearest to the plan's.
    last_measured : float
        The largest probed tokens or size.
    plan : Plan
    """

    curve: CriticalCurve
    measured_place: Array
    measured_ratio: Array
    last_measured: float
    plan: Plan

    @property
    def title(self) -> str:
        """What the panel shows."""
        name, unit = ("N", "") if self.curve.axis == "train_tokens" else ("D", " tokens")
        return f"{law_title(self.plan.law)}, {name} = {compact(self.curve.fixed)}{unit}"


def critical_data(
    fit: Fit, against: Axis = "train_tokens", *, plan: Plan | None = None
) -> CriticalData:
    """Return the numbers of :func:`plot_critical`, which has the same parameters."""
    plan = require_plan("critical", plan)
    here, fixed = plan.train_tokens, plan.model_params
    if against == "model_params":
        here, fixed = fixed, here
    values = np.append(default_values(fit, against, here), here)
    curve = curve_along(fit, plan.asked, against, values, fixed)
    place, ratio = measured_critical(fit, plan.asked, against, fixed)
    rows = fit.log[fit.log["train_tokens"] > 0]
    return CriticalData(curve, place, ratio, float(rows[against].max()), plan)


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
        If no place has a feasible ratio.
    """
    data = critical_data(fit, against, plan=plan)
    ax = draw_critical(data, axes_or_new(ax))
    ax.set_title(data.title)
    ax.legend(fontsize="small")
    return ax


def draw_critical(data: CriticalData, ax: Axes) -> Axes:
    """Draw the numbers, without title and legend."""
    curve, plan = data.curve, data.plan
    draw_band(
        ax,
        curve.values,
        curve.low,
        curve.high,
        color=DATA,
        alpha=0.18,
        label=f"{percent(curve.confidence)} interval of the best ratio",
    )
    single = int(np.isfinite(curve.domain_ratio).sum()) == 1  # a curve of one point would not show
    style = {"marker": "_", "markersize": 14.0} if single else {}
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
        label=f"holds with {percent(curve.confidence)}",
        **style,  # type: ignore[arg-type]
    )
    missing = np.isnan(curve.domain_ratio)
    if missing.any():
        floor = np.zeros(int(missing.sum()))
        ax.plot(
            curve.values[missing],
            floor,
            "x",
            color=FORBIDDEN,
            markersize=5,
            label="none is feasible",
        )
    if len(data.measured_place):
        ax.plot(
            data.measured_place,
            data.measured_ratio,
            "o",
            markersize=5,
            color=DATA,
            markeredgecolor="white",
            label="by the measured losses alone",
        )
    here = plan.train_tokens if curve.axis == "train_tokens" else plan.model_params
    ax.plot(
        [here],
        [plan.domain_ratio],
        "*",
        linestyle="none",
        markersize=13,
        color=CHOICE,
        markeredgecolor="white",
        zorder=4,
        label=f"recommended {recommendation(plan)}",
    )
    count_axis(ax, np.append(curve.values, data.last_measured), LABELS[curve.axis])
    if curve.values[-1] > data.last_measured:
        ax.axvspan(
            data.last_measured,
            ax.get_xlim()[1],
            color=FORBIDDEN,
            alpha=0.18,
            linewidth=0,
            zorder=0,
            label="beyond the probes",
        )
    shown = [curve.domain_ratio, curve.best_estimate, curve.low, curve.high, data.measured_ratio]
    if missing.any():
        shown.append(np.zeros(1))
    low, high = padded([*shown, np.array([plan.domain_ratio])])
    ax.set_ylim(max(low, -0.04), min(high, 1.04))
    ax.yaxis.set_major_formatter(percent_ticks())
    ax.set_ylabel("recommended domain ratio")
    return ax
