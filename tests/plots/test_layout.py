"""Every picture at several sizes: no word on a line, on another word or outside, no legend on axes."""

from dataclasses import replace

import numpy as np
import pytest
from known_fits import SMALL, D, N, known_fit, known_plan
from known_mixtures import world
from matplotlib.figure import Figure
from picture_faults import faults

import cmrplan as cp
from cmrplan import plots
from cmrplan.plan.questions.law_panel import LawAnswer, LawPanel
from cmrplan.plots.next_map import NextData

DRAWERS = {kind: getattr(plots, f"plot_{kind}") for kind in plots.KINDS}
PLACES = {
    "inside": {},
    "beyond": {"model_params": 5 * N, "train_tokens": 8 * D},
    "below": {"model_params": SMALL / 4, "train_tokens": 3e3},
}
SIZES = {"its own": None, "low": (7, 3), "large": (12, 8)}


@pytest.fixture(scope="module")
def fit():
    fit = known_fit(seeds=(0,))
    return replace(
        fit, base_loss=fit.base_loss | {"general": {SMALL / 4: 2.5, SMALL: 2.5, N: 2.5, 5 * N: 2.5}}
    )


@pytest.fixture(autouse=True)
def _no_refits(monkeypatch):
    """Give the laws of a panel and the worth of probes: what is tested is the drawing."""

    def law_panel(fit, plan):
        answers = [
            LawAnswer(
                law,
                ratio,
                point_domain_ratio=ratio + 0.02,
                domain_ratio_low=ratio - 0.1,
                domain_ratio_high=0.5,
            )
            for law, ratio in (("dcpt", 0.2), ("dcpt_product_exp", 0.22), ("relearning", 0.31))
        ]
        refused = LawAnswer("bilinear", np.nan, reason="it needs three sizes")
        return LawPanel(plan, (*answers, refused), ())

    def next_data(fit, *, plan=None):
        ratios = np.linspace(0, 1, 21)
        worth = 20 * np.outer([0.1, 0.5, 1.0], ratios * (1 - ratios))
        return tuple(
            NextData(
                plan,
                "Asked for: D-CPT law, N = 2.0M, D = 1.0M tokens",
                size,
                ratios,
                np.array([1e4, 1e5, 1e6]),
                worth,
            )
            for size in (SMALL, N)
        )

    monkeypatch.setattr("cmrplan.plots.panel.law_panel", law_panel)
    monkeypatch.setattr("cmrplan.plots.figures.next_data", next_data)
    monkeypatch.setattr("cmrplan.plots.next_map.next_data", next_data)


@pytest.mark.parametrize("kind", plots.KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_figures_have_no_fault(kind, size, fit):
    assert faults(plots.figure(kind, fit, known_plan(fit), size=SIZES[size])) == []


@pytest.mark.parametrize("size", [None, (7, 3)])
def test_names_of_many_laws_do_not_touch(fit, size):
    laws = [f"dcpt_law_of_a_name_{k}" for k in range(11)]
    answers = [
        LawAnswer(
            law,
            0.3,
            point_domain_ratio=0.32,
            domain_ratio_low=0.2,
            domain_ratio_high=0.5,
            held_out_error=0.01,
            agrees=k % 3 > 0,
            is_contender=k % 2 > 0,
        )
        for k, law in enumerate(laws)
    ]
    panel = LawPanel(known_plan(fit), tuple(answers), ())
    assert faults(plots.figure("panel", fit, panel=panel, size=size)) == []


def test_a_title_over_long_names_of_corpora_stays_inside():
    names = ["general web text of many languages and years", "code", "law"]
    log = world(3, 12, names=names)
    fit = cp.fit_mixture(log, bootstrap=0, residual="none")
    plan = cp.plan_mixture(fit, train_tokens=1e9, protected={names[0]: "2%"})
    assert [one.corpus for one in plan.binding if one.kind == "tolerance"] == names[:1]
    assert faults(plots.mixture_figure(plan)) == []


@pytest.mark.parametrize("kind", ["ratio", "curves", "tradeoff", "critical"])
@pytest.mark.parametrize("where", ["beyond", "below"])
def test_figures_of_other_places_have_no_fault(kind, where, fit):
    fig = plots.figure(kind, fit, known_plan(fit, **PLACES[where]), size=(7, 3))
    assert faults(fig) == []


@pytest.mark.parametrize("kind", plots.KINDS)
@pytest.mark.parametrize(
    ("size", "layout"), [((7, 3), "constrained"), ((12, 8), "constrained"), ((7, 5), None)]
)
def test_axes_that_are_given_have_no_fault(kind, size, layout, fit):
    if (kind, layout) == ("panel", None):
        pytest.skip("names of laws need a layout that makes room at the left")
    ax = Figure(figsize=size, layout=layout).subplots()
    options = {} if kind == "residuals" else {"plan": known_plan(fit)}
    assert faults(DRAWERS[kind](fit, ax=ax, **options).figure) == []


def test_a_word_on_a_line_a_legend_inside_and_nine_names_are_seen():
    fig = Figure()
    ax = fig.subplots()
    for k in range(9):
        ax.plot([0, 1], [k, k], label=f"{k}% domain")
    ax.text(0.5, 4, "here", va="center")
    ax.text(0.5, 4, "there", va="center")
    ax.legend(loc="center")
    ax.set_xlabel("too wide " * 40)
    text = " ".join(faults(fig))
    assert "'here' lies on a line" in text
    assert "'here' lies on 'there'" in text
    assert "a legend lies on axes" in text
    assert "9 curves are named" in text
    assert "leaves the figure" in text
