"""Where no ratio holds the tolerance the plan is an answer: what does hold, at which confidence, and what to measure.

The general loss is 2.5 + 0.2 r² with resamples shifted by -0.02 to 0.02, and the base 0.04 below: the rise is
0.04 + 0.2 r² + shift. So 0.05 nats are kept at 0 with a shift of 0.01 at most, which three quarters of them have.
"""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from by_hand import BASE, D, N, ask, make_fit

from cmrplan.cli.plan import beside_of
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.noise import Noise
from cmrplan.plan.plan import feasible_plan_for
from cmrplan.plan.questions.compared_ratios import compared_ratios
from cmrplan.plan.questions.confidence_levels import confidence_levels
from cmrplan.plan.questions.remedies import remedies
from cmrplan.report.text import answer_sentences, plan_text

FINE = 1e-5  # of a straight line between ratios 1/1000 apart
SPREAD = np.linspace(-0.02, 0.02, 401)
BEST = np.sqrt(0.01 / 0.2)


def narrow():
    return make_fit(spread=SPREAD, base=BASE - 0.04)


class TestThePlan:
    def test_is_an_answer_without_a_ratio(self):
        made = ask(narrow())
        assert not made.is_feasible
        assert np.isnan(made.domain_ratio)
        assert made.evaluated_ratio == made.ratio.estimate == pytest.approx(BEST, abs=FINE)
        assert made.general_loss.estimate == pytest.approx(2.51, abs=FINE)
        assert made.violation_probability == pytest.approx(0.5, abs=0.005)
        assert str(made.least_tolerance) == "0.056 nats"  # the 90 % quantile of the shift is 0.016
        assert "smallest feasible tolerance is 0.056 nats (at domain_ratio 0)" in made.reason

    def test_has_its_losses_where_the_rise_is_least_without_an_estimate(self):
        made = ask(make_fit(base=BASE - 0.1))
        assert (made.evaluated_ratio, str(made.least_tolerance)) == (0.0, "0.1 nats")
        assert np.isnan(made.ratio.estimate)

    def test_has_no_interval_of_a_ratio_that_no_resample_has(self):
        made = ask(make_fit(spread=SPREAD, base=BASE - 0.1))
        assert (made.ratio.low, made.ratio.high) == (None, None)
        assert made.as_dict()["domain_ratio_low"] is None
        assert "recommended domain ratio  none\n" in plan_text(made)
        assert ask(narrow()).ratio.low == 0  # most resamples have one

    def test_is_plain_json(self):
        read = json.loads(json.dumps(ask(narrow()).as_dict(), allow_nan=False))
        assert (read["domain_ratio"], read["is_feasible"]) == (None, False)
        assert read["least_tolerance"] == "0.056 nats"
        assert read["constraints"][0]["allows"] is None

    def test_says_so_first(self):
        (sentence,) = answer_sentences(ask(narrow()))
        assert sentence == (
            "No domain ratio holds a rise of 0.05 nats over the base with 90 %; the smallest tolerance that one holds "
            "so is 0.056 nats. The best estimate is 0.224, which breaks the limit with 50 %."
        )
        assert "nan" not in plan_text(ask(narrow()))

    def test_is_refused_where_a_ratio_has_to_come_out(self):
        made = ask(narrow())
        with pytest.raises(CmrplanError, match=r"smallest feasible tolerance is 0\.056"):
            feasible_plan_for(narrow(), made.asked)


