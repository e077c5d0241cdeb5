"""The bridge to lmfit: the same optimum, and its reports, errors, bounds and intervals work there.

Expected values come from scipy's ``curve_fit``, from the fit itself and from the profile of our own solver.
"""

import lmfit
import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.stats import t as student

from cmrplan.errors import CmrplanError
from cmrplan.laws.cmr import domain_token_law
from cmrplan.laws.dcpt import dcpt_law
from cmrplan.solve.law_fit import Status, fit_law
from cmrplan.solve.lmfit_bridge import safe_name, to_lmfit
from cmrplan.solve.profile import profile_parameter

# Chi-square is the same sum of squares in another order of operations.
ROUNDING = 1e-12


def sweep(noise=0.004, size=0.0):
    sizes, tokens, share = (
        a.ravel()
        for a in np.meshgrid([1e8, 4e8, 1.6e9], np.geomspace(1e8, 1e10, 5), np.linspace(0, 1, 6))
    )
    loss = 1.5 + size / sizes**0.4 + 60 * share**0.6 / tokens**0.25 + 0.3 / (share + 0.05) ** 0.5
    loss *= np.exp(noise * np.random.default_rng(3).standard_normal(len(loss)))
    return {"model_params": sizes, "train_tokens": tokens, "share": share}, loss


@pytest.fixture(scope="module")
def rows():
    return sweep(size=800.0)


@pytest.fixture(scope="module", params=[None, np.inf, 1e-3], ids=["noise", "squares", "papers"])
def fit(request, rows):
    return fit_law(dcpt_law(), *rows, delta=request.param)


class TestSameOptimum:
    def test_chi_square_is_twice_the_objective(self, fit, rows):
        assert to_lmfit(fit, *rows).chisqr == pytest.approx(2 * fit.objective, rel=ROUNDING)

    def test_parameters_are_those_of_the_fit_in_the_callers_units(self, fit, rows):
        result = to_lmfit(fit, *rows)
        assert result.params.valuesdict() == pytest.approx(fit.params, rel=1e-12)

    def test_lmfit_gains_nothing_by_searching_on(self, fit, rows):
        result = to_lmfit(fit, *rows)
        before = result.chisqr
        result.fit()
        # a cosine of 1.5e-8 between residual and slopes leaves about its square to gain
        assert result.chisqr == pytest.approx(before, rel=ROUNDING)

    def test_best_fit_is_the_law_in_nats(self, fit, rows):
        inputs, _ = rows
        result = to_lmfit(fit, *rows)
        np.testing.assert_allclose(result.best_fit, fit.predict(inputs), rtol=1e-12)
        new = {"model_params": np.array([7e9]), "train_tokens": np.array([1e11]), "share": 0.3}
        assert result.eval(**new) == pytest.approx(
            fit.predict(new | {"share": np.array([0.3])}), rel=1e-12
        )

    def test_weights_enter_the_sum(self, rows):
        inputs, loss = rows
        weights = 1.0 + np.arange(len(loss)) % 3
        weights[::7] = 0.0
        fit = fit_law(dcpt_law(), inputs, loss, weights=weights)
        result = to_lmfit(fit, inputs, loss, weights)
        assert result.chisqr == pytest.approx(2 * fit.objective, rel=ROUNDING)


