"""Room for words: legends outside their axes, and titles and labels broken to fit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import ScaledTranslation

POINTS = 72.0  # an inch
LEGEND_FONT = 8.5  # points
TITLE_LINE = 1.3  # height of a line of a title, in its font's size
LINE = 1.5  # height of a legend's line, in its font's size
HANDLE = 5.5  # width of an entry's symbol with the space around it, in the font's size
MOST_BELOW = 0.2  # of the height, above which a legend goes to the right
MOST_EVER = 0.28  # likewise, above which there is none
MOST_RIGHT = 0.36  # of the width, up to which it may go there
USUAL_MARGIN = 0.5  # inches above and below axes, for their words
TITLE_PAD = 8.0  # points
TICKS_AIR = 0.2  # inches beside the names at the ticks
TICKS_WIDTH = 0.7  # inches that the y axis takes of a panel, with numbers at its ticks
AXES_WIDTH = 0.75  # of the width, what a legend centered below axes may take
RIGHT_WIDTH = 1.8  # inches of a line in a legend at the right
AIR = 0.94  # of a width that text may fill

Side = Literal["below", "right"]


def text_width(text: str, size: float) -> float:
    """Return the width of a line of text in inches; ``size`` in points."""
    if not text.strip():
        return 0.0
    path = TextPath((0, 0), text, size=size, prop=FontProperties())
    return float(path.get_extents().width) / POINTS


def text_height(text: str, size: float) -> float:
    """Return the height of lines of text in inches; ``size`` in points."""
    return TITLE_LINE * size * (1 + text.count("\n")) / POINTS


def wrapped(text: str, width: float, size: float) -> str:
    """Return text whose lines are broken between words where they are wider than ``width`` inches."""
    lines = []
    for line in text.splitlines():
        words = line.split(" ")
        shown = words[0]
        for word in words[1:]:
            if text_width(f"{shown} {word}", size) > AIR * width:
                lines.append(shown)
                shown = word
            else:
                shown = f"{shown} {word}"
        lines.append(shown)
    return "\n".join(lines)


def finished(ax: Axes, title: str, *, side: Side | None = None) -> Axes:
    """Give the axes a title and a legend outside of them, and break what is too long.

    Without a layout that makes room, the axes give up as much of their own. A legend that would take most of small
    axes is left to the caller: ``ax.get_legend_handles_labels()`` has its entries.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    width, height = _inches(ax)
    ax.set_title(title)
    handles, labels = ax.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))
    side = side or best_side(list(entries), width, height)
    under_axes = AXES_WIDTH * width
    if side == "below":  # one line an entry
        entries = {label.replace("\n", " "): handle for label, handle in entries.items()}
    left = height - _title_height(ax, width)
    if side == "below" and legend_height(list(entries), under_axes) > MOST_EVER * left:
        entries = {}
    beside = legend_width(list(entries)) if side == "right" else 0.0
    columns = 1 if side == "right" else fitting_columns(list(entries), under_axes)
    below = legend_height(list(entries), under_axes) if side == "below" else 0.0
    break_words(ax, width - beside, height - below)
    if figure.get_layout_engine() is None:
        under = _below_axis(ax) + (_height(len(entries), columns) if side == "below" else 0.0)
        _give_room(ax, beside, under / POINTS)
    if entries:
        _put_legend(ax, figure, entries, side, columns)
    return ax


def break_words(ax: Axes, width: float, height: float, title_width: float | None = None) -> None:
    """Break the title and the labels of axes that take ``width`` by ``height`` inches with them."""
    ticks, beside = _ticks_width(ax), ax.yaxis.label
    size = float(beside.get_fontsize())
    room_beside = height - _title_height(ax, title_width or width) + text_height("", size) - 0.6
    beside.set_text(wrapped(beside.get_text(), 0.8 * max(room_beside, 0.6), size))
    more_lines = text_height(beside.get_text(), size) - text_height("", size)
    for text, room in (
        (ax.title, (title_width or width) - ticks),
        (ax._left_title, (title_width or width) - ticks),  # type: ignore[attr-defined]
        (ax.xaxis.label, width - ticks - more_lines),
    ):
        text.set_text(wrapped(text.get_text(), room, float(text.get_fontsize())))


def _title_height(ax: Axes, width: float) -> float:
    """Return the inches that the title above axes takes where these have ``width``."""
    size = float(ax.title.get_fontsize())
    return text_height(wrapped(ax.get_title(), width - _ticks_width(ax), size), size)


def _ticks_width(ax: Axes) -> float:
    """Return the inches that the y axis takes: more where names stand at its ticks."""
    names = [
        text_width(label.get_text(), float(label.get_fontsize())) for label in ax.get_yticklabels()
    ]
    return max(TICKS_WIDTH, TICKS_AIR + max(names, default=0.0))


