"""The next probes: noise against analysis of variance, conditioning against Kalman, choices, command, picture."""

import json

import numpy as np
import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan import plots
from cmrplan.planning.expected import conditioned, explained_shares
from cmrplan.planning.noise import RunNoise, run_noise
from cmrplan.planning.outlook import Outlook, candidates_of, question_of
from cmrplan.planning.probe_budget import FLOPS_PER_SECOND, parse_budget
from cmrplan.planning.tolerance import parse_tolerance

N, D = 1e6, 1e6
ASK = {"model_params": N, "train_tokens": D, "max_general_rise": "2%"}
FLAGS = ("--model-params", "1e6", "--train-tokens", "1e6", "--max-general-rise", "2%")


@pytest.fixture(scope="module")
def fit():
    """One size, seven ratios from 0 to 1, eight token counts up to 1e6."""
    return cp.fit(simulated_log(sizes=(N,), seeds=(0,), noise=0.01), "dcpt", bootstrap=40)


@pytest.fixture(scope="module")
def made(fit):
    return cp.next_probes(fit, budget="6Mtokens", **ASK)


@pytest.fixture(scope="module")
def file(fit, tmp_path_factory):
    path = tmp_path_factory.mktemp("next") / "fit.json"
    cp.write_fit(fit, path)
    return path


class TestNoise:
    def test_is_the_analysis_of_variance_where_every_run_is_as_long(self):
        rng = np.random.default_rng(0)
        loss = 2 * rng.standard_normal(6)[:, None] + rng.standard_normal((6, 5))
        runs = np.repeat(list("abcdef"), 5)
        found = run_noise(np.ones((30, 1)), runs, loss.ravel() - loss.mean())
        # one-way layout, 6 groups of 5: mean squares between (5 degrees of freedom) and within (24)
        between = 5 * np.sum((loss.mean(axis=1) - loss.mean()) ** 2) / 5
        within = np.sum((loss - loss.mean(axis=1, keepdims=True)) ** 2) / 24
        assert found.checkpoint == pytest.approx(within, rel=1e-10)
        assert found.run == pytest.approx((between - within) / 5, rel=1e-10)

    def test_is_unbiased_for_few_runs_of_different_length(self):
        rng = np.random.default_rng(1)
        run = np.repeat(np.arange(6), [2, 3, 8, 8, 4, 5])
        design = np.stack([np.ones(30), np.linspace(0, 1, 30), rng.standard_normal(30)], axis=1)
        hat = design @ np.linalg.pinv(design)
        found = []
        for _ in range(2000):
            loss = 3 * rng.standard_normal(6)[run] + rng.standard_normal(30)
            noise = run_noise(design, run.astype(str), loss - hat @ loss)
            found.append((noise.run, noise.checkpoint))
        # variances 9 and 1, with standard errors of 0.2 and 0.006 over 2000 draws; the floor lifts the first a little
        assert np.mean(found, axis=0) == pytest.approx([9, 1], abs=0.5)
        assert np.mean(found, axis=0)[1] == pytest.approx(1, abs=0.03)

    def test_a_run_never_has_less_noise_than_its_checkpoints(self):
        alternating = np.tile([1.0, -1.0], 6)
        found = run_noise(np.ones((12, 1)), np.repeat(list("abc"), 4), alternating)
        assert found.run == found.checkpoint

    def test_a_law_that_follows_every_run_is_refused(self):
        with pytest.raises(cp.CmrplanError, match="add runs at other ratios"):
            run_noise(np.kron(np.eye(3), np.ones((4, 1))), np.repeat(list("abc"), 4), np.zeros(12))


