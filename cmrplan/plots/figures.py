"""Whole figures by kind, and writing them to a file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmrplan.errors import InputError
from cmrplan.files import atomic_write
from cmrplan.fit.fit import Fit
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.critical_curve import Axis
from cmrplan.plots.critical import critical_data, draw_critical
from cmrplan.plots.curves import curves_data, draw_curves
from cmrplan.plots.frontier import SHOWN, draw_frontier, frontier_data
from cmrplan.plots.legends import (
    Side,
    best_side,
    break_words,
    fitting_columns,
    legend_height,
    legend_width,
    right_labels,
    text_height,
    wrapped,
)
from cmrplan.plots.next_map import draw_next, left_out_text, next_data
from cmrplan.plots.panel import draw_panel, panel_data
from cmrplan.plots.ratio import draw_ratio, ratio_data
from cmrplan.plots.residuals import VARIABLES, draw_residuals, residuals_data
from cmrplan.plots.risk import draw_risk, risk_data
from cmrplan.plots.tradeoff import draw_tradeoff, tradeoff_data
from cmrplan.plots.view import fitted_corpora
from cmrplan.plots.wording import allowed_title, heading

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "ratio": "loss against the domain ratio at one size and budget, with the plan's limit and ratio",
        "curves": "loss against tokens, one curve for each probed ratio",
        "tradeoff": "domain loss against the rise of the general loss, with the recommended ratio",
        "residuals": "what the fit leaves over, against ratio, tokens, size and run",
        "frontier": "the recommended ratio and its domain loss against the tolerance",
        "critical": "the recommended ratio against tokens and against size, beyond the probes",
        "risk": "the chance to break the tolerance against the domain ratio",
        "panel": "the ratio that every law recommends for the same question",
        "next": "what one more probe would bring, by its ratio, budget and size",
    }
)

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "figure.titlesize": 11.5,
    "font.size": 9.5,
    "grid.alpha": 0.25,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "text.usetex": False,
}

PANEL = (4.8, 3.7)  # inches
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": "cmrplan"},
    "svg": {"Date": None, "Creator": "cmrplan"},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "cmrplan"},
}
DOTS_PER_INCH = 180


@dataclass(frozen=True)
class _Panels:
    """What a figure shows.

    Parameters
    ----------
    rows : sequence of sequences of (callable, str)
        What draws each panel on its axes, and the panel's title.
    title : str
    side : {"below", "right"}
        Where the legend goes, where the size is the kind's own.
    extra : (float, float)
        Inches of width and height beyond those of the panels.
    shares_y : bool
    """

    rows: Sequence[Sequence[tuple[Callable[[Axes], Axes], str]]]
    title: str
    side: Side = "below"
    extra: tuple[float, float] = (0.0, 0.0)
    shares_y: bool = False


def figure(
    kind: str,
    fit: Fit,
    plan: Plan | None = None,
    *,
    size: tuple[float, float] | None = None,
    **options: Any,
) -> Figure:
    """Return a figure of one kind, of as many panels as it needs.

    Neither pyplot nor global settings are touched. In a notebook, run ``%matplotlib inline`` first to see it.

    Parameters
    ----------
    kind : str
        One of :data:`KINDS`.
    fit : Fit
    plan : Plan, optional
        Its size, budget and recommended ratio are shown; ``residuals`` has no use for it.
    size : (float, float), optional
        Width and height in inches; the kind's own by default, with room for its legend.
    **options
        ``model_params``, ``train_tokens``, ``confidence``, and ``base_loss`` for ``tradeoff``; as in the
        ``plot_*`` function of that kind. None is the same as leaving an option out.

    Raises
    ------
    InputError
        If there is no such kind or option, or an option is out of its range.
    CmrplanError
        If the fit has not what that kind needs.
    """
    if kind not in _COMPOSERS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if not isinstance(fit, Fit):
        raise InputError(
            f"the plots {', '.join(KINDS)} are of a Fit of two corpora, got {type(fit).__name__}; of several corpora "
            "there is one plot, that of a plan: cp.plots.mixture_figure(cp.plan_mixture(fit, ...))"
        )
    compose, allowed = _COMPOSERS[kind]
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in allowed:
            known = f"it takes {', '.join(allowed)}" if allowed else "its plan says where"
            known = "it shows every row" if kind == "residuals" else known
            raise InputError(f"the plot {kind!r} has no option {name}; {known}")
    with mpl.rc_context(STYLE):
        return _drawn(compose(fit, plan, given), size)


def write_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a ``.png``, ``.svg`` or ``.pdf`` file, whole or not at all.

    The same figure always gives the same bytes.

    Raises
    ------
    InputError
        If the suffix is another, or the file cannot be written.
    """
    target = Path(path)
    form = target.suffix.lower().removeprefix(".")
    if form not in METADATA:
        suffixes = ", ".join(f".{name}" for name in METADATA)
        raise InputError(f"cannot write {target.name}: the suffix must be one of {suffixes}")
    settings: dict[Any, Any] = {
        "svg.hashsalt": "cmrplan",
        "savefig.bbox": None,
        "savefig.transparent": False,
    }
    with (
        atomic_write(target) as temporary,
        mpl.rc_context(settings),
        warnings.catch_warnings(),
    ):
        # A run named in a script the font lacks is shown as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", append=False)
        # It is drawn in memory: where a disk is full, matplotlib's PDF writer fails twice, with an error of zlib.
        content = BytesIO()
        figure.savefig(content, format=form, dpi=DOTS_PER_INCH, metadata=METADATA[form])
        temporary.write_bytes(content.getvalue())