class TestErrorsAndBounds:
    def test_errors_are_those_of_curve_fit(self):
        """A law of differences by least squares, with scipy's numerical Jacobian beside it."""
        tokens = np.geomspace(1e8, 1e10, 12)
        rise = 4.0 * tokens**-0.15 - 0.2
        rise = rise + 1e-3 * np.random.default_rng(0).standard_normal(12)
        fit = fit_law(domain_token_law(), {"train_tokens": tokens}, rise, delta=np.inf)
        result = to_lmfit(fit, {"train_tokens": tokens}, rise)
        best = list(fit.params.values())
        _, covariance = curve_fit(lambda t, a, b, s: a * t**s + b, tokens, rise, p0=best)
        expected = np.sqrt(np.diag(covariance))
        found = [result.params[name].stderr for name in fit.params]
        assert found == pytest.approx(expected, rel=1e-3)  # forward differences in a long valley

    def test_bounds_and_signs_are_the_laws(self, fit, rows):
        result = to_lmfit(fit, *rows)
        for exponent in fit.law.exponents:
            parameter = result.params[exponent.name]
            assert (parameter.min, parameter.max) == (exponent.lower, exponent.upper)
        for term in fit.law.terms:
            parameter = result.params[term.coefficient]
            assert (parameter.min, parameter.max) == (0.0, np.inf)

    def test_held_exponents_do_not_vary(self, rows):
        inputs, loss = rows
        keep = inputs["model_params"] < 1e9
        inputs, loss = {name: values[keep] for name, values in inputs.items()}, loss[keep]
        fit = fit_law(dcpt_law(size_levels=2), inputs, loss)
        result = to_lmfit(fit, inputs, loss)
        assert not result.params["alpha"].vary
        assert result.params["alpha"].value == dict(fit.law.fixed)["alpha"]
        assert result.nvarys == fit.law.num_free

    def test_a_parameter_at_its_bound_does_not_spoil_the_errors_of_the_others(self):
        inputs, noise = sweep()
        loss = 1.5 + 0.3 / (inputs["share"] + 0.05) ** 0.5 + 1e-3 * np.sin(1e4 * noise)
        loss = (
            loss * (inputs["train_tokens"] / 1e8) ** 0.02
        )  # a term that falls with D has no place
        fit = fit_law(dcpt_law(size_levels=1), inputs, loss)
        assert fit.status is Status.AT_BOUND
        assert "B" in fit.at_bound
        result = to_lmfit(fit, inputs, loss)
        assert result.errorbars
        assert all(not result.params[name].vary for name in fit.at_bound)
        assert result.chisqr == pytest.approx(2 * fit.objective, rel=ROUNDING)


class TestReports:
    def test_fit_report_shows_every_parameter(self, fit, rows):
        result = to_lmfit(fit, *rows)
        for text in (result.fit_report(), lmfit.fit_report(result)):
            assert all(f"{name}:" in text for name in fit.params)
            assert "could not be estimated" not in text

    def test_conf_interval_is_the_profile_of_our_own_solver(self, fit, rows):
        """At one and the same rise: lmfit reads it by chi-square per row, the profile by a robust scale."""
        result = to_lmfit(fit, *rows)
        size = np.abs(fit.residual)
        variance = np.sum(np.minimum(size, fit.delta) ** 2) / result.nfree
        scale = variance / np.mean(size <= fit.delta)
        limit = student.ppf(0.95, result.nfree) * np.sqrt(scale / result.redchi)
        level = 1 - 2 * student.sf(limit, result.nfree)
        intervals = result.conf_interval(p_names=["alpha", "beta"], sigmas=[level])
        for name in ("alpha", "beta"):
            (_, low), (_, best), (_, high) = intervals[name]
            mine = profile_parameter(fit, *rows, name)
            # lmfit solves for the end to a relative 5e-5
            assert (low, high) == pytest.approx((mine.low, mine.high), rel=2e-4)
            assert best == pytest.approx(mine.estimate)


class TestRefusals:
    def test_units_in_which_a_parameter_overflows(self, rows):
        inputs, loss = rows
        huge = inputs | {"model_params": inputs["model_params"] * 1e290}
        fit = fit_law(dcpt_law(), huge, 1.0 + 0.5 * (inputs["model_params"] / 1e8) ** -2 + 0 * loss)
        with (
            np.errstate(over="ignore"),
            pytest.raises(CmrplanError, match="A = inf in the units of the inputs"),
        ):
            to_lmfit(fit, huge, loss)

    def test_names_that_python_reserves_gain_an_underscore(self):
        assert [safe_name(n) for n in ("alpha", "lambda", "t[web]")] == [
            "alpha",
            "lambda_",
            "t_web_",
        ]
