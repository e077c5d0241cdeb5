"""Plots: the numbers by hand from a known law (tests/known_fits.py), and the artists read back."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from by_hand import ask, make_fit
from hypothesis import given
from hypothesis import strategies as st
from known_fits import RATIOS, SMALL, TOKENS, D, N, known_fit, known_log, known_plan
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

import cmrplan as cp
from cmrplan import plots
from cmrplan.fit.corpus_model import Interval
from cmrplan.plan.questions.law_panel import LawAnswer, LawPanel
from cmrplan.plots.labels import PointLabels
from cmrplan.plots.next_map import NextData, draw_next
from cmrplan.plots.residuals import draw_residuals
from cmrplan.plots.wording import plain, recommendation

KINDS_OF_ONE_CORPUS = ("ratio", "curves", "residuals")


@pytest.fixture
def fit():
    return known_fit()


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture(autouse=True)
def _no_refits(monkeypatch):
    """Every law of a panel answers alike: what is tested here is the drawing; see test_panel."""

    def law_panel(fit, plan):
        named = {"low": plan.domain_ratio_low or np.nan, "high": plan.domain_ratio_high or np.nan}
        ends = {f"domain_ratio_{end}": value for end, value in named.items()}
        return LawPanel(
            plan, (LawAnswer("dcpt", plan.domain_ratio, point_domain_ratio=0.3, **ends),), ()
        )

    monkeypatch.setattr("cmrplan.plots.panel.law_panel", law_panel)


def without_a_ratio(fit):
    """Return the fit with a base 0.2 nats below what any ratio reaches: no ratio holds 0.05."""
    return replace(fit, base_loss=fit.base_loss | {"general": {SMALL: 2.3, N: 2.3}})


def line(ax, label):
    return next(artist for artist in ax.lines if artist.get_label() == label)


# --- the numbers -----------------------------------------------------------------------------


def test_ratio_data_is_the_law_at_the_largest_size_and_budget(fit):
    data = plots.ratio_data(fit, "general")
    assert (data.view.model_params, data.view.train_tokens) == (N, D)
    assert data.domain_ratio[[0, -1]].tolist() == [0.0, 1.0]
    np.testing.assert_allclose(data.loss, 2.5 + 0.2 * data.domain_ratio, rtol=1e-15)
    # 5 % and 95 % quantiles of (-0.01, 0, 0.01), linear between ranks: -0.009 and 0.009
    np.testing.assert_allclose(data.high - data.loss, 0.009, atol=1e-12)
    np.testing.assert_allclose(data.loss - data.low, 0.009, atol=1e-12)
    assert data.base_loss == 2.5


def test_ratio_data_has_every_seed_at_the_budget(fit):
    measured = plots.ratio_data(fit, "domain").measured
    assert measured.domain_ratio.tolist() == [r for r in RATIOS for _ in range(2)]
    np.testing.assert_allclose(measured.loss[:2], [2.0, 2.02])
    assert measured.label == "measured"


def test_ratio_data_takes_the_nearest_points_and_says_where(fit):
    data = plots.ratio_data(fit, model_params=5e6, train_tokens=2e5)
    assert (data.measured.model_params, data.measured.train_tokens) == (N, 1e5)
    assert data.measured.label == "measured at N = 2.0M, D = 100k tokens"


def test_plan_sets_the_place_and_the_limit(fit):
    plan = known_plan(fit, model_params=SMALL, train_tokens=1e5)
    data = plots.ratio_data(fit, plan=plan)
    assert (data.view.model_params, data.view.train_tokens) == (SMALL, 1e5)
    assert data.limit == pytest.approx(2.55)
    assert plots.ratio_data(fit, "domain", plan=plan).limit is None


def test_another_place_than_the_plans_is_refused(fit):
    with pytest.raises(cp.InputError, match=r"train_tokens = 100000 is not the plan's 1e\+06"):
        plots.ratio_data(fit, plan=known_plan(fit), train_tokens=1e5)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 90, float("nan")])
def test_confidence_outside_its_range_is_refused(fit, confidence):
    with pytest.raises(cp.InputError, match="confidence must be between 0 and 1"):
        plots.ratio_data(fit, confidence=confidence)


def test_curves_data_is_the_law_over_the_tokens(fit):
    data = plots.curves_data(fit, "domain")
    assert data.tokens[[0, -1]] == pytest.approx([1e4, 1e6])
    assert [one.domain_ratio for one in data.series] == list(RATIOS)
    half = data.series[3]
    np.testing.assert_allclose(half.loss, 1.75 - 0.1 * np.log10(data.tokens / 1e6))
    np.testing.assert_allclose(half.high - half.loss, 0.009, atol=1e-12)
    np.testing.assert_allclose(half.measured_loss, np.outer([1.95, 1.85, 1.75], [1, 1.01]).ravel())
    assert data.base_loss == 2.2


def test_curves_go_on_to_a_larger_budget(fit):
    data = plots.curves_data(fit, train_tokens=1e8)
    assert data.tokens[-1] == pytest.approx(1e8)
    assert data.last_measured == 1e6


def test_tradeoff_data_is_rise_against_domain_loss(fit):
    data = plots.tradeoff_data(fit, plan=known_plan(fit))
    np.testing.assert_allclose(data.rise, 0.2 * data.domain_ratio, atol=1e-12)
    np.testing.assert_allclose(data.domain_loss, 2.0 - 0.5 * data.domain_ratio)
    assert data.tolerance == pytest.approx(0.05)
    assert data.rise_draws.shape == data.domain_draws.shape == (3, len(data.rise))
    # ratio 0.5: general 2.6 and 2.626, domain 1.75 and 1.7675
    text, rise, loss = data.labels()[3]
    assert (text, rise, loss) == ("50%", pytest.approx(0.113), pytest.approx(1.75875))


def test_tradeoff_needs_a_base_loss_but_takes_a_given_one():
    fit = known_fit(base=False)
    with pytest.raises(cp.CmrplanError, match=r"not known: .* no row with train_tokens = 0"):
        plots.figure("tradeoff", fit)
    assert plots.tradeoff_data(fit, base_loss=2.4).rise[0] == pytest.approx(0.1)
    assert plots.tradeoff_data(fit, plan=known_plan(fit, base_loss=2.5)).base_loss == 2.5


@pytest.mark.parametrize("kind", KINDS_OF_ONE_CORPUS)
def test_a_corpus_that_was_not_fitted_is_refused(kind):
    with pytest.raises(cp.CmrplanError, match="the domain loss was not fitted"):
        DRAWERS[kind](known_fit(corpora=("general",)), "domain")


def test_tradeoff_needs_both_corpora():
    with pytest.raises(cp.CmrplanError, match="domain loss was not fitted"):
        plots.figure("tradeoff", known_fit(corpora=("general",)))


def test_residuals_are_percent_of_the_fitted_loss(fit):
    data = plots.residuals_data(fit, "general")
    second = np.array(["-s1-" in run for run in data.run_id])
    np.testing.assert_allclose(data.residual[second], 1.0)
    np.testing.assert_allclose(data.residual[~second], 0.0, atol=1e-12)
    assert len(data.residual) == 2 * 2 * len(RATIOS) * len(TOKENS)


def test_frontier_data_is_in_the_unit_of_the_tolerance(fit):
    data = plots.frontier_data(fit, plan=known_plan(fit, max_general_rise="2%"))
    # the rise is 0.2 r over a base of 2.5
    np.testing.assert_allclose(data.frontier.rise, 0.08 * data.frontier.domain_ratio, atol=1e-12)
    assert (data.scale, data.tolerance) == (100, pytest.approx(2))
    assert data.span == (0, pytest.approx(6))  # three times the tolerance


def test_critical_data_holds_the_plan_and_the_measured_ratios(fit):
    plan = known_plan(fit)
    data = plots.critical_data(fit, plan=plan)
    here = data.curve.values.tolist().index(D)
    # 201 ratios instead of 1001, on straight lines
    assert data.curve.domain_ratio[here] == pytest.approx(plan.domain_ratio, abs=1e-9)
    # seeds average 0.5 % above the law: 2.5 + 0.2 r - 0.01 log10(D / 1e6), limit 2.55
    expected = (2.55 / 1.005 - 2.5 - np.array([0.02, 0.01, 0.0])) / 0.2
    assert data.measured_count.tolist() == list(TOKENS)
    np.testing.assert_allclose(data.measured_ratio, expected, atol=1e-9)


def test_critical_has_no_panel_where_one_level_was_probed():
    fit = known_fit(sizes=(N,))
    axes = plots.figure("critical", fit, known_plan(fit)).axes
    assert [ax.get_xlabel() for ax in axes] == ["training tokens of the continual phase"]


def test_risk_data_are_shares_of_the_resamples():
    fit = known_fit(seeds=(0,))  # on the law
    data = plots.risk_data(fit, plan=known_plan(fit))
    # resamples at -0.01, 0, +0.01 break 0.05 beyond 0.3, 0.25 and 0.2
    at = np.interp([0.19, 0.22, 0.27, 0.31], data.domain_ratio, data.probability)
    np.testing.assert_allclose(at, [0, 1 / 3, 2 / 3, 1])
    assert dict(data.levels)[0.5] == pytest.approx(0.25, abs=0.001)  # the step of the ratios


def test_risk_data_hold_what_the_fit_does_not_explain():
    fit = known_fit()  # the mean of two seeds lies half a percent above the law
    plan = known_plan(fit)
    data = plots.risk_data(fit, plan=plan)
    at = np.interp(plan.evaluated_ratio, data.domain_ratio, data.probability)
    assert at == plan.violation_probability == 2 / 3


def test_risk_needs_resamples():
    fit = known_fit(num_draws=0)
    with pytest.raises(cp.CmrplanError, match="--bootstrap 200"):
        plots.figure("risk", fit, known_plan(fit))


# --- the artists -----------------------------------------------------------------------------

DRAWERS = {
    "ratio": plots.plot_ratio,
    "curves": plots.plot_curves,
    "tradeoff": plots.plot_tradeoff,
    "residuals": plots.plot_residuals,
    "frontier": plots.plot_frontier,
    "critical": plots.plot_critical,
    "risk": plots.plot_risk,
    "panel": plots.plot_panel,
}
ABOUT_A_PLAN = ("critical", "risk", "panel")


def test_every_kind_has_a_plot_function():
    assert {*DRAWERS, "next"} == set(
        plots.KINDS
    )  # next needs a fitted law: tests/design/test_next_probes.py


@pytest.mark.parametrize("kind", DRAWERS)
def test_given_axes_come_back_and_a_new_figure_is_made_without_any(kind, fit, ax):
    options = {"plan": known_plan(fit)} if kind in ABOUT_A_PLAN else {}
    assert DRAWERS[kind](fit, ax=ax, **options) is ax
    assert DRAWERS[kind](fit, **options).figure is not ax.figure


@pytest.mark.parametrize("kind", ABOUT_A_PLAN)
def test_a_picture_of_a_plan_needs_one(kind, fit):
    with pytest.raises(cp.InputError, match=f"'{kind}' is about a plan; give max_general_rise"):
        plots.figure(kind, fit)
    with pytest.raises(cp.InputError, match="no option model_params; it"):
        plots.figure(kind, fit, known_plan(fit), model_params=N)


@pytest.mark.parametrize("kind", KINDS_OF_ONE_CORPUS[:2])
def test_losses_carry_their_unit_and_titles_law_and_size(kind, fit, ax):
    DRAWERS[kind](fit, "domain", ax=ax)
    assert ax.get_ylabel() == "domain loss (nats per token)"
    assert ax.get_title().startswith("Domain loss\nD-CPT law, N = 2.0M")


def test_tradeoff_and_residuals_carry_their_units(fit, ax):
    plots.plot_tradeoff(fit, ax=ax)
    assert "nats per token" in ax.get_xlabel().replace("\n", " ")
    assert "nats per token" in ax.get_ylabel()
    assert "D-CPT law, N = 2.0M, D = 1.0M tokens" in ax.get_title().replace("\n", " ")
    assert "percent of the loss" in plots.plot_residuals(fit).get_title()


def test_ratio_lines_are_the_data(fit, ax):
    plan = known_plan(fit)
    plots.plot_ratio(fit, plan=plan, ax=ax)
    data = plots.ratio_data(fit, plan=plan)
    np.testing.assert_array_equal(line(ax, "fitted").get_ydata(), data.loss)
    np.testing.assert_array_equal(line(ax, "measured").get_xydata()[:, 1], data.measured.loss)
    assert set(line(ax, "limit: base loss + 0.05 nats").get_ydata()) == {data.limit}
    chosen = line(ax, f"recommended {recommendation(plan)}")
    assert set(chosen.get_xdata()) == {plan.domain_ratio}
    assert any(isinstance(artist, PolyCollection) for artist in ax.collections)


def test_points_of_another_place_are_hollow(fit, ax):
    plots.plot_ratio(fit, train_tokens=2e5, ax=ax)
    points = line(ax, "measured at D = 100k tokens")
    assert mpl.colors.to_hex(points.get_markerfacecolor()) == "#ffffff"


def test_curves_lines_are_the_data_each_in_its_color(fit, ax):
    plots.plot_curves(fit, ax=ax)
    data = plots.curves_data(fit)
    drawn = [line(ax, f"{100 * ratio:g}% domain") for ratio in RATIOS]
    for artist, one in zip(drawn, data.series, strict=True):
        np.testing.assert_array_equal(artist.get_ydata(), one.loss)
    assert len({artist.get_color() for artist in drawn}) == len(RATIOS)
    assert set(line(ax, "base loss").get_ydata()) == {2.5}
    assert ax.get_xscale() == "log"


def test_no_more_than_eight_ratios_are_named(ax):
    fit = known_fit(ratios=tuple(np.linspace(0, 1, 21)))
    plots.plot_curves(fit, ax=ax)
    names = [label for label in ax.get_legend_handles_labels()[1] if label.endswith(" domain")]
    assert len(names) == 8
    assert (names[0], names[-1]) == ("0% domain", "100% domain")


def test_tradeoff_draws_frontier_tolerance_and_star(fit, ax):
    plan = known_plan(fit)
    plots.plot_tradeoff(fit, plan=plan, ax=ax)
    data = plots.tradeoff_data(fit, plan=plan)
    frontier = max(
        (artist for artist in ax.collections if isinstance(artist, LineCollection)),
        key=lambda artist: len(artist.get_segments()),
    )
    starts = np.array([segment[0] for segment in frontier.get_segments()])
    np.testing.assert_allclose(starts, np.column_stack([data.rise, data.domain_loss])[:-1])
    assert set(line(ax, "tolerance: 0.05 nats").get_xdata()) == {data.tolerance}
    star = line(ax, f"recommended {recommendation(plan)}")
    assert star.get_xydata().tolist() == [[plan.general_rise.estimate, plan.domain_loss.estimate]]
    ax.figure.draw_without_rendering()  # words find their place when they are drawn
    labels = next(artist for artist in ax.artists if isinstance(artist, PointLabels))
    assert recommendation(plan) in [text.get_text() for text in labels.texts]


def test_residuals_have_a_zero_line_and_one_color_per_run(ax):
    fit = known_fit(sizes=(N,), seeds=(0,))
    plots.plot_residuals(fit, against="train_tokens", ax=ax)
    assert set(ax.lines[0].get_ydata()) == {0}
    assert len({artist.get_color() for artist in ax.lines[1:]}) == len(RATIOS)
    assert ax.get_legend().get_texts()[0].get_text() == "r0-s0-n2e+06"


def test_residuals_against_another_variable_are_refused(fit):
    with pytest.raises(cp.InputError, match="domain_ratio, train_tokens, model_params"):
        plots.plot_residuals(fit, against="loss")


def test_across_sizes_the_rise_over_each_base_is_drawn(ax):
    fit = known_fit(seeds=(0,))
    plan = known_plan(fit, model_params=5 * N, base_loss=2.2)
    data = plots.ratio_data(fit, plan=plan)
    # measured at N: 2.5 + 0.2 r over a base of 2.5; the limit is 0.05 over the plan's own 2.2
    np.testing.assert_allclose(data.measured.loss, 0.2 * np.array(RATIOS), atol=1e-12)
    assert (data.is_rise, data.base_loss, data.limit) == (True, 0.0, pytest.approx(0.05))
    plots.plot_ratio(fit, plan=plan, ax=ax)
    assert ax.get_ylabel().startswith("rise of the general loss")
    curves = plots.curves_data(fit, plan=plan)
    # at ratio 0.5: 2.6 - 0.01 log10(D / 1e6) over 2.5
    np.testing.assert_allclose(curves.series[3].measured_loss, [0.12, 0.11, 0.1])


def test_a_limit_says_its_size_where_the_points_have_no_base_loss(ax):
    fit = known_fit(base=False)
    plan = known_plan(fit, model_params=5 * N, base_loss=2.5)
    plots.plot_ratio(fit, plan=plan, ax=ax)
    assert line(ax, "limit at N = 10M: base loss + 0.05 nats")


@pytest.mark.parametrize(("tokens", "sides"), [(D, 0), (1e3, 1), (1e8, 1)])
def test_tokens_beyond_the_probes_are_shaded_on_either_side(tokens, sides, fit, ax):
    plots.plot_curves(fit, train_tokens=tokens, ax=ax)
    shaded = [patch for patch in ax.patches if patch.get_label() == "beyond the probes"]
    assert len(shaded) == sides
    if sides:
        box = shaded[0].get_extents().transformed(ax.transData.inverted())
        assert box.x1 == pytest.approx(1e4) if tokens < D else box.x0 == pytest.approx(1e6)


def test_sizes_beyond_the_probes_are_shaded_and_the_probed_ones_marked(fit, ax):
    plan = known_plan(fit, model_params=SMALL / 2, base_loss=2.5)
    plots.plot_critical(fit, "model_params", plan=plan, ax=ax)
    shaded = [patch for patch in ax.patches if patch.get_label().lstrip("_").startswith("beyond")]
    assert len(shaded) == 2
    marks = line(ax, "size with its base loss measured, hence a narrower interval")
    assert marks.get_xdata().tolist() == [SMALL, N]
    points = line(plots.plot_critical(fit, plan=plan), "by the measured losses at N = 1.0M")
    bare = known_fit(base=False)
    plan = known_plan(bare, model_params=2 * N, rise_over="replay")
    marks = line(plots.plot_critical(bare, "model_params", plan=plan), "probed size")
    assert marks.get_xdata().tolist() == [SMALL, N]
    assert mpl.colors.to_hex(points.get_markerfacecolor()) == "#ffffff"


def test_a_title_says_what_lies_beyond_the_probes(fit):
    assert plots.ratio_data(fit, train_tokens=1e7).title.endswith("(D beyond the probes)")
    assert "beyond" not in plots.ratio_data(fit, train_tokens=2e5).title


def test_a_panel_without_anything_to_show_says_why(fit):
    ratios = np.linspace(0, 1, 5)
    data = NextData(known_plan(fit), "", N, ratios, np.array([D]), np.zeros((1, 5)))
    assert (
        "No probe of this size narrows" in draw_next(data, Figure().subplots()).texts[0].get_text()
    )
    none = known_plan(without_a_ratio(fit))
    why = draw_next(replace(data, plan=none), Figure().subplots()).texts[0].get_text()
    assert why.replace("\n", " ").startswith("No ratio holds the limit, by the estimates")
    empty = replace(plots.residuals_data(fit), residual=np.empty(0), domain_ratio=np.empty(0))
    drawn = draw_residuals(empty, Figure().subplots(), "domain_ratio")
    assert "none of the 0 rows" in drawn.texts[0].get_text().replace("\n", " ")


def test_next_shows_the_sizes_that_narrow_with_numbers_at_their_axis(fit, monkeypatch):
    plan, ratios = known_plan(fit), np.linspace(0, 1, 5)

    def data(size, percent):
        return NextData(
            plan, "Asked for: it", size, ratios, np.array([D]), np.full((1, 5), percent)
        )

    def drawn(*parts):
        monkeypatch.setattr("cmrplan.plots.figures.next_data", lambda *_, **__: parts)
        return plots.figure("next", fit, plan, size=(7, 3))

    fig = drawn(data(SMALL, 0.0), data(N, 20.0), data(4 * N, 5.0))
    assert [ax.get_title() for ax in fig.axes] == [
        "One more probe of N = 2.0M",
        "One more probe of N = 8.0M",
    ]
    title = fig.get_suptitle().replace("\n", " ")
    assert title.startswith("Asked for: it not shown: N = 1.0M, whose probes narrow")
    assert any(label.get_text() for label in fig.axes[0].get_yticklabels())
    assert [bool(ax.get_ylabel()) for ax in fig.axes] == [True, False]
    (ax,) = drawn(data(SMALL, 0.0), data(N, 0.0)).axes
    assert "No probe of this size" in ax.texts[0].get_text().replace("\n", " ")


# --- what a fit may lack ---------------------------------------------------------------------

CASES = {
    "general only": {"corpora": ("general",)},
    "domain only": {"corpora": ("domain",)},
    "no resamples": {"num_draws": 0},
    "no base loss": {"base": False},
    "one size and seed": {"sizes": (N,), "seeds": (0,)},
    "one run": {"ratios": (0.3,), "sizes": (N,), "seeds": (0,)},
}


@pytest.mark.parametrize("kind", KINDS_OF_ONE_CORPUS)
@pytest.mark.parametrize("case", CASES)
def test_fits_that_lack_something_are_drawn(kind, case):
    fig = plots.figure(kind, known_fit(**CASES[case]))
    fig.draw_without_rendering()
    corpora = CASES[case].get("corpora", ("general", "domain"))
    assert all(any(c in ax.get_ylabel() for ax in fig.axes) for c in corpora)


@pytest.mark.parametrize("case", ["no resamples", "one size and seed", "one run"])
def test_tradeoff_of_fits_that_lack_something_is_drawn(case):
    plots.figure("tradeoff", known_fit(**CASES[case])).draw_without_rendering()


def test_without_resamples_there_is_no_band(ax):
    plots.plot_ratio(known_fit(num_draws=0), ax=ax)
    assert not ax.collections
    assert not any("interval" in label for label in ax.get_legend_handles_labels()[1])


def test_one_token_count_is_drawn():
    fit = known_fit()
    fit = replace(fit, log=fit.log[fit.log["train_tokens"] == D])
    for kind in DRAWERS:
        plots.figure(kind, fit, known_plan(fit)).draw_without_rendering()


@pytest.fixture(scope="module")
def cmr_fit():
    inside = known_log(ratios=(0.0, 0.1, 0.3, 0.6, 1.0), sizes=(N,), seeds=(0,))
    return cp.fit(inside, law="cmr", bootstrap=5)


def test_cmr_is_drawn_between_the_ratios_it_takes(cmr_fit):
    data = plots.ratio_data(cmr_fit, "general")
    assert data.domain_ratio[[0, -1]].tolist() == [0.1, 0.6]
    assert np.isfinite(data.loss).all()
    residuals = plots.residuals_data(cmr_fit, "general")
    assert set(residuals.domain_ratio) == {0.1, 0.3, 0.6}
    assert residuals.num_left_out == 2 * len(TOKENS)


def test_cmr_refuses_a_budget_it_cannot_reach(cmr_fit):
    with pytest.raises(cp.CmrplanError, match="measured token counts"):
        plots.figure("ratio", cmr_fit, train_tokens=3e5)


@pytest.mark.parametrize("kind", KINDS_OF_ONE_CORPUS)
def test_cmr_figures_are_drawn(kind, cmr_fit):
    plots.figure(kind, cmr_fit).draw_without_rendering()


# --- text from a log -------------------------------------------------------------------------


def test_run_names_are_not_formulas(ax):
    fit = known_fit(sizes=(N,), seeds=(0,), ratios=(0.3,))
    fit = replace(fit, log=fit.log.assign(run_id=r"_$\frac{1}$"))
    plots.plot_residuals(fit, ax=ax)
    ax.figure.draw_without_rendering()  # a formula would raise: \frac lacks an argument
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [plain(r"_$\frac{1}$")]


@given(st.text())
def test_plain_text_never_holds_a_formula_or_a_line_break(text):
    shown = plain(text)
    assert shown.count("$") == shown.count(r"\$")
    assert shown.isprintable()
    assert not shown.startswith("_")


# --- figures and files -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", DRAWERS)
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_every_kind_writes_the_same_bytes_twice(kind, suffix, fit, tmp_path, monkeypatch):
    plan = known_plan(fit)
    written = []
    for k in range(2):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(10**9 * (k + 1)))
        path = tmp_path / f"{k}{suffix}"
        plots.write_figure(plots.figure(kind, fit, plan), path)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert len(list(tmp_path.iterdir())) == 2


def test_two_corpora_make_two_panels(fit):
    axes = plots.figure("ratio", fit, known_plan(fit)).axes
    assert [ax.get_title() for ax in axes] == ["General loss", "Domain loss"]


def test_no_panel_for_the_size_where_there_is_one():
    assert len(plots.figure("residuals", known_fit()).axes) == 8
    assert len(plots.figure("residuals", known_fit(sizes=(N,))).axes) == 6


def test_global_settings_stay_as_they_are(fit, tmp_path):
    before = dict(mpl.rcParams)
    plots.write_figure(plots.figure("tradeoff", fit, known_plan(fit)), tmp_path / "a.svg")
    assert dict(mpl.rcParams) == before


def test_unknown_kind_names_the_kinds(fit):
    with pytest.raises(
        cp.InputError, match=r"ratio, curves, tradeoff, residuals, frontier, .* got 'pie'"
    ):
        plots.figure("pie", fit)


def test_unknown_option_names_the_options(fit):
    with pytest.raises(cp.InputError, match="no option sizes; it takes model_params"):
        plots.figure("ratio", fit, sizes=3)
    with pytest.raises(cp.InputError, match="no option model_params; it shows every row"):
        plots.figure("residuals", fit, model_params=N)


def test_options_that_are_none_are_as_if_left_out(fit):
    plots.figure("residuals", fit, model_params=None, base_loss=None)


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.txt"])
def test_unknown_suffix_names_the_suffixes_and_writes_nothing(name, fit, tmp_path):
    with pytest.raises(cp.InputError, match=r"one of \.png, \.svg, \.pdf"):
        plots.write_figure(Figure(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_points_from_another_base_than_the_planned_one_are_rises_over_their_own():
    """The points stood 0.2 nats above their curve, and beyond the limit, where ``base_loss`` was of another one."""
    fit = make_fit(spread=np.linspace(-0.01, 0.01, 11))
    plan = ask(fit, base_loss=2.3, max_general_rise="3%")
    data = plots.ratio_data(fit, plan=plan)
    assert (data.is_rise, data.base_loss) == (True, 0.0)
    assert data.limit == pytest.approx(0.03 * 2.3)
    assert data.measured.label == "measured at a base loss of 2.5"
    rises = 0.2 * data.measured.domain_ratio**2
    np.testing.assert_allclose(data.measured.loss, rises, atol=1e-12)
    np.testing.assert_allclose(
        np.interp(data.measured.domain_ratio, data.domain_ratio, data.loss), rises, atol=1e-4
    )
    assert plots.ratio_data(fit, "domain", plan=plan).measured.note == ""
    np.testing.assert_allclose(plots.tradeoff_data(fit, plan=plan).measured_rise, rises, atol=1e-12)
    curves = plots.curves_data(fit, plan=plan)
    assert (curves.is_rise, curves.measured_note) == (True, "a base loss of 2.5")
    # of 0.05 nats at 0.5 and 0.1125 at 0.75, 3 % of their own base, 0.075, is reached at 0.6
    assert plots.critical_data(fit, plan=plan).measured_ratio[-1] == pytest.approx(0.6, abs=0.01)
    same = ask(fit, base_loss=2.501, max_general_rise="3%")  # measured again
    assert not plots.ratio_data(fit, plan=same).is_rise
    other = ask(fit, base_loss=2.0, model_params=3e8, max_general_rise="3%")
    found = plots.critical_data(fit, plan=other).measured_ratio[-1]
    assert found == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.27, 0.35, "31% (27–35%)"),
        (0.30, 0.32, "31.0% (30.0–32.0%)"),
        (0.3098, 0.3101, "31.00% (30.98–31.01%)"),
        (0.31, 0.31, "31%"),
        (None, None, "31%"),
    ],
)
def test_recommendation_has_as_many_decimals_as_its_interval_needs(low, high, text, fit):
    plan = replace(
        known_plan(fit), domain_ratio=0.31, evaluated_ratio=0.31, ratio=Interval(low, 0.31, high)
    )
    assert recommendation(plan) == text
