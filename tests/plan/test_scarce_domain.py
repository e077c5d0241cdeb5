"""Domain data scarcer than the probes' own: what passes over them and a narrower corpus do to both losses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from by_hand import BASE, D, N, make_fit
from scipy.optimize import brentq

import cmrplan as cp
from cmrplan.cli.app import run
from cmrplan.fit.supply import HARM
from cmrplan.plan.loss_curves import survey_at
from cmrplan.plan.repeated_data import RISE_BY_NARROWING, RISE_BY_PASSES, domain_of_repeats
from cmrplan.plan.request import PlanRequest
from cmrplan.plots.ratio import ratio_data

SWEEP = Path(__file__).parents[2] / "data" / "sweep2"
QUESTIONS = [(tolerance, over) for tolerance in ("2%", "3%", "5%") for over in ("base", "replay")]
SPREAD = np.linspace(-0.01, 0.01, 100)


def curves_at(ratio, fit=None, **options):
    request = PlanRequest(model_params=N, train_tokens=D, max_general_rise=0.05, **options)
    return survey_at(fit or make_fit(spread=SPREAD), request, np.array([ratio]))


def rise(ratio, **options):
    """Return the rise of the general loss over pure replay."""
    return float(curves_at(ratio, **options).general.loss[0]) - BASE


class TestPasses:
    def test_up_to_one_nothing_changes(self):
        fresh = curves_at(0.5)
        once = curves_at(0.5, domain_tokens=0.5 * D, max_epochs=8)
        for corpus in ("general", "domain"):
            np.testing.assert_array_equal(getattr(once, corpus).draws, getattr(fresh, corpus).draws)

    def test_the_rise_over_replay_grows_with_them(self):
        for ratio, passes in ((0.5, 4.0), (0.8, 8.0), (1.0, 8.0)):
            supply = ratio * D / passes
            power = np.mean(RISE_BY_PASSES) * (ratio**2 * np.log(passes)) ** 2
            expected = 0.2 * ratio**2 * np.exp(power)
            asked = {"domain_tokens": supply, "max_epochs": passes}
            assert rise(ratio, **asked) == pytest.approx(expected, rel=1e-9)

    def test_never_lower_a_general_loss_that_domain_data_lower(self):
        # 2.5 - 0.2 r lies below pure replay
        fit = make_fit(spread=SPREAD)
        dips = replace(fit.models["general"], slope=-0.2, power=1.0)
        fit = replace(fit, models=fit.models | {"general": dips})
        for passes in (2.0, 8.0, 100.0):
            asked = {"domain_tokens": 0.5 * D / passes, "max_epochs": passes}
            scarce, fresh = curves_at(0.5, fit=fit, **asked), curves_at(0.5, fit=fit)
            assert scarce.general.loss == pytest.approx(BASE - 0.1, rel=1e-12)
            assert np.all(scarce.rise_upper >= fresh.rise_upper - 1e-12)

    def test_replay_itself_stays_as_it_was(self):
        assert rise(0.0, domain_tokens=0.01 * D, max_epochs=100) == pytest.approx(0, abs=1e-12)

    def test_fewer_than_the_probes_made_earn_nothing(self):
        fit = make_fit(spread=SPREAD)
        fit.log["unique_domain_tokens"] = 0.05 * D
        repeating = replace(fit)  # looks at its log again
        assert repeating.probed.supply.most_passes == pytest.approx(20)
        assert rise(0.8, fit=repeating, domain_tokens=0.2 * D) == pytest.approx(0.2 * 0.64)

    def test_what_is_not_known_of_them_widens_the_intervals(self):
        def width(corpus, **options):
            low, high = getattr(curves_at(1.0, **options), corpus).interval(0.9)
            return float(high[0] - low[0])

        for corpus in ("general", "domain"):
            assert width(corpus, domain_tokens=D / 16, max_epochs=16) > 2 * width(corpus)

    def test_a_domain_loss_of_repeats_may_be_harmed(self):
        # 1.5 at ratio 0.5, the same at any length, so the discount changes nothing and the harm is all that is left
        loss = float(curves_at(0.5, domain_tokens=D / 8, max_epochs=4).domain.loss[0])
        assert loss == pytest.approx(1.5 * np.exp(np.mean(HARM) * np.log(4) ** 2), rel=1e-9)


class TestNarrowerCorpus:
    def fit(self):
        fit = make_fit(spread=SPREAD)
        fit.log["unique_domain_tokens"] = 2 * D
        return fit

    @pytest.mark.parametrize(
        ("passes", "part"), [(1.0, 0.0), (1.1, np.log(1.1) / np.log(1.25)), (2.0, 1.0)]
    )
    def test_the_rise_grows_by_how_much_smaller_it_is_beyond_one_pass(self, passes, part):
        supply = 0.5 * D / passes
        power = part * np.mean(RISE_BY_NARROWING) * np.log(2 * D / supply)
        power += np.mean(RISE_BY_PASSES) * (0.25 * np.log(passes)) ** 2
        asked = {"domain_tokens": supply, "max_epochs": 4}
        expected = 0.2 * 0.25 * np.exp(power)
        assert rise(0.5, fit=self.fit(), **asked) == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("share", [0.1, 0.2, 0.4, 0.45, 0.6, 2.0])
    def test_more_passes_allowed_never_lower_the_ratio(self, share):
        asked = {"model_params": N, "train_tokens": D, "max_general_rise": 0.05}
        ratios = [
            cp.plan(self.fit(), **asked, domain_tokens=share * D, max_epochs=passes).domain_ratio
            for passes in (1, 1.001, 1.5, 2, 4, 100)
        ]
        assert np.all(np.diff(ratios) >= -1e-9)
        if share > 0.5:  # less than a pass
            assert len(set(ratios)) == 1

    def test_it_is_said_even_where_nothing_repeats(self):
        asked = {"model_params": N, "train_tokens": D, "max_general_rise": 0.05}
        plan = cp.plan(self.fit(), **asked, domain_tokens=0.6 * D)
        messages = [w.message for w in plan.warnings if w.code == "repetition_assumed"]
        assert len(messages) == 1
        assert (
            "the probes drew from 4e+09; in one small sweep (data/sweep2) narrower corpora"
            in messages[0]
        )


def test_the_limit_binds_where_the_risen_loss_meets_it():
    plan = cp.plan(
        make_fit(),
        model_params=N,
        train_tokens=D,
        max_general_rise=0.05,
        domain_tokens=0.02 * D,
        max_epochs=100,
    )

    def excess(ratio):
        power = np.mean(RISE_BY_PASSES) * (ratio**2 * np.log(ratio / 0.02)) ** 2
        return 0.2 * ratio**2 * np.exp(power) - 0.05

    # without repeats 0.5 would keep it
    assert plan.domain_ratio == pytest.approx(brentq(excess, 0.3, 0.5), abs=1e-5)


@pytest.fixture(scope="module")
def small():
    log = cp.read_log(SWEEP / "log.csv")
    return cp.fit(log[log["model_params"] == log["model_params"].min()])


@pytest.mark.parametrize("arm", ["unique_8", "unique_32"])
def test_plans_for_a_scarce_corpus_keep_limits_that_were_measured_there(small, arm):
    """Probes that repeat nothing plan runs that pass over an eighth, or a thirty-second, up to 32 times.

    The powers were set by these two arms, so this is no test of them; it is one of the way to the plan.
    """
    log = cp.read_log(SWEEP / f"{arm}.csv")
    size, tokens = float(log["model_params"].iloc[0]), float(log["train_tokens"].max())
    general = log[log["eval_corpus"] == "general"]
    base = float(general.loc[general["train_tokens"] == 0, "loss"].mean())
    measured = general[general["train_tokens"] == tokens].sort_values("domain_ratio")
    for tolerance, over in QUESTIONS:
        plan = cp.plan(
            small,
            model_params=size,
            train_tokens=tokens,
            max_general_rise=tolerance,
            rise_over=over,
            domain_tokens=float(log["unique_domain_tokens"].max()),
            max_epochs=1000,
        )
        reference = base if over == "base" else float(measured["loss"].iloc[0])
        loss = np.interp(plan.domain_ratio, measured["domain_ratio"], measured["loss"])
        assert loss <= reference * (1 + float(tolerance[0]) / 100), (tolerance, over)


@pytest.mark.parametrize("passes", [0.5, 4, 40])
def test_a_long_curve_is_the_one_of_its_single_points(small, passes):
    """It is drawn through nodes beyond one pass, and each point of a short one is computed."""
    size, tokens = 150_976, 2_400_256
    request = PlanRequest(
        model_params=size,
        train_tokens=tokens,
        domain_tokens=tokens / passes,
        max_epochs=max(passes, 2),
        max_general_rise=0.1,
    )
    ratios = np.linspace(0, 1, 501)
    some = np.array([0, 3, 12, 13, 125, 126, 250, 400, 499, 500])
    long = domain_of_repeats(small, request, tokens, ratios)[0]
    short = domain_of_repeats(small, request, tokens, ratios[some])[0]
    np.testing.assert_allclose(long.loss[some], short.loss, rtol=1e-6)
    np.testing.assert_allclose(long.draws[:, some], short.draws, rtol=1e-5)


@pytest.mark.parametrize("corpus", ["general", "domain"])
def test_a_plan_lies_on_the_curves_of_its_pictures(small, corpus):
    plan = cp.plan(
        small,
        model_params=150_976,
        train_tokens=2_400_256,
        max_general_rise="5%",
        domain_tokens=3e5,
        max_epochs=1000,
    )
    drawn = ratio_data(small, corpus, plan=plan)
    loss = plan.general_loss if corpus == "general" else plan.domain_loss
    at_plan = np.interp(plan.domain_ratio, drawn.domain_ratio, drawn.loss)
    assert at_plan == pytest.approx(loss.estimate, abs=2e-4)
    assert drawn.measured.label == "measured at one pass or less"


@pytest.mark.parametrize(("ratio", "passes"), [(0.5, 0.8), (0.5, 4.0), (1.0, 8.0)])
def test_predict_says_what_a_plan_says(small, tmp_path, capsys, ratio, passes):
    tokens, supply = 3e5, 3e5 * ratio / passes
    path = tmp_path / "fit.json"
    cp.write_fit(small, path)
    size = float(small.log["model_params"].max())
    at = ["--model-params", f"{size:.0f}", "--train-tokens", f"{tokens:.0f}", "--json"]
    told = ["--domain-ratio", f"{ratio}", "--unique-domain-tokens", f"{supply}"]
    assert run(["predict", str(path), *at, *told]) == 0
    predicted = json.loads(capsys.readouterr().out)
    plan = cp.plan(
        small,
        model_params=size,
        train_tokens=tokens,
        domain_tokens=supply,
        max_epochs=2 * passes + 1,
        min_ratio=ratio,
        max_ratio=ratio,
        general_weight=0,
    )
    for name, loss in (("general", plan.general_loss), ("domain", plan.domain_loss)):
        said = [predicted[f"{name}_loss{end}"] for end in ("", "_low", "_high")]
        np.testing.assert_allclose(said, [loss.estimate, loss.low, loss.high], rtol=1e-9)
    if passes > 1:
        assert "repetition_assumed" in {w["code"] for w in predicted["warnings"]}
    assert run(["predict", str(path), *at, *told, "--parts"]) == 0
    parts = json.loads(capsys.readouterr().out)
    fresh = small.predict("general", model_params=size, train_tokens=tokens, domain_ratio=ratio)
    by_repeats = predicted["general_loss"] - fresh.loss[0]
    assert parts["general_repeats"] == pytest.approx(by_repeats, abs=1e-9)
    assert run(["predict", str(path), *at, *told, "--new-run"]) == 0
    one_run = json.loads(capsys.readouterr().out)
    assert one_run["general_loss"] == predicted["general_loss"]
    names = [f"{corpus}_loss_{end}" for corpus in ("general", "domain") for end in ("low", "high")]
    assert all(one_run[name] != predicted[name] for name in names)
