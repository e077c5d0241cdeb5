"""The next probes: what a run tells against least squares, choices, command, picture."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan import plots
from cmrplan.design.budget import parse_probe_budget
from cmrplan.design.candidates import candidates_of
from cmrplan.design.information import (
    LossOutlook,
    information_of,
    noise_beside,
    run_covariance,
)
from cmrplan.design.nested import Design, best_design
from cmrplan.design.outlooks import outlook_of
from cmrplan.fit.noise import Noise
from cmrplan.numbers import GPU_FLOPS
from cmrplan.plan.request import PlanRequest

N, D = 1e6, 1e6
ASK = {"model_params": N, "train_tokens": D, "max_general_rise": "2%"}
FLAGS = ("--model-params", "1e6", "--train-tokens", "1e6", "--max-general-rise", "2%")


@pytest.fixture(scope="module")
def fit():
    """One size, seven ratios from 0 to 1, eight token counts up to 1e6."""
    return cp.fit(simulated_log(sizes=(N,), seeds=(0,), noise=0.01), "dcpt", bootstrap=100)


@pytest.fixture(scope="module")
def made(fit):
    return cp.next_probes(fit, budget="6Mtokens", **ASK)


@pytest.fixture(scope="module")
def file(fit, tmp_path_factory):
    path = tmp_path_factory.mktemp("next") / "fit.json"
    cp.write_fit(fit, path)
    return path


class TestExpected:
    """A linear law, for which all formulas are exact: 30 resamples, 5 parameters, 12 rows, 3 runs of 4 rows."""

    rng = np.random.default_rng(2)
    rows, runs, points = (
        rng.standard_normal((12, 5)),
        rng.standard_normal((3, 4, 5)),
        rng.standard_normal((6, 5)),
    )
    theta = rng.standard_normal((30, 5))
    outlook = LossOutlook(
        off=theta @ points.T,
        off_runs=np.einsum("bk,cmk->bcm", theta, runs),
        at_points=points,
        at_runs=runs,
        information=information_of(rows),
    )

    def test_a_run_moves_the_fit_as_least_squares_over_all_rows_does(self):
        noise = self.rng.standard_normal((30, 4))
        after = self.outlook.after(1, noise)
        both = np.vstack([self.rows, self.runs[1]])
        for b in range(30):
            # what the first fit left does not matter: it is orthogonal to the rows' span
            target = np.concatenate([self.rows @ self.theta[b], noise[b]])
            theta = np.linalg.lstsq(both, target)[0]
            # the trace of information on every parameter, 1e-9 of its own, is the only difference
            np.testing.assert_allclose(after.off[b], self.points @ theta, atol=1e-7)
            np.testing.assert_allclose(after.off_runs[b], self.runs @ theta, atol=1e-7)

    def test_a_second_run_is_taken_in_like_the_first(self):
        zeros = np.zeros((30, 4))
        after = self.outlook.after(0, zeros).after(2, zeros)
        other = self.outlook.after(2, zeros).after(0, zeros)
        np.testing.assert_allclose(after.off, other.off, atol=1e-9)

    def test_what_a_run_tells_is_kalmans_update_less_what_chance_explains(self):
        answer = self.rng.standard_normal(30) + self.theta[:, 0]
        covariance = 0.1 + 0.5 * np.eye(4)
        found = self.outlook.variance_reduction(answer, covariance)
        for run in range(3):
            prior = np.cov(np.column_stack([answer, self.theta @ self.runs[run].T]).T)
            inverse = np.linalg.inv(prior[1:, 1:] + covariance)
            plain = prior[0, 1:] @ inverse @ prior[1:, 0]
            degrees_of_freedom = np.trace(prior[1:, 1:] @ inverse)
            assert found[run] == pytest.approx(
                plain - (prior[0, 0] - plain) * degrees_of_freedom / 29
            )

    def test_what_has_nothing_to_do_with_the_answer_tells_nothing_on_average(self):
        rng = np.random.default_rng(3)
        runs = replace(self.outlook, off_runs=rng.standard_normal((60, 400, 4)))
        found = runs.variance_reduction(rng.standard_normal(60), 1e-3 * np.eye(4))
        # one share scatters by sqrt(2 * 4) / 60 = 0.05, the mean of 400 by 0.0025
        assert np.mean(found) == pytest.approx(0, abs=0.01)

    def test_covariance_of_a_run(self):
        found = run_covariance(Noise(run=0.3, checkpoint=0.2, degrees_of_freedom=3), 2)
        np.testing.assert_allclose(found, [[0.13, 0.09], [0.09, 0.13]])
        # a run shares at least what an evaluation has of its own
        found = run_covariance(Noise(run=0.0, checkpoint=0.2, degrees_of_freedom=3), 2)
        np.testing.assert_allclose(found, [[0.08, 0.04], [0.04, 0.08]])

    def test_noise_is_drawn_beside_what_is_there(self):
        off = self.rng.standard_normal((4000, 5))
        covariance = np.array([[0.13, 0.09], [0.09, 0.13]])
        found = noise_beside(off, covariance, seed=1)
        assert np.abs(off.T @ found).max() < 1e-9
        # a variance over 4000 draws has a standard error of 2 %
        np.testing.assert_allclose(np.cov(found.T), covariance, rtol=0.1)
        assert (noise_beside(off, covariance, seed=1) == found).all()


class TestBudget:
    def test_units(self):
        assert parse_probe_budget("5Btokens").cost(1e9, 3e8) == 3e8
        assert parse_probe_budget("1e18 FLOPs").cost(1e6, 2e6) == 1.2e13
        # 6 * 1e9 * 6e9 = 3.6e19 FLOPs are 10 hours at 1e15 a second
        hours = parse_probe_budget("20gpu-hours", 1e15)
        assert (hours.amount, hours.cost(1e9, 6e9)) == (20, pytest.approx(10))
        assert parse_probe_budget("1gpu-hour").gpu_flops == GPU_FLOPS

    @pytest.mark.parametrize("text", ["20", "0tokens", "-1flops", "20 minutes", "gpu-hours", ""])
    def test_anything_else_is_refused(self, text):
        with pytest.raises(cp.InputError, match="such as 20gpu-hours"):
            parse_probe_budget(text)


class TestCandidates:
    def test_ratios_are_new_and_lengths_are_halves_of_four_times_the_longest(self, fit):
        found = candidates_of(fit, 1e9)
        assert set(found.model_params) == {N}
        assert not set(found.domain_ratio) & set(fit.log["domain_ratio"])
        # of 0, 0.05, 0.1 and on to 1 those that were not probed
        assert (found.domain_ratio.min(), found.domain_ratio.max()) == (0.1, 0.95)
        assert np.unique(found.train_tokens).tolist() == [2.5e5, 5e5, 1e6, 2e6, 4e6]
        # as often as the log, from its first evaluation to the end of the run
        assert found.evaluated.shape[1] == 8
        np.testing.assert_allclose(found.evaluated[:, 0], 2e4)
        np.testing.assert_allclose(found.evaluated[:, -1], found.train_tokens)

    def test_no_run_is_longer_than_the_target(self, fit):
        assert candidates_of(fit, 3e5).train_tokens.max() == 3e5

    def test_ratios_are_more_closely_spaced_where_most_were_probed(self, fit):
        dense = fit.log.assign(domain_ratio=lambda log: np.resize(np.arange(21) / 20, len(log)))
        found = candidates_of(replace(fit, log=dense), D)
        assert np.unique(found.domain_ratio).tolist() == pytest.approx(np.arange(1, 40, 2) / 40)

    def test_ratios_are_close_where_the_best_one_is_decided(self, fit):
        found = np.unique(candidates_of(fit, 1e9, around=(0.413, 0.528)).domain_ratio)
        inside = found[(found >= 0.413) & (found <= 0.528)]
        assert np.diff(inside).max() < 0.0125
        assert (inside[0], inside[-1]) == (0.413, 0.528)
        assert not set(found) & set(fit.log["domain_ratio"])
        outside = found[(found < 0.413) | (found > 0.528)]
        assert set(outside) < set(candidates_of(fit, 1e9).domain_ratio)

    def test_the_interval_of_the_answer_is_looked_at_closely(self, fit, made):
        low, high = made.domain_ratio_low, made.domain_ratio_high
        ratios = np.unique(asked_outlook(fit).candidates.domain_ratio)
        assert np.sum((ratios > low - 1e-3) & (ratios < high + 1e-3)) >= 12
        assert np.sum(ratios < low - 1e-3) == np.sum(
            np.unique(candidates_of(fit, D).domain_ratio) < low - 1e-3
        )

    def test_a_size_that_was_not_probed_has_every_ratio_and_the_lengths_of_the_others(self, fit):
        found = candidates_of(fit, 1e9, (3e6, 1.001 * N))
        assert np.unique(found.model_params).tolist() == [N, 3e6]
        new = found.model_params == 3e6
        assert len(np.unique(found.domain_ratio[new])) == 21
        assert np.unique(found.train_tokens[new]).tolist() == [2.5e5, 5e5, 1e6, 2e6, 4e6]


def asked_outlook(fit):
    return outlook_of(fit, PlanRequest(**ASK))


class TestChoice:
    def test_the_interval_now_is_the_plans(self, fit, made):
        plan = cp.plan(fit, **ASK)
        assert made.domain_ratio == plan.ratio.estimate
        assert made.domain_ratio_low == plan.domain_ratio_low
        assert made.domain_ratio_high == plan.domain_ratio_high

    @pytest.mark.parametrize(
        "limits",
        [
            {"max_general_rise": "2%", "rise_over": "replay"},
            {"max_general_rise": "2%", "min_ratio": 0.1, "max_ratio": 0.7},
            {"max_general_rise": "2%", "domain_tokens": 3e5, "max_epochs": 2, "confidence": 0.8},
            {"general_weight": 2.0},
        ],
    )
    def test_every_limit_of_a_plan_counts(self, fit, limits):
        where = {"model_params": N, "train_tokens": D}
        plan = cp.plan(fit, **where, **limits)
        found = cp.next_probes(fit, budget="1Mtokens", resolution=0, **where, **limits)
        assert (found.domain_ratio_low, found.domain_ratio_high) == (
            plan.domain_ratio_low,
            plan.domain_ratio_high,
        )
        assert plan.asked == found.asked
        assert all(np.isfinite(probe.width_after) for probe in found.probes)

    def test_probes_are_new_affordable_and_narrow_the_interval_step_by_step(self, fit, made):
        assert made.probes
        assert made.cost == sum(probe.train_tokens for probe in made.probes) <= 6e6
        ratios = [probe.domain_ratio for probe in made.probes]
        assert not set(ratios) & set(fit.log["domain_ratio"])
        assert len(set(ratios)) == len(ratios)
        widths = [made.width, *(probe.width_after for probe in made.probes)]
        assert all(after <= before for before, after in pairwise(widths))
        assert widths[-1] < 0.5 * widths[0]
        assert made.expected_width == pytest.approx(widths[-1])
        assert made.expected_low <= made.domain_ratio <= made.expected_high

    def test_what_a_probe_promises_is_what_comes_after_it(self, fit):
        outlook = asked_outlook(fit)
        promised = outlook.expected_width_reduction()
        row = int(np.argmax(promised))
        after = outlook.with_run(row)
        (low, high), (low_after, high_after) = outlook.interval(), after.interval()
        assert (low, high) == outlook.interval_now()
        # exact for a linear answer whose draws are normal; the ratio bends
        assert 1 - (high_after - low_after) / (high - low) == pytest.approx(promised[row], abs=0.15)
        # the same run once more tells less
        assert after.expected_width_reduction()[row] < promised[row]

    def test_no_budget_promises_less_than_a_smaller_one(self, fit):
        answers = [
            cp.next_probes(fit, budget=f"{amount}tokens", resolution=0.001, **ASK)
            for amount in (5e4, 1e5, 3e5, 1e6, 2e6, 5e6)
        ]
        widths = [answers[0].width, *(answer.expected_width for answer in answers)]
        assert all(after <= before for before, after in pairwise(widths))
        assert widths[-1] < widths[0]

    def test_the_same_fit_gives_the_same_probes(self, fit, made):
        assert cp.next_probes(fit, budget="6Mtokens", **ASK) == made

    def test_answers_at_the_edge_of_the_probed_ratios_are_told(self, fit):
        inside = simulated_log(sizes=(N,), seeds=(0,), ratios=(0.01, 0.05, 0.1, 0.2))
        found = cp.next_probes(
            cp.fit(inside, "dcpt", bootstrap=50),
            budget="6Mtokens",
            **(ASK | {"max_general_rise": "5nats"}),
        )
        assert "ratio_at_edge" in {finding.code for finding in found.warnings}

    def test_fits_that_cannot_say_are_refused(self, fit):
        with pytest.raises(cp.CmrplanError, match="0 resamples; the next probes need 50"):
            cp.next_probes(cp.fit(fit.log, "dcpt", bootstrap=0), budget="6Mtokens", **ASK)
        with pytest.raises(cp.CmrplanError, match="fit with --law dcpt"):
            cp.next_probes(cp.fit(fit.log, "cmr", bootstrap=50), budget="6Mtokens", **ASK)

    def test_limits_that_leave_no_ratio_are_refused(self, fit):
        with pytest.raises(cp.CmrplanError, match=r"no ratio: at least 0\.5, at most 0\.3"):
            cp.next_probes(fit, budget="1Mtokens", min_ratio=0.5, domain_tokens=3e5, **ASK)

    @pytest.mark.parametrize(
        "wrong", [{"resolution": -1}, {"least_narrowing": 1}, {"most_probes": 0}]
    )
    def test_wrong_arguments_are_named(self, fit, wrong):
        with pytest.raises(cp.InputError, match=next(iter(wrong))):
            cp.next_probes(fit, budget="6Mtokens", **ASK, **wrong)


def design(cost, width):
    return Design((0,), (), cost, 0.0, width, (width,))


class TestBest:
    now, some, more, most = design(0, 0.1), design(1, 0.07), design(3, 0.05), design(9, 0.049)

    @pytest.mark.parametrize(
        ("resolution", "least", "expected"),
        [
            (0.0, 0.0, most),
            (0.0, 0.005, most),
            (0.0, 0.05, more),  # 0.049 is 1 % of the width now below 0.05
            (0.0, 0.25, some),  # of those that are wider by at most a quarter of it, the cheapest
            (0.0, 0.5, some),
            (0.0, 0.52, now),
            (0.08, 0.0, some),  # narrow enough
        ],
    )
    def test_the_cheapest_of_those_that_are_nearly_the_narrowest(self, resolution, least, expected):
        nested = [self.most, self.more, self.now, self.some]
        assert best_design(nested, resolution, least) == expected


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

    def test_sizes_that_were_not_probed_can_be_named(self, call, file):
        asked = ("next", file, "--budget", "1e15flops", *FLAGS, "--sizes", "0.5M,2M", "--json")
        answer = call(*asked).json()
        assert {probe["model_params"] for probe in answer["probes"]} <= {5e5, 1e6, 2e6}

    def test_gpu_hours_say_at_what_speed(self, call, file):
        asked = ("next", file, "--budget", "1e-6gpu-hours", *FLAGS, "--most-probes", "1")
        assert "2e+12 FLOP/s" in call(*asked, "--gpu-flops", "2e12").out

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            (("--budget", "20"), "budget must be an amount"),
            (("--budget", "1Mtokens", "--out", "runs.txt"), "--out must be a .yaml file"),
            (("--budget", "1Mtokens", "--sweep", "s.yaml"), "--sweep needs --out"),
            (("--budget", "1Mtokens", "--sizes", "1M..3M"), "one by one, such as 400M,1B"),
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
        assert "give max_general_rise" in refused.err


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

    def test_a_plan_is_needed(self, fit):
        with pytest.raises(cp.InputError, match="is about a plan"):
            plots.figure("next", fit)


def test_a_log_without_noise_ends_at_once(fit):
    exact = simulated_log(sizes=(N,), seeds=(0,), noise=0.0)
    found = cp.next_probes(cp.fit(exact, "dcpt", bootstrap=50), budget="6Mtokens", **ASK)
    assert found.stop == "resolution"
    assert found.noise.run < 1e-4
    assert not found.probes
