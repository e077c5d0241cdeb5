"""Loss against the domain ratio at one model size and budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import numpy as np
from matplotlib.axes import Axes

from cmrplan.arrays import Array
from cmrplan.fit.fit import Fit
from cmrplan.plan.plan import Plan
from cmrplan.plots.artists import (
    DATA,
    FORBIDDEN,
    LIMIT,
    LOSS_UNIT,
    axes_or_new,
    draw_band,
    draw_choice,
    draw_star,
    padded,
    ratio_axis,
    titled,
)
from cmrplan.plots.view import (
    Measured,
    View,
    ViewOptions,
    base_loss_of,
    measured_at,
    predicted_at,
    ratio_grid,
    view_of,
)
from cmrplan.plots.wording import heading, percent


@dataclass(frozen=True)
class RatioData:
    """The numbers of :func:`plot_ratio`; losses in nats per token.

    Parameters
    ----------
    corpus : str
    view : View
    measured : Measured
    domain_ratio, loss, low, high : array (G,)
        The fitted curve and its band; the band is NaN without resamples.
    base_loss, limit : float or None
        Of the general loss: before the continual phase, and the most that the plan allows.
    plan : Plan or None
    chosen_loss : float or None
        The fitted loss at the plan's ratio.
    """

    corpus: str
    view: View
    measured: Measured
    domain_ratio: Array
    loss: Array
    low: Array
    high: Array
    base_loss: float | None
    limit: float | None
    plan: Plan | None
    chosen_loss: float | None

    @property
    def title(self) -> str:
        """What the panel shows when it stands alone."""
        return f"{heading(self.corpus)}\n{self.view.law_and_budget}"


def ratio_data(
    fit: Fit,
    corpus: str = "general",
    *,
    plan: Plan | None = None,
    **options: Unpack[ViewOptions],
) -> RatioData:
    """Return the numbers of :func:`plot_ratio`, which has the same parameters.

    The curve spans the probed ratios and is not drawn beyond them.
    """
    view = view_of(fit, plan, **options)
    prediction = predicted_at(fit, corpus, view, ratio_grid(fit), plan)
    low, high = prediction.interval(view.confidence)
    base_loss = limit = chosen = None
    if corpus == "general":
        base_loss = base_loss_of(fit, corpus, view.model_params)
        if plan is not None:
            base_loss, limit = plan.base_loss, plan.general_loss_limit
    if plan is not None:
        losses = plan.general_loss if corpus == "general" else plan.domain_loss
        chosen = losses.estimate
    return RatioData(
        corpus=corpus,
        view=view,
        measured=measured_at(fit, corpus, view),
        domain_ratio=prediction.domain_ratio,
        loss=prediction.loss,
        low=low,
        high=high,
        base_loss=base_loss,
        limit=limit,
        plan=plan,
        chosen_loss=chosen,
    )


def plot_ratio(
    fit: Fit,
    corpus: str = "general",
    *,
    plan: Plan | None = None,
    ax: Axes | None = None,
    **options: Unpack[ViewOptions],
) -> Axes:
    """Draw the loss of a corpus against the domain ratio: measured, fitted, and what a plan allows.

    Parameters
    ----------
    fit : Fit
    corpus : {"general", "domain"}
    plan : Plan, optional
        Adds the limit of the general loss and the recommended ratio with its interval.
    ax : Axes, optional
        Where to draw; a new figure's by default.
    **options
        See :class:`ViewOptions`. Points measured elsewhere are hollow and the legend says where.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If a number is out of its range, or differs from the plan's.
    CmrplanError
        If that corpus was not fitted, or the law cannot answer there.
    """
    data = ratio_data(
        fit,
        corpus,
        plan=plan,
        **options,
    )
    return titled(draw_ratio(data, axes_or_new(ax)), data.title)


def draw_ratio(data: RatioData, ax: Axes) -> Axes:
    """Draw the numbers, without title and legend."""
    measured = data.measured
    core = [measured.loss, data.loss]
    if data.limit is not None:
        core.append(np.array([data.limit]))
    soft = [data.low, data.high]
    if data.base_loss is not None:
        soft.append(np.array([data.base_loss]))
        ax.axhline(data.base_loss, color=LIMIT, linewidth=1, linestyle=":", label="base loss")
    bottom, top = padded(core, soft)
    if data.limit is not None and data.plan is not None:
        over = "base" if data.plan.asked.rise_over == "base" else "replay"
        ax.axhline(
            data.limit,
            color=LIMIT,
            linewidth=1.2,
            linestyle="--",
            label=f"limit: {over} loss + {data.plan.max_general_rise}",
        )
        top = max(top, data.limit + 0.12 * (top - bottom))
        ax.axhspan(data.limit, top, color=FORBIDDEN, alpha=0.25, linewidth=0, label="not allowed")
    draw_band(
        ax,
        data.domain_ratio,
        data.low,
        data.high,
        color=DATA,
        alpha=0.22,
        label=f"{percent(data.view.confidence)} interval of the fit",
    )
    ax.plot(data.domain_ratio, data.loss, color=DATA, linewidth=1.6, label="fitted")
    ax.plot(
        measured.domain_ratio,
        measured.loss,
        "o",
        markersize=5,
        color=DATA,
        markerfacecolor="white" if measured.note else DATA,
        markeredgecolor=DATA if measured.note else "white",
        markeredgewidth=0.9 if measured.note else 0.6,
        label=measured.label,
    )
    if data.plan is not None and data.chosen_loss is not None:
        draw_choice(ax, data.plan)
        draw_star(ax, data.plan.evaluated_ratio, data.chosen_loss, size=11)
    ratio_axis(ax, np.concatenate([data.domain_ratio, measured.domain_ratio]))
    ax.set_ylim(bottom, top)
    ax.set_ylabel(f"{data.corpus} loss ({LOSS_UNIT})")
    return ax
