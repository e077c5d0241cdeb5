"""Pictures of a plan whose domain loss turns at an inner ratio, and of one that no ratio holds (tests/by_hand.py)."""

import numpy as np
import pytest
from by_hand import ask, make_fit
from matplotlib.figure import Figure
from picture_faults import faults

from cmrplan import plots
from cmrplan.plan.questions.law_panel import LawAnswer, LawPanel
from cmrplan.plots.artists import draw_choice
from cmrplan.plots.wording import choice_label

SIZES = [(7, 3), (12, 8)]
SHOWN = ("domain_ratio", "domain_loss")


def rising(**changes):
    """Return a fit whose domain loss is lowest without domain data."""
    return make_fit(domain=(2.0, 1.0, 1.0), spread=np.linspace(-0.02, 0.02, 101), **changes)


def line(ax, label):
    return next(artist for artist in ax.lines if artist.get_label().startswith(label))


@pytest.mark.parametrize("tolerance", ["1%", "2%", "30%"])
def test_the_frontier_recommends_what_plans_do(tolerance):
    fit = rising()
    plan = ask(fit, max_general_rise=tolerance)
    data = plots.frontier_data(fit, plan=plan)
    found = data.recommended
    at = int(np.argmin(np.abs(data.scale * found.tolerance - data.tolerance)))
    assert data.scale * found.tolerance[at] == pytest.approx(data.tolerance)
    np.testing.assert_allclose(
        [found.domain_ratio[at], found.best_estimate[at], found.ratio_low[at]],
        [plan.domain_ratio, plan.ratio.estimate, plan.domain_ratio_low],
        atol=1e-9,
    )
    assert found.domain_loss[at] == pytest.approx(plan.domain_loss.estimate)
    # what a larger tolerance allows is not better, hence not recommended
    assert np.nanmax(found.domain_ratio) == 0


def test_the_ratios_between_are_those_of_plans():
    fit = make_fit(spread=np.linspace(-0.02, 0.02, 101))
    data = plots.frontier_data(fit, plan=ask(fit, max_general_rise="2%"))
    for k in (30, 60, 90):
        made = ask(fit, max_general_rise=f"{100 * data.recommended.tolerance[k]:.12g}%")
        assert data.recommended.domain_ratio[k] == pytest.approx(made.domain_ratio, abs=2e-3)


@pytest.mark.parametrize("show", SHOWN)
@pytest.mark.parametrize("tolerance", ["2%", "30%"])
def test_what_the_legend_of_a_frontier_names_lies_inside(show, tolerance):
    fit = rising()
    ax = plots.plot_frontier(fit, show, plan=ask(fit, max_general_rise=tolerance))
    for label in ("recommended", "tolerance"):
        x, y = (values[0] for values in line(ax, label).get_data())
        assert ax.get_xlim()[0] <= x <= ax.get_xlim()[1]
        assert label == "tolerance" or ax.get_ylim()[0] <= y <= ax.get_ylim()[1]


@pytest.mark.parametrize("show", SHOWN)
def test_a_frontier_without_a_ratio_says_which_tolerance_would_do(show):
    fit = make_fit(base=2.3, spread=np.linspace(-0.02, 0.02, 101))  # every ratio rises by 8.7 %
    plan = ask(fit, max_general_rise="2%")
    assert not plan.is_feasible
    ax = plots.plot_frontier(fit, show, plan=plan)
    name = line(ax, "tolerance").get_label()
    assert name == f"tolerance: 2%, which no ratio holds; {plan.least_tolerance} would do"
    assert not [one for one in ax.lines if "least rise" in one.get_label()]
    first = line(ax, "holds with 90%").get_xydata()
    first = first[np.isfinite(first).all(axis=1)][0]
    assert first[0] == pytest.approx(100 * plan.least_tolerance.value, rel=1e-2)
    assert ax.get_xlim()[0] <= first[0] < ax.get_xlim()[1]
    assert ax.get_ylim()[0] <= first[1] <= ax.get_ylim()[1]


def test_no_number_stands_at_the_end_of_the_axis_of_tolerances():
    """In a low picture 2.5 was cut off by the edge of the figure."""
    fit = rising()
    ax = plots.plot_frontier(fit, plan=ask(fit))
    ax.set_xlim(0, 2.5)
    ticks = ax.xaxis.get_majorticklocs()
    assert len(ticks[ticks <= 2.5]) > 2
    assert not np.isclose(ticks, 2.5).any()


@pytest.mark.parametrize("size", SIZES)
def test_their_frontiers_have_no_fault(size):
    fit = rising()
    assert faults(plots.figure("frontier", fit, ask(fit), size=size)) == []
    fit = make_fit(base=2.3, spread=np.linspace(-0.02, 0.02, 101))
    assert faults(plots.figure("frontier", fit, ask(fit), size=size)) == []


# --- no ratio holds the tolerance -------------------------------------------------------------


@pytest.fixture
def no_ratio():
    """Return a fit whose every ratio raises the general loss by 8.7 %, and its plan for 2 %."""
    fit = make_fit(base=2.3, spread=np.linspace(-0.02, 0.02, 101))
    return fit, ask(fit, max_general_rise="2%")


def words(ax):
    return " ".join(text.get_text().replace("\n", " ") for text in ax.texts)


