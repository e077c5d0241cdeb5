"""A log says nothing of budgets beyond those of a size, and a plan or a prediction there says so."""

import pytest
from rated_logs import SIZE, TOKENS, largest_ratio, rated_log
from simulated import simulated_log

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


@pytest.mark.parametrize(
    ("size", "tokens", "is_beyond"),
    [(1e6, 3e5, True), (1e6, 1.2e5, False), (3e5, 3e5, False), (6e5, 3e5, False)],
)
def test_a_budget_beyond_those_of_its_own_size_is_said(size, tokens, is_beyond):
    """Both losses of 300k parameters, and one of 1M, go on to 1M tokens; the general loss of 1M ends at about 122k."""
    log = simulated_log()
    is_short = (log["model_params"] == 1e6) & (log["eval_corpus"] == "general")
    log = log[~is_short | (log["train_tokens"] < 2e5)]
    longest = log.loc[is_short, "train_tokens"].max()
    fit = cp.fit(log, "dcpt", bootstrap=0)
    findings = fit.probed.extrapolation_findings(model_params=size, train_tokens=tokens)
    said = [one.message for one in findings if one.code == "extrapolates_tokens"]
    assert bool(said) == is_beyond
    if is_beyond:
        assert (
            f"is {tokens / longest:.3g} times the largest fitted ({longest:.4g}) at 1e+06 "
            in said[0]
        )
        assert "only other sizes tell what longer runs do" in said[0]
