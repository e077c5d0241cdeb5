"""Corpora whose shares moved together in every run: nothing tells what one does without the other."""

import numpy as np
import pandas as pd
import pytest
from known_mixtures import D, true_losses

import cmrplan as cp
from cmrplan.errors import CmrplanError
from cmrplan.mixture.plane import held_positions, plane_of, project, tied_groups
from cmrplan.mixture.simplex import SimplexProblem, solve

RNG = np.random.default_rng(8)
FREE = RNG.dirichlet(np.ones(3), 18)
PAIR = np.column_stack([FREE[:, 0], FREE[:, 1], FREE[:, 2] * 2 / 3, FREE[:, 2] / 3])
ASKED = {"train_tokens": D, "protected": {"c0": "3%"}}


def log_at(mixtures, *, noise=0.002):
    rng, rows = np.random.default_rng(4), []
    for run, x in enumerate(mixtures):
        for tokens in (0.0, D):
            losses = true_losses(4, x if tokens else np.full(4, 0.25))[0]
            rows += [
                {
                    "run_id": f"r{run:03d}",
                    "model_params": 1e8,
                    "train_tokens": tokens,
                    **{f"share_c{j}": share for j, share in enumerate(x)},
                    "eval_corpus": f"c{k}",
                    "loss": loss * np.exp(noise * rng.standard_normal() * (tokens > 0)),
                }
                for k, loss in enumerate(losses)
            ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def tied():
    return cp.fit_mixture(log_at(PAIR), bootstrap=60)


def remarks(fit):
    return [one.message for one in fit.warnings if one.code == "tied_corpora"]


def test_they_are_named(tied):
    (told,) = remarks(tied)
    assert told.startswith("the shares of 'c2', 'c3' moved together in every run")


def test_rounded_shares_are_tied_too():
    rounded = np.round(PAIR, 3)
    rounded[:, 0] += 1 - rounded.sum(axis=1)
    assert tied_groups(rounded) == [[2, 3]]


def test_shares_free_of_each_other_are_not():
    mixtures = np.random.default_rng(1).dirichlet(np.ones(4), 18)
    assert remarks(cp.fit_mixture(log_at(mixtures), "data_mixing", bootstrap=0)) == []
    held = np.column_stack([np.full(18, 0.3), 0.7 * FREE])
    assert plane_of(held) is None  # the unvaried corpus has a word of its own


def test_a_share_that_hardly_varies_is_said_to_be_one():
    jitter = np.random.default_rng(3).normal(0.3, 1e-4, (18, 1))
    fit = cp.fit_mixture(log_at(np.hstack([jitter, (1 - jitter) * FREE])), bootstrap=20)
    assert remarks(fit) == []
    (told,) = (one.message for one in fit.warnings if one.code == "unvaried_corpus")
    assert told.startswith("the share of c0 is 0.3 in every run")
    assert cp.plan_mixture(fit, train_tokens=D).shares["c0"] == pytest.approx(0.3, abs=5e-4)


def test_a_plan_keeps_them_together_and_its_losses_hold(tied):
    plan = cp.plan_mixture(tied, **ASKED)
    assert plan.shares["c2"] == pytest.approx(2 * plan.shares["c3"], abs=1e-6)
    for name in ("point", "unconstrained", "best_probed"):
        shares = plan.candidates[name].shares
        assert shares["c2"] == pytest.approx(2 * shares["c3"], abs=1e-6)
    assert plan.optimality < 1e-3
    losses = true_losses(4, [plan.shares[f"c{j}"] for j in range(4)])[0]
    for j, loss in enumerate(losses):
        interval = plan.losses[f"c{j}"].loss
        assert interval.low - 0.002 <= loss <= interval.high + 0.002


def test_bounds_that_part_them_are_refused(tied):
    with pytest.raises(CmrplanError, match=r"shares of 'c2', 'c3' moved together .*; loosen those"):
        cp.plan_mixture(tied, **ASKED, ceilings={"c2": 0.1}, floors={"c3": 0.2})


BLENDED = np.column_stack([0.2 * FREE[:, 0] + 0.3 * FREE[:, 1], 0.5 * FREE])


@pytest.mark.parametrize(
    ("mixtures", "groups"),
    [
        (PAIR, [[2, 3]]),
        (
            0.5 * np.column_stack([FREE[:, :1], 1 - FREE[:, :1], FREE[:, 1:2], 1 - FREE[:, 1:2]]),
            [[0, 1], [2, 3]],
        ),
        (BLENDED / BLENDED.sum(axis=1, keepdims=True), [[0, 1, 2, 3]]),  # no two of them alone
    ],
)
def test_planes(mixtures, groups):
    plane = plane_of(mixtures)
    np.testing.assert_allclose(mixtures @ plane.rows.T, [plane.values] * len(mixtures), atol=1e-12)
    np.testing.assert_allclose(plane.rows.sum(axis=1), 0, atol=1e-12)
    assert tied_groups(mixtures) == groups


def test_a_small_corpus_that_was_varied_is_free():
    """Shares of a tenth of a percent, sixfold apart, were taken for one share and tied to all others."""
    small = np.tile([0.0005, 0.001, 0.002, 0.003], 5)[:18, None]
    mixtures = np.hstack([small, (1 - small) * FREE])
    assert held_positions(mixtures) == []
    assert tied_groups(mixtures) == []
    assert plane_of(mixtures) is None


@pytest.mark.parametrize("seed", range(5))
def test_designs_around_a_skewed_mixture_are_free(seed):
    natural = np.array([0.6, 0.2, 0.1, 0.05, 0.02, 0.015, 0.01, 0.005])
    mixtures = np.random.default_rng(seed).dirichlet(8 * natural, 16)
    assert tied_groups(mixtures) == []
    assert plane_of(mixtures) is None


class TestSearch:
    """Shares of four corpora, the third twice the fourth."""

    plane = plane_of(PAIR)
    low, high = np.zeros(4), np.array([1.0, 1.0, 0.5, 1.0])

    def test_the_projection_is_the_nearest_mixture(self):
        point = np.array([0.1, 0.1, 0.2, 0.9])
        found = project(point, self.low, self.high, self.plane)
        assert found.sum() == pytest.approx(1, abs=1e-9)
        assert found[2] == pytest.approx(2 * found[3], abs=1e-9)
        z = np.random.default_rng(0).dirichlet(np.ones(3), 20000)
        others = np.column_stack([z[:, 0], z[:, 1], z[:, 2] * 2 / 3, z[:, 2] / 3])
        others = others[others[:, 2] <= 0.5]
        nearest = np.min(np.sum((others - point) ** 2, axis=1))
        assert np.sum((found - point) ** 2) <= nearest + 1e-9

    def test_the_optimum_is_the_best_mixture_on_the_plane(self):
        center = np.array([0.2, 0.1, 0.1, 0.6])
        problem = SimplexProblem(
            lambda x: np.sum((x - center) ** 2, axis=1), self.low, self.high, plane=self.plane
        )
        found = solve(problem, [np.full(4, 0.25), np.array([0.9, 0.1, 0.0, 0.0])])
        np.testing.assert_allclose(
            found.shares, project(center, self.low, self.high, self.plane), atol=1e-5
        )
