"""A log of one token count says nothing of other budgets, and a plan or a prediction there says so."""

import pytest
from rated_logs import SIZE, TOKENS, largest_ratio, rated_log

import cmrplan as cp

RISE = 0.05


@pytest.fixture(scope="module")
def fit():
    log = rated_log(lengths=(TOKENS,)).drop(columns="learning_rate")
    return cp.fit(log[log["train_tokens"].isin([0, TOKENS])], bootstrap=0)


def asked(fit, tokens):
    return cp.plan(fit, model_params=SIZE, train_tokens=tokens, max_general_rise=RISE)


def test_another_budget_is_said_to_be_untold(fit):
    there, beyond = asked(fit, TOKENS), asked(fit, 4 * TOKENS)
    assert there.domain_ratio == pytest.approx(largest_ratio(RISE), abs=0.05)
    assert largest_ratio(RISE) - largest_ratio(RISE, tokens=4 * TOKENS) > 0.15
    assert beyond.domain_ratio == pytest.approx(there.domain_ratio, abs=0.02)  # so it must say so
    (said,) = [one.message for one in beyond.warnings if one.code == "extrapolates_tokens"]
    assert "4 times the largest fitted (4e+09); the log has no other budget, so nothing" in said
    assert "extrapolates_tokens" not in [one.code for one in there.warnings]


def test_a_log_of_several_budgets_is_not_said_to_have_one():
    fit = cp.fit(rated_log(lengths=(2e9, TOKENS)).drop(columns="learning_rate"), bootstrap=0)
    (said,) = [
        one.message for one in asked(fit, 4 * TOKENS).warnings if one.code == "extrapolates_tokens"
    ]
    assert "no other budget" not in said
