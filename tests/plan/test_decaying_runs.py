"""An evaluation within a decay of the learning rate is no finished run, and is not held against the limit of one."""

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.plan.findings import measured_beside
from cmrplan.report.text import answer_sentences

SIZE, LONGEST, PEAK, BASE = 1e8, 4e9, 6e-4, 2.8
RATIOS = (0.0, 0.15, 0.3, 0.6, 1.0)
STILL_HIGH = 0.04  # nats at the peak rate, none at its end


def rate(tokens, longest=LONGEST):
    return PEAK * (0.1 + 0.45 * (1 + np.cos(np.pi * tokens / longest)))


def general(tokens, ratio):
    return BASE + np.log1p(tokens / 1e8) * (0.02 * ratio**1.5 - 0.003)


def domain(tokens, ratio):
    return 3.2 - 0.3 * (1 - (1 + 20 * ratio * tokens / 1e9) ** -0.3)


def log_of(lengths):
    """Return the log of runs of each length, whose rates fall by a cosine."""
    rng, rows = np.random.default_rng(3), []
    for ratio, length in ((ratio, length) for length in lengths for ratio in RATIOS):
        run = f"r{ratio:g}-{length:g}"
        rows += [(run, 0.0, ratio, "general", BASE, PEAK), (run, 0.0, ratio, "domain", 3.2, PEAK)]
        own = dict(zip(("general", "domain"), rng.normal(0, 0.001, 2), strict=True))
        for tokens in np.linspace(0.1, 1, 10) * length:
            high = STILL_HIGH * (rate(tokens, length) / PEAK - 0.1)
            for corpus, true in (("general", general), ("domain", domain)):
                loss = true(tokens, ratio) + high + own[corpus] + rng.normal(0, 0.001)
                rows.append((run, tokens, ratio, corpus, loss, rate(tokens, length)))
    names = ["run_id", "train_tokens", "domain_ratio", "eval_corpus", "loss", "learning_rate"]
    return pd.DataFrame(rows, columns=names).assign(model_params=SIZE)


@pytest.fixture(scope="module")
def fit():
    return cp.fit(log_of([LONGEST]), bootstrap=100)


@pytest.fixture(scope="module")
def fit_of_two():
    return cp.fit(log_of([LONGEST, LONGEST / 2]), bootstrap=100)


@pytest.mark.parametrize("tokens", [1e9, 2e9, 4e9])
def test_the_chance_is_what_the_confidence_leaves(fit, tokens):
    made = cp.plan(fit, model_params=SIZE, train_tokens=tokens, max_general_rise="1.5%")
    assert made.general_loss_limit < general(tokens, 0.6) + STILL_HIGH
    assert made.violation_probability == pytest.approx(0.1, abs=0.02)
    codes = {str(finding.code) for finding in made.warnings}
    assert not codes & {"measured_break", "measured_better", "misfit"}
    assert "in 90 % of the resamples" in answer_sentences(made)[0]


def test_the_end_of_a_run_is_a_finished_one(fit, fit_of_two):
    # of the runs with 4B tokens none has ended by 2B
    asked = cp.PlanRequest(model_params=SIZE, train_tokens=2e9, max_general_rise="1.5%")
    assert measured_beside(fit, asked) == []
    (there,) = measured_beside(fit_of_two, asked)
    assert there.train_tokens == 2e9
    assert there.general == pytest.approx(general(2e9, np.array(RATIOS)), abs=0.004)


def test_no_run_ended_as_a_schedule_that_goes_to_zero(fit):
    # those of the log end at a tenth of the peak
    planned = cp.under_schedule(fit, "wsd")
    asked = cp.PlanRequest(model_params=SIZE, train_tokens=LONGEST, max_general_rise="1.5%")
    assert len(measured_beside(fit, asked)) == 1
    assert measured_beside(planned, asked) == []
    assert cp.plan(planned, asked).is_feasible