@pytest.mark.parametrize("size", SIZES)
def test_the_panel_without_an_answer_says_why(no_ratio, size, monkeypatch):
    fit, plan = no_ratio
    refused = LawAnswer("dcpt", np.nan, reason=plan.reason)
    monkeypatch.setattr(
        "cmrplan.plots.panel.law_panel", lambda fit, plan: LawPanel(plan, (refused,), ())
    )
    fig = plots.figure("panel", fit, plan, size=size)
    assert faults(fig) == []
    assert words(fig.axes[0]) == (
        "No law has an answer. No ratio holds a rise of 2% over the base with 90%; a rise of "
        f"{plan.least_tolerance} would do."
    )
    own = ask(make_fit())  # the fit has an answer, and no law has
    refused = LawAnswer("dcpt", np.nan, reason="it needs three sizes")
    panel = LawPanel(own, (refused,), ())
    fig = plots.figure("panel", fit, panel=panel, size=size)
    assert words(fig.axes[0]) == "No law answers: it needs three sizes"


@pytest.mark.parametrize("size", SIZES)
def test_critical_ratios_of_which_there_are_none_say_why(no_ratio, size):
    fig = plots.figure("critical", *no_ratio, size=size)
    assert faults(fig) == []
    assert words(fig.axes[0]).startswith("No ratio holds a rise of 2% over the base with 90%; a")
    assert not fig.legends


def test_a_legend_names_no_interval_of_a_ratio_that_is_not_there(no_ratio):
    assert choice_label(no_ratio[1]) == "none holds; least rise 0%"


def test_the_interval_of_the_best_ratio_is_not_put_around_the_least_rise():
    """Some resamples have a best ratio, the estimates have none: 39% (0–63%) stood there for the least rise."""
    plan = ask(make_fit(base=2.46, spread=np.linspace(-0.03, 0.03, 101)), max_general_rise="1%")
    assert np.isnan(plan.ratio.estimate)
    assert plan.ratio.low < plan.ratio.high
    assert choice_label(plan) == "none holds; least rise 0%"
    ax = Figure().subplots()
    draw_choice(ax, plan)
    assert not ax.patches


def test_marks_of_the_chance_lie_on_its_curve():
    """Where the chance moves within a hundredth of the ratios the marks stood beside the curve, all at one ratio."""
    fit = make_fit(general=(2.5, 20.0, 1.0), spread=np.linspace(-0.01, 0.01, 101))
    plan = ask(fit, max_general_rise=0.015)
    data = plots.risk_data(fit, plan=plan)
    # of the shifts the 90 % quantile is 0.008, and 20 r = 0.015 less it
    for level, ratio in ((0.5, 0.00075), (0.8, 0.00045), (0.9, 0.00035)):
        assert dict(data.levels)[level] == pytest.approx(ratio, abs=3e-5)
        at = np.interp(dict(data.levels)[level], data.domain_ratio, data.probability)
        assert at == pytest.approx(1 - level, abs=0.02)
    named = [line.get_label() for line in plots.plot_risk(fit, plan=plan).lines]
    assert "asked: holds with 90%" in named
    assert "holds with 50% up to 0.07%" in named or "holds with 50% up to 0.08%" in named


def test_two_in_a_low_figure_keep_room_beside_their_titles():
    """A title of five lines and a legend left a sliver of the axes, and the name of the next axis lay on the title."""
    fit = make_fit(base=2.46, spread=np.linspace(-0.03, 0.03, 101))
    plan = ask(fit, model_params=3e8, train_tokens=6e9, max_general_rise="1%")
    fig = Figure(figsize=(7, 3), layout="constrained")
    left, right = fig.subplots(1, 2)
    plots.plot_risk(fit, plan=plan, ax=left)
    plots.plot_tradeoff(fit, plan=plan, ax=right)
    assert faults(fig) == []
    assert left.bbox.height > 0.2 * fig.bbox.height


def test_one_ratio_everywhere_has_an_axis_of_its_own_numbers():
    """There were two ticks that said 100%, and one of 100.1%."""
    fit = make_fit(spread=np.linspace(-0.02, 0.02, 101))
    ax = plots.plot_critical(fit, plan=ask(fit, max_general_rise="30%"))
    ax.figure.draw_without_rendering()
    ends = ax.get_ylim()
    assert ends[1] - ends[0] > 0.1
    said = [text.get_text() for text in ax.get_yticklabels()]
    assert len(set(said)) == len(said)


def test_critical_ratios_show_the_best_estimate_where_none_holds():
    fit = make_fit(spread=np.linspace(-0.06, 0.06, 101), per_decade=(0.05, 0.0))
    plan = ask(fit, max_general_rise="1%")
    assert not plan.is_feasible
    assert np.isfinite(plan.ratio.estimate)
    curve = plots.critical_data(fit, plan=plan).curve
    at = int(np.argmin(np.abs(curve.values / plan.train_tokens - 1)))
    assert np.isnan(curve.domain_ratio[at])
    assert curve.best_estimate[at] == pytest.approx(plan.ratio.estimate, abs=1e-3)
    assert curve.high[at] == pytest.approx(plan.ratio.high, abs=1e-3)
    ax = plots.plot_critical(fit, plan=plan)
    assert line(ax, "none holds with 90%")
    assert np.isfinite(line(ax, "best estimate").get_ydata()).any()


def test_a_chance_that_is_the_same_everywhere_is_shown_everywhere(no_ratio):
    np.testing.assert_allclose(plots.risk_data(no_ratio[0], plan=no_ratio[1]).shown, [0, 1])
