"""Several corpora of which one is scarce: probes that pass over it more than once, and runs that do."""

import json

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.cli.app import run
from cmrplan.errors import InputError
from cmrplan.laws.repetition import effective_tokens
from cmrplan.validate.predictors import mixture_predictors

D, U, SCALE = 2e8, 2e7, 6.0
BUDGETS = np.array([0.0625, 0.125, 0.25, 0.5, 1.0]) * D
NAMES = ("code", "law", "web")
AT = {"model_params": 1e7, "train_tokens": D}


def true_loss(j, shares, tokens, held=U):
    """Return a loss that falls with the tokens that a run is worth; ``code`` is the corpus that repeats."""
    worth = tokens
    if j == 0:
        drawn = tokens * shares[0]
        worth = tokens - drawn + float(effective_tokens(drawn, held, SCALE))
    u = worth / 1e8
    return 2 + 0.8 * np.exp(-2 * shares[j] - 0.3 * shares[(j + 1) % 3]) * u**-0.25 + 0.5 * u**-0.2


def scarce(*, held=(U,), runs=24, budgets=BUDGETS, names=NAMES, noise=0.002):
    """Return a log whose ``code`` holds as many tokens as ``held`` says, one after the other."""
    rng, rows = np.random.default_rng(0), []
    for number in range(runs):
        corners = [*np.eye(3), np.full(3, 1 / 3)]
        shares = np.round(corners[number] if number < 4 else rng.dirichlet(np.ones(3)), 4)
        shares[2] = 1 - shares[0] - shares[1]
        holds = held[number % len(held)]
        for tokens in budgets:
            for j, name in enumerate(names):
                loss = true_loss(j, shares, tokens, holds) * np.exp(noise * rng.standard_normal())
                mixture = {f"share_{n}": s for n, s in zip(names, shares, strict=True)}
                row = {"run_id": f"r{number}", "model_params": 1e7, "train_tokens": tokens}
                about = {"eval_corpus": name, "loss": loss, f"unique_{names[0]}_tokens": holds}
                rows.append(row | mixture | about)
    return pd.DataFrame(rows)


MIXTURES = [(0.1, 0.45, 0.45), (0.3, 0.35, 0.35), (0.6, 0.2, 0.2), (0.9, 0.05, 0.05)]


def missed(fit, held, **available):
    """Return by how much the loss on the scarce corpus is missed at some mixtures, nats."""
    return [
        abs(
            fit.predict(dict(zip(NAMES, shares, strict=True)), **AT, **available)["code"].loss[0]
            - true_loss(0, shares, D, held)
        )
        for shares in MIXTURES
    ]


@pytest.fixture(scope="module")
def log():
    return scarce()


@pytest.fixture(scope="module")
def fitted(log):
    return cp.fit_mixture(log, bootstrap=20)


def test_what_the_probes_drew_from_is_said(fitted):
    (said,) = [w.message for w in fitted.warnings if w.code == "probes_repeat"]
    assert "pass over code up to 10 times (unique_code_tokens: 2e+07)" in said


def test_losses_of_the_same_supply(fitted):
    assert max(missed(fitted, U)) < 0.01
    assert missed(fitted, U) == missed(fitted, U, available={"code": U})


@pytest.mark.parametrize("held", [U / 2, U * 5])
def test_another_supply_is_counted_once(log, fitted, held):
    """Laws of a log that does not say what its probes drew from count their repeats twice, or as fresh."""
    silent = cp.fit_mixture(log.drop(columns="unique_code_tokens"), bootstrap=0)
    counted = missed(fitted, held, available={"code": held})
    assert np.mean(counted) < 0.5 * np.mean(missed(silent, held, available={"code": held}))
    assert np.mean(counted) < 0.6 * np.mean(missed(silent, held))


def test_probes_of_several_supplies(fitted):
    """A fit that takes each row's own supply knows all of them."""
    several = cp.fit_mixture(scarce(held=(U, 4 * U)), bootstrap=0)
    for held in (U, 4 * U):
        assert max(missed(several, held, available={"code": held})) < 0.025
    (said,) = [w.message for w in several.warnings if w.code == "probes_repeat"]
    assert "at most 8e+07" in said


def test_a_plan_reads_what_predict_says(fitted):
    plan = cp.plan_mixture(fitted, **AT, objective={"code": 1, "law": 1})
    same = fitted.predict(plan.shares, **AT)["code"]
    assert plan.losses["code"].loss.estimate == pytest.approx(same.loss[0], rel=1e-5)
    assert plan.epochs["code"] == pytest.approx(plan.shares["code"] * D / U)
    low, high = same.interval(0.9)
    assert plan.losses["code"].loss.low == pytest.approx(low[0], rel=1e-5)
    assert plan.losses["code"].loss.high == pytest.approx(high[0], rel=1e-5)


