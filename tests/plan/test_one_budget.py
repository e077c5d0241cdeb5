"""A log says nothing of budgets beyond those of a size, and a plan or a prediction there says so."""

import pandas as pd
import pytest
from rated_logs import BASE, SIZE, TOKENS, largest_ratio, rated_log, true_loss
from simulated import simulated_log

import cmrplan as cp
from cmrplan.codes import Code, Severity
from cmrplan.report.page.answer import answer_sentence, meaning_of
from cmrplan.report.text import plan_text

RISE = 0.05


@pytest.fixture(scope="module")
def fit():
    log = rated_log(lengths=(TOKENS,)).drop(columns="learning_rate")
    return cp.fit(log[log["train_tokens"].isin([0, TOKENS])], residual="none", bootstrap=0)


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


@pytest.fixture(scope="module")
def laws_alone():
    log = rated_log(lengths=(TOKENS,)).drop(columns="learning_rate")
    return cp.fit(log[log["train_tokens"].isin([0, TOKENS])], residual="none", bootstrap=40)


def said_in_words(plan):
    return [plan_text(plan), answer_sentence(plan) + " ".join(meaning_of(plan))]


def test_laws_alone_claim_confidence_at_the_probed_budget_alone(laws_alone):
    """Their draws know one budget, and the true rise at four times it is above the limit for certain."""
    there, beyond = asked(laws_alone, TOKENS), asked(laws_alone, 4 * TOKENS)
    truth = true_loss("general", beyond.domain_ratio, tokens=4 * TOKENS) - BASE["general"]
    assert (
        truth > RISE + 0.01 > beyond.general_rise.high
    )  # what was printed as 90 % and as a chance of 10 %
    assert beyond.violation_probability < 0.2
    untold = [one for one in beyond.warnings if one.code == Code.BUDGET_UNTOLD]
    assert len(untold) == 1
    assert untold[0].code.severity is Severity.STOP
    assert "4e+09 tokens and have no room for what 1.6e+10 do" in untold[0].message
    for text in said_in_words(beyond):
        assert "nothing in the log tells whether it does at 16B tokens" in text
        assert "%, at the budget that was probed" in text
    for text in said_in_words(there):
        assert "nothing in the log" not in text
        assert "at the budget" not in text
    assert Code.BUDGET_UNTOLD not in [one.code for one in there.warnings]


def test_a_residual_has_room_for_other_budgets(laws_alone):
    once = laws_alone.log
    again = once.assign(run_id=once["run_id"] + "-again", loss=once["loss"] + 0.0007)
    again.loc[again["train_tokens"] == 0, "loss"] -= 0.0007
    fit = cp.fit(pd.concat([once, again]), bootstrap=40)
    assert all(model.follows_rows for model in fit.models.values())
    low, high = fit.predict(
        "general", model_params=SIZE, train_tokens=4 * TOKENS, domain_ratio=0.5
    ).interval(0.9)
    assert low < true_loss("general", 0.5, tokens=4 * TOKENS) < high
    found = fit.probed.extrapolation_findings(model_params=SIZE, train_tokens=4 * TOKENS)
    assert [one.code for one in found] == [Code.EXTRAPOLATES_TOKENS]
    assert "the log has no other budget, so how a loss changes with tokens is taken from" in str(
        found
    )


def test_laws_of_several_budgets_read_the_tokens():
    fit = cp.fit(rated_log().drop(columns="learning_rate"), "dcpt", bootstrap=0)
    found = fit.probed.extrapolation_findings(model_params=SIZE, train_tokens=4 * TOKENS)
    assert [one.code for one in found] == [Code.EXTRAPOLATES_TOKENS]
