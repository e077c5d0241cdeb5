"""What more tolerance buys: the recommended ratio and its domain loss against the allowed rise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Unpack

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.fit.fit import Fit
from cmrplan.plan.loss_curves import survey
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.frontier import Frontier, efficient, frontier_of
from cmrplan.plan.request import PlanRequest
from cmrplan.plots.artists import (
    DATA,
    axes_or_new,
    draw_star,
    draw_tolerance,
    padded,
    percent_ticks,
)
from cmrplan.plots.legends import finished
from cmrplan.plots.view import LOSS_UNIT, View, ViewOptions, view_of
from cmrplan.plots.wording import choice_label, percent, rise_label

NUM_FRONTIER_RATIOS = 401
WIDEST = 3.0  # tolerances that are shown beyond the plan's
BESIDE = 1.1  # of the plan's tolerance, at least: its line stands inside
ESTIMATE = "best estimate, without a margin"
SHOWN = ("domain_ratio", "domain_loss")


@dataclass(frozen=True)
class FrontierData:
    """The numbers of :func:`plot_frontier`.

    Parameters
    ----------
    view : View
    frontier : Frontier
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
        needed = self.scale * self.frontier.needed_rise[self.is_ever_best]
        needed = needed[np.isfinite(needed)]
        low, high = min(0.0, float(needed.min())), float(needed.max())
        if self.tolerance:
            high = max(min(high, WIDEST * self.tolerance), BESIDE * self.tolerance)
        return low, max(high, low + 1e-6)

    @property
    def is_ever_best(self) -> NDArray[np.bool_]:
        """Which ratios are best at some tolerance, ``(P,)``: not those past the lowest domain loss."""
        return efficient(self.frontier.needed_rise, self.frontier.domain_loss)


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
    curves = survey(fit, asked, num_grid=NUM_FRONTIER_RATIOS)
    scale = 100.0 if curves.tolerance.unit in ("fraction", "perplexity_fraction") else 1.0
    return FrontierData(
        view=view,
        frontier=frontier_of(curves, view.confidence),
        scale=scale,
        over=asked.rise_over,
        tolerance=None if plan is None else scale * curves.tolerance.value,
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
    frontier, low, high = data.frontier, *data.span
    value = frontier.domain_ratio if show == "domain_ratio" else frontier.domain_loss
    needed = data.scale * frontier.needed_rise
    inside = (needed >= low) & (needed <= high) & data.is_ever_best
    _draw_interval(data, ax, show)
    ways: tuple[tuple[Array, dict[str, Any]], ...] = (
        (frontier.rise, {"linewidth": 1, "linestyle": ":", "label": ESTIMATE}),
        (
            needed / data.scale,
            {"linewidth": 1.8, "label": f"holds with {percent(frontier.confidence)}"},
        ),
    )
    for rise, style in ways:
        is_best = np.flatnonzero(efficient(rise, frontier.domain_loss))
        best = is_best[np.argsort(rise[is_best], kind="stable")]
        # From the largest rise on that still lowers the domain loss, more tolerance changes nothing.
        at = np.append(data.scale * rise[best], max(high, data.scale * rise[best[-1]]))
        ax.plot(at, np.append(value[best], value[best[-1]]), color=DATA, **style)
    if data.plan is not None and data.tolerance is not None:
        draw_tolerance(ax, data.tolerance, f"tolerance: {data.plan.max_general_rise}")
        chosen = (
            data.plan.evaluated_ratio if show == "domain_ratio" else data.plan.domain_loss.estimate
        )
        label = choice_label(data.plan)
        draw_star(ax, data.tolerance, chosen, size=13, label=label)
    ax.set_xlim(low, high)
    ax.set_ylim(*padded([value[inside]]))
    ax.set_xlabel(rise_label(frontier.unit, data.over))
    if show == "domain_ratio":
        ax.yaxis.set_major_formatter(percent_ticks())
        ax.set_ylabel("recommended domain ratio")
    else:
        ax.set_ylabel(f"domain loss ({LOSS_UNIT})")
    return ax


def _draw_interval(data: FrontierData, ax: Axes, show: str) -> None:
    """Fill the interval of a ratio's rise, or of its domain loss, where there are resamples."""
    frontier, best = data.frontier, data.is_ever_best
    style: dict[str, Any] = {"color": DATA, "alpha": 0.18, "linewidth": 0}
    level = f"{percent(frontier.confidence)} interval"
    if show == "domain_ratio" and np.isfinite(frontier.rise_low).any():
        low, high = (data.scale * rise[best] for rise in (frontier.rise_low, frontier.rise_high))
        label = f"{level} of the best ratio"
        ax.fill_betweenx(frontier.domain_ratio[best], low, high, label=label, **style)
    if show == "domain_loss" and np.isfinite(frontier.domain_loss_low).any():
        needed = data.scale * frontier.needed_rise[best]
        low, high = frontier.domain_loss_low[best], frontier.domain_loss_high[best]
        ax.fill_between(needed, low, high, label=f"{level} of the fit", **style)
