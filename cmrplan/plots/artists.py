"""Drawing that the plots share: colors, bands, limits, axes. Nothing here computes a loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    Locator,
    MaxNLocator,
    NullLocator,
)

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.numbers import compact_exact
from cmrplan.plan.plan import Plan
from cmrplan.plots.legends import wrapped
from cmrplan.plots.wording import choice_label, percent, shown_interval

# Okabe & Ito's palette, told apart in every common kind of color blindness
DATA = "#0072B2"
CHOICE = "#D55E00"
LIMIT = "#333333"
FORBIDDEN = "#999999"
COLORMAP = "viridis"
PALEST = 0.9  # the end of the color map that is too light on white is left out

FEW_COUNTS = 4  # up to which each has its own tick
COUNT_STEPS = ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))  # of a decade
TICK_ROOM = 3.6  # between two ticks, in the size of their font

RATIO_LABEL = "domain ratio (percent of training tokens)"
TOKENS_LABEL = "training tokens of the continual phase"


class SpacedTicks(Locator):
    """Ticks of the first of several lists, dense to sparse, whose labels have room.

    Parameters
    ----------
    choices : sequence of array
    """

    def __init__(self, choices: Sequence[Array]) -> None:
        self._choices = [np.unique(choice) for choice in choices]

    def __call__(self) -> list[float]:
        """Return the ticks within the limits of the axis."""
        axis: Any = self.axis
        ends = sorted(axis.get_view_interval())
        room = TICK_ROOM * axis.get_major_ticks(1)[0].label1.get_fontsize()
        for choice in self._choices:
            shown = choice[(choice >= ends[0]) & (choice <= ends[1])]
            at = axis.axes.transData.transform(np.column_stack([shown, np.ones(len(shown))]))[:, 0]
            if len(shown) and (np.diff(at) * 72 / axis.get_figure().dpi >= room).all():
                break
        return [float(tick) for tick in shown]

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Return the ticks; the limits of the axis decide, not these."""
        return self()


def axes_or_new(ax: Axes | None) -> Axes:
    """Return the axes given, or those of a new figure that pyplot does not know."""
    return Figure(layout="constrained").subplots() if ax is None else ax


def shades(count: int) -> list[tuple[float, float, float, float]]:
    """Return ``count`` colors of a sequential color map, dark to light."""
    shade = np.linspace(0, PALEST, count) if count > 1 else np.zeros(count)
    return [mpl.colormaps[COLORMAP](part) for part in shade]


def draw_band(ax: Axes, x: Array, low: Array, high: Array, **style: object) -> None:
    """Fill between two bounds where both are finite; nothing where none is."""
    known = np.isfinite(low) & np.isfinite(high)
    if known.any():
        options = {"linewidth": 0, "zorder": 1.5} | style
        ax.fill_between(x, low, high, where=known.tolist(), **options)  # type: ignore[arg-type]


def draw_choice(ax: Axes, plan: Plan) -> None:
    """Mark the recommended ratio and its interval on an x axis of ratios."""
    interval = shown_interval(plan)
    if interval is not None:
        ax.axvspan(*interval, color=CHOICE, alpha=0.15, linewidth=0)
    ax.axvline(plan.evaluated_ratio, color=CHOICE, linewidth=1.6, label=choice_label(plan))


def draw_star(
    ax: Axes, x: float, y: float, *, size: float, label: str = "_recommended", zorder: float = 4
) -> None:
    """Mark the point that a plan recommends."""
    ax.plot(
        [x],
        [y],
        "*",
        linestyle="none",
        markersize=size,
        color=CHOICE,
        markeredgecolor="white",
        zorder=zorder,
        label=label,
    )


def draw_tolerance(ax: Axes, rise: float, label: str) -> None:
    """Mark the allowed rise on an x axis of rises."""
    ax.axvline(rise, color=LIMIT, linewidth=1.2, linestyle="--", label=label)


def draw_beyond(ax: Axes, first: float, last: float, shown: Array) -> None:
    """Shade the x axis below the first and above the last probe, where something is shown there."""
    low, high = ax.get_xlim()
    sides = []
    if shown.min() < first * (1 - SAME_SIZE):
        sides.append((low, first))
    if shown.max() > last * (1 + SAME_SIZE):
        sides.append((last, high))
    for k, (start, end) in enumerate(sides):
        label = "_beyond" if k else "beyond the probes"
        ax.axvspan(start, end, color=FORBIDDEN, alpha=0.18, linewidth=0, zorder=0, label=label)
    ax.set_xlim(low, high)


def point_face(is_elsewhere: bool, color: Any) -> dict[str, Any]:
    """Return the style of measured points, hollow where they belong to another size or budget."""
    return {
        "color": color,
        "markerfacecolor": "white" if is_elsewhere else color,
        "markeredgecolor": color if is_elsewhere else "white",
        "markeredgewidth": 0.9 if is_elsewhere else 0.6,
    }


def say_why(ax: Axes, reason: str) -> Axes:
    """Say in words why there is nothing to see."""
    ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    width = ax.get_window_extent().width / ax.figure.dpi  # inches
    ax.text(
        0.5,
        0.5,
        wrapped(reason, 0.8 * width, 9),
        transform=ax.transAxes,
        ha="center",
        va="center",
        fontsize=9,
        color=LIMIT,
    )
    return ax


def point_style(count: int) -> dict[str, Any]:
    """Return the style that shows a curve of a single point; nothing for a longer one."""
    return {"marker": "_", "markersize": 14.0} if count == 1 else {}


def padded(core: Sequence[Array], soft: Sequence[Array] = ()) -> tuple[float, float]:
    """Return limits that hold all of ``core``, and of ``soft`` what lies within half its span."""
    low, high = _extent(core)
    span = (high - low) or 0.02 * abs(high) or 1.0
    soft_low, soft_high = _extent([*core, *soft])
    low = max(soft_low, low - span / 2)
    high = min(soft_high, high + span / 2)
    margin = 0.06 * ((high - low) or span)
    return low - margin, high + margin


def ratio_axis(ax: Axes, ratios: Array) -> None:
    """Make the x axis one of ratios."""
    ax.set_xlim(*padded([ratios]))
    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(percent_ticks())
    ax.set_xlabel(RATIO_LABEL)


def percent_ticks() -> FuncFormatter:
    """Return a formatter of ratios as percentages, without needless decimals."""
    return FuncFormatter(lambda ratio, _: f"{100 * ratio:.4g}%")


def count_axis(ax: Axes, counts: Array, label: str) -> None:
    """Make the x axis a logarithmic one of parameters or tokens."""
    known = np.unique(counts)
    low, high = float(known[0]), float(known[-1])
    margin = (high / low) ** 0.04 if len(known) > 1 else 1.2
    low, high = low / margin, high * margin
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    if len(known) <= FEW_COUNTS:
        ticks = [known, known[[0, -1]], known[-1:]]
    else:
        decades = 10.0 ** np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [np.outer(decades, steps).ravel() for steps in COUNT_STEPS]
    ax.xaxis.set_major_locator(SpacedTicks(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda count, _: compact_exact(count)))
    ax.set_xlabel(label)


def ratio_label(ratio: float) -> str:
    """Return what a legend calls a ratio."""
    return f"{percent(ratio)} domain"


def thinned(count: int, most: int) -> set[int]:
    """Return at most ``most`` positions of ``count``, evenly spread, the ends included."""
    if count <= most:
        return set(range(count))
    return {round(position) for position in np.linspace(0, count - 1, most)}


def _extent(parts: Sequence[Array]) -> tuple[float, float]:
    values = np.concatenate([np.ravel(part) for part in parts])
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