class TestConfidenceLevels:
    def test_each_has_its_ratio_and_its_smallest_tolerance(self):
        made = ask(narrow())
        table = confidence_levels(narrow(), made.asked, confidences=(0.9, 0.5, 0.6, 0.95))
        base = table[table["rise_over"] == "base"]
        assert base["confidence"].tolist() == [0.5, 0.6, 0.9, 0.95]
        # quantiles of the shift: 0, 0.004, 0.016, 0.018
        expected = [BEST, np.sqrt(0.006 / 0.2), np.nan, np.nan]
        assert base["domain_ratio"].to_numpy() == pytest.approx(expected, abs=FINE, nan_ok=True)
        assert base["least_tolerance"].tolist() == [
            "0.04 nats",
            "0.044 nats",
            "0.056 nats",
            "0.058 nats",
        ]

    def test_over_pure_replay_what_all_ratios_share_is_no_rise(self):
        made = ask(narrow())
        table = confidence_levels(narrow(), made.asked)
        replay = table[table["rise_over"] == "replay"]
        assert replay["domain_ratio"].to_numpy() == pytest.approx([0.5] * 4, abs=FINE)
        assert set(replay["least_tolerance"]) == {"0 nats"}

    def test_needs_a_tolerance(self):
        with pytest.raises(InputError, match="max_general_rise must be given"):
            confidence_levels(narrow(), model_params=N, train_tokens=D, general_weight=1.0)


class TestRemedies:
    def test_a_run_that_tells_the_shift_lets_the_best_estimate_hold(self):
        # every ratio has the shift, so one run without noise takes all of it away
        made = ask(narrow(), train_tokens=8 * D)
        (probe,) = [one for one in remedies(narrow(), made) if one.train_tokens]
        assert probe.domain_ratio_after == pytest.approx(BEST, abs=FINE)
        assert (probe.model_params, probe.train_tokens) == (N, D)

    def test_noise_leaves_a_part(self):
        # uniform shifts have a variance of 0.04² / 12; a noise of the same leaves half of it
        sd = 0.04 / np.sqrt(12)
        fit = make_fit(spread=SPREAD, base=BASE - 0.04, noise=Noise(sd, 0.0, 1e6))
        made = ask(fit, max_general_rise=0.03)
        assert not made.is_feasible
        for one in remedies(fit, made):
            assert np.isnan(one.domain_ratio_after)

    @pytest.mark.parametrize(("part", "is_named"), [(1e-8, False), (0.08, False), (1.0, True)])
    def test_one_that_hardly_changes_the_tolerance_is_none(self, part, is_named):
        # A run whose noise has the variance of the shifts over ``part`` takes 1 - (1 + part)^-1/2 of the margin that
        # these need: 0.04 in the middle, too little beside the margin for its noise, and 0.29 in the last.
        sd = 0.04 / np.sqrt(12)
        noise = Noise(sd / np.sqrt(part), 0.0, 1e6)
        fit = make_fit(spread=SPREAD, base=BASE - 0.04, noise=noise)
        made = ask(fit, train_tokens=8 * D)
        assert not made.is_feasible
        assert bool(remedies(fit, made)) == is_named

    def test_where_nothing_helps_the_plan_says_what_would_do(self):
        fit = make_fit(spread=SPREAD, base=BASE - 0.04)
        made = ask(fit)  # as long as the probes, so every probe costs as much as the run
        (over, what) = beside_of(fit, made, [0.9], is_kept=False).lines[-2:]
        assert over.splitlines()[0].startswith("over the base")
        # over pure replay, which has all of the shift, 0.05 = 0.2 r²
        assert what == (
            "what would change it      no probe of up to half the run's compute is expected to lower the smallest "
            "tolerance; allow 0.056 nats, or count the rise over pure replay (--rise-over replay): 0.05 nats over "
            "that holds up to 0.500"
        )

    def test_an_unknown_base_is_to_be_evaluated(self):
        fit = make_fit(spread=SPREAD, base=BASE - 0.04, per_size=(0.3, 0.3))
        made = ask(fit, model_params=3 * N)
        assert not made.is_feasible
        first = remedies(fit, made)[0]
        assert (first.model_params, first.train_tokens, first.compute) == (3 * N, 0.0, 0.0)
        assert "evaluate the base checkpoint of 300M parameters" in first.text

    def test_a_plan_with_a_ratio_needs_none(self):
        assert remedies(make_fit(spread=SPREAD), ask(make_fit(spread=SPREAD))) == ()


