"""A mixture keeps its limits by the best estimate and by the resamples, also where these contradict each other."""

from dataclasses import replace

import numpy as np
import pytest
from known_mixtures import D, world
from scipy.stats import norm

import cmrplan as cp
from cmrplan.mixture.loss_functions import needed_draws
from cmrplan.mixture.search import MixtureSolution, fresh_violation, unbiased
from cmrplan.mixture.simplex import SimplexProblem, solve

APART = 0.05  # nats


@pytest.fixture(scope="module")
def agreed():
    return cp.fit_mixture(world(3, 24), "data_mixing", bootstrap=40, residual="none")


@pytest.fixture(scope="module")
def apart(agreed):
    """Every resample's losses are lower, by their level, the first coefficient of the data mixing law."""
    lower = {
        corpus: model.coefficients - np.eye(1, model.coefficients.shape[1]) * APART
        for corpus, model in agreed.models.items()
    }
    models = {c: replace(model, coefficients=lower[c]) for c, model in agreed.models.items()}
    return replace(agreed, models=models)


@pytest.fixture(scope="module")
def alone(agreed):
    """The same estimates without resamples."""
    models = {
        corpus: replace(model, search=model.search[:0], coefficients=model.coefficients[:0])
        for corpus, model in agreed.models.items()
    }
    return replace(agreed, models=models, settings=replace(agreed.settings, bootstrap=0))


ASKED = {"train_tokens": D, "protected": {"c0": "2%"}}


def test_where_resamples_are_lower_the_estimate_decides_and_it_is_said(apart, alone):
    plan, by_estimate = cp.plan_mixture(apart, **ASKED), cp.plan_mixture(alone, **ASKED)
    # both searches stop when a round gains less than 1e-9 nats
    assert plan.shares == pytest.approx(by_estimate.shares, abs=1e-4)
    loss = plan.losses["c0"]
    assert loss.loss.estimate <= loss.limit + 1e-12
    assert plan.violation_probability == 0
    (told,) = [one.message for one in plan.warnings if one.code == "estimate_apart"]
    assert "best estimate of the loss on c0" in told
    (binding,) = [one for one in plan.binding if one.kind == "tolerance"]
    (expected,) = [one for one in by_estimate.binding if one.kind == "tolerance"]
    assert binding.price == pytest.approx(expected.price, rel=1e-3)


def test_where_they_agree_the_resamples_decide_and_nothing_is_said(agreed, alone):
    plan, by_estimate = cp.plan_mixture(agreed, **ASKED), cp.plan_mixture(alone, **ASKED)
    assert "estimate_apart" not in {one.code for one in plan.warnings}
    assert plan.objective.estimate > by_estimate.objective.estimate
    assert plan.losses["c0"].loss.estimate < plan.losses["c0"].limit


def test_what_only_the_resamples_allow_is_infeasible_with_a_tolerance_that_works(apart, alone):
    """A base loss below the lowest estimate that any probed mixture has, by less than the resamples lie below it."""
    probed = alone.mixtures()
    grid = np.random.default_rng(0).dirichlet(np.ones(3), 4000)
    grid = grid[np.all((grid >= probed.min(axis=0)) & (grid <= probed.max(axis=0)), axis=1)]
    lowest = alone.predict(grid, model_params=1e8, train_tokens=D)["c0"].loss.min()
    asked = {"train_tokens": D, "base_loss": {"c0": lowest - APART / 2}}
    told = cp.plan_mixture(apart, **asked, protected={"c0": 0.0}).reason
    assert "the resamples would allow it, but the best estimate breaks the limit of c0" in told
    enough = told.split("smallest feasible tolerance: c0 ")[1].split(" (at")[0]
    assert 0.9 * APART / 2 < float(enough.split()[0]) < 1.1 * APART / 2
    assert cp.plan_mixture(apart, **asked, protected={"c0": enough}).violation_probability == 0


class TestFreshResamples:
    """Losses are linear in the shares, with slopes of a normal distribution: how often a limit breaks is known.

    The more of a corpus the better for the objective, and the worse, and less known, for the loss with a limit.
    """

    M, B, REPEATS = 5, 200, 30
    SPREAD = np.array([0.02, 0.06, 0.08, 0.1, 0.12])
    MEAN = np.array([0.0, 0.2, 0.25, 0.3, 0.35])
    GAIN = np.array([0.0, 1.0, 1.2, 1.35, 1.5])
    LIMIT = 0.2

    def problem(self, seed):
        slopes = self.MEAN + self.SPREAD * np.random.default_rng(seed).standard_normal(
            (self.B, self.M)
        )
        return SimplexProblem(
            lambda x: -(x @ self.GAIN),
            np.zeros(self.M),
            np.ones(self.M),
            lambda x: (slopes @ x.T - self.LIMIT)[None],
            needed_draws(self.B, 0.9),
        )

    def truth(self, shares):
        return norm.sf((self.LIMIT - self.MEAN @ shares) / np.sqrt(self.SPREAD**2 @ shares**2))

    @pytest.fixture(scope="class")
    @classmethod
    def broken(cls):
        """How often the limit breaks where nine tenths of the draws hold, where more do, and what is said of it."""
        self, rows = cls(), []
        starts = [np.full(self.M, 1 / self.M), np.eye(self.M)[0]]
        for seed in range(self.REPEATS):
            problem = self.problem(seed)
            plain = solve(problem, starts)
            tightened, best = unbiased(problem, plain, starts)
            said = fresh_violation(MixtureSolution(tightened, best, {}))
            rows.append((self.truth(plain.shares), self.truth(best.shares), said))
        return np.mean(rows, axis=0)

    def test_a_search_leans_on_the_draws_it_knows(self, broken):
        assert broken[0] > 0.12

    def test_so_more_of_them_have_to_hold(self, broken):
        assert 0.085 < broken[1] < 0.105

    def test_and_what_is_said_is_true(self, broken):
        assert broken[2] == pytest.approx(broken[1], abs=0.015)


def test_too_few_resamples_for_the_asked_confidence_are_told():
    log = world(3, 24)
    asked = {"train_tokens": D, "protected": {"c0": "2%", "c1": 0.04}, "confidence": 0.95}
    few = cp.plan_mixture(cp.fit_mixture(log, bootstrap=20), **asked)
    (told,) = [one for one in few.warnings if one.code == "few_resamples"]
    assert told.message.startswith(
        "20 resamples are too few to tell whether the limits hold with 95 %"
    )
    assert few.violation_probability > 0.05
    needed = int(told.message.split("--bootstrap ")[1].split(",")[0])
    many = cp.plan_mixture(cp.fit_mixture(log, bootstrap=needed), **asked)
    assert "few_resamples" not in {one.code for one in many.warnings}
    assert many.violation_probability <= 0.05
