"""The seed of the next probes has its controls in the log, and controls that are missing are paid for."""

from dataclasses import replace

import pandas as pd
import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan.design.budget import parse_probe_budget
from cmrplan.design.controls import controls_of
from cmrplan.report.probes import next_text, runs_text

N, D = 1e6, 1e6
ASK = {"model_params": N, "train_tokens": D, "max_general_rise": "2%"}
TOKENS = parse_probe_budget("1Mtokens")
FLOPS = parse_probe_budget("1e18flops")


@pytest.fixture(scope="module")
def fit():
    """Seeds 5 and 6 of one size, with ratios 0 and 1."""
    return cp.fit(simulated_log(sizes=(N,), seeds=(6, 5), noise=0.01), "dcpt", bootstrap=60)


@pytest.fixture(scope="module")
def inner():
    """The same seeds, with ratio 1 and without ratio 0."""
    log = simulated_log(sizes=(N,), seeds=(6, 5), noise=0.01)
    return cp.fit(log[log["domain_ratio"] > 0], "dcpt", bootstrap=60)


def without(fit, is_left_out):
    return replace(fit, log=fit.log[~is_left_out(fit.log)])


class TestSeed:
    def test_is_the_smallest_of_the_log(self, fit):
        assert controls_of(fit, N, TOKENS).seed == 5
        assert controls_of(fit, N, TOKENS).missing == ()

    def test_goes_through_the_file_of_a_fit(self, fit, tmp_path, call):
        path = tmp_path / "fit.json"
        cp.write_fit(fit, path)
        answer = call(
            "next", path, "--budget", "6Mtokens", "--model-params", "1e6", "--train-tokens", "1e6",
            "--max-general-rise", "2%", "--json",
        ).json()  # fmt: skip
        assert answer["probes"]
        assert {probe["seed"] for probe in answer["probes"]} == {5}
        assert answer["controls"] == []

    def test_a_seed_with_its_controls_comes_before_a_smaller_one(self, fit):
        log = without(fit, lambda log: (log["seed"] == 5) & (log["domain_ratio"] == 1))
        assert controls_of(log, N, TOKENS).seed == 6

    def test_a_log_without_seeds_has_seed_0(self, fit):
        log = replace(fit, log=fit.log.drop(columns="seed"))
        assert controls_of(log, N, TOKENS).seed == 0
        assert controls_of(log, N, TOKENS).missing == ()

    def test_a_size_that_was_not_probed_has_a_seed_of_the_others(self, fit):
        controls = controls_of(fit, 3e6, FLOPS)
        assert controls.seed == 5
        assert [run.domain_ratio for run in controls.missing] == [0, 1]
        # two runs of 3e6 parameters and 1e6 tokens, 6 FLOPs each a parameter and token
        assert controls.cost == pytest.approx(2 * 6 * 3e6 * 1e6)


class TestCost:
    def test_missing_controls_are_as_long_as_those_of_the_log(self, fit):
        other = fit.log[fit.log["domain_ratio"].isin((0.25, 0.5))].assign(model_params=N / 2)
        longer = other.assign(train_tokens=3 * other["train_tokens"])
        log = replace(fit, log=cp.validate_log(_joined(fit.log, longer)))
        controls = controls_of(log, N / 2, FLOPS)
        # two runs of 5e5 parameters and 1e6 tokens, 6 FLOPs each a parameter and token
        assert [run.domain_ratio for run in controls.missing] == [0, 1]
        assert [run.train_tokens for run in controls.missing] == [1e6, 1e6]
        assert controls.cost == pytest.approx(2 * 6 * 5e5 * 1e6)

    def test_the_first_probe_pays_for_them(self, fit, inner):
        whole, short = (
            cp.next_probes(one, budget="4Mtokens", resolution=0, least_narrowing=0, **ASK)
            for one in (fit, inner)
        )
        assert not whole.controls
        assert whole.cost == pytest.approx(whole.table()["train_tokens"].sum())
        (control,) = short.controls
        assert (control.domain_ratio, control.seed, control.cost) == (0, 5, 1e6)
        # what is printed is what the sweep trains: the probes and the control
        assert short.cost == pytest.approx(short.table()["train_tokens"].sum() + 1e6)
        assert short.cost <= 4e6
        assert "1 runs at ratio 0 or 1 that the log lacks, 1e+06 tokens" in next_text(short)
        assert (
            '# The sweep also trains the control domain_ratio 0 of size "1000000", seed 5.'
            in runs_text(short)
        )

    def test_a_budget_that_pays_for_no_control_names_no_probe(self, fit, inner):
        asked = {"budget": "1.05Mtokens", "resolution": 0, "least_narrowing": 0}
        # the shortest probe takes 62 500 tokens, the control a million
        assert cp.next_probes(inner, **asked, **ASK).stop == "budget"
        assert not cp.next_probes(inner, **asked, **ASK).probes
        assert cp.next_probes(fit, **asked, **ASK).probes

    def test_its_table_is_one_row_a_probe(self, fit):
        answer = cp.next_probes(fit, budget="2Mtokens", **ASK)
        assert answer.table()["domain_ratio"].tolist() == [p.domain_ratio for p in answer.probes]


def _joined(first, second):
    return pd.concat([first, second.assign(run_id="half-" + second["run_id"])], ignore_index=True)
