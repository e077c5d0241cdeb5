"""Comparison and backtest: what is hidden, what simple answers say, who wins on a log of known law."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan.errors import CmrplanError
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.hold_outs import holdouts, missing_levels
from cmrplan.fit.law_fitting import declare, fit_law_model
from cmrplan.fit.law_model import AveragedModel, row_inputs
from cmrplan.fit.model_averaging import Score, averaging_weights, held_out_score
from cmrplan.laws.dcpt import dcpt_law
from cmrplan.laws.registry import plain_ratio_laws
from cmrplan.validate.backtest import backtest, windows
from cmrplan.validate.backtest_words import backtest_verdict
from cmrplan.validate.baselines import carry_forward, gradient_boosting, interpolation, linear
from cmrplan.validate.compare import Comparison, Verdict, compare
from cmrplan.validate.predictors import predictors

PROBES = Path(__file__).parents[2] / "data" / "probes" / "log.csv"


def table(ratios=(0, 0.5, 1), tokens=(1e6, 2e6, 4e6), sizes=(1e6,), loss=lambda n, d, r: 2 + r):
    return pd.DataFrame(
        [
            {
                "run_id": f"{n:g}-{r:g}",
                "model_params": n,
                "train_tokens": d,
                "domain_ratio": r,
                "loss": loss(n, d, r),
            }
            for n in sizes
            for r in ratios
            for d in tokens
        ]
    )


class TestHoldouts:
    def test_inner_ratios_late_budgets_and_the_largest_model(self):
        rows = table((0, 0.3, 0.6, 1), (1e5, 2e5, 4e5, 8e5, 1e6), (1e6, 2e6, 4e6))
        hidden = {(h.kind, h.name): h.hidden for h in holdouts(rows)}
        assert set(hidden) == {
            ("ratio", "0.3"), ("ratio", "0.6"), ("tokens", "> 5e+05"), ("size", "4e+06"),
        }  # fmt: skip
        assert (rows.loc[hidden["tokens", "> 5e+05"], "train_tokens"] >= 8e5).all()
        assert hidden["tokens", "> 5e+05"].sum() == 3 * 4 * 2
        assert hidden["size", "4e+06"].sum() == 4 * 5

    def test_of_many_ratios_neighbors_are_hidden_together(self):
        rows = table(np.linspace(0, 1, 98).round(4), (1e6,))
        parts = [h for h in holdouts(rows) if h.kind == "ratio"]
        assert len(parts) == 32
        assert all(part.hidden.sum() == 3 for part in parts)
        assert parts[0].name == "0.0103 to 0.0309"
        inner = (rows["domain_ratio"] > 0) & (rows["domain_ratio"] < 1)
        assert (sum(part.hidden.astype(int) for part in parts) == inner).all()

    def test_nothing_is_hidden_where_too_little_would_stay(self):
        assert holdouts(table((0, 0.5, 1), (1e6,))) == []


class TestBaselines:
    """Answers by hand."""

    def test_carry_forward_takes_the_last_loss_and_lines_between_ratios(self):
        seen = table(loss=lambda n, d, r: 2 + r - d / 1e7)
        wanted = table((0, 0.25), (8e6,))
        # at 4e6 tokens: 1.6 at ratio 0, 2.1 at 0.5, so 1.85 at 0.25
        assert carry_forward(seen, wanted) == pytest.approx([1.6, 1.85])

    def test_interpolation_goes_on_along_the_last_line(self):
        seen = table(loss=lambda n, d, r: 3 + r - 0.1 * np.log2(d / 1e6))
        wanted = table((0.5,), (1.4142135623730951e6, 8e6))
        assert interpolation(seen, wanted) == pytest.approx([3.45, 3.2])

    def test_linear_recovers_a_log_linear_loss(self):
        def loss(n, d, r):
            return np.exp(1 - 0.05 * np.log(d) - 0.02 * np.log(n) + 0.3 * r)

        seen = table(sizes=(1e6, 3e6), loss=loss)
        wanted = table((0.7,), (8e6,), (2e6,), loss=loss)
        assert linear(seen, wanted) == pytest.approx(wanted["loss"].to_numpy())

    def test_gradient_boosting_answers_inside_the_seen_losses(self):
        seen = table(np.linspace(0, 1, 9))
        predicted = gradient_boosting(seen, table((0.2, 0.9)))
        assert predicted.min() >= seen["loss"].min()
        assert predicted.max() <= seen["loss"].max()


@pytest.fixture(scope="module")
def known():
    return simulated_log(sizes=(3e5,), noise=0.001)


@pytest.mark.slow
class TestOnAKnownLaw:
    """A log made from D-CPT laws: the law should win, and its plans should be right."""

    def test_a_law_of_the_right_form_beats_the_simple_answers(self, known):
        comparison = compare(known)
        for corpus in ("general", "domain"):
            ranking = comparison.ranking[comparison.ranking["corpus"] == corpus]
            ranking = ranking[ranking["is_whole"]]
            assert ranking["is_law"].iloc[0]
            assert ranking["mae"].is_monotonic_increasing
            best_simple = ranking.loc[~ranking["is_law"], "mae"].min()
            dcpt = ranking.loc[ranking["predictor"] == "dcpt", "mae"].iloc[0]
            # the noise of a run is 0.001 and that of an evaluation a third of it
            assert dcpt < 0.003
            assert dcpt < 0.5 * best_simple

    def test_backtest_finds_the_ratio_from_part_of_the_budgets(self, known):
        # 6 % of the base loss lies inside the range of general losses at the end
        replay = backtest(known, max_general_rise=0.0, base_loss=1.75)
        last = replay[(replay["kind"] == "tokens") & (replay["predictor"] == "dcpt")].iloc[-1]
        assert 0.05 < last["best_domain_ratio"] < 0.95
        assert abs(last["ratio_error"]) < 0.05
        assert last["general_mae"] < 0.003

    def test_a_log_of_rates_and_of_the_age_of_its_base_is_replayed(self, known):
        steps = known["train_tokens"] / known["train_tokens"].max() * 1000
        said = known.assign(step=steps.round(), learning_rate=1e-3, base_tokens=2e9)
        said.loc[said["step"] == 0, "learning_rate"] = np.nan
        replay = backtest(said, max_general_rise=0.0, base_loss=1.75)
        last = replay[(replay["kind"] == "tokens") & (replay["predictor"] == "auto")].iloc[-1]
        assert last["general_mae"] < 0.01

    def test_a_backtest_judges_what_a_plan_recommends_with_confidence(self, known):
        replay = backtest(known, max_general_rise=0.0, base_loss=1.75)
        row = replay[(replay["kind"] == "tokens") & (replay["predictor"] == "auto")].iloc[-1]
        budgets = np.unique(known["train_tokens"])
        part = known[known["train_tokens"] <= budgets[-2]]
        asked = {"model_params": 3e5, "train_tokens": budgets[-1], "max_general_rise": 0.0}
        plan = cp.plan(cp.fit(part), **asked, base_loss=1.75)
        assert row["confidence"] == 0.9
        assert row["domain_ratio"] == pytest.approx(plan.domain_ratio, abs=1e-9)
        assert row["point_domain_ratio"] == pytest.approx(plan.ratio.estimate, abs=1e-9)
        assert row["domain_ratio"] < row["point_domain_ratio"]
        assert row["regret"] > row["point_regret"]
        simple = replay[replay["predictor"] == "interpolation"].iloc[-1]
        assert np.isnan(simple["confidence"])
        assert simple["domain_ratio"] == simple["point_domain_ratio"]


class TestVerdicts:
    """One sentence says whether to go on as by default."""

    def test_a_backtest_says_what_the_best_estimates_of_the_default_did(self):
        table = pd.DataFrame(
            [
                ("D <= 1", "auto", 0.9, 0.4, 0.0, 0.002, 0.01),
                ("D <= 2", "auto", 0.9, 0.3, 0.0, 0.004, 0.0),
                ("D <= 1", "dcpt", np.nan, 0.5, 0.01, 0.001, 0.01),
            ],
            columns=[
                *("window", "predictor", "confidence", "domain_ratio"),
                *("excess", "regret", "point_excess"),
            ],
        )
        assert backtest_verdict(table) == (
            "the default (auto) kept the limit in 2 of 2 windows at a mean regret of 0.0030 nats, and nothing else did "
            "better (as plan recommends with 90 %; its best estimates in 1)"
        )

    def test_a_backtest_counts_the_windows_in_which_the_limit_was_kept(self):
        table = pd.DataFrame(
            [
                ("D <= 1", "auto", 0.4, 0.0, 0.002),
                ("D <= 2", "auto", np.nan, np.nan, np.nan),
                ("D <= 1", "dcpt", 0.5, 0.0, 0.006),
                ("D <= 2", "dcpt", 0.5, 0.0, 0.004),
            ],
            columns=["window", "predictor", "domain_ratio", "excess", "regret"],
        )
        assert backtest_verdict(table) == (
            "the default (auto) kept the limit in 1 of 2 windows at a mean regret of 0.0020 nats; dcpt kept the limit "
            "in 2 of 2 windows at a mean regret of 0.0050 nats"
        )
        assert backtest_verdict(table[table["predictor"] == "auto"]).endswith(
            "nothing else did better"
        )

    def test_a_comparison_names_only_a_clear_winner(self):
        def compared(margin, stderr):
            verdict = Verdict("cubic", "auto", margin, stderr, "auto", margin, stderr)
            return Comparison(pd.DataFrame(), pd.DataFrame(), {"domain": verdict}, {})

        assert compared(0.002, 0.0015).sentence.startswith(
            "nothing is clearly closer than the default"
        )
        assert (
            "on the domain loss cubic is closer by 0.0040 ± 0.0015 nats"
            in compared(0.004, 0.0015).sentence
        )

    def test_a_default_that_could_not_answer_is_not_said_to_be_best(self):
        beside = Verdict("linear", "cubic", 0.001, 0.0015, "", np.nan, np.nan)
        ahead = Verdict("auto", "cubic", 0.001, 0.0015, "auto", 0.0, 0.0)
        none = pd.DataFrame()
        both = Comparison(none, none, {"general": ahead, "domain": beside}, {}).sentence
        assert both == (
            "nothing is clearly closer than the default (auto): fit without --law; elsewhere the default (auto) could "
            "not answer; closest of what could: linear (domain)"
        )
        alone = Comparison(none, none, {"domain": beside}, {}).sentence
        assert both.endswith(alone)
        assert "fit without --law" not in alone

    def test_the_cmr_laws_answer_strictly_between_0_and_1(self):
        log = simulated_log(sizes=(3e5,), noise=0.001)
        rows = fitted_rows(log, "general", 0.0)
        last = rows["train_tokens"] == rows["train_tokens"].max()
        predicted = predictors({})["cmr"](rows[~last], rows[last], "general")
        ratio = rows.loc[last, "domain_ratio"].to_numpy()
        assert np.isnan(predicted).tolist() == ((ratio == 0) | (ratio == 1)).tolist()
        assert np.nanmax(np.abs(predicted - rows.loc[last, "loss"])) < 0.02  # ten times its noise

    def test_the_cmr_laws_are_compared_at_the_budgets_that_they_see(self, monkeypatch):
        """Runs of four budgets have no token law of the general loss, so nothing is said of the hidden largest."""
        log = simulated_log(sizes=(3e5,), seeds=(0,), ratios=(0, 0.1, 0.3, 0.5, 0.7, 1))
        budgets = np.unique(log["train_tokens"])
        few = {name: predictors({})[name] for name in ("cmr", "linear", "interpolation")}
        monkeypatch.setattr("cmrplan.validate.compare.predictors", lambda base: few)
        comparison = compare(log[log["train_tokens"].isin([0, *budgets[-7:-1:2], budgets[-1]])])
        own = comparison.ranking[comparison.ranking["predictor"] == "cmr"].set_index("corpus")
        assert list(own.index) == ["general", "domain"]
        assert (own["ratio"] < 0.05).all()
        assert np.isnan(own.loc["general", "tokens"])
        assert not own["is_whole"].any()
        assert not any(name.endswith("/cmr") for name in comparison.skipped)

    def test_who_has_no_row_in_a_backtest_is_told_why(self, call, tmp_path):
        log = simulated_log(sizes=(3e5,), seeds=(0,), ratios=(0, 0.2, 0.4, 0.6, 0.8, 1))
        budgets = np.unique(log["train_tokens"])
        kept = log[log["train_tokens"].isin([0, *budgets[-7:-1:2], budgets[-1]])]
        kept.to_csv(tmp_path / "log.csv", index=False)
        answer = call("backtest", tmp_path / "log.csv", "--max-general-rise", "10%")
        assert "left out cmr in 1 of 1 windows: the ratio law needs the general loss" in answer.err


class TestAveraging:
    @pytest.fixture
    def measured(self):
        """Real losses of one size, which no law here follows exactly."""
        log = cp.read_log(PROBES)
        return log[log["model_params"] == log["model_params"].min()]

    def test_a_score_per_kind_of_holdout(self):
        log = simulated_log(sizes=(3e5,), noise=0.001)
        rows = fitted_rows(log, "general", 0.0)
        score = held_out_score(fit_law_model(rows, "general", law_name="dcpt"), rows)
        assert set(score.by_kind) == {"ratio", "tokens"}
        assert score.error == pytest.approx(np.mean(list(score.by_kind.values())))

    def test_a_score_is_the_error_of_a_fit_from_scratch_without_the_hidden_rows(self):
        log = simulated_log(sizes=(3e5,), ratios=(0.1, 0.3, 0.5, 0.7))
        rows = fitted_rows(log, "domain", 0.0)
        surface = fit_law_model(rows, "domain", law_name="dcpt")
        score = held_out_score(surface, rows)
        hidden = (rows["domain_ratio"] == 0.5).to_numpy()
        seen = rows[~hidden].reset_index(drop=True)
        fresh = fit_law_model(seen, "domain", law_name="dcpt", delta=surface.fit.delta)
        predicted = fresh.fit.predict(row_inputs("domain", rows[hidden]))
        miss = predicted - rows.loc[hidden, "loss"].to_numpy()
        # three ratios stay, and the law is reduced to one point of what they leave open; the score's fit stops where
        # float64 shows no more gain, which leaves it 1e-6 nats from the other
        assert score.absolute[2] == pytest.approx(np.mean(np.abs(miss)), abs=1e-6)

    def test_a_law_is_declared_anew_for_the_rows_that_stay(self):
        log = simulated_log(sizes=(3e5,), ratios=(0.1, 0.3, 0.4, 0.5, 0.6, 0.7))
        rows = fitted_rows(log, "domain", 0.0)
        seen = rows[rows["domain_ratio"] > 0.1]
        bound = {e.name: e.lower for e in declare("dcpt", "domain", seen).exponents}
        assert bound["ratio_offset"] == pytest.approx(0.3)
        few = seen[seen["domain_ratio"] > 0.3]
        assert dict(declare("dcpt", "domain", few).fixed) == {"ratio_offset": pytest.approx(0.4)}

    def test_weights_are_inverse_to_the_squared_errors(self):
        def score(law, squared):
            return Score(law, ("ratio",), np.sqrt([squared]), np.array([squared]))

        assert averaging_weights([score("a", 1.0), score("b", 3.0)]) == pytest.approx([0.75, 0.25])
        # the third would get 1/41 of the weight, less than a twentieth
        weights = averaging_weights([score("a", 1.0), score("b", 1.0), score("c", 20.0)])
        assert weights == pytest.approx([0.5, 0.5, 0.0])

    def test_laws_are_weighed_by_what_all_of_them_answer(self):
        def score(law, *squared):
            return Score(law, ("ratio", "tokens"), np.sqrt(squared), np.array(squared))

        # on tokens 1 against 3; the second law's ratios would have turned that round
        part, whole = score("part", np.nan, 1.0), score("whole", 0.1, 3.0)
        assert averaging_weights([part, whole]) == pytest.approx([0.75, 0.25])
        assert averaging_weights([score("none", np.nan, np.nan), whole]) == pytest.approx([0, 1])

    def test_laws_that_miss_the_same_but_for_rounding_keep_their_order(self):
        def score(law, squared):
            return Score(law, ("ratio",), np.sqrt([squared]), np.array([squared]))

        one, other = score("a", 1.0), score("b", 1.0 - 1e-11)
        assert averaging_weights([one, other]).tolist() == [0.5, 0.5]

    @pytest.mark.parametrize("law", plain_ratio_laws())
    def test_a_law_declared_for_the_rows_that_stay_is_determined_by_them(self, law):
        for shares in (3, 4, 5, 6):
            log = simulated_log(sizes=(3e5,), ratios=np.linspace(0.1, 0.9, shares))
            rows = fitted_rows(log, "domain", 0.0)
            assert missing_levels(declare(law, "domain", rows), row_inputs("domain", rows)) is None

    def test_fewer_levels_than_parameters_do_not_determine_a_law(self):
        # E, C, gamma and epsilon are one curve of the share; B and beta one of the tokens, A and alpha one of the size
        three, four = (
            np.array([0.1, 0.4, 0.8] * 3),
            np.array([0.1, 0.4, 0.8, 0.9, 0.1, 0.4, 0.8, 0.9, 0.1]),
        )
        others = {
            "train_tokens": np.repeat([1e6, 2e6, 4e6], 3),
            "model_params": np.tile([1e6, 2e6, 3e6], 3),
        }
        assert missing_levels(dcpt_law(), others | {"share": four}) is None
        reason = missing_levels(dcpt_law(), others | {"share": three})
        assert reason.startswith("the law dcpt needs 4 levels of share to be determined and 3 stay")

    def test_without_a_holdout_the_first_law_stands(self):
        nothing = Score("a", (), np.zeros(0), np.zeros(0))
        assert averaging_weights([nothing, nothing]) == pytest.approx([1, 0])

    def test_the_law_that_made_the_log_drives_the_others_out(self):
        fit = cp.fit(simulated_log(noise=0), bootstrap=4)
        assert fit.law == "dcpt"

    def test_an_average_lies_between_its_laws_and_its_draws_belong_to_them(self, measured):
        fit = cp.fit(measured, bootstrap=40, residual="none")
        model = fit.models["general"]
        assert isinstance(model, AveragedModel)
        assert model.weights.sum() == pytest.approx(1)
        million = np.full(2, 1e6)
        columns = {
            "model_params": million,
            "train_tokens": million,
            "domain_ratio": np.array([0.2, 0.6]),
        }
        average = model.predict(columns)
        singles = [member.predict(columns) for member in model.members]
        assert (average.loss <= np.max([single.loss for single in singles], axis=0)).all()
        assert (average.loss >= np.min([single.loss for single in singles], axis=0)).all()
        assert len(average.draws) == 40
        own = np.concatenate([single.draws[:, 0] for single in singles])
        assert sorted(average.draws[:, 0]) == sorted(own)
        # as many draws to each law as its weight asks for, to within one or two
        shares = [len(single.draws) for single in singles]
        assert shares == pytest.approx(40 * model.weights, abs=2)

    def test_an_average_reads_back_from_its_file(self, measured, tmp_path):
        fit = cp.fit(measured, bootstrap=10)
        cp.write_fit(fit, tmp_path / "fit.json")
        again = cp.read_fit(tmp_path / "fit.json")
        where = {"model_params": 1e6, "train_tokens": 1e6, "domain_ratio": 0.5}
        for corpus in ("general", "domain"):
            one, two = fit.predict(corpus, **where), again.predict(corpus, **where)
            assert (one.loss == two.loss).all()
            assert (one.draws == two.draws).all()
        assert again.summary()["general"]["members"] == fit.summary()["general"]["members"]


class TestWords:
    @pytest.mark.parametrize(
        ("margin", "stderr", "words"),
        [
            (0.0129, 0.0024, "a leads b by 0.0129 ± 0.0024 (clear)"),
            (0.0002, 0.0012, "a leads b by 0.0002 ± 0.0012 (not clear)"),
            (0.00004, 0.00001, "a and b are equally close, 0.0000 ± 0.0000 apart"),
            (-0.00004, 0.0012, "a and b are equally close, 0.0000 ± 0.0012 apart"),
            (
                -0.0004,
                0.0012,
                "a is first by the mean over what was hidden, b closer over the runs by 0.0004 ± 0.0012",
            ),
        ],
    )
    def test_nobody_leads_by_nothing(self, margin, stderr, words):
        assert Verdict("a", "b", margin, stderr, "a", margin, stderr).sentence == words

    def test_nothing_to_hide_is_said(self):
        log = simulated_log(sizes=(3e5,), ratios=(0, 0.5, 1), seeds=(0,))
        log = log[log["train_tokens"].isin([0, log["train_tokens"].max()])]
        with pytest.raises(CmrplanError, match="four ratios"):
            compare(log)

    def test_windows_grow(self):
        rows = table(tokens=(1e6, 2e6, 4e6, 8e6, 1.6e7), sizes=(1e6, 2e6))
        assert [(w.kind, w.name) for w in windows(rows)] == [
            ("tokens", "D <= 4e+06"), ("tokens", "D <= 8e+06"), ("size", "N <= 1e+06"),
        ]  # fmt: skip

    @pytest.mark.slow
    def test_commands_print_whole_json(self, call, tmp_path):
        path = tmp_path / "log.csv"
        simulated_log(sizes=(3e5,), seeds=(0,), ratios=(0, 0.25, 0.5, 1)).to_csv(path, index=False)
        ranking = call("compare", path, "--min-train-tokens", "5e4", "--json").json()["ranking"]
        assert {row["corpus"] for row in ranking} == {"general", "domain"}
        assert {"dcpt", "interpolation"} <= {row["predictor"] for row in ranking}
        rows = call("backtest", path, "--max-general-rise", "10%", "--json").json()["rows"]
        assert {"window", "predictor", "ratio_error", "regret", "excess"} <= set(rows[0])

    def test_commands(self, call, log_file):
        answer = call("backtest", log_file, "--max-general-rise", "abc")
        assert answer.code == 2
        assert "max_general_rise" in answer.err


def test_a_log_of_one_ratio_is_compared_by_what_can_answer(tmp_path, call):
    """E + A/N^0.3 + B/D^0.2 exactly: that law is the nearest, and no default is told to be fitted."""
    tokens, sizes = np.geomspace(1e8, 1e10, 8), (1e7, 4e7, 1.6e8)
    rows = table((0.3,), tokens, sizes, loss=lambda n, d, r: 1.5 + 90 / n**0.3 + 40 / d**0.2)
    losses = {"general": rows["loss"], "domain": rows["loss"] - 0.3}
    log = pd.concat(rows.assign(eval_corpus=name, loss=loss) for name, loss in losses.items())
    path = tmp_path / "log.csv"
    log.to_csv(path, index=False)
    compared = compare(path)
    assert {one.best_law for one in compared.verdicts.values()} == {"chinchilla"}
    assert {one.winner for one in compared.verdicts.values()} == {"chinchilla"}
    assert compared.sentence.startswith(
        "the default (auto) could not answer; closest of what could"
    )
    assert call("fit", path).code == 1
    assert compared.skipped == {}
