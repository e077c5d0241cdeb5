"""A report as one HTML page, as Markdown, as JSON and as PDF."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import textwrap
import warnings
from dataclasses import asdict
from importlib.resources import files
from io import BytesIO
from typing import Any, Literal

from jinja2 import Environment
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cmrplan._version import __version__
from cmrplan.files import atomic_write, write_text
from cmrplan.plots.figures import METADATA
from cmrplan.plots.wording import plain
from cmrplan.report.markdown import escape
from cmrplan.report.page.content import ChartSeries, ReportChart, ReportContent, ReportTable
from cmrplan.report.page.packing import packed_bytes

ReportFormat = Literal["html", "md", "json", "pdf"]
SCRIPTS = ("unpack.js", "chart.js", "page.js")
COLORS = ("#0b6cad", "#b8500a", "#6b7280", "#00795a", "#a03a7f", "#7a5c00")
PAPER = (8.27, 11.69)  # inches, A4
LINE_LETTERS = 100  # on a page of text
PAGE_LINES = 62


def write_report(content: ReportContent, path: str | os.PathLike[str], kind: ReportFormat) -> None:
    """Write a report, atomically."""
    if kind == "pdf":
        with atomic_write(path) as temporary:
            temporary.write_bytes(_pdf(content))
        return
    texts = {"html": html_page, "md": markdown_page, "json": json_text}
    write_text(path, texts[kind](content))


def html_page(content: ReportContent) -> str:
    """Return the page: one file that asks for nothing from outside, and runs no script but its own."""
    folder = files("cmrplan.report.page")
    template, style = (
        folder.joinpath(name).read_text("utf-8") for name in ("page.html", "page.css")
    )
    script = "\n".join(folder.joinpath(name).read_text("utf-8") for name in SCRIPTS)
    data = {
        "sections": [{"charts": [asdict(c) for c in one.charts]} for one in content.sections],
        "explorer": content.explorer,
        "log": packed_bytes(content.rows.to_csv(index=False).encode()),
    }
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        content=content,
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=Markup(script_json(data)),
    )


def script_json(value: Any) -> str:
    r"""Return JSON that may stand inside a script element, whatever its texts are.

    Examples
    --------
    >>> script_json({"run": "</script><!--"})
    '{"run":"\\u003c/script\\u003e\\u003c!--"}'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def json_text(content: ReportContent) -> str:
    """Return everything that the report says as one JSON object."""
    value = {
        "cmrplan_report": __version__,
        "title": content.title,
        "answer": content.answer,
        "meaning": content.meaning,
        "cautions": content.cautions,
        "plan": content.plan,
        "summary": [asdict(table) for table in content.summary],
        "sections": [asdict(section) for section in content.sections],
    }
    return json.dumps(value, indent=2, allow_nan=False, default=str) + "\n"


def markdown_page(content: ReportContent) -> str:
    """Return the report as Markdown; its charts are left out, their numbers are in the other formats."""
    blocks = [f"# {escape(content.title)}", f"**{escape(content.answer)}**"]
    blocks += [escape(sentence) for sentence in content.meaning]
    cautions = "\n".join(f"- {escape(caution)}" for caution in content.cautions)
    blocks += ["## Before you rely on it", cautions or "No finding speaks against this answer."]
    blocks += [_markdown_table(table) for table in content.summary]
    for section in content.sections:
        blocks += [f"## {escape(section.title)}", *(escape(text) for text in section.texts)]
        blocks += [f"{escape(chart.title)}: {escape(chart.alt)}" for chart in section.charts]
        blocks += [_markdown_table(table) for table in section.tables]
    blocks.append(f"Losses are in nats per token. Written by cmrplan {__version__}.")
    return "\n\n".join(blocks) + "\n"


def _markdown_table(table: ReportTable) -> str:
    rows = [table.columns, ("---",) * len(table.columns)]
    lines = [" | ".join(row) for row in rows]
    lines += [" | ".join(escape(cell) for cell in row) for row in table.rows]
    return "\n".join([f"{escape(table.caption)}:", "", *(f"| {one} |" for one in lines)])


