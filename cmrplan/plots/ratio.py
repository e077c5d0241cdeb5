"""Loss against the domain ratio at one model size and budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
from matplotlib.axes import Axes

from cmrplan.arrays import Array
from cmrplan.fit.fit import Fit
from cmrplan.numbers import compact
from cmrplan.plan.plan import Plan
from cmrplan.plots.artists import (
    DATA,
    FORBIDDEN,
    LIMIT,
    axes_or_new,
    draw_band,
    draw_choice,
    draw_star,
    padded,
    point_face,
    ratio_axis,
)
from cmrplan.plots.legends import finished
from cmrplan.plots.view import (
    Measured,
    View,
    ViewOptions,
    base_loss_of,
    bases_across_sizes,
    is_same,
    loss_label,
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
    is_rise : bool
        Whether all losses are less the base loss of their own size, since the points are of another size or base.
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
    is_rise: bool = False

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
    measured = measured_at(fit, corpus, view)
    data = RatioData(
        corpus=corpus,
        view=view,
        measured=measured,
        domain_ratio=prediction.domain_ratio,
        loss=prediction.loss,
        low=low,
        high=high,
        base_loss=base_loss,
        limit=limit,
        plan=plan,
        chosen_loss=chosen,
    )
    bases = bases_across_sizes(fit, corpus, view, measured.model_params, plan)
    return data if bases is None else _as_rises(data, *bases)


def _as_rises(data: RatioData, theirs: float, ours: float) -> RatioData:
    """Return the losses of the points less ``theirs``, and all others less ``ours``."""
    return replace(
        data,
        measured=replace(data.measured, loss=data.measured.loss - theirs),
        loss=data.loss - ours,
        low=data.low - ours,
        high=data.high - ours,
        base_loss=0.0,
        limit=None if data.limit is None else data.limit - ours,
        chosen_loss=None if data.chosen_loss is None else data.chosen_loss - ours,
        is_rise=True,
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
        See :class:`ViewOptions`. Points measured elsewhere are hollow and the legend says where; where they are
        of another size whose base loss is known, the rise of the general loss is drawn instead of its level.

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
    return finished(draw_ratio(data, axes_or_new(ax)), data.title)


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
            label=f"limit{_size_of_limit(data)}: {over} loss + {data.plan.max_general_rise}",
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
        label=measured.label,
        **point_face(bool(measured.note), DATA),
    )
    if data.plan is not None and data.chosen_loss is not None:
        draw_choice(ax, data.plan)
        draw_star(ax, data.plan.evaluated_ratio, data.chosen_loss, size=11)
    ratio_axis(ax, np.concatenate([data.domain_ratio, measured.domain_ratio]))
    ax.set_ylim(bottom, top)
    ax.set_ylabel(loss_label(data.corpus, data.is_rise))
    return ax


def _size_of_limit(data: RatioData) -> str:
    """Return which size a limit is for, where the points are of another one."""
    size = data.view.model_params
    is_theirs = data.is_rise or is_same(data.measured.model_params, size)
    return "" if is_theirs else f" at N = {compact(size)}"
