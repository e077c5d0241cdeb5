"""Loss against tokens, one curve for each probed ratio, at one model size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
from matplotlib.axes import Axes

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.fit.fit import Fit
from cmrplan.numbers import compact
from cmrplan.plan.plan import Plan
from cmrplan.plots.artists import (
    FORBIDDEN,
    LIMIT,
    LOSS_UNIT,
    TOKENS_LABEL,
    axes_or_new,
    count_axis,
    draw_band,
    draw_beyond,
    draw_star,
    padded,
    point_style,
    ratio_label,
    shades,
    thinned,
)
from cmrplan.plots.view import (
    View,
    ViewOptions,
    base_loss_of,
    is_same,
    nearest,
    predicted_at,
    require_fitted,
    view_of,
)
from cmrplan.plots.wording import choice_name, heading, percent, recommendation

NUM_TOKENS = 61
MOST_NAMED_RATIOS = 9


@dataclass(frozen=True)
class RatioSeries:
    """What was measured and fitted at one ratio; losses in nats per token.

    Parameters
    ----------
    domain_ratio : float
    measured_tokens, measured_loss : array (k,)
        All runs of that ratio.
    loss, low, high : array (T,)
        The fitted curve over the tokens of :class:`CurvesData` and its band; NaN where there is none.
    """

    domain_ratio: float
    measured_tokens: Array
    measured_loss: Array
    loss: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class CurvesData:
    """The numbers of :func:`plot_curves`.

    Parameters
    ----------
    corpus : str
    view : View
    measured_params : float
        Size of the runs shown.
    last_measured : float
        Most tokens that a run shown has seen.
    tokens : array (T,)
        Where the curves are computed.
    series : tuple of RatioSeries
        Ratios ascending.
    base_loss : float or None
        Nats per token.
    plan : Plan or None
    """

    corpus: str
    view: View
    measured_params: float
    last_measured: float
    tokens: Array
    series: tuple[RatioSeries, ...]
    base_loss: float | None
    plan: Plan | None

    @property
    def is_other_size(self) -> bool:
        """Whether the points belong to another size than the curves."""
        return not is_same(self.measured_params, self.view.model_params)

    @property
    def title(self) -> str:
        """What the panel shows when it stands alone."""
        return f"{heading(self.corpus)}\n{self.context}"

    @property
    def context(self) -> str:
        """Law and size, and the size of the points where it is another."""
        other = f" (points: N = {compact(self.measured_params)})" if self.is_other_size else ""
        return self.view.law_and_size + other


def curves_data(
    fit: Fit,
    corpus: str = "general",
    *,
    plan: Plan | None = None,
    **options: Unpack[ViewOptions],
) -> CurvesData:
    """Return the numbers of :func:`plot_curves`, which has the same parameters.

    The CMR laws have a curve per run, of which the mean over the runs of a ratio is taken, and no band.
    """
    view = view_of(fit, plan, **options)
    require_fitted(fit, corpus)
    rows = fit.rows(corpus)
    size = nearest(rows["model_params"], view.model_params)
    rows = rows[rows["model_params"] == size].sort_values(["train_tokens", "run_id"])
    seen = rows["train_tokens"].to_numpy(dtype=float)
    last = float(seen.max())
    tokens = _token_grid(float(seen.min()), max(last, view.train_tokens))
    ratios = np.unique(rows["domain_ratio"].to_numpy(dtype=float))
    loss, low, high = _fitted(fit, corpus, view, tokens, ratios, plan)
    series = []
    for k, ratio in enumerate(ratios):
        mine = rows[rows["domain_ratio"] == ratio]
        series.append(
            RatioSeries(
                domain_ratio=float(ratio),
                measured_tokens=mine["train_tokens"].to_numpy(dtype=float),
                measured_loss=mine["loss"].to_numpy(dtype=float),
                loss=loss[:, k],
                low=low[:, k],
                high=high[:, k],
            )
        )
    base_loss = base_loss_of(fit, corpus, view.model_params)
    if plan is not None and corpus == "general":
        base_loss = plan.base_loss
    return CurvesData(corpus, view, size, last, tokens, tuple(series), base_loss, plan)


def plot_curves(
    fit: Fit,
    corpus: str = "general",
    *,
    plan: Plan | None = None,
    ax: Axes | None = None,
    **options: Unpack[ViewOptions],
) -> Axes:
    """Draw the loss of a corpus against tokens, one color for each probed ratio.

    Parameters
    ----------
    fit : Fit
    corpus : {"general", "domain"}
    plan : Plan, optional
        Adds the recommended ratio at its budget.
    ax : Axes, optional
        Where to draw; a new figure's by default.
    **options
        See :class:`ViewOptions`. Points of another size are hollow; where ``train_tokens`` lies beyond the
        probes the curves go on to there, and that part is shaded.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If a number is out of its range, or differs from the plan's.
    CmrplanError
        If that corpus was not fitted, or the law cannot answer at that size.
    """
    data = curves_data(
        fit,
        corpus,
        plan=plan,
        **options,
    )
    drawn = draw_curves(data, axes_or_new(ax))
    drawn.set_title(data.title)
    if ax is None:  # a figure of ours makes room beside the axes
        drawn.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        drawn.legend(fontsize="small")
    return drawn


def draw_curves(data: CurvesData, ax: Axes) -> Axes:
    """Draw the numbers, without title and legend."""
    core: list[Array] = []
    soft: list[Array] = []
    named = thinned(len(data.series), MOST_NAMED_RATIOS)
    beyond = data.tokens[-1] > data.last_measured * (1 + SAME_SIZE)
    for k, (one, color) in enumerate(zip(data.series, shades(len(data.series)), strict=True)):
        core += [one.measured_loss, one.loss]
        soft += [one.low, one.high]
        draw_band(ax, data.tokens, one.low, one.high, color=color, alpha=0.13)
        label = ratio_label(one.domain_ratio) if k in named else "_unnamed"
        style = point_style(len(data.tokens))
        ax.plot(data.tokens, one.loss, color=color, linewidth=1.4, label=label, **style)
        ax.plot(
            one.measured_tokens,
            one.measured_loss,
            "o",
            markersize=3.6,
            color=color,
            markerfacecolor="none" if data.is_other_size else color,
            label="_measured",
        )
    if any(np.isfinite(one.low).any() for one in data.series):
        name = f"{percent(data.view.confidence)} interval"
        ax.fill_between([], [], [], color=FORBIDDEN, alpha=0.3, linewidth=0, label=name)
    if data.base_loss is not None:
        soft.append(np.array([data.base_loss]))
        ax.axhline(data.base_loss, color=LIMIT, linewidth=1, linestyle="--", label="base loss")
    if data.plan is not None:
        losses = data.plan.general_loss if data.corpus == "general" else data.plan.domain_loss
        chosen = losses.estimate
        core.append(np.array([chosen]))
        label = f"{choice_name(data.plan)}\n{recommendation(data.plan)}"
        draw_star(ax, data.plan.train_tokens, chosen, size=12, label=label)
    count_axis(ax, np.append(data.tokens, data.last_measured), TOKENS_LABEL)
    if beyond:
        draw_beyond(ax, data.last_measured)
    ax.set_ylim(*padded(core, soft))
    ax.set_ylabel(f"{data.corpus} loss ({LOSS_UNIT})")
    return ax


def _token_grid(first: float, last: float) -> Array:
    if last <= first * (1 + SAME_SIZE):
        return np.array([last])
    return np.geomspace(first, last, NUM_TOKENS)


def _fitted(
    fit: Fit, corpus: str, view: View, tokens: Array, ratios: Array, plan: Plan | None
) -> tuple[Array, Array, Array]:
    """Return the fitted loss and its band, each ``(T, number of ratios)``."""
    missing = np.full((len(tokens), len(ratios)), np.nan)
    loss = fit.models[corpus].run_curves(view.model_params, tokens, ratios)
    if loss is not None:
        return loss, missing, missing
    parts = []
    for count in tokens:
        there = replace(view, train_tokens=float(count))
        prediction = predicted_at(fit, corpus, there, ratios, plan)
        parts.append((prediction.loss, *prediction.interval(view.confidence)))
    loss, low, high = (np.array(part) for part in zip(*parts, strict=True))
    return loss, low, high
