"""Whole figures by kind, and writing them to a file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from cmrplan.errors import InputError
from cmrplan.files import atomic_write
from cmrplan.fit.fit import Fit
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.critical_curve import Axis
from cmrplan.plots.critical import critical_data, draw_critical
from cmrplan.plots.curves import curves_data, draw_curves
from cmrplan.plots.frontier import SHOWN, draw_frontier, frontier_data
from cmrplan.plots.next_map import draw_next, next_data
from cmrplan.plots.panel import draw_panel, panel_data
from cmrplan.plots.ratio import draw_ratio, ratio_data
from cmrplan.plots.residuals import MOST_NAMED_RUNS, VARIABLES, draw_residuals, residuals_data
from cmrplan.plots.risk import draw_risk, risk_data
from cmrplan.plots.tradeoff import draw_tradeoff, tradeoff_data
from cmrplan.plots.view import fitted_corpora

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
LegendPosition = Literal["outside lower center", "outside right upper"]

PANEL = (4.8, 3.7)  # inches
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": "cmrplan"},
    "svg": {"Date": None, "Creator": "cmrplan"},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "cmrplan"},
}
DOTS_PER_INCH = 180


def figure(kind: str, fit: Fit, plan: Plan | None = None, **options: Any) -> Figure:
    """Return a figure of one kind, of as many panels as it needs.

    Neither pyplot nor global settings are touched. In a notebook, run ``%matplotlib inline`` first to see it.

    Parameters
    ----------
    kind : str
        One of :data:`KINDS`.
    fit : Fit
    plan : Plan, optional
        Its size, budget and recommended ratio are shown; ``residuals`` has no use for it.
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
    compose, allowed = _COMPOSERS[kind]
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in allowed:
            known = f"it takes {', '.join(allowed)}" if allowed else "its plan says where"
            known = "it shows every row" if kind == "residuals" else known
            raise InputError(f"the plot {kind!r} has no option {name}; {known}")
    with mpl.rc_context(STYLE):
        return compose(fit, plan, given)


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
        figure.savefig(temporary, format=form, dpi=DOTS_PER_INCH, metadata=METADATA[form])


def _ratio(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> Figure:
    parts = [ratio_data(fit, corpus, plan=plan, **options) for corpus in fitted_corpora(fit)]
    fig = _blank(1, len(parts), extra_height=0.7)
    axes = fig.subplots(1, len(parts), squeeze=False)[0]
    for ax, data in zip(axes, parts, strict=True):
        draw_ratio(data, ax).set_title(data.title.splitlines()[0])
    fig.suptitle(parts[0].view.law_and_budget)
    _shared_legend(fig, "outside lower center", columns=len(parts) + 1)
    return fig


def _curves(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> Figure:
    parts = [curves_data(fit, corpus, plan=plan, **options) for corpus in fitted_corpora(fit)]
    fig = _blank(1, len(parts), extra_width=1.3)
    axes = fig.subplots(1, len(parts), squeeze=False)[0]
    for ax, data in zip(axes, parts, strict=True):
        draw_curves(data, ax).set_title(data.title.splitlines()[0])
    fig.suptitle(parts[0].context)
    _shared_legend(fig, "outside right upper")
    return fig


def _tradeoff(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> Figure:
    data = tradeoff_data(fit, plan=plan, **options)
    fig = _blank(1, 1, extra_width=2.2, extra_height=1.2)
    draw_tradeoff(data, fig.subplots()).set_title(data.title)
    _shared_legend(fig, "outside lower center", columns=3)
    return fig


def _residuals(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> Figure:
    parts = [residuals_data(fit, corpus) for corpus in fitted_corpora(fit)]
    several = len({size for data in parts for size in data.model_params}) > 1
    variables = [name for name in VARIABLES if several or name != "model_params"]
    fig = _blank(len(parts), len(variables))
    axes = fig.subplots(len(parts), len(variables), squeeze=False)
    for row, data in zip(axes, parts, strict=True):
        for ax, variable in zip(row, variables, strict=True):
            draw_residuals(data, ax, variable)
        row[0].set_title(data.title, loc="left")
    fig.suptitle("Residuals: one color for each run, dark to light by ratio")
    if max(len(data.runs()) for data in parts) <= MOST_NAMED_RUNS:
        _shared_legend(fig, "outside right upper")
    return fig


def _frontier(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> Figure:
    data = frontier_data(fit, plan=plan, **options)
    fig = _blank(1, 2, extra_height=0.7)
    for ax, show in zip(fig.subplots(1, 2), SHOWN, strict=True):
        draw_frontier(data, ax, show)
    fig.suptitle(data.title)
    _shared_legend(fig, "outside lower center", columns=3)
    return fig


def _critical(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> Figure:
    axes_of: tuple[Axis, ...] = ("train_tokens", "model_params")
    parts = [critical_data(fit, axis, plan=plan) for axis in axes_of]
    parts = [data for data in parts if len(data.curve.values) > 1] or parts[:1]
    fig = _blank(1, len(parts), extra_width=1.6 if len(parts) == 1 else 0.0, extra_height=0.9)
    axes = fig.subplots(1, len(parts), squeeze=False)[0]
    for ax, data in zip(axes, parts, strict=True):
        draw_critical(data, ax).set_title(data.title)
    fig.suptitle(f"Ratio that a general rise of {parts[0].plan.max_general_rise} allows")
    _shared_legend(fig, "outside lower center", columns=1 + len(parts))
    return fig


def _risk(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> Figure:
    data = risk_data(fit, plan=plan)
    fig = _blank(1, 1, extra_width=1.0, extra_height=0.5)
    draw_risk(data, fig.subplots()).set_title(data.title)
    _shared_legend(fig, "outside lower center", columns=3)
    return fig


def _panel(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> Figure:
    data = panel_data(fit, plan=plan, **options)
    fig = _blank(1, 1, extra_width=2.4, extra_height=0.9)
    draw_panel(data, fig.subplots()).set_title(data.title)
    _shared_legend(fig, "outside lower center", columns=2)
    return fig


def _next(fit: Fit, plan: Plan | None, options: dict[str, Any]) -> Figure:
    parts = next_data(fit, plan=plan)
    fig = _blank(1, len(parts), extra_height=0.9)
    axes = fig.subplots(1, len(parts), squeeze=False, sharey=True)[0]
    for ax, data in zip(axes, parts, strict=True):
        draw_next(data, ax).set_title(data.title)
    fig.suptitle(parts[0].question)
    _shared_legend(fig, "outside lower center", columns=3)
    return fig


_COMMON = ("model_params", "train_tokens", "confidence")
_Composer = Callable[[Fit, Plan | None, dict[str, Any]], Figure]
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


def _blank(
    rows: int, columns: int, *, extra_width: float = 0.0, extra_height: float = 0.0
) -> Figure:
    width, height = PANEL
    size = (columns * width + extra_width, rows * height + extra_height)
    return Figure(figsize=size, layout="constrained")


def _shared_legend(fig: Figure, position: LegendPosition, *, columns: int = 1) -> None:
    """Put one legend beside the panels, each label once."""
    entries: dict[str, Any] = {}
    for ax in fig.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    fig.legend(list(entries.values()), list(entries), loc=position, ncols=columns)
