"""Runs whose sampler weight is not their share of domain tokens."""

import numpy as np
import pandas as pd
import pytest
from test_plausibility import sweep

import cmrplan as cp
from cmrplan.log.files import check_log
from cmrplan.log.realized import with_token_share
from cmrplan.validate.predictors import predictors

ASK = {"model_params": 4e8, "train_tokens": 3e9, "max_general_rise": 0.1}


def weight_of(share, ratio_of_lengths=8.0):
    """Return the share of documents that gives a share of tokens, domain documents being so much longer."""
    return share / (share + (1 - share) * ratio_of_lengths)


@pytest.fixture
def log():
    """A sweep by share of tokens, five ratios with 0.11 nats of general rise at 1 and 3e9 tokens."""
    return cp.validate_log(sweep(sizes=(4e8,), noise=0.001))


def by_documents(log):
    realized = log["domain_ratio"].where(log["train_tokens"] > 0)
    weight = weight_of(log["domain_ratio"]).round(4)
    return log.assign(domain_ratio=weight, realized_domain_ratio=realized)


def test_the_twin_by_documents_has_the_same_fit_and_plan(log):
    twin = cp.fit(by_documents(log), "dcpt", bootstrap=0)
    right = cp.fit(log, "dcpt", bootstrap=0)
    assert "document_share" in {finding.code for finding in twin.warnings}
    assert "document_share" not in {finding.code for finding in right.warnings}
    assert cp.plan(twin, **ASK).domain_ratio == cp.plan(right, **ASK).domain_ratio
    assert "document_share" in {finding.code for finding in cp.plan(twin, **ASK).warnings}


def test_compare_and_check_take_it_too(log, monkeypatch):
    twin = by_documents(log)

    def simple(base_loss):
        return {name: predictors(base_loss)[name] for name in ("interpolation", "linear")}

    monkeypatch.setattr("cmrplan.validate.compare.predictors", simple)
    assert cp.compare(twin).errors.equals(cp.compare(log).errors)
    finding = next(one for one in check_log(twin) if one.code == "document_share")
    assert finding.message.startswith(
        "log: domain_ratio differs from realized_domain_ratio in 3 of 5 runs (at 0.1579"
    )
    assert finding.column == "realized_domain_ratio"


def test_what_a_sampler_draws_by_chance_is_the_same(log):
    off = np.maximum(0.0019, 0.019 * log["domain_ratio"])
    near = log.assign(realized_domain_ratio=(log["domain_ratio"] - off).clip(lower=0))
    same, findings = with_token_share(near)
    assert same is near
    assert not findings


def test_runs_of_one_weight_stay_one_level_unless_they_differ():
    runs = pd.DataFrame(
        {
            "run_id": ["a", "b", "c", "d", "e", "base"],
            "train_tokens": [1e9] * 5 + [0.0],
            "domain_ratio": [0.1, 0.1, 0.1, 0.1, 0.5, 0.3],
            "realized_domain_ratio": [0.300, 0.301, 0.302, 0.4, np.nan, np.nan],
        }
    )
    log, (finding,) = with_token_share(runs)
    # the median of the four is 0.3015, the fourth lies apart, the fifth has none and nobody beside it
    assert log["domain_ratio"].tolist() == [0.3015, 0.3015, 0.3015, 0.4, 0.5, 0.3]
    assert "in 4 of 5 runs" in finding.message
    assert "1 of the runs have none" in finding.message


def test_the_share_of_the_largest_budget_counts(log):
    early = by_documents(log)
    first = early["train_tokens"] == 2e8
    early.loc[first, "realized_domain_ratio"] *= 0.9
    shares, _ = with_token_share(early)
    assert shares["domain_ratio"].equals(log["domain_ratio"])
