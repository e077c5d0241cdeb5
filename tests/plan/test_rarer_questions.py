"""Questions that are asked less often: sizes for a weighted sum, compute for a target, runs that use domain data up."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from by_hand import BASE, ByHand, D, N, make_fit
from rated_logs import SIZE, rated_log

import cmrplan as cp
from cmrplan.cli.tables import TABLES
from cmrplan.fit.corpus_model import Prediction
from cmrplan.fit.fit import WithoutEarly

RISE = {"max_general_rise": 0.05}
SPREAD = np.linspace(-0.02, 0.02, 401)


def table_of(name, fit, plan):
    """Return a table that the command line prints beside a plan."""
    return TABLES[name](fit, plan, lambda line: None)[0]


class TestTheBestSizeOfAWeightedSum:
    """At 6e17 FLOPs: domain loss 1 + n² - 0.2 r, general loss 2.5 + 2 (n - 1)² + 0.2 r², n the decades above N."""

    @dataclass(frozen=True)
    class OfSize(ByHand):
        """A loss with a square of the decades of size above ``best``."""

        square: float = 0.0
        best: float = 0.0

        def predict(self, columns):
            made = super().predict(columns)
            more = self.square * (np.log10(columns["model_params"] / N) - self.best) ** 2
            return Prediction(columns, made.loss + more, made.draws + more)

    def fit(self):
        fit = make_fit()
        fit.log.loc[fit.log["domain_ratio"] > 0.5, "model_params"] = (
            10 * N
        )  # a size that the laws may tell apart
        general = self.OfSize("general", BASE, 0.2, 2.0, square=2.0, best=1.0)
        domain = self.OfSize("domain", 1.0, -0.2, 1.0, square=1.0)
        return replace(fit, models={"general": general, "domain": domain})

    @pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
    def test_is_where_the_sum_is_lowest(self, weight):
        # n² + 2 w (n - 1)² is lowest at n = 2 w / (1 + 2 w)
        found = cp.best_budget(
            self.fit(), compute=6 * N * D, size_range=(N, 10 * N), general_weight=weight
        )
        expected = N * 10 ** (2 * weight / (1 + 2 * weight))
        assert found.plan.model_params == pytest.approx(expected, rel=0.01)
        objective = found.table().set_index("model_params")["objective"]
        assert objective.idxmin() == found.plan.model_params


class TestATargetWithCompute:
    def test_cuts_the_tokens_of_each_size(self):
        # domain loss 1.5 - 0.1 log10(tokens / D) at the ratio of 0.5; the larger size gets a tenth of the tokens
        fit = make_fit(per_decade=(0.0, 0.1))
        fit.log.loc[fit.log["domain_ratio"] > 0.5, "model_params"] = 10 * N
        asked = {"sizes": [N, 10 * N], "train_tokens": 10 * D, **RISE}
        request = cp.PlanRequest(compute=6 * N * 2 * D, **RISE)
        found = cp.smallest_model(fit, request, target_domain_loss=1.48, **asked)
        assert found.plan.train_tokens == pytest.approx(2 * D)
        assert found.table()["train_tokens"].tolist() == pytest.approx([2 * D, 0.2 * D])
        with pytest.raises(cp.CmrplanError, match="lowest is 1"):
            cp.smallest_model(fit, request, target_domain_loss=1.45, **asked)

    def test_reached_with_fewer_tokens_than_were_probed_is_said_so(self):
        fit = make_fit(per_decade=(0.0, 0.1))
        found = cp.fewest_tokens(
            fit, target_domain_loss=1.9, model_params=N, train_tokens=0.1 * D, **RISE
        )
        (said,) = [w.message for w in found.plan.warnings if w.code == "target_reached_at_once"]
        assert said.startswith("the most tokens that may be spent (2e+08) reach the target")


class TestRunsThatUseTheDomainDataUp:
    class Stepped(ByHand):
        """A rise of 0.04 nats, and of 0.06 for runs longer than 0.4 D at a ratio of 0.501."""

        def predict(self, columns):
            is_long = columns["train_tokens"] > 0.4 * D / 0.501
            loss = BASE + 0.04 + 0.02 * is_long
            return Prediction(columns, loss, np.zeros((0, len(loss))))

    def test_a_limit_that_no_straight_line_meets_is_no_refusal(self):
        # ratios are 0.00075 apart: 0.5005 breaks the limit, 0.50125 keeps it, and half way between breaks it too
        fit = make_fit(domain=(2.0, -0.01, 1.0), per_decade=(0.0, 0.1))
        stepped = self.Stepped("general", BASE, 0.0, 1.0)
        fit = replace(fit, models=fit.models | {"general": stepped})
        made = cp.spend_domain_tokens(fit, model_params=N, domain_tokens=0.4 * D, **RISE)
        assert made.domain_ratio == pytest.approx(0.50125, abs=1e-9)
        assert made.general_rise.estimate == pytest.approx(0.04)

    def spent(self):
        # rise 0.2 r² + 0.04 log10(0.4 / r)
        fit = make_fit(per_decade=(-0.04, 0.0), spread=SPREAD)
        longer = 0.04 * np.log10(fit.log["train_tokens"] / D)
        measured = fit.log["loss"] + longer.where(fit.log["eval_corpus"] == "general", 0.0)
        fit = replace(fit, log=fit.log.assign(loss=measured))
        return fit, cp.spend_domain_tokens(fit, model_params=N, domain_tokens=0.4 * D, **RISE)

    def test_the_frontier_follows_the_length_of_each_ratio(self):
        fit, made = self.spent()
        table = table_of("frontier", fit, made)
        ratio = table["domain_ratio"]
        np.testing.assert_allclose(table["train_tokens"], 0.4 * D / ratio)
        np.testing.assert_allclose(table["rise"], 0.2 * ratio**2 + 0.04 * np.log10(0.4 / ratio))
        chance = np.interp(0.05 - table["rise"], SPREAD, np.linspace(1, 0, 401))
        np.testing.assert_allclose(table["violation_probability"], chance, atol=0.004)

    def test_so_does_the_table_of_epochs(self):
        fit, made = self.spent()
        table = table_of("epochs", fit, made)
        known = table[table["domain_ratio"].notna()]
        assert (known["reason"] == "").all()
        assert table.loc[table["domain_ratio"].isna(), "reason"].str.contains("no ratio").all()
        used = known["train_tokens"] * known["domain_ratio"]
        np.testing.assert_allclose(used, known["max_epochs"] * 0.4 * D)
        assert table["domain_ratio"][0] == made.domain_ratio
        twice = cp.spend_domain_tokens(fit, made.asked, max_epochs=2)
        assert table["domain_ratio"][1] == twice.domain_ratio

    def test_a_peak_rate_at_which_none_keeps_the_limit_is_a_row(self):
        fit = cp.fit(rated_log(lengths=(2e9, 4e9)), bootstrap=20)
        asked = {"max_general_rise": 0.034, "rise_over": "replay", "min_ratio": 0.5}
        made = cp.spend_domain_tokens(fit, model_params=SIZE, domain_tokens=4e8, **asked)
        table = cp.by_peak_rate(fit, made).set_index("is_probed")
        assert table.loc[True, "domain_ratio"] == pytest.approx(made.domain_ratio, abs=1e-6)
        # the true rise at 0.5 is 0.030 nats, and 0.037 at twice the rate
        assert np.isnan(table["domain_ratio"].iloc[-1])


def test_a_peak_of_another_size_alone_was_not_probed():
    # 4e8 parameters had 3e-4, 1.6e9 had 1.5e-4: between the two lie 0.7 times the one and 1.4 times the other
    larger = rated_log(peaks=(1.5e-4,), lengths=(2e9, 4e9))
    larger = larger.assign(model_params=4 * SIZE, run_id="l" + larger["run_id"])
    fit = cp.fit(pd.concat([rated_log(lengths=(2e9, 4e9)), larger]), bootstrap=0)
    for size in (SIZE, 4 * SIZE):
        made = cp.plan(fit, model_params=size, train_tokens=4e9, general_weight=1.0)
        assert cp.by_peak_rate(fit, made)["is_probed"].tolist() == [
            False,
            False,
            True,
            False,
            False,
        ]


class TestTheTableOfTheFrontier:
    def test_has_the_chance_of_a_plan(self):
        # losses were measured 0.01 above the fit, which the resamples do not hold: 0.2 r² + 0.01 + spread
        fit = make_fit(spread=SPREAD, miss=0.01)
        plan = cp.plan(fit, model_params=N, train_tokens=D, **RISE)
        table = table_of("frontier", fit, plan).set_index("domain_ratio")
        for ratio in (0.4, 0.45, 0.5):
            held = cp.plan(fit, plan.asked, min_ratio=ratio, max_ratio=ratio)
            expected = np.mean(0.2 * ratio**2 + 0.01 + SPREAD > 0.05)
            assert table.loc[ratio, "violation_probability"] == pytest.approx(expected, abs=0.004)
            assert held.violation_probability == table.loc[ratio, "violation_probability"]


class TestTheTableOfSizes:
    def test_has_the_given_base_loss_at_the_size_of_the_plan(self):
        # a rise of 0.2 r² over any base: 2 % are 0.04 nats over 2, and 0.05 over the log's 2.5
        fit, asked = make_fit(), {"train_tokens": D, "base_loss": 2.0, "max_general_rise": "2%"}
        plan = cp.plan(fit, model_params=N, **asked)
        assert plan.domain_ratio == pytest.approx(np.sqrt(0.2), abs=1e-5)
        table = table_of("critical-sizes", fit, plan).set_index("model_params")
        assert table.loc[N, "domain_ratio"] == pytest.approx(plan.domain_ratio, abs=1e-4)
        curve = cp.critical_over_sizes(fit, plan.asked, model_params=[N, 2 * N])
        assert curve.domain_ratio == pytest.approx([np.sqrt(0.2), 0.5], abs=1e-4)

    def test_has_a_row_for_a_size_that_was_not_probed(self):
        fit, asked = make_fit(), {"train_tokens": D, "base_loss": 2.0, "max_general_rise": "2%"}
        plan = cp.plan(fit, model_params=3 * N, **asked)
        table = table_of("critical-sizes", fit, plan).set_index("model_params")
        assert table.loc[3 * N, "domain_ratio"] == pytest.approx(np.sqrt(0.2), abs=1e-4)


def test_the_answer_without_early_evaluations_is_of_the_asked_schedule():
    fit = cp.fit(rated_log(peaks=(3e-4,)), bootstrap=0)
    fit = replace(fit, without_early=WithoutEarly(1e9, replace(fit, warnings=())))
    asked = {"model_params": SIZE, "train_tokens": 4e9, **RISE}
    for schedule in ("log", "constant"):
        made = cp.plan(cp.under_schedule(fit, schedule), **asked)
        (said,) = [w.message for w in made.warnings if w.code == "early_evaluations_effect"]
        assert f"stays {made.ratio.estimate:.3f}" in said


@pytest.mark.parametrize(
    "ask",
    [
        lambda fit: cp.best_budget(fit, compute=6 * N * D, sizes=[N, 2 * N], **RISE),
        lambda fit: cp.best_budget(fit, compute=6 * N * D, **RISE),
        lambda fit: cp.fewest_tokens(fit, target_domain_loss=1.5, model_params=N, **RISE),
        lambda fit: cp.smallest_model(
            fit, target_domain_loss=1.5, sizes=[N], train_tokens=D, **RISE
        ),
        lambda fit: cp.spend_domain_tokens(fit, model_params=N, domain_tokens=D, **RISE),
        lambda fit: cp.plan(fit, model_params=N, train_tokens=D, **RISE),
    ],
)
def test_a_fit_without_a_domain_loss_is_told_so(ask):
    fit = make_fit()
    log = fit.log[fit.log["eval_corpus"] == "general"]
    fit = replace(fit, models={"general": fit.models["general"]}, log=log)
    with pytest.raises(cp.CmrplanError, match=r"^the domain loss was not fitted"):
        ask(fit)


class TestAFrontierWithoutALimit:
    def test_has_no_chance_to_break_it(self):
        frontier = cp.frontier(
            make_fit(spread=SPREAD), cp.PlanRequest(N, D, general_weight=1.0), num_points=5
        )
        assert np.isnan(frontier.violation_probability).all()

    def test_is_known_of_the_domain_loss_alone(self):
        fit = make_fit(spread=SPREAD)
        fit = replace(fit, models={"domain": fit.models["domain"]})
        frontier = cp.frontier(fit, model_params=N, train_tokens=D, general_weight=0, num_points=5)
        np.testing.assert_allclose(frontier.domain_loss, [2, 1.75, 1.5, 1.25, 1])
        assert np.isnan(frontier.violation_probability).all()


def test_a_log_of_one_ratio_is_told_the_law_that_takes_it():
    log = rated_log()
    one = log[log["domain_ratio"] == 0.25].drop(columns="learning_rate")
    with pytest.raises(cp.CmrplanError, match="--law chinchilla predicts runs at this one"):
        cp.fit(one, bootstrap=0)
