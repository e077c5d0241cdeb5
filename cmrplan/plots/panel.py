"""Every law's answer to one question, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties

from cmrplan.fit.fit import Fit
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.law_panel import LawAnswer, LawPanel, law_panel
from cmrplan.plots.artists import DATA, FORBIDDEN, axes_or_new, draw_choice, ratio_axis, say_why
from cmrplan.plots.legends import POINTS, finished
from cmrplan.plots.view import View, require_plan, view_of
from cmrplan.plots.wording import no_ratio_text, percent

DISAGREES = "#CC79A7"  # of Okabe & Ito's palette
ROWS_HEIGHT = 0.5  # of a picture's height, what is left for the rows of a low one
SMALLEST_FONT = 5.0  # points


@dataclass(frozen=True)
class PanelData:
    """The numbers of :func:`plot_panel`.

    Parameters
    ----------
    view : View
    plan : Plan
    answers : tuple of LawAnswer
        Of the laws that answer, the best by held-out error first.
    left_out : tuple of str
        Laws without an answer.
    why_none : str
        Why no law answers; empty where one does.
    """

    view: View
    plan: Plan
    answers: tuple[LawAnswer, ...]
    left_out: tuple[str, ...]
    why_none: str = ""

    @property
    def title(self) -> str:
        """What the panel shows."""
        question = self.view.law_and_budget.split(", ", 1)[1]
        return f"The ratio by every law, {percent(self.plan.confidence)} intervals\n{question}"


def panel_data(fit: Fit, *, plan: Plan | None = None, panel: LawPanel | None = None) -> PanelData:
    """Return the numbers of :func:`plot_panel`, which has the same parameters."""
    plan = panel.plan if panel is not None else require_plan("panel", plan)
    panel = law_panel(fit, plan) if panel is None else panel
    answered = [a for a in panel.answers if not a.reason]
    answered.sort(key=lambda a: (not a.held_out_error >= 0, a.held_out_error))
    left_out = tuple(a.law for a in panel.answers if a.reason)
    why_none = "" if answered else _why_none(plan, panel)
    return PanelData(view_of(fit, plan), plan, tuple(answered), left_out, why_none)


def _why_none(plan: Plan, panel: LawPanel) -> str:
    if plan.is_feasible:
        return f"No law answers: {panel.answers[0].reason}"
    return f"No law has an answer. {no_ratio_text(plan)}"


def plot_panel(
    fit: Fit, *, plan: Plan | None = None, panel: LawPanel | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the ratio that each law recommends, with its interval.

    Parameters
    ----------
    fit : Fit
    plan : Plan
        The question. Every law is fitted anew, which takes a while.
    panel : LawPanel, optional
        The answers, where they are known already; then its plan is the question.
    ax : Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If there is neither a plan nor a panel.
    """
    data = panel_data(fit, plan=plan, panel=panel)
    return finished(draw_panel(data, axes_or_new(ax)), data.title)


def draw_panel(data: PanelData, ax: Axes) -> Axes:
    """Draw the numbers, without title and legend."""
    if data.why_none:
        return say_why(ax, data.why_none)
    draw_choice(ax, data.plan)
    styles = {
        "agrees": (DATA, [a for a in data.answers if a.agrees is not False]),
        "disagrees": (DISAGREES, [a for a in data.answers if a.agrees is False and a.is_contender]),
        "predicts worse": (
            FORBIDDEN,
            [a for a in data.answers if a.agrees is False and not a.is_contender],
        ),
    }
    height = {a.law: len(data.answers) - 1 - k for k, a in enumerate(data.answers)}
    for label, (color, answers) in styles.items():
        if not answers:
            continue
        y = np.array([height[a.law] for a in answers], dtype=float)
        low = [a.domain_ratio_low for a in answers]
        high = [a.domain_ratio_high for a in answers]
        ax.hlines(y, low, high, color=color, linewidth=2.5, alpha=0.6)
        ratio = [a.domain_ratio for a in answers]
        ax.plot(ratio, y, "o", color=color, markersize=6, label=f"law's ratio, {label}")
        point = [a.point_domain_ratio for a in answers]
        ax.plot(point, y, "|", color=color, markersize=10, label="best estimate")
    names = [
        a.law + (f"  ({a.held_out_error:.4f})" if np.isfinite(a.held_out_error) else "")
        for a in data.answers
    ]
    ax.set_yticks([height[a.law] for a in data.answers], names, fontsize=_row_font(ax, len(names)))
    ax.set_ylim(-0.6, len(data.answers) - 0.4)
    ends = [
        (a.domain_ratio, a.domain_ratio_low, a.domain_ratio_high, a.point_domain_ratio)
        for a in data.answers
    ]
    ratio_axis(ax, np.append(np.ravel(ends), data.plan.evaluated_ratio))
    ax.set_ylabel("law (hidden-row error)")
    if data.left_out:
        ax.set_xlabel(f"{ax.get_xlabel()}\nno answer: {', '.join(data.left_out)}")
    return ax


def _row_font(ax: Axes, rows: int) -> float:
    """Return a font size in points with which the names of rows do not touch in a low picture."""
    usual = FontProperties(size=mpl.rcParams["ytick.labelsize"]).get_size_in_points()
    box = ax.get_window_extent()
    room = POINTS * ROWS_HEIGHT * box.height / (ax.get_position().height * ax.figure.dpi) / rows
    return float(min(usual, max(SMALLEST_FONT, 0.78 * room)))
