"""Why no more probes are named than those that are."""

import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan.design.outlooks import outlook_of
from cmrplan.plan.request import PlanRequest
from cmrplan.report.probes import next_text

N, D = 1e6, 1e6
ASK = {"model_params": N, "train_tokens": D, "max_general_rise": "2%"}


@pytest.fixture(scope="module")
def fit():
    """One size, seven ratios from 0 to 1, eight token counts up to 1e6."""
    return cp.fit(simulated_log(sizes=(N,), seeds=(0,), noise=0.01), "dcpt", bootstrap=100)


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
def test_why_it_stops(fit, options, stop, says):
    found = cp.next_probes(fit, **({"budget": "6Mtokens"} | ASK | options))
    assert found.stop == stop
    assert len(found.probes) == (stop == "most_probes")
    assert says in found.stop_reason


def test_an_answer_that_no_draw_changes_needs_no_probe(fit):
    found = cp.next_probes(fit, budget="6Mtokens", **(ASK | {"max_general_rise": "5nats"}))
    assert (found.stop, found.probes) == ("resolution", ())
    assert "beyond the probes" not in found.stop_reason


BEYOND = [{"train_tokens": 8 * D}, {"model_params": 5 * N}]


@pytest.mark.parametrize(
    ("further", "sizes", "run"),
    [
        (BEYOND[0], (), (N, 4 * D)),
        (BEYOND[0] | {"train_tokens": 2 * D}, (), (N, 2 * D)),
        (BEYOND[1], (2 * N, 4 * N), (4 * N, D)),
    ],
)
def test_beyond_the_probes_the_run_that_comes_nearest_tests_what_all_draws_say(
    fit, further, sizes, run
):
    asked = ASK | {"max_general_rise": "5nats"} | further
    found = cp.next_probes(fit, budget="6Mtokens", sizes=sizes, **asked)
    probe = found.probes[0]
    assert (found.stop, len(found.probes), found.is_trial) == ("resolution", 1, True)
    assert (probe.model_params, probe.train_tokens) == run
    assert found.as_dict()["is_trial"]
    assert found.domain_ratio == 1
    assert probe.domain_ratio == 0.95  # 1 was probed, and the log's ratios are stepped by 0.05
    assert found.expected_width == found.width
    assert "agree more easily than runs do: the probe that is named" in found.stop_reason
    text = next_text(found)
    assert "expected after" not in text
    assert "0.95" in text


@pytest.mark.parametrize("further", BEYOND)
def test_beyond_the_probes_a_test_that_cannot_be_paid_is_put_into_words(fit, further):
    asked = ASK | {"max_general_rise": "5nats"} | further
    found = cp.next_probes(fit, budget="500ktokens", **asked)
    assert (found.stop, found.probes, found.is_trial) == ("resolution", (), False)
    assert "one longer or larger probe at that ratio would test it" in found.stop_reason


def test_beyond_the_probes_a_limit_that_no_ratio_holds_is_tested_where_the_rise_is_least(fit):
    asked = ASK | {"min_ratio": 0.99, "train_tokens": 2 * D}
    assert not cp.plan(fit, **asked).is_feasible
    found = cp.next_probes(fit, budget="6Mtokens", **asked)
    assert (found.stop, len(found.probes), found.is_trial) == ("no_ratio", 1, True)
    assert found.probes[0].train_tokens == 2 * D
    assert found.probes[0].domain_ratio >= 0.95
    assert outlook_of(fit, PlanRequest(**asked)).ratio_in_question == 0.99
    assert "best estimate now         none, and no interval" in next_text(found)


def test_where_no_ratio_holds_the_limit_there_is_no_interval_to_narrow(fit):
    asked = ASK | {"min_ratio": 0.99}  # where the general loss has risen in every resample
    assert not cp.plan(fit, **asked).is_feasible
    found = cp.next_probes(fit, budget="6Mtokens", **asked)
    assert (found.stop, found.probes) == ("no_ratio", ())
    assert "no ratio holds the limit" in found.stop_reason
    assert "as narrow as asked" not in found.stop_reason