class TestComparedRatios:
    def test_each_has_losses_rise_risk_and_cost(self):
        fit = make_fit(spread=SPREAD)
        made = ask(fit)  # sqrt((0.05 - 0.016) / 0.2) holds with 90 %
        table = compared_ratios(fit, made, ratios=[0.6, 0.2]).set_index("domain_ratio")
        assert table["what"].tolist() == ["", "recommended", "best estimate", ""]
        assert table.loc[0.2, "general_rise"] == pytest.approx(0.008)
        assert table.loc[0.2, "general_loss_high"] == pytest.approx(2.508 + 0.018)
        assert table.loc[0.2, "violation_probability"] == 0.0
        assert (
            table.loc[0.6, "violation_probability"] == 1.0
        )  # a rise of 0.072, and no shift below -0.02
        assert table.loc[0.6, "domain_loss"] == pytest.approx(1.4)
        assert table.loc[0.6, "cost"] == pytest.approx(1.4 - (2 - np.sqrt(0.034 / 0.2)), abs=FINE)

    def test_unprobed_ratios_are_refused(self):
        fit = make_fit(ratios=(0.0, 0.25, 0.5))
        with pytest.raises(
            InputError, match=r"compare has 0\.6, and the probed ratios go from 0 to 0\.5"
        ):
            compared_ratios(fit, ask(fit), ratios=[0.6])


class TestADomainOnlyQuestion:
    """A log without the general loss still says which ratio has the lowest domain loss."""

    def fit(self):
        fit = make_fit(spread=SPREAD, ratios=(0.0, 0.5, 0.8))
        only = {"domain": fit.models["domain"]}
        rows = fit.log[fit.log["eval_corpus"] == "domain"]
        return replace(fit, models=only, log=rows, base_loss={})

    def test_is_answered(self):
        made = ask(self.fit(), max_general_rise=None, general_weight=0)
        assert (made.domain_ratio, made.binding) == (0.8, "probed_high")
        assert made.domain_loss.estimate == pytest.approx(1.2)
        read = json.loads(json.dumps(made.as_dict(), allow_nan=False))
        assert (read["general_loss"], read["base_loss"]) == (None, None)
        assert "nan" not in plan_text(made)

    def test_with_a_tolerance_it_is_none(self):
        with pytest.raises(CmrplanError, match="the general loss was not fitted"):
            ask(self.fit())

    def test_every_command_says_what_can_be_asked(self, call, tmp_path):
        rows = [
            (f"r{ratio:g}", 1e8, tokens, ratio, "domain", 3 - 0.5 * ratio**0.4 * (tokens > 0) - tokens / 1e10)
            for ratio in (0.0, 0.2, 0.4, 0.7, 1.0)
            for tokens in (0.0, 4e8, 8e8, 1.6e9)
        ]  # fmt: skip
        names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
        pd.DataFrame(rows, columns=names).to_csv(tmp_path / "log.csv", index=False)
        file = tmp_path / "fit.json"
        run = (file, "--model-params", "1e8", "--train-tokens", "1.6e9")
        fitted = call("fit", tmp_path / "log.csv", "--out", file, "--bootstrap", "20")
        refused = [
            fitted,
            call("plan", *run),
            call("plan", *run, "--max-general-rise", "3%"),
            call("next", *run, "--budget", "1e18flops"),
            call("next", *run, "--budget", "1e18flops", "--general-weight", "0"),
        ]
        assert [answer.code for answer in refused] == [0, 2, 1, 1, 1]
        for answer in refused:
            assert re.search("general.weight 0", answer.err)
            assert "needs both" not in answer.err
            assert "or else" not in answer.err
        answered = call("plan", *run, "--general-weight", "0")
        assert (answered.code, "a domain ratio of 1.000" in answered.out) == (0, True)

    def test_something_has_to_be_asked(self):
        with pytest.raises(InputError, match="max_general_rise must be given"):
            ask(self.fit(), max_general_rise=None)
