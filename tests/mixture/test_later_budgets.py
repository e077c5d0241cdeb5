"""Losses beyond the largest probed budget, against a truth that no mixture law bends like: a run on from a base."""

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.mixture.later_budgets import MISS, forecast_factors, late_slope
from cmrplan.mixture.loss_functions import loss_functions_of
from cmrplan.mixture.request import MixturePlanRequest

CORPORA = ("web", "code", "law")
OWN = np.array([[1.0, 0.1, 0.1], [0.1, 1.0, 0.15], [0.05, 0.1, 1.0]])


def truth(shares: np.ndarray, tokens: float) -> np.ndarray:
    """A power of base tokens and the worth of the run's: by ln D it falls slowly first, then faster."""
    return 1.8 + 0.6 * (1 + shares @ OWN.T * tokens / 6e8) ** -0.3


def probes(seed: int) -> pd.DataFrame:
    generator, records = np.random.default_rng(seed), []
    for run, shares in enumerate(generator.dirichlet(np.ones(3), 16)):
        for tokens in (2.5e8, 5e8, 1e9):
            losses = truth(shares[None, :], tokens)[0] + 0.002 * generator.standard_normal(3)
            records += [
                (f"r{run}", 1e8, tokens, *shares, corpus, loss)
                for corpus, loss in zip(CORPORA, losses, strict=True)
            ]
    shares_of = [f"share_{corpus}" for corpus in CORPORA]
    names = ["run_id", "model_params", "train_tokens", *shares_of, "eval_corpus", "loss"]
    return pd.DataFrame(records, columns=names)


@pytest.fixture(scope="module", params=[0, 1])
def fit(request):
    return cp.fit_mixture(probes(request.param))


def test_intervals_hold_the_losses_of_later_budgets(fit):
    """Without room for what the laws miss, less than 0.3 of the 90 % intervals held from twice the budget on."""
    shares = np.random.default_rng(9).dirichlet(np.ones(3), 20)
    order = [CORPORA.index(name) for name in fit.corpora]
    for tokens in (2e9, 4e9):
        predicted = fit.predict(shares[:, order], model_params=1e8, train_tokens=tokens)
        losses = truth(shares, tokens)
        held = []
        for j, corpus in enumerate(CORPORA):
            low, high = np.quantile(predicted[corpus].draws, [0.05, 0.95], axis=0)
            held.append((low <= losses[:, j]) & (losses[:, j] <= high))
        assert np.mean(held) > 0.8


def test_a_plan_has_the_intervals_of_the_prediction(fit):
    asked = {"model_params": 1e8, "train_tokens": 4e9}
    plan = cp.plan_mixture(fit, protected={"web": "5%"}, base_loss={"web": 2.4}, **asked)
    web = plan.losses["web"].loss
    low, high = np.quantile(fit.predict(plan.shares, **asked)["web"].draws[:, 0], [0.05, 0.95])
    assert (web.low, web.high) == pytest.approx((low, high))
    assert plan.violation_probability <= 0.1


def test_a_plan_searches_under_the_draws_of_the_prediction(fit):
    asked = MixturePlanRequest(train_tokens=4e9, model_params=1e8, protected={"web": "5%"})
    functions = loss_functions_of(fit, asked, {"web": 2.4})
    shares = np.random.default_rng(3).dirichlet(np.ones(3), 5)
    said = fit.predict(shares, model_params=1e8, train_tokens=4e9)
    for corpus in CORPORA:
        _, draws = functions.loss(corpus, shares)
        np.testing.assert_allclose(draws, said[corpus].draws, rtol=1e-9)


def test_at_a_probed_budget_nothing_is_added(fit):
    assert (forecast_factors(fit.rows("web"), {}, 1e9, 0, 0, 50) == 1).all()


def test_the_spread_is_a_part_of_the_late_slope():
    rows = pd.DataFrame(
        {
            "run_id": ["a", "a", "a", "b", "b"],
            "model_params": 1e8,
            "train_tokens": [1e8, 5e8, 1e9, 5e8, 1e9],
            "loss": [9.0, 2.0, 1.9, 2.0, 2.1],
        }
    )
    slope = np.sqrt((np.log(0.95) ** 2 + np.log(1.05) ** 2) / 2) / np.log(2)
    assert late_slope(rows, {}) == pytest.approx(slope)
    factors = forecast_factors(rows, {}, 4e9, 0, 0, 4000)
    # the standard deviation of 4000 normal numbers scatters by 1 %
    assert np.std(np.log(factors)) == pytest.approx(MISS * slope * np.log(4), rel=0.05)


def test_runs_that_were_evaluated_once_go_on_by_a_part_of_their_moves():
    rows = pd.DataFrame(
        {"run_id": ["a", "b"], "model_params": 1e8, "train_tokens": 1e9, "loss": [1.9, 2.1]}
    )
    moves = np.array([np.log(1.9 / 2.5), np.log(2.1 / 2.5)])
    assert late_slope(rows, {1e8: 2.5}) == pytest.approx(0.4 * np.sqrt(np.mean(moves**2)))
    apart = np.array([np.log(0.95), np.log(1.05)])  # of the mean loss, 2
    assert late_slope(rows, {}) == pytest.approx(0.4 * np.sqrt(np.mean(apart**2)))
    larger = rows.assign(
        model_params=3e8, run_id=["c", "d"]
    )  # without a base loss: no move is known
    both = pd.concat([rows, larger])
    assert late_slope(both, {1e8: 2.5}) == pytest.approx(late_slope(rows, {1e8: 2.5}))


def test_intervals_beyond_the_only_budget_hold():
    """Those of moves that go on by an exponent of the tokens up to 0.4."""
    base, held = 2.4, []
    shares = np.random.default_rng(9).dirichlet(np.ones(3), 20)
    for power in (0.2, 0.3, 0.4):
        log = probes(0)
        last = log[log["train_tokens"] == 1e9].copy()
        at = last[[f"share_{corpus}" for corpus in CORPORA]].to_numpy()
        own = [CORPORA.index(corpus) for corpus in last["eval_corpus"]]

        def losses(mixtures, tokens, power=power):
            return base * np.exp(-0.1 * np.sqrt(mixtures @ OWN.T) * (tokens / 1e9) ** power)

        last["loss"] = losses(at, 1e9)[np.arange(len(at)), own]
        last["loss"] *= np.exp(0.001 * np.random.default_rng(1).standard_normal(len(at)))
        start = last.drop_duplicates("eval_corpus").assign(run_id="base", train_tokens=0.0)
        fit = cp.fit_mixture(pd.concat([start.assign(loss=base), last], ignore_index=True))
        order = [CORPORA.index(name) for name in fit.corpora]
        for tokens in (2e9, 4e9):
            predicted = fit.predict(shares[:, order], model_params=1e8, train_tokens=tokens)
            for j, corpus in enumerate(CORPORA):
                low, high = np.quantile(predicted[corpus].draws, [0.05, 0.95], axis=0)
                true = losses(shares, tokens)[:, j]
                held.append(np.mean((low <= true) & (true <= high)))
    assert np.mean(held) >= 0.8
