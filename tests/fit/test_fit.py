"""Fitting: recovery without noise, the optimum with noise, signs, and honest words.

Expected values come from the law that made the data, from scipy's own solvers, or by hand.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize as scipy_minimize
from scipy.optimize import nnls
from scipy.stats import qmc

from cmrplan.errors import CmrplanError
from cmrplan.laws.cmr import ratio_law
from cmrplan.laws.dcpt import dcpt_law
from cmrplan.solve.law_fit import Status, fit_law, refit
from cmrplan.solve.multistart import halton_starts
from cmrplan.solve.signed_lstsq import signed_least_squares

SIZES = np.array([1e8, 4e8, 1.6e9, 7e9])
TOKENS = np.geomspace(1e8, 2.6e10, 8)
RATIOS = np.array([0, 0.01, 0.05, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1])


def grid(sizes=SIZES, tokens=TOKENS, ratios=RATIOS):
    n, d, r = (a.ravel() for a in np.meshgrid(sizes, tokens, ratios, indexing="ij"))
    return {"model_params": n, "train_tokens": d, "share": r}


def dcpt(inputs, E, A, B, C, alpha, eta, beta, gamma, ratio_offset):
    """The D-CPT law, written out a second time."""
    n, d, r = inputs["model_params"], inputs["train_tokens"], inputs["share"]
    return E + A / n**alpha + B * r**eta / d**beta + C / (r + ratio_offset) ** gamma


def random_parameters(seed):
    """All nine parameters over wide ranges; each term is a visible part of the loss somewhere."""
    rng = np.random.default_rng(seed)
    alpha, beta = rng.uniform(0.1, 1.0, 2)
    gamma = rng.uniform(0.05, 2.0)
    ratio_offset = np.exp(rng.uniform(np.log(0.002), np.log(0.8)))
    return {
        "E": rng.uniform(0.2, 3.0),
        "A": rng.uniform(0.05, 1.5) * 1e9**alpha,
        "B": rng.uniform(0.05, 1.5) * 2e9**beta,
        "C": rng.uniform(0.02, 1.0) * (0.5 + ratio_offset) ** gamma,
        "alpha": alpha,
        "eta": rng.uniform(0.05, 2.0),
        "beta": beta,
        "gamma": gamma,
        "ratio_offset": ratio_offset,
    }


class TestRecovery:
    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(200))
    def test_noise_free_dcpt_is_recovered(self, seed):
        truth = random_parameters(seed)
        inputs = grid()
        fit = fit_law(dcpt_law(), inputs, dcpt(inputs, **truth))
        # a denser grid between the fitted points, ends included
        between = grid(
            np.geomspace(1e8, 7e9, 7), np.geomspace(1e8, 2.6e10, 9), np.linspace(0, 1, 41)
        )
        np.testing.assert_allclose(fit.predict(between), dcpt(between, **truth), atol=1e-6, rtol=0)
        for name, value in truth.items():
            if name not in fit.unidentified:
                assert fit.params[name] == pytest.approx(value, rel=1e-3), name

    def test_parameters_come_back_in_the_units_of_the_caller(self):
        truth = random_parameters(5)
        inputs = grid()
        fit = fit_law(dcpt_law(), inputs, dcpt(inputs, **truth))
        assert not fit.unidentified
        for name, value in truth.items():
            assert fit.params[name] == pytest.approx(value, rel=1e-8), name

    def test_order_of_the_rows_does_not_matter(self):
        inputs = grid()
        loss = dcpt(inputs, **random_parameters(3))
        loss = loss * np.exp(0.01 * np.random.default_rng(0).standard_normal(len(loss)))
        order = np.random.default_rng(1).permutation(len(loss))
        first = fit_law(dcpt_law(), inputs, loss)
        second = fit_law(dcpt_law(), {k: v[order] for k, v in inputs.items()}, loss[order])
        # the knee follows residuals that the search knows to about 1e-8
        assert first.objective == pytest.approx(second.objective, rel=1e-7)

    @pytest.mark.parametrize("slope", [0.7, -0.7])
    def test_ratio_law_finds_either_sign(self, slope):
        ratio = np.array([0.1, 0.2, 0.4, 0.6, 0.8])
        loss = 2.0 + slope * ratio**0.4
        fit = fit_law(ratio_law(), {"domain_ratio": ratio}, loss)
        assert fit.params["alpha"] == pytest.approx(slope, rel=1e-6)
        assert fit.params["s"] == pytest.approx(0.4, rel=1e-6)


class TestOptimum:
    @pytest.mark.parametrize("delta", [np.inf, 0.02, 1e-3])
    def test_not_above_what_many_lbfgs_starts_find(self, delta):
        """Huber on log losses with scipy's L-BFGS-B from 40 random starts, two terms in r and D."""
        inputs = grid(np.array([1e8]), TOKENS, RATIOS)
        rng = np.random.default_rng(0)
        truth = random_parameters(11) | {"A": 0.0}
        loss = dcpt(inputs, **truth) * np.exp(0.005 * rng.standard_normal(len(inputs["share"])))
        law = dcpt_law(size_levels=1)
        fit = fit_law(law, inputs, loss, delta=delta)
        assert fit.status in (Status.CONVERGED, Status.AT_BOUND)
        d = inputs["train_tokens"] / 2e9
        r = inputs["share"]

        def objective(x):
            E, B, C, beta, gamma, offset = np.exp(x[:6])
            model = E + B * r ** x[6] / d**beta + C / (r + offset) ** gamma
            miss = np.abs(np.log(model) - np.log(loss))
            inside = np.minimum(miss, delta)
            return np.sum(inside * (miss - 0.5 * inside))

        bounds = [(-12, 3)] * 3 + [np.log([0.01, 5]), np.log([0.01, 10]), np.log([1e-4, 2]), (0, 5)]
        best = np.inf
        for _ in range(40):
            start = [rng.uniform(low, high) for low, high in bounds]
            found = scipy_minimize(
                objective,
                start,
                method="L-BFGS-B",
                bounds=bounds,
                options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 3000, "maxfun": 60000},
            )
            best = min(best, found.fun)
        assert fit.objective <= best * 1.0001

    def test_outliers_move_a_huber_fit_less_than_least_squares(self):
        inputs = grid(np.array([1e8]))
        truth = random_parameters(4) | {"A": 0.0}
        loss = dcpt(inputs, **truth)
        spoiled = loss.copy()
        spoiled[::9] *= 1.2
        misses = {}
        for delta in (None, np.inf):
            fit = fit_law(dcpt_law(size_levels=1), inputs, spoiled, delta=delta)
            misses[delta] = np.abs(fit.predict(inputs) - loss).max()
        assert misses[None] < 0.1 * misses[np.inf]


