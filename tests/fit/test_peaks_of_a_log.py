"""A log whose runs had several peaks, or no decay: answers say which peak they are of, and a decay is refused."""

import pandas as pd
import pytest
from rated_logs import SIZE, TOKENS, largest_ratio, rated_log

import cmrplan as cp
from cmrplan.fit.schedule_areas import peak_findings

RISE = 0.05
LOW, HIGH = 1e-4, 3e-4


@pytest.fixture(scope="module")
def constant():
    log = rated_log(peaks=(LOW, HIGH), course="constant", lengths=(TOKENS,))
    return cp.fit(log, bootstrap=30)


def ratio_of(fit):
    asked = {"model_params": SIZE, "train_tokens": TOKENS, "max_general_rise": RISE}
    return cp.plan(fit, **asked).ratio.estimate


def test_a_fit_of_several_peaks_says_of_which_its_answers_are(constant):
    (said,) = [one for one in constant.warnings if one.code == "several_peaks"]
    assert "peak rates from 0.0001 to 0.0003; an answer is of a run with 0.0001" in said.message
    truth = {
        peak: largest_ratio(RISE, peak=peak, course="constant", tokens=TOKENS)
        for peak in (LOW, HIGH)
    }
    assert truth[LOW] - truth[HIGH] > 0.1
    assert ratio_of(constant) == pytest.approx(truth[LOW], abs=0.03)
    high = cp.under_schedule(constant, peak_rate=HIGH)
    assert ratio_of(high) == pytest.approx(truth[HIGH], abs=0.03)
    assert "several_peaks" not in [one.code for one in high.warnings]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_a_decay_that_no_run_had_a_part_of_is_refused(constant, schedule):
    with pytest.raises(cp.CmrplanError, match=f"what the decay of a {schedule} schedule does"):
        cp.under_schedule(constant, schedule, peak_rate=HIGH)


def test_a_schedule_without_a_peak_says_the_peak_that_it_takes():
    """After a quarter of a cosine to a tenth the rate is 0.868 of its peak, the largest that was evaluated."""
    fit = cp.fit(rated_log(lengths=(TOKENS,)), bootstrap=0)
    assert "several_peaks" not in [one.code for one in fit.warnings]
    said = cp.under_schedule(fit, "constant").warnings[-1].message
    assert "its peak is the log's, 0.00026" in said
    asked = cp.under_schedule(fit, "constant", peak_rate=2.6e-4).warnings[-1].message
    assert "no run of the log had a constant schedule" in asked
    assert "its peak" not in asked


def rates(name, peak, evaluated):
    """Return the rates of a run that falls linearly to 0 from its base on, at parts of its length."""
    tokens = TOKENS * max(evaluated)
    return pd.DataFrame(
        {
            "run_id": name,
            "model_params": SIZE,
            "train_tokens": [TOKENS * at for at in evaluated],
            "learning_rate": [peak * (1.01 - TOKENS * at / tokens) for at in evaluated],
        }
    )


def test_runs_of_one_peak_that_are_evaluated_at_other_parts_are_not_several_peaks():
    """The largest rate among evaluations every billion tokens is half of the peak for a run of two billion."""
    lengths = [rates(f"d{n}", HIGH, [k / 8 for k in range(1, n + 1)]) for n in (1, 2, 4, 8)]
    assert peak_findings(pd.concat(lengths), "scaled_rate") == []
    other = rates("low", LOW, [k / 8 for k in range(1, 9)])
    (said,) = peak_findings(pd.concat([*lengths, other]), "scaled_rate")
    assert "an answer is of a run with 8.85e-05" in said.message  # 0.885 of it after an eighth
