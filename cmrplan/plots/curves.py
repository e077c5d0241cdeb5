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
    TOKENS_LABEL,
    axes_or_new,
    count_axis,
    draw_band,
    draw_beyond,
    draw_star,
    padded,
    point_face,
    point_style,
    ratio_label,
    shades,
    thinned,
)
from cmrplan.plots.legends import finished
from cmrplan.plots.view import (
    View,
    ViewOptions,
    base_loss_of,
    bases_across_sizes,
    is_same,
    loss_label,
    nearest,
    predicted_at,
    require_fitted,
    view_of,
)
from cmrplan.plots.wording import choice_name, heading, percent, recommendation

NUM_TOKENS = 61
MOST_NAMED_RATIOS = 8


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
    first_measured, last_measured : float
        Fewest and most tokens that a run shown was measured at.
    tokens : array (T,)
        Where the curves are computed.
    series : tuple of RatioSeries
        Ratios ascending.
    base_loss : float or None
        Nats per token.
    plan : Plan or None
    chosen_loss : float or None
        The fitted loss at the plan's ratio and budget.
    is_rise : bool
        Whether all losses are less the base loss of their own size, since the points are of another size or base.
    """

    corpus: str
    view: View
    measured_params: float
    first_measured: float
    last_measured: float
    tokens: Array
    series: tuple[RatioSeries, ...]
    base_loss: float | None
    plan: Plan | None
    chosen_loss: float | None = None
    is_rise: bool = False

    @property
    def measured_note(self) -> str:
        """Where the points were measured, if not at the size, from the base and with the supply of the curves."""
        is_there = is_same(self.measured_params, self.view.model_params)
        size = "" if is_there else f"N = {compact(self.measured_params)}"
        base = self.view.other_base if self.corpus == "general" else ""
        return ", ".join(filter(None, (size, base, self.view.probed_supply)))

    @property
    def title(self) -> str:
        """What the panel shows when it stands alone."""
        return f"{heading(self.corpus)}\n{self.context}"

    @property
    def context(self) -> str:
        """Law and size, and whether these lie beyond the probes."""
        beyond = " (N beyond the probes)" if "N" in self.view.beyond else ""
        return self.view.law_and_size + beyond


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
    first = float(seen.min())
    tokens = _token_grid(min(first, view.train_tokens), max(last, view.train_tokens))
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
    chosen = None
    if plan is not None:
        base_loss = plan.base_loss if corpus == "general" else base_loss
        chosen = (plan.general_loss if corpus == "general" else plan.domain_loss).estimate
    data = CurvesData(
        corpus, view, size, first, last, tokens, tuple(series), base_loss, plan, chosen
    )
    bases = bases_across_sizes(fit, corpus, view, size, plan)
    return data if bases is None else _as_rises(data, *bases)


def _as_rises(data: CurvesData, theirs: float, ours: float) -> CurvesData:
    """Return the losses of the points less ``theirs``, and all others less ``ours``."""
    series = tuple(
        replace(
            one,
            measured_loss=one.measured_loss - theirs,
            loss=one.loss - ours,
            low=one.low - ours,
            high=one.high - ours,
        )
        for one in data.series
    )
    chosen = None if data.chosen_loss is None else data.chosen_loss - ours
    return replace(data, series=series, base_loss=0.0, chosen_loss=chosen, is_rise=True)


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
        See :class:`ViewOptions`. Points of another size are hollow, and where base losses are known the rise over
        them is drawn instead of the general loss; where ``train_tokens`` lies beyond the probes, on either side, the
        curves go on to there, and that part is shaded.

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
    return finished(draw_curves(data, axes_or_new(ax)), data.title)


def draw_curves(data: CurvesData, ax: Axes) -> Axes:
    """Draw the numbers, without title and legend."""
    core: list[Array] = []
    soft: list[Array] = []
    named = thinned(len(data.series), MOST_NAMED_RATIOS)
    for k, (one, color) in enumerate(zip(data.series, shades(len(data.series)), strict=True)):
        core += [one.measured_loss, one.loss]
        soft += [one.low, one.high]
        draw_band(ax, data.tokens, one.low, one.high, color=color, alpha=0.1)
        label = ratio_label(one.domain_ratio) if k in named else "_unnamed"
        style = point_style(len(data.tokens))
        ax.plot(data.tokens, one.loss, color=color, linewidth=1.4, label=label, **style)
        ax.plot(
            one.measured_tokens,
            one.measured_loss,
            "o",
            markersize=3.8,
            label="_measured",
            **point_face(bool(data.measured_note), color),
        )
    if any(np.isfinite(one.low).any() for one in data.series):
        name = f"{percent(data.view.confidence)} interval"
        ax.fill_between([], [], [], color=FORBIDDEN, alpha=0.3, linewidth=0, label=name)
    note = data.measured_note
    where = f"measured at {note}" if note else "measured"
    ax.plot([], [], "o", markersize=3.8, label=where, **point_face(bool(note), FORBIDDEN))
    if data.base_loss is not None:
        soft.append(np.array([data.base_loss]))
        ax.axhline(data.base_loss, color=LIMIT, linewidth=1, linestyle="--", label="base loss")
    if data.plan is not None and data.chosen_loss is not None:
        core.append(np.array([data.chosen_loss]))
        label = f"{choice_name(data.plan)}\n{recommendation(data.plan)}"
        draw_star(ax, data.plan.train_tokens, data.chosen_loss, size=12, label=label)
    count_axis(ax, np.append(data.tokens, data.last_measured), TOKENS_LABEL)
    draw_beyond(ax, data.first_measured, data.last_measured, data.tokens)
    ax.set_ylim(*padded(core, soft))
    ax.set_ylabel(loss_label(data.corpus, data.is_rise))
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