class TestWords:
    def test_too_few_rows_are_refused_with_the_count(self):
        inputs = {"domain_ratio": np.array([0.2, 0.5])}
        with pytest.raises(CmrplanError, match=r"3 free parameters and there are 2 rows"):
            fit_law(ratio_law(), inputs, np.array([2.0, 2.1]))

    def test_a_term_that_is_not_in_the_data_is_named(self):
        inputs = grid(np.array([1e8]))
        loss = dcpt(inputs, **(random_parameters(2) | {"A": 0.0, "B": 0.0}))
        fit = fit_law(dcpt_law(size_levels=1), inputs, loss)
        assert {"eta", "beta"} <= set(fit.unidentified)

    def test_a_flat_log_says_that_nothing_is_identified(self):
        inputs = grid(np.array([1e8]))
        fit = fit_law(dcpt_law(size_levels=1), inputs, np.full(len(inputs["share"]), 2.5))
        np.testing.assert_allclose(fit.predict(inputs), 2.5, rtol=1e-9)
        assert {"beta", "gamma"} <= set(fit.unidentified)


class TestRefit:
    def test_equal_resamples_give_the_first_fit_again(self):
        inputs = grid(np.array([1e8]))
        loss = dcpt(inputs, **(random_parameters(6) | {"A": 0.0}))
        loss = loss * np.exp(0.01 * np.random.default_rng(0).standard_normal(len(loss)))
        fit = fit_law(dcpt_law(size_levels=1), inputs, loss)
        search, coefficients = refit(fit, inputs, loss[None, :], np.ones((3, len(loss))))
        assert search == pytest.approx(np.repeat(fit.search[None], 3, axis=0), rel=1e-5)
        assert coefficients == pytest.approx(np.repeat(fit.coefficients[None], 3, axis=0), rel=1e-5)

    def test_a_batch_equals_one_at_a_time(self):
        inputs = grid(np.array([1e8]))
        loss = dcpt(inputs, **(random_parameters(6) | {"A": 0.0}))
        rng = np.random.default_rng(0)
        loss = loss * np.exp(0.01 * rng.standard_normal(len(loss)))
        weights = rng.poisson(1.0, (4, len(loss))).astype(float)
        fit = fit_law(dcpt_law(size_levels=1), inputs, loss)
        together = refit(fit, inputs, loss[None, :], weights)[0]
        alone = [refit(fit, inputs, loss[None, :], weights[k : k + 1])[0][0] for k in range(4)]
        assert together == pytest.approx(np.array(alone), rel=1e-6)


class TestLinear:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 5))
    def test_matches_scipy_nnls(self, seed, num_columns):
        rng = np.random.default_rng(seed)
        design = rng.standard_normal((3, 12, num_columns))
        target = rng.standard_normal((3, 12))
        found = signed_least_squares(design, target, [1] * num_columns)
        for k in range(3):
            _, residual = nnls(design[k], target[k])
            mine = np.linalg.norm(design[k] @ found[k] - target[k])
            assert mine == pytest.approx(residual, rel=1e-9)
            assert (found[k] >= 0).all()

    def test_signs_are_kept(self):
        design = np.ones((1, 4, 1))
        target = np.full((1, 4), 2.0)
        assert signed_least_squares(design, target, [-1])[0, 0] == 0.0
        assert signed_least_squares(-design, target, [-1])[0, 0] == pytest.approx(-2.0)
        assert signed_least_squares(design, -target, [0])[0, 0] == pytest.approx(-2.0)

    def test_equal_columns_do_not_break_it(self):
        design = np.ones((1, 4, 2))
        found = signed_least_squares(design, np.full((1, 4), 2.0), [1, 1])
        assert found.sum() == pytest.approx(2.0)


def test_starts_are_always_the_same_and_inside_the_box():
    lower, upper = np.array([-1.0, 0.0]), np.array([1.0, 5.0])
    starts = halton_starts(lower, upper, 50)
    assert (starts == halton_starts(lower, upper, 50)).all()
    assert (starts > lower).all()
    assert (starts < upper).all()
    # the Halton sequence of scipy, without the origin that it starts with
    expected = qmc.Halton(2, scramble=False).random(51)[1:]
    assert (starts - lower) / (upper - lower) == pytest.approx(expected, abs=1e-15)
