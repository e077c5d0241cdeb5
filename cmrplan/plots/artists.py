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
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from cmrplan.arrays import Array
from cmrplan.numbers import compact_exact
from cmrplan.plan.plan import Plan
from cmrplan.plots.wording import choice_label, percent

# Okabe & Ito's palette, told apart in every common kind of color blindness
DATA = "#0072B2"
CHOICE = "#D55E00"
LIMIT = "#333333"
FORBIDDEN = "#999999"
COLORMAP = "viridis"
PALEST = 0.9  # the end of the color map that is too light on white is left out

FEW_COUNTS = 4  # up to which each has its own tick

LOSS_UNIT = "nats per token"
RATIO_LABEL = "domain ratio (percent of training tokens)"
TOKENS_LABEL = "training tokens of the continual phase"


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
    if plan.domain_ratio_low is not None and plan.domain_ratio_high is not None:
        ax.axvspan(
            plan.domain_ratio_low, plan.domain_ratio_high, color=CHOICE, alpha=0.15, linewidth=0
        )
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


def draw_beyond(ax: Axes, last_measured: float) -> None:
    """Shade the x axis beyond the probes; its limits must stand already."""
    ax.axvspan(
        last_measured,
        ax.get_xlim()[1],
        color=FORBIDDEN,
        alpha=0.18,
        linewidth=0,
        zorder=0,
        label="beyond the probes",
    )


def point_style(count: int) -> dict[str, Any]:
    """Return the style that shows a curve of a single point; nothing for a longer one."""
    return {"marker": "_", "markersize": 14.0} if count == 1 else {}


def titled(ax: Axes, title: str) -> Axes:
    """Give the axes a title and a legend."""
    ax.set_title(title)
    ax.legend(fontsize="small")
    return ax


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
    ax.xaxis.set_major_locator(MaxNLocator(6))
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
    decades = math.log10(high / low)
    if len(known) <= FEW_COUNTS:
        ax.xaxis.set_major_locator(FixedLocator(known.tolist()))
    elif decades < 0.7:
        ax.xaxis.set_major_locator(MaxNLocator(4))
    else:
        subs = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
        ax.xaxis.set_major_locator(LogLocator(subs=subs))
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