class TestExpected:
    draws = np.random.default_rng(2).standard_normal((40, 6)) @ np.diag([3, 1, 1, 2, 0.5, 1])
    covariance = RunNoise(run=0.5, checkpoint=0.2).covariance(3)

    def test_covariance_of_a_run(self):
        np.testing.assert_allclose(
            RunNoise(run=0.5, checkpoint=0.2).covariance(2), [[0.7, 0.5], [0.5, 0.7]]
        )

    def test_conditioned_draws_have_the_covariance_of_kalmans_update(self):
        after = conditioned(self.draws, self.draws[:, 3:], self.covariance)
        prior = np.cov(self.draws.T)
        gain = prior[:, 3:] @ np.linalg.inv(prior[3:, 3:] + self.covariance)
        np.testing.assert_allclose(np.cov(after.T), prior - gain @ prior[3:, :], atol=1e-12)
        np.testing.assert_allclose(after.mean(axis=0), self.draws.mean(axis=0), atol=1e-12)

    def test_shares_are_those_of_the_formula_less_what_chance_explains(self):
        shares = explained_shares(self.draws[:, 0], self.draws[:, 3:], self.covariance)
        prior = np.cov(self.draws.T)
        for last in range(3):
            seen = slice(3, 4 + last)
            inverse = np.linalg.inv(prior[seen, seen] + self.covariance[: last + 1, : last + 1])
            plain = prior[0, seen] @ inverse @ prior[seen, 0] / prior[0, 0]
            freedom = np.trace(prior[seen, seen] @ inverse)
            assert shares[last] == pytest.approx(plain - (1 - plain) * freedom / 39, rel=1e-9)

    def test_what_tells_nothing_explains_nothing_on_average(self):
        rng = np.random.default_rng(3)
        shares = [
            explained_shares(
                rng.standard_normal(60), rng.standard_normal((60, 4)), 1e-3 * np.eye(4)
            )[-1]
            for _ in range(400)
        ]
        # one share scatters by sqrt(2 * 4) / 60 = 0.05, the mean of 400 by 0.0025
        assert np.mean(shares) == pytest.approx(0, abs=0.01)


class TestBudget:
    def test_units(self):
        assert parse_budget("5Btokens").cost(1e9, 3e8) == 3e8
        assert parse_budget("1e18 FLOPs").cost(1e6, 2e6) == 1.2e13
        # 6 * 1e9 * 6e9 = 3.6e19 FLOPs are 10 hours at 1e15 a second
        hours = parse_budget("20gpu-hours", flops_per_second=1e15)
        assert (hours.amount, hours.cost(1e9, 6e9)) == (20, pytest.approx(10))
        assert parse_budget("1gpu-hour").flops_per_second == FLOPS_PER_SECOND

    @pytest.mark.parametrize("text", ["20", "0tokens", "-1flops", "20 minutes", "gpu-hours", ""])
    def test_anything_else_is_refused(self, text):
        with pytest.raises(cp.InputError, match="such as 20gpu-hours"):
            parse_budget(text)


class TestCandidates:
    def test_ratios_are_new_and_lengths_are_those_of_the_log_up_to_twice_as_long(self, fit):
        found = candidates_of(fit, 1e9)
        assert set(found.model_params) == {N}
        assert not set(found.domain_ratio) & set(fit.log["domain_ratio"])
        assert found.domain_ratio.min() == 0.02
        assert found.domain_ratio.max() == 0.98
        levels = np.sort(fit.log.loc[fit.log["train_tokens"] > 0, "train_tokens"].unique())
        assert found.train_tokens[0].tolist() == [*levels, 2e6]
        # nearest to 2e6, 1e6, 5e5 and 2.5e5 of 2e4 ... 1e6 in steps of a factor 1.75
        assert found.train_tokens[0][found.is_end[0]] == pytest.approx(
            [1e6 / 50 ** (2 / 7), 1e6 / 50 ** (1 / 7), 1e6, 2e6], rel=1e-4
        )

    def test_no_run_is_longer_than_the_target(self, fit):
        assert np.nanmax(candidates_of(fit, 1.5e6).train_tokens) == 1.5e6
        levels = fit.log["train_tokens"].unique()
        shorter = np.nanmax(candidates_of(fit, 3e5).train_tokens)
        assert shorter == np.min(levels[levels >= 3e5])


