"""The chance to break the tolerance at each ratio, and the ratio that holds with each confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.fit import Fit
from cmrplan.fit.fitted_log import resamples_remedy
from cmrplan.numbers import CONFIDENCES
from cmrplan.plan.findings import with_unexplained
from cmrplan.plan.loss_curves import survey
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.frontier import Frontier, frontier_of
from cmrplan.plots.artists import (
    CHOICE,
    DATA,
    LIMIT,
    axes_or_new,
    percent_ticks,
    ratio_axis,
)
from cmrplan.plots.legends import finished
from cmrplan.plots.view import View, require_plan, view_of
from cmrplan.plots.wording import choice_name, percent, recommendation

NUM_RISK_RATIOS = 1001
NUM_NEAR_LEVEL = 33  # of two of them, where a level is passed
LEAST_CHANCE = 0.01
MARGIN_OF_MOVE = 0.5  # of the ratios over which the chance moves
CLOSE_LEVELS = 0.01  # apart, below which a percentage has two decimals
LEVEL_MARKS = ("o", "s", "D", "^")  # of these


@dataclass(frozen=True)
class RiskData:
    """The numbers of :func:`plot_risk`.

    Parameters
    ----------
    view : View
    plan : Plan
    domain_ratio, probability : array (G,)
        Share of resamples whose general loss rises too far at each ratio.
    levels : tuple of (float, float)
        Confidence, and the largest ratio up to which the tolerance holds with it; NaN where none does.
    """

    view: View
    plan: Plan
    domain_ratio: Array
    probability: Array
    levels: tuple[tuple[float, float], ...]

    @property
    def title(self) -> str:
        """What the panel shows."""
        what = f"Chance that the general loss rises by more than {self.plan.max_general_rise}"
        return f"{what}\n{self.view.law_and_budget}"

    @property
    def shown(self) -> Array:
        """The ratios around which the chance moves, with the plan's; all where it moves nowhere."""
        moving = (self.probability > LEAST_CHANCE) & (self.probability < 1 - LEAST_CHANCE)
        ratios = self.domain_ratio[moving] if moving.any() else self.domain_ratio
        ratios = np.append(ratios, self.plan.evaluated_ratio)
        margin = MARGIN_OF_MOVE * (ratios.max() - ratios.min()) + 0.01
        low, high = ratios.min() - margin, ratios.max() + margin
        return np.asarray(np.clip([low, high], self.domain_ratio[0], self.domain_ratio[-1]))


def risk_data(fit: Fit, *, plan: Plan | None = None) -> RiskData:
    """Return the numbers of :func:`plot_risk`, which has the same parameters."""
    plan = require_plan("risk", plan)
    if plan.violation_probability is None:
        raise CmrplanError(
            "the chance to break a tolerance needs a tolerance and resamples: give max_general_rise, and "
            + resamples_remedy(fit.warnings)
        )
    coarse = _frontier(fit, plan, [])
    frontier = _frontier(fit, plan, _around_levels(coarse))
    return RiskData(
        view=view_of(fit, plan),
        plan=plan,
        domain_ratio=frontier.domain_ratio,
        probability=frontier.violation_probability,
        levels=tuple((level, frontier.chance_constrained_ratio(level)) for level in CONFIDENCES),
    )


def _frontier(fit: Fit, plan: Plan, marks: list[float]) -> Frontier:
    curves = survey(fit, plan.asked, marks=[plan.evaluated_ratio, *marks], num_grid=NUM_RISK_RATIOS)
    return frontier_of(with_unexplained(fit, plan.asked, curves), plan.confidence)


def _around_levels(coarse: Frontier) -> list[float]:
    """Return ratios between the neighbors where a level is passed, so that its mark lies on the curve."""
    marks: list[float] = []
    for level in CONFIDENCES:
        above = coarse.domain_ratio[coarse.domain_ratio > coarse.chance_constrained_ratio(level)]
        if len(above):
            ends = coarse.chance_constrained_ratio(level), above[0]
            marks += np.linspace(*ends, NUM_NEAR_LEVEL).tolist()
    return marks


def plot_risk(fit: Fit, *, plan: Plan | None = None, ax: Axes | None = None) -> Axes:
    """Draw the chance to break the tolerance against the domain ratio.

    Parameters
    ----------
    fit : Fit
    plan : Plan
        Sets the size, the budget and the tolerance.
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
        If the fit has no resamples, or the plan no tolerance.
    """
    data = risk_data(fit, plan=plan)
    return finished(draw_risk(data, axes_or_new(ax)), data.title)


def _as_shown(plan: Plan, decimals: int) -> str:
    """Return a plan's ratio with the decimals of the levels beside it; as elsewhere where there is none to compare."""
    ratio = plan.evaluated_ratio
    return f"{100 * ratio:.{decimals}f}%" if plan.is_feasible else recommendation(plan).split()[0]


def draw_risk(data: RiskData, ax: Axes) -> Axes:
    """Draw the numbers, without title and legend."""
    ax.plot(
        data.domain_ratio, data.probability, color=DATA, linewidth=1.6, label="share of resamples"
    )
    known = [ratio for _, ratio in data.levels if np.isfinite(ratio)]
    decimals = 1 if len(known) < 2 or max(known) - min(known) >= CLOSE_LEVELS else 2
    for (confidence, ratio), mark in zip(data.levels, LEVEL_MARKS, strict=True):
        if np.isfinite(ratio):
            ax.plot(
                [ratio],
                [1 - confidence],
                mark,
                markersize=6,
                color=DATA,
                markeredgecolor="white",
                label=f"holds with {percent(confidence)} up to {100 * ratio:.{decimals}f}%",
            )
    ax.axhline(
        1 - data.plan.confidence,
        color=LIMIT,
        linewidth=1,
        linestyle="--",
        label=f"asked: holds with {percent(data.plan.confidence)}",
    )
    ax.axvline(
        data.plan.evaluated_ratio,
        color=CHOICE,
        linewidth=1.6,
        label=f"{choice_name(data.plan)} {_as_shown(data.plan, decimals)}",
    )
    ratio_axis(ax, data.shown)
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(percent_ticks())
    ax.set_ylabel("chance to break the tolerance")
    return ax
