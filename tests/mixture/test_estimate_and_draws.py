"""A mixture keeps its limits by the best estimate and by the resamples, also where these contradict each other."""

from dataclasses import replace

import numpy as np
import pytest
from known_mixtures import D, world

import cmrplan as cp

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