def best_side(labels: Sequence[str], width: float, height: float) -> Side:
    """Return where a legend takes less of a picture of ``width`` by ``height`` inches."""
    if not labels:
        return "below"
    rows = _rows(len(labels), fitting_columns(labels, width))
    is_low = rows * LINE * LEGEND_FONT / POINTS > MOST_BELOW * height
    return "right" if is_low and legend_width(labels) < MOST_RIGHT * width else "below"


def fitting_columns(labels: Sequence[str], width: float) -> int:
    """Return the most columns in which a legend is no wider than ``width`` inches."""
    sizes = [_entry_width(label) for label in labels]
    for columns in range(len(sizes), 1, -1):
        if sum(_column_widths(sizes, columns)) <= AIR * width:
            return columns
    return 1


def legend_width(labels: Sequence[str]) -> float:
    """Return the inches that a legend at the right takes."""
    return max((_entry_width(label) for label in right_labels(labels)), default=0.0)


def right_labels(labels: Sequence[str]) -> list[str]:
    """Return the labels broken as a legend at the right has them."""
    return [wrapped(label, RIGHT_WIDTH, LEGEND_FONT) for label in labels]


def legend_height(labels: Sequence[str], width: float) -> float:
    """Return the inches that a legend below takes."""
    return _height(len(labels), fitting_columns(labels, width)) / POINTS


def _height(count: int, columns: int) -> float:
    """Return the points that a legend of so many entries takes, with its border."""
    return LEGEND_FONT * (LINE * _rows(count, columns) + 1.0) if count else 0.0


def _entry_width(label: str) -> float:
    lines = label.splitlines() or [""]
    return HANDLE * LEGEND_FONT / POINTS + max(text_width(line, LEGEND_FONT) for line in lines)


def _column_widths(sizes: Sequence[float], columns: int) -> list[float]:
    """Return the width of each column; the first ones hold one entry more, as in matplotlib."""
    short, longer = divmod(len(sizes), columns)
    ends = [0]
    for column in range(columns):
        ends.append(ends[-1] + short + (column < longer))
    return [max(sizes[a:b], default=0.0) for a, b in pairwise(ends)]


def _rows(count: int, columns: int) -> int:
    return -(-count // columns)


def _inches(ax: Axes) -> tuple[float, float]:
    """Return the width and height of the part of the figure that the axes have, in inches."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    slot = ax.get_subplotspec()
    width, height = figure.get_size_inches()
    if slot is None:
        box = ax.get_position()
        return float(box.width * width), float(box.height * height)
    rows, columns = slot.get_gridspec().get_geometry()
    across, down = len(slot.colspan), len(slot.rowspan)
    return float(width) * across / columns, float(height) * down / rows


def _give_room(ax: Axes, beside: float, under: float) -> None:
    """Shrink axes by the inches that a legend takes beside or under them, and the title above."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    box = ax.get_position()
    width, height = figure.get_size_inches()
    over = TITLE_PAD / POINTS + text_height(ax.get_title(), float(ax.title.get_fontsize()))
    right = box.x1 - min(beside / width, 0.6 * box.width)
    bottom = box.y0 + max(under / height - min(box.y0, USUAL_MARGIN / height), 0.0)
    top = box.y1 - max(over / height - min(1 - box.y1, USUAL_MARGIN / height), 0.0)
    bottom, top = min(bottom, box.y0 + 0.6 * box.height), max(top, box.y1 - 0.2 * box.height)
    ax.set_position((box.x0, bottom, right - box.x0, top - bottom))


def _put_legend(
    ax: Axes, figure: Figure, entries: dict[str, Any], side: Side, columns: int
) -> None:
    options: dict[str, Any] = {"fontsize": LEGEND_FONT, "ncols": columns, "frameon": False}
    if side == "right":
        options |= {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
        entries = dict(zip(right_labels(list(entries)), entries.values(), strict=True))
    else:
        under = ScaledTranslation(0, -_below_axis(ax) / POINTS, figure.dpi_scale_trans)
        options |= {
            "loc": "upper center",
            "bbox_to_anchor": (0.5, 0.0),
            "bbox_transform": ax.transAxes + under,
            "borderaxespad": 0.0,
        }
    ax.legend(list(entries.values()), list(entries), **options)


def _below_axis(ax: Axes) -> float:
    """Return the points that ticks and label take below the axes."""
    ticks = FontProperties(size=mpl.rcParams["xtick.labelsize"]).get_size_in_points()
    lines = 1 + ax.get_xlabel().count("\n")
    return 12 + 1.3 * ticks + 1.4 * lines * float(ax.xaxis.label.get_fontsize())
