"""The recommended mixture beside the natural one, corpus by corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmrplan.arrays import Array
from cmrplan.mixture.mixture_plan import MOST_LISTED, MixturePlan
from cmrplan.numbers import compact
from cmrplan.plots.artists import CHOICE, DATA, FORBIDDEN, LIMIT, axes_or_new, percent_ticks
from cmrplan.plots.figures import STYLE
from cmrplan.plots.legends import finished
from cmrplan.plots.wording import percent, plain

HEIGHT = 0.38  # of a bar
ROW = 0.42  # inches for each corpus
SHORT = {
    "available": "tokens run out",
    "ceiling": "ceiling",
    "floor": "floor",
    "probed_high": "edge of the probes",
    "probed_low": "edge of the probes",
}


@dataclass(frozen=True)
class MixtureData:
    """The numbers of :func:`plot_mixture`.

    Parameters
    ----------
    plan : MixturePlan
    corpora : tuple of m str
        The largest recommended share first.
    shares, natural : array (m,)
        Those of the recommended mixture, or of the one that the plan evaluates without it.
    low, high : array (m,)
        NaN without resamples.
    held : tuple of m str
        What holds each share, in a word or two; empty where nothing does.
    is_measured : bool
        Whether the natural shares are those of available tokens; else they are equal.
    """

    plan: MixturePlan
    corpora: tuple[str, ...]
    shares: Array
    natural: Array
    low: Array
    high: Array
    held: tuple[str, ...]
    is_measured: bool

    @property
    def label(self) -> str:
        """The name of the shares."""
        return "recommended" if self.plan.is_feasible else self.plan.evaluated_name

    @property
    def title(self) -> str:
        """What the picture shows."""
        plan = self.plan
        binds = [b.corpus for b in plan.binding if b.kind == "tolerance"]
        if not plan.is_feasible:
            how = f"with {percent(plan.confidence)}" if plan.num_resamples else "by the estimates"
            return (
                f"No mixture keeps the limits {how}: the {plan.evaluated_name}\n"
                f"N = {compact(plan.model_params)}, D = {compact(plan.train_tokens)} tokens; protected: "
                f"{_few(list(plan.asked.protected))}"
            )
        held = f"; held by the loss on {_few(binds)}" if binds else ""
        return (
            f"Recommended mixture, {percent(plan.confidence)} intervals\n"
            f"N = {compact(plan.model_params)}, D = {compact(plan.train_tokens)} tokens{held}"
        )


def _few(corpora: Sequence[str]) -> str:
    """Return the first corpora of a list, and how many more there are."""
    most = len(corpora) if len(corpora) <= MOST_LISTED + 1 else MOST_LISTED
    more = [f"{len(corpora) - most} more"] if len(corpora) > most else []
    return ", ".join([*(plain(name) for name in corpora[:most]), *more])


def mixture_data(plan: MixturePlan) -> MixtureData:
    """Return the numbers of :func:`plot_mixture`."""
    names = plan.largest_first()
    natural = plan.candidates["natural"].shares
    held = {b.corpus: SHORT[b.kind] for b in plan.binding if b.kind in SHORT}

    def column(values: dict[str, float | None] | dict[str, float]) -> Array:
        return np.array([np.nan if values[n] is None else values[n] for n in names], dtype=float)

    return MixtureData(
        plan=plan,
        corpora=tuple(names),
        shares=column(plan.evaluated_shares),
        natural=column(natural),
        low=column(plan.shares_low),
        high=column(plan.shares_high),
        held=tuple(held.get(name, "") for name in names),
        is_measured=all(name in plan.asked.available for name in names),
    )


def plot_mixture(plan: MixturePlan, *, ax: Axes | None = None) -> Axes:
    """Draw the share of each corpus with its interval, beside the natural share.

    Parameters
    ----------
    plan : MixturePlan
    ax : Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    Axes
    """
    data = mixture_data(plan)
    return finished(draw_mixture(data, axes_or_new(ax)), data.title)


def draw_mixture(data: MixtureData, ax: Axes) -> Axes:
    """Draw the numbers, without title and legend."""
    row_of = np.arange(len(data.corpora), dtype=float)
    ax.barh(row_of - HEIGHT / 2, data.shares, HEIGHT, color=CHOICE, label=data.label)
    what = "in proportion to the tokens at hand" if data.is_measured else "equal shares"
    ax.barh(row_of + HEIGHT / 2, data.natural, HEIGHT, color=FORBIDDEN, alpha=0.6, label=what)
    known = np.isfinite(data.low) & np.isfinite(data.high)
    if known.any():
        ax.hlines(
            row_of[known] - HEIGHT / 2,
            data.low[known],
            data.high[known],
            color=LIMIT,
            linewidth=1.4,
            label="where the best mixture lies",
        )
    ends = np.nanmax(np.stack([data.shares, data.high, data.natural]), axis=0)
    for row, text in enumerate(data.held):
        if text:
            ax.annotate(
                text,
                (float(ends[row]), row - HEIGHT / 2),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize="small",
                color=DATA,
            )
    ax.set_yticks(row_of, [plain(name) for name in data.corpora])
    ax.set_ylim(len(data.corpora) - 0.4, -0.6)
    ax.set_xlim(0, 1.22 * float(np.nanmax(ends)))
    ax.xaxis.set_major_formatter(percent_ticks())
    ax.set_xlabel("share of training tokens")
    return ax


def mixture_figure(plan: MixturePlan) -> Figure:
    """Return :func:`plot_mixture` as a figure whose height follows the number of corpora."""
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(6.4, 1.6 + ROW * len(plan.evaluated_shares)), layout="constrained")
        plot_mixture(plan, ax=fig.subplots())
    return fig