class TestChoice:
    def test_the_interval_now_is_the_plans(self, fit, made):
        plan = cp.plan(fit, **ASK)
        # the plan's grid has 1001 ratios, this one 401; both join their points by straight lines
        assert made.domain_ratio == pytest.approx(plan.point_domain_ratio, abs=1e-4)
        assert made.domain_ratio_low == pytest.approx(plan.domain_ratio_low, abs=1e-4)
        assert made.domain_ratio_high == pytest.approx(plan.domain_ratio_high, abs=1e-4)

    def test_probes_are_new_affordable_and_narrow_the_interval_step_by_step(self, fit, made):
        assert made.probes
        assert made.cost == sum(probe.train_tokens for probe in made.probes) <= 6e6
        ratios = [probe.domain_ratio for probe in made.probes]
        assert not set(ratios) & set(fit.log["domain_ratio"])
        assert len(set(ratios)) == len(ratios)
        widths = [made.width, *(probe.width_after for probe in made.probes)]
        assert widths == sorted(widths, reverse=True)
        assert made.expected_width == pytest.approx(widths[-1])
        assert made.expected_low <= made.domain_ratio <= made.expected_high

    def test_the_first_probe_is_the_best_of_all_for_its_cost(self, fit):
        only = cp.next_probes(fit, budget="1e12tokens", most_probes=1, **ASK).probes[0]
        question, _ = question_of(
            fit,
            model_params=N,
            train_tokens=D,
            tolerance=parse_tolerance("2%"),
            base_loss=None,
            confidence=0.9,
        )
        outlook = Outlook(fit, question, candidates_of(fit, D), seed=0)
        value = outlook.narrowing()
        row, last = np.unravel_index(np.nanargmax(value), value.shape)
        assert only.domain_ratio == outlook.candidates.domain_ratio[row]
        assert only.train_tokens == outlook.candidates.train_tokens[row, last]
        # what narrowing() promises of the variance, add() does to the draws, up to the bend of the ratio
        before = outlook.width()
        outlook.add(row, last)
        assert 1 - outlook.width() / before == pytest.approx(value[row, last], abs=0.1)

    def test_same_seed_same_probes(self, fit, made):
        assert cp.next_probes(fit, budget="6Mtokens", **ASK) == made

    @pytest.mark.parametrize(
        ("options", "stop", "says"),
        [
            ({"resolution": 0.5}, "resolution", "as narrow as asked"),
            ({"budget": "1000tokens"}, "budget", "no probe is left that 1e+03 tokens pay for"),
            ({"most_probes": 1}, "most_probes", "run them and fit again"),
            (
                {"least_narrowing": 0.999999},
                "does_not_pay",
                "would narrow the interval by less than",
            ),
        ],
    )
    def test_why_it_stops(self, fit, options, stop, says):
        found = cp.next_probes(fit, **({"budget": "6Mtokens"} | ASK | options))
        assert found.stop == stop
        assert len(found.probes) == (stop == "most_probes")
        assert says in found.stop_reason

    def test_an_answer_that_no_draw_changes_needs_no_probe(self, fit):
        found = cp.next_probes(fit, budget="6Mtokens", **(ASK | {"max_general_rise": 5}))
        assert (found.stop, found.probes) == ("resolution", ())

    def test_answers_at_the_edge_of_the_probed_ratios_are_told(self, fit):
        inside = simulated_log(sizes=(N,), seeds=(0,), ratios=(0.01, 0.05, 0.1, 0.2))
        found = cp.next_probes(
            cp.fit(inside, "dcpt", bootstrap=20),
            budget="6Mtokens",
            **(ASK | {"max_general_rise": 5}),
        )
        assert "ratio_at_edge" in {finding.code for finding in found.warnings}

    def test_fits_that_cannot_say_are_refused(self, fit):
        with pytest.raises(cp.CmrplanError, match="no resamples"):
            cp.next_probes(cp.fit(fit.log, "dcpt", bootstrap=0), budget="6Mtokens", **ASK)
        with pytest.raises(cp.CmrplanError, match="fit with --law dcpt"):
            cp.next_probes(cp.fit(fit.log, "cmr", bootstrap=2), budget="6Mtokens", **ASK)

    @pytest.mark.parametrize(
        "wrong", [{"resolution": -1}, {"least_narrowing": 1}, {"most_probes": 0}, {"seed": -1}]
    )
    def test_wrong_arguments_are_named(self, fit, wrong):
        with pytest.raises(cp.InputError, match=next(iter(wrong))):
            cp.next_probes(fit, budget="6Mtokens", **ASK, **wrong)


