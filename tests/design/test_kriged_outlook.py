"""What probes are worth under laws with a residual: monotone, conditional on what was taken as run, and honest."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import cmrplan as cp
from cmrplan.design.kriged_outlook import KrigedOutlook, answer_weights
from cmrplan.design.outlooks import outlook_of
from cmrplan.plan.request import PlanRequest

PROBES = Path(__file__).parents[2] / "data" / "probes" / "log.csv"
N, D = 443232.0, 8e5
ASK = {"model_params": N, "train_tokens": D, "max_general_rise": "8%"}


@pytest.fixture(scope="module")
def fit() -> cp.Fit:
    """One size, five ratios, budgets up to a quarter of the target."""
    log = cp.read_log(PROBES)
    few = log["domain_ratio"].isin((0.0, 0.1, 0.3, 0.6, 1.0))
    is_short = log["train_tokens"] <= D / 4
    here = (log["model_params"] == N) & (log["seed"] == 0)
    return cp.fit(log[here & few & is_short], bootstrap=60)


@pytest.fixture(scope="module")
def outlook(fit: cp.Fit) -> KrigedOutlook:
    """What it expects."""
    outlook = outlook_of(fit, PlanRequest(**ASK))
    assert isinstance(outlook, KrigedOutlook)
    return outlook


def test_the_interval_now_is_the_plans(fit: cp.Fit, outlook: KrigedOutlook) -> None:
    plan = cp.plan(fit, **ASK)
    assert outlook.interval_now() == (plan.domain_ratio_low, plan.domain_ratio_high)
    assert outlook.interval() == outlook.interval_now()


def test_a_run_never_widens_what_is_linear(outlook: KrigedOutlook) -> None:
    """Normal distributions lose variance by any measurement, so no run is worth less than nothing."""
    reduction = outlook.expected_variance_reduction()
    assert np.all(reduction >= 0)
    assert np.all(reduction < 1)
    best = int(np.argmax(reduction))
    after = outlook.with_run(best)
    for corpus, loss in outlook._losses.items():
        assert np.all(after._losses[corpus].variance <= loss.variance)
    # what one run told is not told again
    assert after.expected_variance_reduction()[best] < 0.7 * reduction[best]


def test_runs_are_taken_in_in_any_order(outlook: KrigedOutlook) -> None:
    one, two = 3, len(outlook.candidates.train_tokens) - 5
    there, back = outlook.with_run(one).with_run(two), outlook.with_run(two).with_run(one)
    np.testing.assert_allclose(there.interval(), back.interval(), atol=1e-6)
    np.testing.assert_allclose(
        there.expected_variance_reduction(), back.expected_variance_reduction(), atol=1e-6
    )


def test_longer_runs_of_a_ratio_tell_more(outlook: KrigedOutlook) -> None:
    """At the target's budget the whole curve is asked for, so the longest run of a ratio is worth most."""
    runs, reduction = outlook.candidates, outlook.expected_variance_reduction()
    ratio = runs.domain_ratio[np.argmax(reduction)]
    mine = runs.domain_ratio == ratio
    order = np.argsort(runs.train_tokens[mine])
    values = reduction[mine][order]
    assert np.all(np.diff(values) > 0)


def test_no_budget_promises_less_than_a_smaller_one(fit: cp.Fit) -> None:
    answers = [
        cp.next_probes(fit, budget=f"{amount}tokens", resolution=0.0, **ASK)
        for amount in (2e5, 2e6)
    ]
    widths = [answers[0].width, *(answer.expected_width for answer in answers)]
    assert all(after <= before for before, after in pairwise(widths))
    assert widths[-1] < 0.8 * widths[0]
    for answer in answers:
        after = [answer.width, *(probe.width_after for probe in answer.probes)]
        assert all(later <= earlier for earlier, later in pairwise(after))
        assert answer.cost <= answer.budget
        assert answer.expected_width == pytest.approx(after[-1])


def test_what_does_not_help_is_not_proposed(fit: cp.Fit) -> None:
    """Only one of the shortest runs can be paid for, a tenth of the budget that is asked about."""
    answer = cp.next_probes(fit, budget="85000tokens", least_narrowing=0.6, resolution=0, **ASK)
    assert (answer.stop, answer.probes) == ("does_not_pay", ())
    assert "no probe helps" in answer.stop_reason
    assert answer.expected_width == answer.width


def test_weights_of_a_linear_answer_are_its_own() -> None:
    """Curves of two directions each: the answer 2 a - 3 b is found at its points, whatever else moves."""
    rng = np.random.default_rng(3)
    grid = np.linspace(0, 1, 9)
    level, slope, other = rng.standard_normal((3, 200, 1))
    curves = {"general": level + slope * grid, "domain": other * np.exp(-grid)}
    answers = 2 * level[:, 0] - 3 * other[:, 0]
    weights = answer_weights(answers, curves)
    predicted = sum(
        (draws - draws.mean(axis=0)) @ weights[corpus] for corpus, draws in curves.items()
    )
    np.testing.assert_allclose(predicted, answers - answers.mean(), atol=1e-10)
