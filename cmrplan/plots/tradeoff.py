"""What the domain gains for what the general loss pays: the frontier over the ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.fit import Fit
from cmrplan.fit.other_sizes import general_loss_at
from cmrplan.log import CORPORA
from cmrplan.numbers import require_positive
from cmrplan.plan.plan import Plan
from cmrplan.plots.artists import (
    CHOICE,
    COLORMAP,
    FORBIDDEN,
    PALEST,
    axes_or_new,
    draw_star,
    draw_tolerance,
    padded,
    percent_ticks,
)
from cmrplan.plots.labels import PointLabel, PointLabels
from cmrplan.plots.legends import finished
from cmrplan.plots.view import (
    LOSS_UNIT,
    View,
    ViewOptions,
    base_loss_of,
    is_same,
    measured_at,
    predicted_at,
    ratio_grid,
    view_of,
)
from cmrplan.plots.wording import choice_label, percent, recommendation

MOST_DRAWS = 60
LABEL_FONT = 8.5  # points


@dataclass(frozen=True)
class TradeoffData:
    """The numbers of :func:`plot_tradeoff`; rises and losses in nats per token.

    Parameters
    ----------
    view : View
    base_loss : float
        General loss before the continual phase.
    domain_ratio, rise, domain_loss : array (G,)
        The fitted frontier.
    rise_draws, domain_draws : array (K, G)
        Frontiers of up to 60 resamples.
    measured_ratio, measured_rise, measured_domain : array (n,)
        One per run that has both losses.
    measured_note : str
        Where they were measured, if elsewhere than the view.
    tolerance : float or None
        Rise that the plan allows.
    plan : Plan or None
    """

    view: View
    base_loss: float
    domain_ratio: Array
    rise: Array
    domain_loss: Array
    rise_draws: Array
    domain_draws: Array
    measured_ratio: Array
    measured_rise: Array
    measured_domain: Array
    measured_note: str
    tolerance: float | None
    plan: Plan | None

    @property
    def title(self) -> str:
        """What the panel shows."""
        return f"Domain loss against the rise of the general loss\n{self.view.law_and_budget}"

    def labels(self) -> list[tuple[str, float, float]]:
        """Return text, rise and domain loss of each measured ratio, the mean of its runs."""
        texts = []
        for ratio in np.unique(self.measured_ratio):
            mine = self.measured_ratio == ratio
            rise = float(self.measured_rise[mine].mean())
            texts.append((percent(ratio), rise, float(self.measured_domain[mine].mean())))
        return texts

    def star(self, plan: Plan) -> tuple[float, float]:
        """Return where a plan stands: the rise over the base, and the domain loss."""
        return plan.general_loss.estimate - self.base_loss, plan.domain_loss.estimate


def tradeoff_data(
    fit: Fit,
    *,
    plan: Plan | None = None,
    base_loss: float | None = None,
    **options: Unpack[ViewOptions],
) -> TradeoffData:
    """Return the numbers of :func:`plot_tradeoff`, which has the same parameters."""
    for corpus in CORPORA:
        fit.model_of(corpus)
    view = view_of(fit, plan, **options)
    grid = ratio_grid(fit)
    general, domain = (
        predicted_at(fit, corpus, view, grid, plan, base_loss) for corpus in ("general", "domain")
    )
    base = _base_loss(fit, view, plan, base_loss)
    ratio, rise, loss, note = _measured(fit, view, base)
    draws = slice(0, MOST_DRAWS)
    return TradeoffData(
        view=view,
        base_loss=base,
        domain_ratio=grid,
        rise=general.loss - base,
        domain_loss=domain.loss,
        rise_draws=general.draws[draws] - base,
        domain_draws=domain.draws[draws],
        measured_ratio=ratio,
        measured_rise=rise,
        measured_domain=loss,
        measured_note=note,
        tolerance=allowed_rise(plan, base),
        plan=plan,
    )


def plot_tradeoff(
    fit: Fit,
    *,
    plan: Plan | None = None,
    base_loss: float | None = None,
    ax: Axes | None = None,
    **options: Unpack[ViewOptions],
) -> Axes:
    """Draw the domain loss against the rise of the general loss, colored by the domain ratio.

    Parameters
    ----------
    fit : Fit
        Of both corpora.
    plan : Plan, optional
        Adds the tolerance and the recommended ratio.
    base_loss : float, optional
        General loss before the continual phase, nats per token; the plan's, or the log's, by default.
    ax : Axes, optional
        Where to draw; a new figure's by default.
    **options
        See :class:`ViewOptions`; the confidence changes nothing, since the resamples are drawn one by one.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If a number is out of its range, or differs from the plan's.
    CmrplanError
        If a corpus was not fitted, the law cannot answer there, or the base loss is not known.
    """
    data = tradeoff_data(
        fit,
        plan=plan,
        base_loss=base_loss,
        **options,
    )
    return finished(draw_tradeoff(data, axes_or_new(ax)), data.title, side="below")


def draw_tradeoff(data: TradeoffData, ax: Axes) -> Axes:
    """Draw the numbers with their color bar, without title and legend."""
    colormap = LinearSegmentedColormap.from_list(
        "ratios", mpl.colormaps[COLORMAP](np.linspace(0, PALEST, 256))
    )
    ratios = np.concatenate([data.domain_ratio, data.measured_ratio])
    norm = Normalize(float(ratios.min()), float(ratios.max()))
    if len(data.rise_draws):
        lines = np.stack([data.rise_draws, data.domain_draws], axis=2)[:, ::3]
        ax.add_collection(
            LineCollection(
                list(lines),
                colors=FORBIDDEN,
                linewidths=0.6,
                alpha=0.22,
                zorder=1,
            )
        )
        ax.plot([], [], color=FORBIDDEN, linewidth=0.8, label=f"{len(lines)} resamples")
    frontier = np.column_stack([data.rise, data.domain_loss])
    colored = LineCollection(
        list(np.stack([frontier[:-1], frontier[1:]], axis=1)),
        cmap=colormap,
        norm=norm,
        array=(data.domain_ratio[:-1] + data.domain_ratio[1:]) / 2,
        linewidths=2.2,
        capstyle="round",
        zorder=2,
    )
    ax.add_collection(colored)
    ax.plot([], [], color=colormap(0.5), linewidth=2.2, label="fitted")
    if ax.figure is not None:
        bar = ax.figure.colorbar(colored, ax=ax, format=percent_ticks())
        bar.set_label("domain ratio")
    if len(data.measured_ratio):
        _draw_measured(data, ax, colormap(norm(data.measured_ratio)))
    _limits(data, ax)
    if data.plan is not None:
        _draw_plan(data, data.plan, ax)
    _draw_labels(data, ax)
    ax.set_xlabel(f"rise of the general loss over the base ({LOSS_UNIT})")
    ax.set_ylabel(f"domain loss ({LOSS_UNIT})")
    return ax


def _draw_measured(data: TradeoffData, ax: Axes, colors: Any) -> None:
    """Draw the points, hollow where they are of another size or budget."""
    is_elsewhere = bool(data.measured_note)
    ax.scatter(
        data.measured_rise,
        data.measured_domain,
        s=34,
        facecolors=["white"] if is_elsewhere else colors,
        edgecolors=colors if is_elsewhere else ["white"],
        linewidths=1.2 if is_elsewhere else 0.8,
        zorder=3,
        label=f"measured at {data.measured_note}" if is_elsewhere else "measured",
    )


def _limits(data: TradeoffData, ax: Axes) -> None:
    marks = [data.tolerance] if data.tolerance is not None else []
    low, high = padded([data.rise, data.measured_rise, np.array(marks)], [data.rise_draws])
    if data.tolerance is not None:
        high = max(high, data.tolerance + 0.1 * (high - low))
    ax.set_xlim(low, high)
    low, high = padded([data.domain_loss, data.measured_domain], [data.domain_draws])
    ax.set_ylim(low - 0.05 * (high - low), high)


def allowed_rise(plan: Plan | None, base_loss: float) -> float | None:
    """Return how far a plan lets the general loss rise over the base, nats per token."""
    if plan is None or plan.general_loss_limit is None:
        return None
    return plan.general_loss_limit - base_loss


def _draw_plan(data: TradeoffData, plan: Plan, ax: Axes) -> None:
    if data.tolerance is not None:
        ax.axvspan(
            data.tolerance,
            ax.get_xlim()[1],
            color=FORBIDDEN,
            alpha=0.25,
            linewidth=0,
            zorder=0,
            label="not allowed",
        )
        over = " over pure replay" if plan.asked.rise_over == "replay" else ""
        draw_tolerance(ax, data.tolerance, f"tolerance: {plan.max_general_rise}{over}")
    label = choice_label(plan)
    star = data.star(plan)
    draw_star(ax, *star, size=15, label=label, zorder=5)


def _draw_labels(data: TradeoffData, ax: Axes) -> None:
    """Write the recommended ratio and that of each measured point where nothing is covered."""
    points = np.column_stack([data.measured_rise, data.measured_domain])
    owners = [percent(ratio) for ratio in data.measured_ratio]
    lines = [np.column_stack([data.rise, data.domain_loss])]
    labels = [
        PointLabel(text, rise, loss, {"fontsize": LABEL_FONT}) for text, rise, loss in data.labels()
    ]
    if data.tolerance is not None:
        lines.append(np.column_stack([[data.tolerance] * 2, ax.get_ylim()]))
    if data.plan is not None:
        star = data.star(data.plan)
        points = np.append(points, [star], axis=0)
        owners.append(recommendation(data.plan))
        style = {"color": CHOICE, "fontweight": "bold", "fontsize": LABEL_FONT + 1}
        labels.insert(0, PointLabel(recommendation(data.plan), *star, style))
    draws = np.stack([data.rise_draws, data.domain_draws], axis=2)
    PointLabels(ax, labels, points=points, owners=owners, lines=lines, faint=list(draws))


def _base_loss(fit: Fit, view: View, plan: Plan | None, given: float | None) -> float:
    if given is not None:
        require_positive("base_loss", given)
        return float(given)
    if plan is not None and plan.base_loss is not None:
        return plan.base_loss
    if not fit.base_loss.get("general"):
        raise CmrplanError(
            "the trade-off is drawn over the base loss, which is not known: the log has no row with "
            "train_tokens = 0 for the general corpus; add one, or give base_loss, here or to the plan"
        )
    return general_loss_at(
        fit,
        model_params=view.model_params,
        train_tokens=view.train_tokens,
        domain_ratio=ratio_grid(fit),
    ).base_loss


def _measured(fit: Fit, view: View, base_loss: float) -> tuple[Array, Array, Array, str]:
    """Return ratio, rise and domain loss of the runs with both losses, and where they were measured."""
    general, domain = (measured_at(fit, corpus, view) for corpus in ("general", "domain"))
    base: float | None = base_loss
    if view.other_base or not is_same(general.model_params, view.model_params):
        base = base_loss_of(fit, "general", general.model_params)
    is_paired = is_same(general.model_params, domain.model_params) and is_same(
        general.train_tokens, domain.train_tokens
    )
    partner = dict(zip(domain.run_id, domain.loss, strict=True))
    runs = [
        (ratio, loss - base, partner[run])
        for run, ratio, loss in zip(general.run_id, general.domain_ratio, general.loss, strict=True)
        if base is not None and is_paired and run in partner
    ]
    ratio, rise, loss = np.array(runs, dtype=float).reshape(-1, 3).T
    return ratio, rise, loss, general.note