class TestCommand:
    def test_json_is_the_library_s_answer(self, call, file, made):
        answer = call("next", file, "--budget", "6Mtokens", *FLAGS, "--json")
        assert answer.json() == json.loads(json.dumps(made.as_dict()))
        assert set(answer.json()["probes"][0]) == {
            "domain_ratio", "model_params", "train_tokens", "seed", "cost", "width_after",
        }  # fmt: skip

    def test_text_and_runs_without_a_sweep(self, call, file, made, tmp_path):
        out = tmp_path / "runs.yaml"
        answer = call("next", file, "--budget", "6Mtokens", *FLAGS, "--out", out)
        assert answer.code == 0
        assert f"{made.expected_width:.3f} wide" in answer.out
        yaml = pytest.importorskip("yaml")
        runs = yaml.safe_load(out.read_text())["probes"]["runs"]
        assert [run["domain_ratio"] for run in runs] == [p.domain_ratio for p in made.probes]
        assert runs[0]["size"] == "1000000"

    def test_gpu_hours_say_at_what_speed(self, call, file):
        asked = ("next", file, "--budget", "1e-6gpu-hours", *FLAGS, "--most-probes", "1")
        assert "2e+12 FLOP/s" in call(*asked, "--flops-per-second", "2e12").out

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            (("--budget", "20"), "budget must be an amount"),
            (("--budget", "1Mtokens", "--out", "runs.txt"), "--out must be a .yaml file"),
            (("--budget", "1Mtokens", "--sweep", "s.yaml"), "--sweep needs --out"),
        ],
    )
    def test_mistakes_are_one_line(self, call, file, more, says):
        answer = call("next", file, *FLAGS, *more)
        assert answer.code == 2
        assert says in answer.err

    def test_plot(self, call, file, tmp_path):
        answer = call("plot", file, "next", *FLAGS, "--out", tmp_path / "next.png")
        assert answer.code == 0, answer.err
        refused = call("plot", file, "next", "--out", tmp_path / "none.png")
        assert refused.code == 2
        assert "give --max-general-rise" in refused.err


class TestPlot:
    def test_lines_are_the_expected_narrowing(self, fit):
        plan = cp.plan(fit, **ASK)
        (data,) = plots.next_data(fit, plan=plan)
        ax = plots.plot_next(fit, plan=plan)
        drawn = [line for line in ax.lines if line.get_label().startswith("probe of")]
        assert [line.get_label() for line in drawn][-1] == "probe of 1.0M tokens"
        for line, values in zip(drawn, data.narrowing, strict=True):
            assert line.get_ydata().tolist() == values.tolist()
        assert "percent" in ax.get_ylabel()
        # the same numbers as the planner's first choice
        best = cp.next_probes(fit, budget="1e12tokens", most_probes=1, **ASK).probes[0]
        _, column = np.unravel_index(np.argmax(data.narrowing), data.narrowing.shape)
        assert data.domain_ratio[column] == best.domain_ratio

    def test_another_level_is_another_interval(self, fit):
        plan = cp.plan(fit, **ASK)
        (wide,), (narrow,) = (plots.next_data(fit, plan=plan, confidence=c) for c in (0.95, 0.5))
        assert not np.allclose(wide.narrowing, narrow.narrowing)

    def test_a_plan_is_needed(self, fit):
        with pytest.raises(cp.InputError, match="needs a plan"):
            plots.figure("next", fit)


def test_a_log_without_noise_ends_at_once(fit):
    exact = simulated_log(sizes=(N,), seeds=(0,), noise=0.0)
    found = cp.next_probes(cp.fit(exact, "dcpt", bootstrap=10), budget="6Mtokens", **ASK)
    assert found.stop == "resolution"
    assert found.noise["general"].run < 1e-8
    assert not found.probes