def _pdf(content: ReportContent) -> bytes:
    """Return pages of text, and then the charts, two on a page.

    They are drawn in memory: where a disk is full, matplotlib's writer fails a second time, in cleaning up, with an
    error of zlib.
    """
    drawn = BytesIO()
    charts = [chart for section in content.sections for chart in section.charts]
    metadata = METADATA["pdf"] | {"Title": content.title}
    with PdfPages(drawn, metadata=metadata) as pages, warnings.catch_warnings():
        # A run named in a script the font lacks is shown as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", append=False)
        lines = _text_lines(content)
        for first in range(0, len(lines), PAGE_LINES):
            page = Figure(figsize=PAPER)
            text = "\n".join(lines[first : first + PAGE_LINES])
            page.text(0.06, 0.96, text, va="top", family="monospace", fontsize=8, parse_math=False)
            pages.savefig(page)
        for first in range(0, len(charts), 2):
            page = Figure(figsize=PAPER, layout="constrained")
            for ax, chart in zip(page.subplots(2, 1), charts[first : first + 2], strict=False):
                _draw_chart(ax, chart)
            for ax in page.axes[len(charts) - first :]:
                ax.set_axis_off()
            pages.savefig(page)
    return drawn.getvalue()


def _text_lines(content: ReportContent) -> list[str]:
    texts = [content.title, "", content.answer, "", *content.meaning, ""]
    if content.cautions:
        texts += ["BEFORE YOU RELY ON IT", *(f"- {one}" for one in content.cautions), ""]
    for table in content.summary:
        texts += _table_lines(table)
    for section in content.sections:
        texts += [section.title.upper(), *section.texts, ""]
        for table in section.tables:
            texts += _table_lines(table)
    return [
        line
        for text in texts
        for line in (textwrap.wrap(text, LINE_LETTERS, drop_whitespace=False) or [""])
    ]


def _table_lines(table: ReportTable) -> list[str]:
    rows = [table.columns, *table.rows]
    widths = [max(len(row[k]) for row in rows) for k in range(len(table.columns))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return [table.caption, *(line.rstrip() for line in lines), ""]


def _draw_chart(ax: Axes, chart: ReportChart) -> None:
    """Draw a chart of the page with matplotlib."""
    for one in chart.series:
        _draw_series(ax, one)
    for rule in chart.rules:
        draw = ax.axvline if rule["axis"] == "x" else ax.axhline
        draw(rule["at"], color="black", linewidth=1, linestyle="--", label=plain(rule["name"]))
    if chart.x.kind == "count":
        ax.set_xscale("log")
    for axis, described in ((ax.xaxis, chart.x), (ax.yaxis, chart.y)):
        if described.kind == "percent":
            axis.set_major_formatter(PercentFormatter(1.0))
    if chart.y.names:
        ax.set_yticks(range(len(chart.y.names)), [plain(name) for name in chart.y.names])
        ax.invert_yaxis()
    ax.set_title(chart.title, fontsize=11)
    ax.set_xlabel(chart.x.label)
    ax.set_ylabel(chart.y.label)
    ax.legend(fontsize=8, frameon=False)


def _draw_series(ax: Axes, one: ChartSeries) -> None:
    color, label = COLORS[one.color - 1], plain(one.name)
    x, y, low, high = (
        [float("nan") if value is None else value for value in values]
        for values in (one.x, one.y, one.low, one.high)
    )
    if one.kind == "line":
        ax.plot(x, y, color=color, label=label)
    elif one.kind == "points":
        ax.plot(x, y, "o", color=color, markersize=3, alpha=0.65, label=label)
    elif one.kind == "band":
        ax.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0, label=label)
    else:
        ax.hlines(y, low, high, color=color, linewidth=3, label=label)
