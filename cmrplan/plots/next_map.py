"""How much each candidate probe is expected to narrow the interval of the best ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from cmrplan.arrays import Array
from cmrplan.design.next_probes import NO_RATIO
from cmrplan.design.outlooks import outlook_of
from cmrplan.fit.fit import Fit
from cmrplan.numbers import compact
from cmrplan.plan.plan import Plan
from cmrplan.plots.artists import axes_or_new, draw_choice, ratio_axis, say_why, shades
from cmrplan.plots.legends import finished
from cmrplan.plots.view import require_plan, view_of

MARKS = ("o", "s", "^", "D")
LEAST_NARROWING = 0.1  # percent, below which the curves would be a line at 0


@dataclass(frozen=True)
class NextData:
    """The numbers of :func:`plot_next`, for probes of one size.

    Parameters
    ----------
    plan : Plan
    question : str
        The full-scale run in words.
    model_params : float
        Size of the probes.
    domain_ratio : array (R,)
    train_tokens : array (L,)
        Budgets of the probes, ascending.
    narrowing : array (L, R)
        Percent by which one probe is expected to narrow the interval of the best ratio.
    """

    plan: Plan
    question: str
    model_params: float
    domain_ratio: Array
    train_tokens: Array
    narrowing: Array

    @property
    def title(self) -> str:
        """What the panel shows beside the others."""
        return f"One more probe of N = {compact(self.model_params)}"

    @property
    def narrows(self) -> bool:
        """Whether a probe of this size is expected to narrow the interval by enough to be seen."""
        return bool(self.narrowing.max() > LEAST_NARROWING)


def next_data(fit: Fit, *, plan: Plan | None = None) -> tuple[NextData, ...]:
    """Return the numbers of :func:`plot_next` for every probed size, smallest first."""
    plan = require_plan("next", plan)
    outlook = outlook_of(fit, plan.asked)
    candidates, narrowing = outlook.candidates, outlook.expected_width_reduction()
    parts = []
    for size in np.unique(candidates.model_params):
        mine = candidates.model_params == size
        ratios = np.unique(candidates.domain_ratio[mine])
        lengths = np.unique(candidates.train_tokens[mine])
        values = np.empty((len(lengths), len(ratios)))
        cell = (
            np.searchsorted(lengths, candidates.train_tokens[mine]),
            np.searchsorted(ratios, candidates.domain_ratio[mine]),
        )
        values[cell] = 100 * narrowing[mine]
        question = f"Asked for: {view_of(fit, plan).law_and_budget}"
        parts.append(NextData(plan, question, float(size), ratios, lengths, values))
    return tuple(parts)


def plot_next(fit: Fit, *, plan: Plan | None = None, ax: Axes | None = None) -> Axes:
    """Draw what one more probe of the largest probed size would bring, by its ratio and its budget.

    Parameters
    ----------
    fit : Fit
    plan : Plan
        The full-scale run, its limits and its recommended ratio.
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
        If the fit cannot say what a probe would tell.
    """
    data = next_data(fit, plan=plan)[-1]
    return finished(draw_next(data, axes_or_new(ax)), f"{data.title}\n{data.question}")


def draw_next(data: NextData, ax: Axes) -> Axes:
    """Draw the numbers, without title and legend."""
    if not data.narrows:
        return say_why(ax, _why_nothing_narrows(data.plan))
    draw_choice(ax, data.plan)
    for row, color in enumerate(shades(len(data.train_tokens))):
        ax.plot(
            data.domain_ratio,
            data.narrowing[row],
            color=color,
            marker=MARKS[row % len(MARKS)],
            markersize=3,
            linewidth=1.2,
            label=f"probe of {compact(data.train_tokens[row])} tokens",
        )
    ratio_axis(ax, data.domain_ratio)
    ax.set_xlabel("domain ratio of the probe")
    ax.set_ylim(0, max(1.05 * float(np.max(data.narrowing)), 1.0))
    ax.set_ylabel("expected narrowing of the interval (percent)")
    return ax


def left_out_text(left_out: Sequence[NextData]) -> str:
    """Return in a line which sizes have no panel, and why."""
    sizes = ", ".join(compact(data.model_params) for data in left_out)
    return f"not shown: N = {sizes}, whose probes narrow the interval by {LEAST_NARROWING:g} percent or less"


def _why_nothing_narrows(plan: Plan) -> str:
    if np.isnan(plan.ratio.estimate) and plan.ratio.low is None:
        return f"{NO_RATIO[0].upper()}{NO_RATIO[1:]}."
    return f"No probe of this size narrows the interval of the best ratio by more than {LEAST_NARROWING:g} percent."
