"""What more tolerance buys: the recommended ratio and its domain loss against the allowed rise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.fit.fit import Fit
from cmrplan.plan.loss_curves import survey
from cmrplan.plan.optimum import feasible_interval
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.frontier import (
    Frontier,
    RecommendedOverTolerances,
    frontier_of,
    over_tolerances,
)
from cmrplan.plan.request import PlanRequest
from cmrplan.plots.artists import (
    DATA,
    axes_or_new,
    draw_band,
    draw_star,
    draw_tolerance,
    padded,
    percent_ticks,
)
from cmrplan.plots.legends import finished
from cmrplan.plots.view import LOSS_UNIT, View, ViewOptions, view_of
from cmrplan.plots.wording import choice_label, percent, rise_label

NUM_FRONTIER_RATIOS = 401
NUM_TOLERANCES = 101
WIDEST = 3.0  # times the plan's tolerance, up to which others are shown
BEYOND_LEAST = 1.5  # times the least tolerance that holds, which are shown too
TOLERANCE_MARGIN = 0.04  # of the axis beyond a tolerance at its end
SHOWN = ("domain_ratio", "domain_loss")


@dataclass(frozen=True)
class FrontierData:
    """The numbers of :func:`plot_frontier`.

    Parameters
    ----------
    view : View
    frontier : Frontier
    recommended : RecommendedOverTolerances
        Over the tolerances of the axis.
    scale : float
        What the rises are multiplied by for the axis: 100 for percentages.
    over : str
        What they are measured from.
    tolerance : float or None
        The plan's, on the axis.
    plan : Plan or None
    """

    view: View
    frontier: Frontier
    recommended: RecommendedOverTolerances
    scale: float
    over: str
    tolerance: float | None
    plan: Plan | None

    @property
    def title(self) -> str:
        """What the panels show."""
        return f"What each tolerance allows\n{self.view.law_and_budget}"

    @property
    def span(self) -> tuple[float, float]:
        """Ends of the axis of tolerances."""
        tolerances = self.scale * self.recommended.tolerance
        return float(tolerances[0]), float(tolerances[-1])


def _shown_tolerances(frontier: Frontier, tolerance: float | None) -> Array:
    """Return the tolerances of the axis, that of a plan and those at which a curve begins among them."""
    needed, rise = (values[np.isfinite(values)] for values in (frontier.needed_rise, frontier.rise))
    least, high = float(needed.min()), float(needed.max())
    low = min(0.0, least)
    marks = [least, float(rise.min())]
    if tolerance is not None:
        high = min(high, max(WIDEST * tolerance, BEYOND_LEAST * least)) if tolerance > 0 else high
        if tolerance >= high:
            high = tolerance + TOLERANCE_MARGIN * (tolerance - low)
        marks.append(tolerance)
    along = np.linspace(low, max(high, low + 1e-6), NUM_TOLERANCES)
    return np.union1d(along, [mark for mark in marks if low <= mark <= along[-1]])


def frontier_data(
    fit: Fit,
    *,
    plan: Plan | None = None,
    **options: Unpack[ViewOptions],
) -> FrontierData:
    """Return the numbers of :func:`plot_frontier`, which has the same parameters."""
    view = view_of(fit, plan, **options)
    asked = PlanRequest(
        model_params=view.model_params,
        train_tokens=view.train_tokens,
        max_general_rise=0.0,
        confidence=view.confidence,
    )
    if plan is not None:
        asked = plan.asked
        if asked.tolerance is None:
            raise InputError("the frontier is drawn over tolerances; give max_general_rise")
    feasible = feasible_interval(fit, asked)
    curves = survey(fit, asked, marks=feasible.marks, num_grid=NUM_FRONTIER_RATIOS)
    scale = 100.0 if curves.tolerance.unit in ("fraction", "perplexity_fraction") else 1.0
    frontier = frontier_of(curves, view.confidence)
    tolerance = None if plan is None else curves.tolerance.value
    shown = _shown_tolerances(frontier, tolerance)
    return FrontierData(
        view=view,
        frontier=frontier,
        recommended=over_tolerances(curves, feasible, shown, view.confidence),
        scale=scale,
        over=asked.rise_over,
        tolerance=None if tolerance is None else scale * tolerance,
        plan=plan,
    )


def plot_frontier(
    fit: Fit,
    show: Literal["domain_ratio", "domain_loss"] = "domain_ratio",
    *,
    plan: Plan | None = None,
    ax: Axes | None = None,
    **options: Unpack[ViewOptions],
) -> Axes:
    """Draw the recommended ratio, or the domain loss there, against the tolerance.

    Parameters
    ----------
    fit : Fit
        Of both corpora.
    show : {"domain_ratio", "domain_loss"}
    plan : Plan, optional
        Sets the size, the budget, the unit of the tolerance and what it is measured from; marks the plan's.
    ax : Axes, optional
        Where to draw; a new figure's by default.
    **options
        See :class:`ViewOptions`; the confidence says how surely each tolerance is to hold.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If an argument is out of its range, or differs from the plan's.
    CmrplanError
        If a corpus was not fitted, or the base loss is not known.
    """
    if show not in SHOWN:
        raise InputError(f"show must be one of {', '.join(SHOWN)}, got {show!r}")
    data = frontier_data(
        fit,
        plan=plan,
        **options,
    )
    return finished(draw_frontier(data, axes_or_new(ax), show), data.title)


def draw_frontier(data: FrontierData, ax: Axes, show: str) -> Axes:
    """Draw one quantity against the tolerance, without title and legend."""
    shown, level = data.recommended, percent(data.frontier.confidence)
    tolerances = data.scale * shown.tolerance
    holding, estimate, band = shown.domain_ratio, shown.best_estimate, "of the best ratio"
    low, high = shown.ratio_low, shown.ratio_high
    if show == "domain_loss":
        holding, estimate, band = shown.domain_loss, shown.best_estimate_loss, "of the fit"
        low, high = shown.domain_loss_low, shown.domain_loss_high
    style: dict[str, Any] = {"color": DATA, "alpha": 0.18, "label": f"{level} interval {band}"}
    draw_band(ax, tolerances, low, high, **style)
    style = {"color": DATA, "linewidth": 1, "linestyle": ":"}
    ax.plot(tolerances, estimate, label="best estimate, without a margin", **style)
    ax.plot(tolerances, holding, color=DATA, linewidth=1.8, label=f"holds with {level}")
    if data.plan is not None and data.tolerance is not None:
        _draw_plan(data.plan, data.tolerance, ax, show)
    ax.set_xlim(*data.span)
    ax.xaxis.set_major_locator(
        MaxNLocator("auto", prune="upper")
    )  # a number at the end may stand out of the figure
    ax.set_ylim(*padded([holding, estimate, low, high]))
    ax.set_xlabel(rise_label(data.frontier.unit, data.over))
    if show == "domain_ratio":
        ax.yaxis.set_major_formatter(percent_ticks())
        ax.set_ylabel("recommended domain ratio")
    else:
        ax.set_ylabel(f"domain loss ({LOSS_UNIT})")
    return ax


def _draw_plan(plan: Plan, tolerance: float, ax: Axes, show: str) -> None:
    """Mark the plan's tolerance, and its ratio where one is recommended or the estimates allow one."""
    name = f"tolerance: {plan.max_general_rise}"
    if not plan.is_feasible:
        name += f", which no ratio holds; {plan.least_tolerance} would do"
    draw_tolerance(ax, tolerance, name)
    if np.isfinite([plan.domain_ratio, plan.ratio.estimate]).any():
        chosen = plan.evaluated_ratio if show == "domain_ratio" else plan.domain_loss.estimate
        draw_star(ax, tolerance, chosen, size=13, label=choice_label(plan))
