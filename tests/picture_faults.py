"""What is wrong with a drawn picture, by the boxes of its words, lines and legends."""

from itertools import combinations, pairwise

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.transforms import Bbox

from cmrplan.plots.labels import PointLabels

MOST_NAMED = 8
TOUCH = 1.0  # pixels by which boxes may overlap: glyphs are smaller than their boxes


def faults(fig):
    """Draw a figure and return a sentence for each fault."""
    renderer = FigureCanvasAgg(fig).get_renderer()
    fig.draw_without_rendering()
    words = [(text.get_text(), text.get_window_extent(renderer)) for text in _texts(fig, renderer)]
    sentences = [f"{word!r} leaves the figure" for word, box in words if not _holds(fig.bbox, box)]
    sentences += [
        f"{one!r} lies on {other!r}"
        for (one, a), (other, b) in combinations(words, 2)
        if _overlap(a, b)
    ]
    for legend in _legends(fig):
        box = legend.get_window_extent(renderer)
        sentences += ["a legend lies on axes" for ax in fig.axes if _overlap(box, ax.bbox)]
        if not _holds(fig.bbox, box):
            sentences.append("a legend leaves the figure")
    for ax in fig.axes:
        written = _direct_labels(ax)
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in written]
        if len(named_curves(ax)) > MOST_NAMED:
            sentences.append(f"{len(named_curves(ax))} curves are named")
        for line in _lines(ax):
            sentences += [f"{word!r} lies on a line" for word, box in boxes if _crosses(line, box)]
    return sentences


def named_curves(ax):
    """Return the labels of the curves that a legend names, those that span points of data."""
    handles, labels = ax.get_legend_handles_labels()
    return [
        label
        for handle, label in zip(handles, labels, strict=True)
        if label.endswith(" domain") or label.startswith("probe of")
    ]


def _direct_labels(ax):
    placed = [
        text for artist in ax.artists if isinstance(artist, PointLabels) for text in artist.texts
    ]
    return [*placed, *ax.texts]


def _legends(fig):
    own = [ax.get_legend() for ax in fig.axes]
    return [legend for legend in [*fig.legends, *own] if legend is not None]


def _texts(fig, renderer):
    """Return every word that is seen; ticks outside the axes are not."""
    texts = [fig._suptitle] if fig._suptitle else []
    for ax in fig.axes:
        texts += [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *_direct_labels(ax)]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [
                label
                for tick in axis._update_ticks()
                for label in (tick.label1, tick.label2)
                if low <= tick.get_loc() <= high
            ]
    for legend in _legends(fig):
        texts += legend.get_texts()
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def _lines(ax):
    """Return the lines that carry data, in pixels; faint bundles do not count."""
    lines = [
        line.get_transform().transform(line.get_xydata())
        for line in ax.lines
        if line.get_linestyle() != "None" and len(line.get_xydata()) > 1
    ]
    for bundle in ax.collections:
        if isinstance(bundle, LineCollection) and bundle.get_alpha() is None:
            lines += [ax.transData.transform(segment) for segment in bundle.get_segments()]
    return lines


def _crosses(line, box):
    dense = [
        np.linspace(a, b, 2 + int(np.hypot(*(b - a))))
        for a, b in pairwise(line)
        if np.isfinite([a, b]).all()
    ]
    points = np.concatenate([np.empty((0, 2)), *dense])
    return bool(((points > box.min + TOUCH) & (points < box.max - TOUCH)).all(axis=1).any())


def _overlap(a, b):
    shared = Bbox.intersection(a, b)
    return shared is not None and min(shared.width, shared.height) > TOUCH


def _holds(outer, box):
    return bool((box.min >= outer.min - TOUCH).all() and (box.max <= outer.max + TOUCH).all())
