"""What a report says, before it becomes a page, Markdown, JSON or PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import printable
from cmrplan.log.texts import anonymous
from cmrplan.report.tables import plain_rows


@dataclass(frozen=True)
class ReportTable:
    """Rows of texts under a caption."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ChartAxis:
    """An axis of a chart.

    Parameters
    ----------
    label : str
    kind : {"number", "percent", "count"}
        How its numbers are written; counts stand on a logarithmic axis.
    names : tuple of str
        What stands at 0, 1, … instead of numbers.
    """

    label: str
    kind: str = "number"
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChartSeries:
    """Numbers of one kind on a chart.

    Parameters
    ----------
    name : str
    kind : {"line", "points", "band", "bars"}
        ``bars`` are intervals along x.
    x, y : list of float or None
    low, high : list of float or None
        Of a band along y, of bars along x.
    color : int
        1 to 6.
    """

    name: str
    kind: str
    x: list[float | None]
    y: list[float | None]
    low: list[float | None] = field(default_factory=list)
    high: list[float | None] = field(default_factory=list)
    color: int = 1


@dataclass(frozen=True)
class ReportChart:
    """A chart, and what it shows in words.

    ``rules`` are lines across it: ``{"axis": "x" or "y", "at": number, "name": text}``.
    """

    title: str
    alt: str
    x: ChartAxis
    y: ChartAxis
    series: tuple[ChartSeries, ...]
    rules: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class ReportSection:
    """A part of a report."""

    title: str
    texts: tuple[str, ...] = ()
    charts: tuple[ReportChart, ...] = ()
    tables: tuple[ReportTable, ...] = ()


@dataclass(frozen=True)
class ReportContent:
    """A whole report.

    Parameters
    ----------
    title, answer : str
    meaning, cautions : tuple of str
        At most three cautions.
    summary : tuple of ReportTable
        What stands beside the answer.
    sections : tuple of ReportSection
    explorer : dict or None
        What the sliders of the page read; see :mod:`cmrplan.report.page.explorer`.
    plan : dict or None
        The plan, numbers unrounded.
    rows : DataFrame
        The log.
    """

    title: str
    answer: str
    meaning: tuple[str, ...]
    cautions: tuple[str, ...]
    summary: tuple[ReportTable, ...]
    sections: tuple[ReportSection, ...]
    explorer: dict[str, Any] | None
    plan: dict[str, Any] | None
    rows: pd.DataFrame


def plain_numbers(values: Array | Sequence[float]) -> list[float | None]:
    """Return numbers for JSON, to seven digits; None for those that are not finite."""
    return [
        float(f"{value:.7g}") if np.isfinite(value) else None
        for value in np.asarray(values, dtype=float).tolist()
    ]


def line(name: str, x: Array, y: Array, color: int = 1) -> ChartSeries:
    """Return a line."""
    return ChartSeries(name, "line", plain_numbers(x), plain_numbers(y), color=color)


def points(name: str, x: Array, y: Array, color: int = 1) -> ChartSeries:
    """Return points."""
    return ChartSeries(name, "points", plain_numbers(x), plain_numbers(y), color=color)


def band(name: str, x: Array, low: Array, high: Array, color: int = 1) -> ChartSeries:
    """Return the band between two curves."""
    return ChartSeries(
        *(name, "band", plain_numbers(x), []), plain_numbers(low), plain_numbers(high), color
    )


def frame_table(caption: str, table: pd.DataFrame) -> ReportTable:
    """Return a table of a frame: numbers to four digits, empty columns left out."""
    columns = [
        str(name)
        for name in table.columns
        if any(value not in (None, "") and value == value for value in table[name].tolist())
    ]
    rows = [tuple(_cell(row[name]) for name in columns) for row in plain_rows(table)]
    return ReportTable(caption, tuple(name.replace("_", " ") for name in columns), tuple(rows))


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shown_text(str(value)) if isinstance(value, str) else f"{value:.4g}"


def shown_text(text: str) -> str:
    """Return a text from a log as a page may show it: what hides or moves is an escape, folders are left out."""
    return anonymous(printable(text, keep=""))


def shown_rows(log: pd.DataFrame) -> pd.DataFrame:
    """Return a log whose texts a page may show; runs keep names of their own."""
    shown = log.copy()
    for name in shown.columns[[not pd.api.types.is_numeric_dtype(t) for t in shown.dtypes]]:
        texts = shown[name].astype(object)
        shown[name] = [shown_text(text) if isinstance(text, str) else text for text in texts]
    if "run_id" in shown and shown["run_id"].nunique() < log["run_id"].nunique():
        number = pd.factorize(log["run_id"])[0] + 1
        names = shown["run_id"].astype(str)
        shown["run_id"] = [f"{name} ({k})" for name, k in zip(names, number, strict=True)]
    return shown
