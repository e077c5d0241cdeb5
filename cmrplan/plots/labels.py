"""Words beside points, set where they touch no line, no point and no other word, whatever the size of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from cmrplan.arrays import Array

PIXELS_APART = 3.0  # pixels between the points of a line that are looked at
GAP = 3.0  # points that stay free around a word
MARK = 5.0  # points around a measured point that belong to it
DISTANCES = (2.0, 6.0, 12.0, 20.0, 30.0)  # of a word from its point, in points beyond the mark
ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
BACKGROUND = {"facecolor": "white", "linewidth": 0, "pad": 1.0, "alpha": 0.85}  # over faint lines
FAINT = 0.15  # what a word on one faint line costs, in points of distance


@dataclass(frozen=True)
class PointLabel:
    """A word for a point in data units.

    Parameters
    ----------
    text : str
    x, y : float
    style : mapping
        Of the text.
    """

    text: str
    x: float
    y: float
    style: dict[str, Any] = field(default_factory=dict)


class PointLabels(Artist):
    """Places each word when it is drawn, the first one first; a word without room is left out.

    Parameters
    ----------
    ax : Axes
    labels : sequence of PointLabel
    points : array (n, 2)
        In data units, that no word may cover.
    owners : sequence of str (n,)
        The word of each point: a word is nearer to one of its own points than to any other.
    lines : sequence of array (k, 2)
        Likewise.
    faint : sequence of array (k, 2)
        Lines that a word leaves free where it can.
    """

    def __init__(
        self,
        ax: Axes,
        labels: Sequence[PointLabel],
        *,
        points: Array,
        owners: Sequence[str],
        lines: Sequence[Array],
        faint: Sequence[Array] = (),
    ) -> None:
        super().__init__()
        self.set_zorder(6)
        self.set_in_layout(False)
        self._where = ax
        self._labels, self._points, self._lines, self._faint = labels, points, lines, faint
        self._owners = np.array(owners, dtype=str)
        self.texts: tuple[Text, ...] = ()
        ax.add_artist(self)

    def draw(self, renderer: RendererBase) -> None:
        """Place the words in the pixels of this renderer, and draw them."""
        if not self.get_visible():
            return
        ax = self._where
        figure = ax.get_figure(root=True)
        unit = float(renderer.points_to_pixels(1.0))  # type: ignore[arg-type]
        pixels = ax.transData.transform
        solid = _dense([pixels(line) for line in self._lines])
        faint = _dense([pixels(line) for line in self._faint])
        marks = pixels(self._points) if len(self._points) else np.empty((0, 2))
        inside = ax.bbox
        taken: list[Array] = []
        texts = []
        for label in self._labels:
            text = Text(0, 0, label.text, ha="center", va="center", **label.style)
            text.set_figure(figure)  # type: ignore[arg-type]
            text.set_path_effects([withStroke(linewidth=2, foreground="white")])
            size = text.get_window_extent(renderer)
            half = np.array([size.width, size.height]) / 2
            point = pixels((label.x, label.y))
            own = self._owners == label.text
            best, least, is_over_faint = None, np.inf, False
            for center, distance in _candidates(point, half, unit):
                reach = half + GAP * unit
                box = np.array([center - reach, center + reach])
                if (
                    distance >= least
                    or (center - half < inside.min).any()
                    or (center + half > inside.max).any()
                    or _inside(solid, box)
                    or _inside(marks, box + np.array([[-1], [1]]) * MARK * unit / 2)
                    or _gap(marks[own], center, half) > _gap(marks[~own], center, half)
                    or any((box[0] < b[1]).all() and (box[1] > b[0]).all() for b in taken)
                ):
                    continue
                crossed = _inside(faint, box)
                cost = distance + FAINT * crossed
                if cost < least:
                    best, least, is_over_faint = center, cost, crossed > 0
            if best is None:
                continue
            taken.append(np.array([best - half, best + half]))
            text.set_position((float(best[0]), float(best[1])))
            if is_over_faint:
                text.set_bbox(dict(BACKGROUND))
            text.draw(renderer)
            texts.append(text)
        self.texts = tuple(texts)


def _candidates(point: Array, half: Array, unit: float) -> list[tuple[Array, float]]:
    """Return the centers that a word of that half size may have, with the distance from its point in points."""
    ways = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
    return [
        (point + way * (half + (MARK + GAP + distance) * unit), distance)
        for distance in DISTANCES
        for way in ways
    ]


def _dense(lines: Sequence[Array]) -> Array:
    """Return points along lines, a few pixels apart."""
    parts = [np.empty((0, 2))]
    for line in lines:
        known = line[np.isfinite(line).all(axis=1)]
        if len(known) < 2:
            continue
        along = np.append(0.0, np.cumsum(np.hypot(*np.diff(known, axis=0).T)))
        at = np.linspace(0, along[-1], min(2 + int(along[-1] / PIXELS_APART), 5000))
        parts.append(np.stack([np.interp(at, along, column) for column in known.T], axis=1))
    return np.concatenate(parts)


def _inside(points: Array, box: Array) -> int:
    """Return how many points lie in a box, given by its corners."""
    return int(((points > box[0]) & (points < box[1])).all(axis=1).sum())


def _gap(points: Array, center: Array, half: Array) -> float:
    """Return how far the nearest of the points lies from a box; infinite where there are none."""
    beside = np.maximum(np.abs(points - center) - half, 0)
    return float(np.min(np.hypot(*beside.T), initial=np.inf))
