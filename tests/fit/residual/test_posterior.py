"""The posterior after more rows against a kriging that has them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import cmrplan as cp
from cmrplan.fit.residual.kriging import Kriging, KrigingProblem
from cmrplan.fit.residual.posterior import conditional

PROBES = Path(__file__).parents[3] / "data" / "probes" / "log.csv"
NUM_GRID, EACH = 5, 3


@pytest.fixture(scope="module")
def model():
    """The general loss of a fit of two sizes, and five ratios."""
    log = cp.read_log(PROBES)
    few = log["domain_ratio"].isin((0.0, 0.1, 0.3, 0.6, 1.0))
    log = log[(log["model_params"] > 2e5) & (log["seed"] == 0) & few]
    return cp.fit(log, bootstrap=60).models["general"]


@pytest.fixture(scope="module")
def columns():
    """Five ratios of one run, then two new runs of three evaluations, one beyond the probed tokens."""
    tokens = np.array([2e5, 4e5, 8e5])
    return {
        "unique_domain_tokens": np.full(NUM_GRID + 2 * EACH, 6476544.0),
        "model_params": np.array([974208.0] * (NUM_GRID + EACH) + [443232.0] * EACH),
        "train_tokens": np.concatenate([np.full(NUM_GRID, 8e5), tokens, 8 * tokens]),
        "domain_ratio": np.concatenate([np.linspace(0, 1, NUM_GRID), [0.45] * EACH, [0.8] * EACH]),
    }


def extended(kriging, points, index):
    """Return the kriging with the rows of one more run, whose values do not matter to its covariance."""
    old = kriging.problem.observed
    new = points.select(index)
    names = ("size", "tokens", "share")
    joined = {n: np.append(getattr(old.points, n), getattr(new, n)) for n in names}
    shared = {n: np.append(v, new.columns[n]) for n, v in old.points.columns.items()}
    count = len(index)
    observed = dataclasses.replace(
        old,
        points=dataclasses.replace(old.points, **joined, columns=shared),
        log_loss=np.append(old.log_loss, np.zeros(count)),
        counts=np.append(old.counts, np.ones(count)),
        seeds=np.append(old.seeds, np.ones(count)),
        run=np.append(old.run, np.full(count, old.run.max() + 1)),
        step=np.append(old.step, old.step.max() + 1 + np.arange(count)),
    )
    problem = KrigingProblem(observed, kriging.problem.mean, kriging.problem.has_residual)
    return Kriging(problem, kriging.hyper)


def test_a_run_leaves_the_covariance_that_a_kriging_with_it_has(model, columns):
    observed = model.observed
    names = observed.points.columns
    columns = {name: columns[name] for name in names}
    run, others = NUM_GRID + np.arange(EACH), np.arange(NUM_GRID)
    for kriging in model.modes:
        before = conditional(kriging, columns, 0.0)
        after, gain, factor = before.after(run, before.noise(np.ones(EACH)))
        again = conditional(extended(kriging, before.points, run), columns, 0.0)
        scale = np.max(np.abs(before.covariance(others)))
        np.testing.assert_allclose(
            after.covariance(others), again.covariance(others), atol=1e-6 * scale, rtol=0
        )
        # what a run takes away is never negative, at any point
        taken = np.diag(before.covariance(others)[others] - after.covariance(others)[others])
        assert np.all(taken >= 0)
        np.testing.assert_allclose(gain.T @ gain, np.linalg.multi_dot(
            [before.covariance(run), np.linalg.inv(factor @ factor.T), before.covariance(run).T]
        ), atol=1e-9 * scale)  # fmt: skip


def test_blocks_are_those_of_the_whole_covariance(model, columns):
    posterior = model.posterior_at(columns)
    runs = NUM_GRID + np.arange(2 * EACH).reshape(2, EACH)
    for member in posterior.members:
        whole = member.covariance(runs.ravel())[NUM_GRID:]
        for block, first in zip(member.blocks(runs), (0, EACH), strict=True):
            expected = whole[first : first + EACH, first : first + EACH]
            np.testing.assert_allclose(block, expected, atol=1e-12)


def test_draws_are_those_of_the_prediction(model, columns):
    posterior = model.posterior_at(columns)
    draws = model.predict(columns).draws
    np.testing.assert_allclose(
        np.exp(posterior.log_draws - posterior.log_draws[0]), draws / draws[0], rtol=1e-9
    )


def test_beyond_the_probed_tokens_all_points_miss_one_part_of_the_change(model, columns):
    kriging = model.modes[0]
    tokens = columns["train_tokens"]
    last = np.max(model.observed.points.columns["train_tokens"])
    ahead = np.maximum(np.log(tokens / last), 0)
    held_back = {**columns, "train_tokens": np.minimum(tokens, last)}
    later, end = (kriging.log_loss(kriging.points(c)) for c in (columns, held_back))
    change = later - end
    index = np.arange(len(ahead))
    wide, plain = (conditional(kriging, columns, s).covariance(index) for s in (0.2, 0.0))
    missed = 0.2 * np.sqrt(ahead) * change
    assert np.any(missed != 0)
    np.testing.assert_allclose(wide - plain, np.outer(missed, missed), atol=1e-15)
