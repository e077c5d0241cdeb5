"""Why no more probes are named than those that are."""

import pytest
from simulated import simulated_log

import cmrplan as cp

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


@pytest.mark.parametrize("further", [{"train_tokens": 8 * D}, {"model_params": 5 * N}])
def test_beyond_the_probes_agreement_is_no_proof(fit, further):
    asked = ASK | {"max_general_rise": "5nats"} | further
    found = cp.next_probes(fit, budget="6Mtokens", **asked)
    assert (found.stop, found.probes) == ("resolution", ())
    assert "one longer or larger probe at that ratio would test it" in found.stop_reason


def test_where_no_ratio_holds_the_limit_there_is_no_interval_to_narrow(fit):
    asked = ASK | {"min_ratio": 0.99}  # where the general loss has risen in every resample
    assert not cp.plan(fit, **asked).is_feasible
    found = cp.next_probes(fit, budget="6Mtokens", **asked)
    assert (found.stop, found.probes) == ("no_ratio", ())
    assert "no ratio holds the limit" in found.stop_reason
    assert "as narrow as asked" not in found.stop_reason