def test_the_best_mixture_of_a_scarce_corpus_lies_inside(fitted):
    """A run of twice the tokens has its own lowest true loss at less than all of it, found on a fine grid."""
    shares = np.linspace(0.5, 1.0, 501)
    true = [true_loss(0, (s, 1 - s, 0.0), 2 * D) for s in shares]
    best = shares[int(np.argmin(true))]
    assert best < 0.95
    plan = cp.plan_mixture(fitted, model_params=1e7, train_tokens=2 * D, objective={"code": 1})
    reached = true_loss(0, tuple(plan.shares[name] for name in NAMES), 2 * D)
    assert reached - min(true) < 0.01
    assert plan.shares["code"] < 0.99
    assert "repetition_assumed" in [w.code for w in plan.warnings]  # 16 passes, the probes made 10


def test_more_data_bound_a_plan_that_is_given_them(fitted):
    plan = cp.plan_mixture(fitted, **AT, objective={"code": 1}, available={"code": 0.5 * D})
    assert plan.shares["code"] <= 0.5 + 1e-6
    assert [b.kind for b in plan.binding if b.corpus == "code"] == ["available"]


def test_names_change_nothing(fitted):
    others = ("zoo", "ant", "bee")
    renamed = cp.fit_mixture(scarce(names=others), bootstrap=0)
    for shares in MIXTURES:
        own = fitted.predict(dict(zip(NAMES, shares, strict=True)), **AT)["code"].loss[0]
        other = renamed.predict(dict(zip(others, shares, strict=True)), **AT)["zoo"].loss[0]
        assert other == pytest.approx(own, rel=1e-9)


def test_probes_within_one_pass_are_those_of_fresh_data(log):
    ample = log.assign(unique_code_tokens=D)
    fresh = log.drop(columns="unique_code_tokens")
    ample, fresh = (cp.fit_mixture(one, bootstrap=0) for one in (ample, fresh))
    assert not ample.repeated
    assert ample.warnings == fresh.warnings
    assert missed(ample, U) == missed(fresh, U)


def test_two_budgets_are_enough_to_count(log):
    """Laws read the tokens of two budgets, so a supply that is given must not count on top of what they hold."""
    late = cp.fit_mixture(log[log["train_tokens"] >= D / 2], bootstrap=0)
    assert late.repeated
    assert max(missed(late, U)) < 0.02
    assert missed(late, U, available={"code": U}) == missed(late, U)


def test_one_budget_shows_no_law_of_tokens(log):
    single = cp.fit_mixture(log[log["train_tokens"] == D], bootstrap=0)
    assert not single.repeated
    (said,) = [w.message for w in single.warnings if w.code == "probes_repeat"]
    assert "no law counts them" in said


def test_the_file_holds_it(fitted, tmp_path):
    path = tmp_path / "fit.json"
    cp.write_mixture_fit(fitted, path)
    again = cp.read_mixture_fit(path)
    assert again.repeated == fitted.repeated
    assert missed(again, U) == missed(fitted, U)
    held = json.loads(path.read_text())["repeated"]["code"]
    assert (held["unique_tokens"], held["most_passes"]) == (U, pytest.approx(10))


def test_the_command_takes_another_supply(fitted, tmp_path, capsys):
    path = tmp_path / "fit.json"
    cp.write_mixture_fit(fitted, path)
    given = ["--share", "code=0.6", "--share", "law=0.2", "--share", "web=0.2", "--json", "--parts"]
    asked = ["mix", "predict", str(path), *given, "--available", "code=10M"]
    assert run(asked) == 0
    value = json.loads(capsys.readouterr().out)
    mixture = dict(zip(NAMES, MIXTURES[2], strict=True))
    expected = fitted.predict(mixture, **AT, available={"code": 1e7})["code"].loss[0]
    losses = value["losses"]["code"]
    assert losses["loss"] == expected
    assert losses["law"] + losses["residual"] == pytest.approx(expected, rel=1e-12)
    assert "repetition_assumed" in [w["code"] for w in value["warnings"]]
    assert run([*asked[:-1], "cod=10M"]) == 2
    assert "no training corpus 'cod'; it has code, law, web" in capsys.readouterr().err


def test_a_corpus_that_holds_nothing_is_refused(log):
    with pytest.raises(InputError, match="unique_code_tokens must be > 0, got 0"):
        cp.validate_log(log.assign(unique_code_tokens=0))


def test_hidden_rows_are_predicted_by_what_they_are_worth(log):
    """The default reads the column where it is ranked, too."""
    own = log[log["eval_corpus"] == "code"].reset_index(drop=True)
    late = own["train_tokens"] > D / 2
    predict = mixture_predictors()["auto"]
    silent = own.drop(columns="unique_code_tokens")
    errors = [
        np.mean(np.abs(predict(rows[~late], rows[late], "code") - own.loc[late, "loss"]))
        for rows in (own, silent)
    ]
    assert errors[0] < 0.8 * errors[1]
