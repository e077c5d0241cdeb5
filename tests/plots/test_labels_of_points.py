"""Words beside points: each nearer to its own, and readable over faint lines."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from cmrplan.plots.labels import PointLabel, PointLabels


def placed(points, *, faint=()):
    """Return the words by text, with the gap of each from every point in pixels, after drawing."""
    fig = Figure(figsize=(3, 2), dpi=100)
    ax = fig.subplots()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    names = list(points)
    labels = [PointLabel(name, *points[name], {"fontsize": 8}) for name in names]
    where = np.array([points[name] for name in names])
    words = PointLabels(ax, labels, points=where, owners=names, lines=[], faint=faint)
    fig.draw_without_rendering()
    marks = dict(zip(names, ax.transData.transform(where), strict=True))
    found = {}
    for text in words.texts:
        box = text.get_window_extent().padded(0)
        gaps = {
            name: np.hypot(
                max(box.x0 - x, x - box.x1, 0.0),
                max(box.y0 - y, y - box.y1, 0.0),
            )
            for name, (x, y) in marks.items()
        }
        found[text.get_text()] = (text, gaps)
    return found


def test_a_word_is_nearer_to_its_own_point_than_to_any_other():
    rng = np.random.default_rng(0)
    for _ in range(30):
        points = {f"{10 * k}%": xy for k, xy in enumerate(rng.uniform(0.3, 0.7, (8, 2)))}
        for name, (_, gaps) in placed(points).items():
            assert gaps[name] <= min(gaps.values()) + 1e-6


@pytest.mark.parametrize("lies_on_lines", [True, False])
def test_a_word_that_has_to_lie_on_faint_lines_has_a_ground_of_its_own(lies_on_lines):
    faint = [np.array([[x, 0], [x, 1]]) for x in np.linspace(0, 1, 60)] if lies_on_lines else []
    ((text, _),) = placed({"50%": (0.5, 0.5)}, faint=faint).values()
    assert (text.get_bbox_patch() is not None) == lies_on_lines
