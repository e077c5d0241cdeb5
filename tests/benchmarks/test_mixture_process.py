"""The Gaussian process on the simplex: its gradient against differences, and a surface that it must follow."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import approx_fprime

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from mixture_process import energy, huber_noise, pairs, residual_at


def test_the_gradient_is_that_of_the_energy():
    rng = np.random.default_rng(0)
    apart = np.stack([pairs(column) for column in rng.dirichlet(np.ones(4), 15).T])
    prior = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
    asked = (apart, rng.normal(size=15), 1 + rng.random(15), prior)
    hyper = prior + 0.3 * rng.normal(size=6)
    differences = approx_fprime(hyper, lambda h: energy(h, *asked)[0], 1e-6)
    # one-sided differences err by half a step times second derivatives of order 10
    assert energy(hyper, *asked)[1] == pytest.approx(differences, abs=1e-4)


def test_rows_outside_count_less():
    # the median absolute residual is 1, so 1.345 * 1.4826 = 1.994 is where weights begin to fall
    assert huber_noise(np.array([1.0, -1.0, 0.5, 1.9, -19.94])) == pytest.approx(
        [1, 1, 1, 1, 10], rel=1e-3
    )


def test_what_a_law_leaves_is_followed_and_an_outlier_is_not():
    rng = np.random.default_rng(1)
    shares, wanted = rng.dirichlet(np.ones(3), 80), rng.dirichlet(np.ones(3), 50)
    left = 0.05 * np.sin(4 * shares[:, 0]) + 0.002 * rng.normal(size=80)
    left[7] += 0.5
    expected = 0.05 * np.sin(4 * wanted[:, 0])
    # the noise is 0.002, and the surface itself is 0.03 wide
    assert np.abs(residual_at(shares, left, wanted) - expected).mean() < 0.003
