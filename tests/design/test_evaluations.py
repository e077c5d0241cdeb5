"""Base losses that a plan has to guess are named, with what they leave open."""

from __future__ import annotations

import numpy as np
import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan.design import evaluations
from cmrplan.report.probes import next_text

ASK = {"train_tokens": 1e6, "max_general_rise": "3%", "budget": "1Mtokens", "resolution": 1}


@pytest.fixture(scope="module")
def fit() -> cp.Fit:
    """Two sizes with their base losses."""
    return cp.fit(simulated_log(seeds=(0,)), "dcpt", bootstrap=60)


def test_the_base_of_an_unprobed_size_is_worth_measuring(
    fit: cp.Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluations, "SPREAD_FROM_MORE", 0.2)
    answer = cp.next_probes(fit, model_params=3e6, **ASK)
    (evaluation,) = answer.evaluations
    assert evaluation.model_params == 3e6
    # two sizes are known, and 3e6 lies ln 3 beyond the larger
    assert evaluation.spread == pytest.approx(0.2 * np.log(3))
    assert evaluation.low <= answer.domain_ratio_low
    assert evaluation.high >= answer.domain_ratio_high
    assert evaluation.high - evaluation.low > answer.width
    assert "evaluate first            the base loss of N = 3.0M, no training" in next_text(answer)
    assert answer.as_dict()["evaluations"][0]["base_loss"] == evaluation.base_loss


def test_one_that_would_narrow_the_interval_is_named() -> None:
    """By the default an unknown base leaves the interval wider, and no base loss beside it goes beyond that."""
    fit = cp.fit("data/probes/log.csv", bootstrap=60)
    asked = {"model_params": 3e6, "train_tokens": 8e5, "max_general_rise": "5%"}
    answer = cp.next_probes(fit, **asked, budget="1Mtokens", resolution=0.01)
    (evaluation,) = answer.evaluations
    known = cp.plan(fit, **asked, base_loss=evaluation.base_loss)
    width = evaluation.high_known - evaluation.low_known
    assert width < 0.95 * answer.width
    assert width == pytest.approx(known.ratio.high - known.ratio.low, abs=0.02)  # on a coarser grid
    said = f"known, and that, it is {evaluation.low_known:.3f} to {evaluation.high_known:.3f}"
    assert said in next_text(answer)


def test_one_that_moves_no_ratio_is_not_named(fit: cp.Fit) -> None:
    """The rise reaches the limit so steeply that 2 % of it make no difference."""
    assert not cp.next_probes(fit, model_params=3e6, **ASK).evaluations


def test_a_base_loss_that_is_known_is_not(fit: cp.Fit) -> None:
    assert not cp.next_probes(fit, model_params=1e6, **ASK).evaluations
    assert not cp.next_probes(fit, model_params=3e6, base_loss=1.7, **ASK).evaluations


def test_over_pure_replay_no_base_loss_counts(fit: cp.Fit) -> None:
    assert not cp.next_probes(fit, model_params=3e6, rise_over="replay", **ASK).evaluations


def test_probed_sizes_without_one_are_named(fit: cp.Fit) -> None:
    log = simulated_log(seeds=(0,))
    bare = cp.fit(log[log["train_tokens"] > 0], "dcpt", bootstrap=60)
    answer = cp.next_probes(bare, model_params=1e6, base_loss=1.8, **ASK)
    assert [(e.model_params, e.low) for e in answer.evaluations] == [(3e5, None)]
    assert "base loss of N = 300k, no training: the log lacks it" in next_text(answer)