def _ratio(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> _Panels:
    parts = [ratio_data(fit, corpus, plan=plan, **options) for corpus in fitted_corpora(fit)]
    panels = [(partial(draw_ratio, data), heading(data.corpus)) for data in parts]
    return _Panels([panels], parts[0].view.law_and_budget)


def _curves(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> _Panels:
    parts = [curves_data(fit, corpus, plan=plan, **options) for corpus in fitted_corpora(fit)]
    panels = [(partial(draw_curves, data), heading(data.corpus)) for data in parts]
    return _Panels([panels], parts[0].context, side="right")


def _tradeoff(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> _Panels:
    data = tradeoff_data(fit, plan=plan, **options)
    return _Panels([[(partial(draw_tradeoff, data), "")]], data.title, extra=(2.2, 0.6))


def _residuals(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> _Panels:
    parts = [residuals_data(fit, corpus) for corpus in fitted_corpora(fit)]
    several = len({size for data in parts for size in data.model_params}) > 1
    variables = [name for name in VARIABLES if several or name != "model_params"]
    rows = [
        [
            (partial(draw_residuals, data, against=variable), "" if k else data.title)
            for k, variable in enumerate(variables)
        ]
        for data in parts
    ]
    return _Panels(
        rows,
        "Residuals in percent of the loss: one color for each run, dark to light by ratio",
        side="right",
    )


def _frontier(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> _Panels:
    data = frontier_data(fit, plan=plan, **options)
    return _Panels([[(partial(draw_frontier, data, show=show), "") for show in SHOWN]], data.title)


def _critical(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> _Panels:
    axes_of: tuple[Axis, ...] = ("train_tokens", "model_params")
    parts = [critical_data(fit, axis, plan=plan) for axis in axes_of]
    parts = [data for data in parts if len(data.curve.values) > 1] or parts[:1]
    panels = [(partial(draw_critical, data), data.title) for data in parts]
    extra = (1.6, 0.2) if len(parts) == 1 else (0.0, 0.2)
    return _Panels(
        [panels],
        allowed_title(parts[0].plan),
        extra=extra,
    )


def _risk(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> _Panels:
    data = risk_data(fit, plan=plan)
    return _Panels([[(partial(draw_risk, data), "")]], data.title, extra=(1.0, 0.0))


def _panel(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> _Panels:
    data = panel_data(fit, plan=plan, **options)
    return _Panels([[(partial(draw_panel, data), "")]], data.title, extra=(2.4, 0.3))


def _next(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> _Panels:
    parts = next_data(fit, plan=plan)
    shown = [data for data in parts if data.narrows]
    left_out = [data for data in parts if not data.narrows]
    if not shown:  # the largest says why
        return _Panels([[(partial(draw_next, parts[-1]), "")]], parts[0].question)
    title = parts[0].question + (f"\n{left_out_text(left_out)}" if left_out else "")
    panels = [(partial(draw_next, data), data.title) for data in shown]
    return _Panels([panels], title, shares_y=True)


_COMMON = ("model_params", "train_tokens", "confidence")
_Composer = Callable[[Fit, Plan | None, dict[str, Any]], _Panels]
_COMPOSERS: dict[str, tuple[_Composer, tuple[str, ...]]] = {
    "ratio": (_ratio, _COMMON),
    "curves": (_curves, _COMMON),
    "tradeoff": (_tradeoff, (*_COMMON, "base_loss")),
    "residuals": (_residuals, ()),
    "frontier": (_frontier, _COMMON),
    "critical": (_critical, ()),
    "risk": (_risk, ()),
    "panel": (_panel, ("panel",)),
    "next": (_next, ()),
}


def _drawn(panels: _Panels, size: tuple[float, float] | None) -> Figure:
    """Return the figure, with one legend beside or below the panels that has each label once."""
    rows, columns = len(panels.rows), len(panels.rows[0])
    width, height = size or (
        columns * PANEL[0] + panels.extra[0],
        rows * PANEL[1] + panels.extra[1],
    )
    fig = Figure(figsize=(width, height), layout="constrained")
    # Every row has the same x axes, every column the same y axis.
    shared_y: Literal["row"] | bool = "row" if rows > 1 else panels.shares_y
    axes = fig.subplots(
        rows, columns, squeeze=False, sharex="col" if rows > 1 else False, sharey=shared_y
    )
    for row, parts in zip(axes, panels.rows, strict=True):
        for ax, (draw, title) in zip(row, parts, strict=True):
            draw(ax)
            ax.set_title(title, loc="left" if rows > 1 else "center")
            if shared_y:
                ax.label_outer()
    entries: dict[str, Any] = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    labels = list(entries)
    side = best_side(labels, width, height) if size else panels.side
    beside = legend_width(labels) if side == "right" else 0.0
    below = legend_height(labels, width) if side == "below" else 0.0
    if size is None:
        fig.set_size_inches(width + beside, height + below)
    else:
        width, height = width - beside, height - below
    title = wrapped(panels.title, width, STYLE["figure.titlesize"])
    fig.suptitle(title, x=0.5 * width / (width + beside))
    height -= text_height(title, STYLE["figure.titlesize"])
    for ax in axes.flat:
        across = columns if rows > 1 else 1  # a title at the left may go on over its row
        break_words(ax, width / columns, height / rows, across * width / columns)
    if entries:
        handles = list(entries.values())
        if side == "right":
            fig.legend(handles, right_labels(labels), loc="outside right upper")
        else:
            columns = fitting_columns(labels, width)
            fig.legend(handles, labels, loc="outside lower center", ncols=columns)
    return fig
