"""Logs of one budget: what later tokens do comes from other sweeps, and is no more certain than these are."""

import numpy as np
import pandas as pd

import cmrplan as cp
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.residual.mean_functions import own_law
from cmrplan.fit.residual.observations import observations
from cmrplan.fit.residual.one_budget import ByOneBudget
from cmrplan.log.files import base_losses

SIZE, BUDGET = 4.1e8, 2e9
BASE = {"general": 2.6, "domain": 2.9}


class Truth:
    """Losses whose logarithm moves from the base as a power of the tokens: published exponents are 0.2 to 0.5."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.power = {corpus: rng.uniform(0.2, 0.5) for corpus in BASE}
        self.fall, self.rise = rng.uniform(0.08, 0.3), rng.uniform(0.03, 0.1)
        self.bend, self.noise = rng.uniform(0.4, 1.2), 0.002

    def loss(self, corpus, tokens, ratio):
        move = -self.fall * ratio**self.bend
        if corpus == "general":
            move = self.rise * (ratio**2 - 0.25 * (1 - ratio))
        return BASE[corpus] * np.exp(move * (tokens / BUDGET) ** self.power[corpus])

    def log(self, ratios, budgets=(BUDGET,), seed=0):
        rng, rows = np.random.default_rng(seed), []
        for ratio in ratios:
            for corpus in BASE:
                losses = [self.loss(corpus, tokens, ratio) for tokens in budgets]
                noisy = losses * np.exp(self.noise * rng.standard_normal(len(losses)))
                for tokens, loss in zip((0.0, *budgets), (BASE[corpus], *noisy), strict=True):
                    rows.append((f"r{ratio:g}", SIZE, tokens, ratio, corpus, loss))
        names = ("run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss")
        return pd.DataFrame(rows, columns=names)


EIGHT = (0.05, 0.2, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9)


def test_intervals_beyond_the_only_budget_hold_and_say_something():
    held, widths = [], []
    for seed in range(6):
        truth = Truth(seed)
        fit = cp.fit(truth.log(EIGHT, seed=seed))
        at = np.array([0.2, 0.5, 0.8])
        for corpus in BASE:
            for times in (2, 4):
                tokens = times * BUDGET
                found = fit.predict(corpus, model_params=SIZE, train_tokens=tokens, domain_ratio=at)
                low, high = found.interval(0.9)
                true = truth.loss(corpus, tokens, at)
                held += list((low <= true) & (true <= high))
                widths.append(float(np.mean(high - low)))
    assert np.mean(held) >= 0.8  # nominal 0.9, of 12 curves: a standard error of 0.09
    assert np.median(widths) < 0.25  # a base that goes on by half or twice as much again


def test_a_plan_at_twice_the_only_budget_has_an_answer_that_keeps_the_limit():
    for seed in range(3):
        truth = Truth(seed)
        fit = cp.fit(truth.log(EIGHT, seed=seed))
        plan = cp.plan(fit, model_params=SIZE, train_tokens=2 * BUDGET, max_general_rise="3%")
        assert 0.1 < plan.domain_ratio < 0.95
        assert truth.loss("general", 2 * BUDGET, plan.domain_ratio) <= 1.03 * BASE["general"]
        said = next(f for f in plan.warnings if f.code == "extrapolates_tokens").message
        assert "taken from other sweeps" in said


def mean_of(log, corpus="domain"):
    rows = fitted_rows(log, corpus, 0.0)
    observed = observations(corpus, rows, base_losses(log, corpus))
    inner = own_law("bilinear", observed.frame, is_anchored=observed.is_anchored)
    return observed, inner, ByOneBudget.of(inner, observed)


def test_the_mean_function_goes_on_as_the_moves_from_the_base_do():
    truth = Truth(3)
    observed, inner, mean = mean_of(truth.log(EIGHT))
    columns = {k: np.repeat(v[:1], 3) for k, v in observed.points.columns.items()}
    columns["domain_ratio"] = np.array([0.2, 0.5, 0.8])
    here = observed.frame.points(columns)
    later = observed.frame.points(columns | {"train_tokens": np.e * columns["train_tokens"]})
    shape = inner.shape_prior.mean
    at_budget, _ = mean.features(here, shape)
    np.testing.assert_allclose(at_budget[:, :-3], inner.features(here, shape)[0], atol=1e-12)
    np.testing.assert_allclose(at_budget[:, -3:], 0, atol=1e-12)
    values, slopes = mean.features(later, shape)
    np.testing.assert_allclose(values[:, :-3], at_budget[:, :-3], atol=1e-12)
    np.testing.assert_allclose(values[:, -3], 1, atol=1e-12)
    np.testing.assert_allclose(values[:, -2], [-0.3, 0, 0.3], atol=1e-12)
    np.testing.assert_allclose(values[1, -1], 0, atol=1e-12)
    assert slopes.shape == (len(shape), *values.shape)
    # The line through the moves, with 0.3 of its level and 0.2 of its slope.
    share = observed.points.share
    slope, level = np.polyfit(share - 0.5, observed.log_loss, 1)
    expected = 0.3 * level + 0.2 * slope * np.array([-0.3, 0, 0.3])
    np.testing.assert_allclose(mean.offset(later) - mean.offset(here), expected, rtol=1e-9)


def test_without_a_base_loss_nothing_is_expected_but_something_may_happen():
    log = Truth(3).log(EIGHT)
    _, inner, mean = mean_of(log[log["train_tokens"] > 0])
    assert not mean.expected.any()
    assert (mean.coefficient_sd[len(inner.coefficient_sd) :] > 0).all()


def borrows(log):
    """Tell of each loss whether any of its mean functions takes what tokens do from other sweeps."""
    models = cp.fit(log, bootstrap=0).models
    means = {
        corpus: [mode.problem.mean for mode in getattr(model, "modes", ())]
        for corpus, model in models.items()
    }
    return {c: any(isinstance(mean, ByOneBudget) for mean in own) for c, own in means.items()}


def test_only_a_log_of_one_budget_borrows():
    truth = Truth(1)
    assert borrows(truth.log(EIGHT)) == {"general": True, "domain": True}
    near = truth.log(EIGHT, budgets=(BUDGET, 1.4 * BUDGET))
    assert borrows(near) == {"general": True, "domain": True}
    two = truth.log(EIGHT, budgets=(BUDGET, 2 * BUDGET))
    assert borrows(two) == {"general": False, "domain": False}


def test_a_corpus_that_repeats_tells_of_later_tokens_itself():
    log = Truth(1).log(np.linspace(0.1, 0.9, 9)).assign(unique_domain_tokens=BUDGET / 20)
    assert borrows(log) == {"general": True, "domain": False}


def test_a_saved_fit_of_one_budget_predicts_the_same(tmp_path):
    fit = cp.fit(Truth(2).log(EIGHT))
    cp.write_fit(fit, tmp_path / "fit.json")
    again = cp.read_fit(tmp_path / "fit.json")
    asked = {"model_params": SIZE, "train_tokens": 3 * BUDGET, "domain_ratio": 0.4}
    for corpus in BASE:
        one, other = (f.predict(corpus, **asked) for f in (fit, again))
        np.testing.assert_array_equal(one.draws, other.draws)


def test_a_run_at_twice_the_budget_narrows_what_is_known_there():
    truth = Truth(4)
    one = truth.log(EIGHT)
    longer = truth.log((0.5,), budgets=(BUDGET, 2 * BUDGET)).assign(run_id="longer")
    widths = []
    for log in (one, pd.concat([one, longer], ignore_index=True)):
        found = cp.fit(log).predict(
            "general", model_params=SIZE, train_tokens=2 * BUDGET, domain_ratio=0.5
        )
        low, high = found.interval(0.9)
        widths.append(float(high[0] - low[0]))
    assert widths[1] < widths[0] / 2
