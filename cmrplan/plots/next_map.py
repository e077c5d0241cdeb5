"""How much each candidate probe is expected to narrow the recommended ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from cmrplan.errors import InputError
from cmrplan.fits import Fit
from cmrplan.laws.law import Array
from cmrplan.numerals import compact
from cmrplan.planning.outlook import Outlook, candidates_of, question_of
from cmrplan.planning.plan import Plan
from cmrplan.planning.tolerance import parse_tolerance
from cmrplan.plots.artists import axes_or_new, draw_choice, ratio_axis, shades
from cmrplan.plots.view import View, view_of

MARKS = ("o", "s", "^", "D")


@dataclass(frozen=True)
class NextData:
    """The numbers of :func:`plot_next`, for probes of one size.

    Parameters
    ----------
    view : View
        The full-scale run.
    plan : Plan
    model_params : float
        Size of the probes.
    domain_ratio : array (R,)
    train_tokens : array (L,)
        Budgets of the probes.
    narrowing : array (L, R)
        Percent by which one probe is expected to narrow the interval of the recommended ratio.
    """

    view: View
    plan: Plan
    model_params: float
    domain_ratio: Array
    train_tokens: Array
    narrowing: Array

    @property
    def title(self) -> str:
        """What the panel shows when it stands alone."""
        return f"Next probe of N = {compact(self.model_params)}\n{self.view.law_and_budget}"


def next_data(
    fit: Fit, *, plan: Plan | None = None, **options: float | None
) -> tuple[NextData, ...]:
    """Return the numbers of :func:`plot_next` for every probed size, smallest first."""
    if plan is None:
        raise InputError("the plot 'next' needs a plan: give --max-general-rise")
    view = view_of(fit, plan, **options)
    question, _ = question_of(
        fit,
        model_params=view.model_params,
        train_tokens=view.train_tokens,
        tolerance=parse_tolerance(plan.max_general_rise.removesuffix(" nats")),
        base_loss=plan.base_loss,
        confidence=view.confidence,
    )
    candidates = candidates_of(fit, view.train_tokens)
    narrowing = Outlook(fit, question, candidates, seed=0).narrowing()
    parts = []
    for size in np.unique(candidates.model_params):
        mine = candidates.model_params == size
        ends = candidates.is_end[mine][0]
        parts.append(
            NextData(
                view=view,
                plan=plan,
                model_params=float(size),
                domain_ratio=candidates.domain_ratio[mine],
                train_tokens=candidates.train_tokens[mine][0, ends],
                narrowing=100 * narrowing[mine][:, ends].T,
            )
        )
    return tuple(parts)


def plot_next(
    fit: Fit,
    *,
    plan: Plan | None = None,
    model_params: float | None = None,
    train_tokens: float | None = None,
    confidence: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what one more probe of the largest probed size would bring, by its ratio and its budget.

    Parameters
    ----------
    fit : Fit
    plan : Plan
        The full-scale run, its tolerance and its recommended ratio.
    model_params, train_tokens : float, optional
        The plan's.
    confidence : float, optional
        Level of the interval that is narrowed; the plan's by default.
    ax : Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If there is no plan, or a number differs from the plan's.
    CmrplanError
        If the fit cannot say what a probe would tell.
    """
    data = next_data(
        fit,
        plan=plan,
        model_params=model_params,
        train_tokens=train_tokens,
        confidence=confidence,
    )[-1]
    ax = draw_next(data, axes_or_new(ax))
    ax.set_title(data.title)
    ax.legend(fontsize="small")
    return ax


def draw_next(data: NextData, ax: Axes) -> Axes:
    """Draw the numbers, without title and legend."""
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
    ax.set_xlabel("domain ratio of the probe (percent of training tokens)")
    ax.set_ylim(0, max(1.05 * float(np.max(data.narrowing)), 1.0))
    ax.set_ylabel("expected narrowing of the interval (percent)")
    return ax
