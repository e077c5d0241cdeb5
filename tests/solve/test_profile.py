"""Profile-likelihood intervals: exact for a linear law, lmfit's on NIST sets, open where nothing is known."""

import json

import lmfit
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import t as student
from simulated import simulated_log
from test_nist import CASES, read_certified

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.intervals import critical_ratio_interval, loss_interval, parameter_interval
from cmrplan.laws.cmr import ratio_law
from cmrplan.laws.dcpt import dcpt_law
from cmrplan.laws.law import Exponent, Law, Power, Term
from cmrplan.solve.law_fit import fit_law
from cmrplan.solve.profile import Crossing, profile_crossing, profile_parameter, profile_prediction

# A profile compares objectives, known to about 1e-15, and its ends are refined to 1e-6 of their distance.
END = 1e-5
X = np.array([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0])
Y = 3.0 - 0.25 * X + np.array([0.11, -0.07, 0.02, -0.13, 0.09, 0.05, -0.12, 0.04])


def law_of(terms, exponents=(), fixed=(), link="identity"):
    return Law(
        name="test",
        formula="",
        latex="",
        reference="",
        needs="",
        exponents=exponents,
        terms=terms,
        link=link,
        scaled=(),
        fixed=fixed,
    )


LINE = law_of(
    (Term("level", sign=0), Term("slope", (Power("x", "one"),), sign=0)), fixed=(("one", 1.0),)
)


def line_fit(x=X, y=Y, weights=None):
    return fit_law(LINE, {"x": x}, y, weights=weights, delta=np.inf)


def ordinary(x=X, y=Y, weights=None):
    """Return coefficients, covariance and degrees of freedom of a straight line, by the textbook."""
    w = np.ones_like(x) if weights is None else weights
    design = np.stack([np.ones_like(x), x], axis=1)
    inverse = np.linalg.inv(design.T @ (w[:, None] * design))
    beta = inverse @ design.T @ (w * y)
    freedom = len(x) - 2
    return beta, inverse * np.sum(w * (y - design @ beta) ** 2) / freedom, freedom


class TestLinearLaw:
    @pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
    @pytest.mark.parametrize("weights", [None, np.array([1.0, 2, 1, 3, 1, 1, 2, 0.5])])
    def test_coefficients_have_the_textbook_interval(self, confidence, weights):
        beta, covariance, freedom = ordinary(weights=weights)
        fit = line_fit(weights=weights)
        for k, name in enumerate(("level", "slope")):
            half = student.ppf((1 + confidence) / 2, freedom) * np.sqrt(covariance[k, k])
            found = profile_parameter(fit, {"x": X}, Y, name, confidence=confidence)
            assert found.low == pytest.approx(beta[k] - half, abs=END * half)
            assert found.high == pytest.approx(beta[k] + half, abs=END * half)
            assert found.is_open == (False, False)

    def test_a_prediction_far_outside_has_the_textbook_interval(self):
        beta, covariance, freedom = ordinary()
        point = np.array([1.0, 30.0])
        half = student.ppf(0.95, freedom) * np.sqrt(point @ covariance @ point)
        found = profile_prediction(line_fit(), {"x": X}, Y, {"x": 30.0})
        assert found.estimate == pytest.approx(point @ beta)
        assert (found.low, found.high) == pytest.approx(
            (point @ beta - half, point @ beta + half), abs=END * half
        )

    def test_a_crossing_has_fiellers_interval(self):
        """The x where ``(level + slope x - 2)^2 = t^2 var(level + slope x)``, a quadratic in x."""
        beta, v, freedom = ordinary()
        t2 = student.ppf(0.95, freedom) ** 2
        a = beta[1] ** 2 - t2 * v[1, 1]
        b = 2 * ((beta[0] - 2.0) * beta[1] - t2 * v[0, 1])
        c = (beta[0] - 2.0) ** 2 - t2 * v[0, 0]
        low, high = sorted(np.roots([a, b, c]))
        found = profile_crossing(line_fit(), {"x": X}, Y, {}, Crossing("x", 2.0, (0.0, 20.0)))
        assert (found.low, found.high) == pytest.approx((low, high), abs=END * (high - low))

    def test_rows_of_one_run_count_once(self):
        """By hand: variance times rows per run, and as many degrees of freedom as runs less one."""
        beta, covariance, _ = ordinary()
        half = student.ppf(0.95, 3) * np.sqrt(covariance[1, 1] * len(X) / 4)
        found = profile_parameter(line_fit(), {"x": X}, Y, "slope", num_clusters=4)
        assert found.high - beta[1] == pytest.approx(half, rel=END)

    def test_unequal_noise_gives_the_sandwich(self):
        """By hand, after White 1980 with n / (n - 2): the slope leans on the far rows, here the noisy ones."""
        y = 3.0 - 0.25 * X + 0.05 * np.array([1, -1, 1, -1, 2, -6, 10, -8.0])
        beta, covariance, freedom = ordinary(y=y)
        design = np.stack([np.ones_like(X), X], axis=1)
        inverse = np.linalg.inv(design.T @ design)
        missed = design * (y - design @ beta)[:, None]
        sandwich = inverse @ (missed.T @ missed) @ inverse * len(X) / freedom
        assert sandwich[1, 1] > 1.2 * covariance[1, 1]
        found = profile_parameter(line_fit(y=y), {"x": X}, y, "slope", unequal_noise=True)
        half = student.ppf(0.95, freedom) * np.sqrt(sandwich[1, 1])
        assert (found.low, found.high) == pytest.approx((beta[1] - half, beta[1] + half), rel=END)

    def test_unequal_noise_never_narrows(self):
        # the rows in the middle are the noisy ones
        y = 3.0 - 0.25 * X + 0.05 * np.array([1, -1, 1, -6, 10, -6, 1, -1.0])
        equal, unequal = (
            profile_parameter(line_fit(y=y), {"x": X}, y, "slope", unequal_noise=told)
            for told in (False, True)
        )
        assert (unequal.low, unequal.high) == (equal.low, equal.high)

    def test_a_huber_slope_under_unequal_noise_has_the_spread_of_refits(self):
        """Rows far out are five times as noisy; of 120 intervals nine in ten should hold the truth."""
        rng, held = np.random.default_rng(5), {False: 0, True: 0}
        x = np.linspace(1.0, 7.0, 60)
        for _ in range(120):
            y = 3.0 - 0.25 * x + np.where(x > 5, 0.1, 0.02) * rng.standard_normal(60)
            fit = fit_law(LINE, {"x": x}, y)
            for told in held:
                found = profile_parameter(fit, {"x": x}, y, "slope", unequal_noise=told)
                held[told] += found.low <= -0.25 <= found.high
        assert held[False] < 0.8 * 120
        assert 0.84 * 120 <= held[True] <= 0.97 * 120  # two standard errors are 0.055

    def test_a_huber_mean_has_the_interval_solved_for_directly(self):
        """One constant: the objective is a plain sum, its rise is inverted by bisection."""
        y = np.array([2.0, 2.1, 1.9, 2.05, 1.97, 2.02, 4.0, 1.94])
        knee = 0.1
        law = law_of((Term("level", (Power("x", "zero"),), sign=0),), fixed=(("zero", 0.0),))
        fit = fit_law(law, {"x": X}, y, delta=knee)

        def objective(level):
            miss = np.abs(y - level)
            inside = np.minimum(miss, knee)
            return np.sum(inside * (miss - 0.5 * inside))

        center = fit.params["level"]
        miss = y - center
        tau = np.sum(np.clip(miss, -knee, knee) ** 2) / 7 / np.mean(np.abs(miss) <= knee)
        rise = 0.5 * tau * student.ppf(0.95, 7) ** 2
        expected = [
            brentq(
                lambda v: objective(v) - objective(center) - rise, center, center + s, xtol=1e-12
            )
            for s in (-1.0, 1.0)
        ]
        found = profile_parameter(fit, {"x": X}, y, "level")
        assert [found.low, found.high] == pytest.approx(expected, abs=END)


class TestAgainstLmfit:
    @pytest.mark.parametrize("name", ["DanWood", "Misra1a"])
    def test_nist_sets(self, name):
        case, certified = CASES[name], read_certified(name)
        y, x = certified.columns
        (function,) = (factor.function for factor in case.terms[0])
        fit = fit_law(case.law, {"x": x}, y, delta=np.inf)
        start = lmfit.create_params(b1=certified.parameters[0], b2=certified.parameters[1])
        minimizer = lmfit.Minimizer(lambda p: p["b1"] * function(x, p["b2"].value) - y, start)
        result = minimizer.leastsq(ftol=1e-14, xtol=1e-14)
        expected = lmfit.conf_interval(minimizer, result, sigmas=[0.9])
        for mine, theirs in (("c0", "b1"), ("b2", "b2")):
            (_, low), _, (_, high) = expected[theirs]
            found = profile_parameter(fit, {"x": x}, y, mine)
            # lmfit solves for the probability to a relative 5e-5 of the end itself
            assert (found.low, found.high) == pytest.approx((low, high), rel=5e-5)


def sweep(noise=0.004, mixture=1.0):
    tokens, share = (
        a.ravel() for a in np.meshgrid(np.geomspace(1e8, 1e10, 6), np.linspace(0, 1, 7))
    )
    loss = 1.5 + 60 * mixture * share**0.6 / tokens**0.25 + 0.3 / (share + 0.05) ** 0.5
    loss *= np.exp(noise * np.random.default_rng(3).standard_normal(len(loss)))
    return {"train_tokens": tokens, "share": share}, loss


class TestLaws:
    def test_more_confidence_gives_a_wider_interval_around_the_estimate(self):
        inputs, loss = sweep()
        fit = fit_law(dcpt_law(size_levels=1), inputs, loss)
        at = {"train_tokens": 4e10, "share": 0.4}
        ends = [
            profile_prediction(fit, inputs, loss, at, confidence=level)
            for level in (0.5, 0.9, 0.99)
        ]
        lows, highs = [e.low for e in ends], [e.high for e in ends]
        assert lows == sorted(lows, reverse=True)
        assert highs == sorted(highs)
        assert lows[0] < ends[0].estimate < highs[0]
        assert ends[0].objective_gain <= 1e-9 * fit.objective

    def test_a_crossing_ends_where_the_prediction_interval_touches_the_level(self):
        """Duality of intervals: at the ends of the crossing, the level is an end of the prediction."""
        inputs, loss = sweep()
        fit = fit_law(dcpt_law(size_levels=1), inputs, loss)
        at = {"train_tokens": 2e9}
        level = float(fit.predict({"train_tokens": np.array([2e9]), "share": np.array([0.2])})[0])
        found = profile_crossing(fit, inputs, loss, at, Crossing("share", level, (0.0, 0.5)))
        assert found.estimate == pytest.approx(0.2)
        for share in (found.low, found.high):
            there = profile_prediction(fit, inputs, loss, at | {"share": share})
            nearest = min((there.low, there.high), key=lambda end: abs(end - level))
            assert nearest == pytest.approx(level, abs=1e-4 * (there.high - there.low))

    def test_an_exponent_of_a_term_that_is_not_there_is_open(self):
        inputs, loss = sweep(mixture=0.0)
        fit = fit_law(dcpt_law(size_levels=1), inputs, loss)
        found = profile_parameter(fit, inputs, loss, "beta")
        exponent = next(e for e in fit.law.exponents if e.name == "beta")
        assert found.is_open == (True, True)
        assert (found.low, found.high) == (exponent.lower, exponent.upper)
        size = profile_parameter(fit, inputs, loss, "B")
        assert size.is_open[0]
        assert size.low == 0.0

    def test_a_coefficient_of_free_sign_may_change_it(self):
        """Ratios that say nothing: zero lies inside the interval of the slope of the ratio law."""
        ratio = np.linspace(0.1, 0.9, 9)
        loss = 2.0 + 1e-3 * np.array([1, -1, 2, -2, 1, 1, -2, 2, -1])
        fit = fit_law(ratio_law(), {"domain_ratio": ratio}, loss, delta=np.inf)
        found = profile_parameter(fit, {"domain_ratio": ratio}, loss, "alpha")
        assert found.low < 0 < found.high

    def test_a_law_without_noise_has_an_interval_without_width(self):
        law = law_of(
            (Term("c", (Power("x", "p", -1),)), Term("floor")), (Exponent("p", 0.05, 5.0),)
        )
        loss = 2.0 + 1.5 * X**-0.7
        found = profile_parameter(fit_law(law, {"x": X}, loss), {"x": X}, loss, "p")
        assert found.low == pytest.approx(0.7, abs=1e-6)
        assert found.high == pytest.approx(0.7, abs=1e-6)


class TestRefusals:
    def test_unknown_parameter_is_named_with_those_there_are(self):
        with pytest.raises(InputError, match="no free parameter 'gamma'; it has level, slope"):
            profile_parameter(line_fit(), {"x": X}, Y, "gamma")

    def test_level_that_is_not_reached(self):
        with pytest.raises(CmrplanError, match="does not reach 9 for x between 0 and 5"):
            profile_crossing(line_fit(), {"x": X}, Y, {}, Crossing("x", 9.0, (0.0, 5.0)))

    @pytest.mark.parametrize("bad", [{"confidence": 1.5}, {"num_clusters": 1}])
    def test_bad_argument_is_named(self, bad):
        with pytest.raises(InputError, match=next(iter(bad))):
            profile_parameter(line_fit(), {"x": X}, Y, "slope", **bad)


class TestOfAFit:
    @pytest.fixture
    def fitted(self):
        return cp.fit(simulated_log(sizes=(3e5,), noise=0.002), "dcpt", bootstrap=0)

    def test_the_critical_ratio_is_where_the_general_loss_reaches_its_limit(self, fitted):
        where = {"model_params": 3e5, "train_tokens": 1e6}
        limit = float(fitted.predict("general", **where, domain_ratio=0.6).loss[0])
        found = critical_ratio_interval(fitted, **where, general_loss_limit=limit)
        # the general loss rises with the ratio here, so it crosses its value at 0.6 only there
        assert found.estimate == pytest.approx(0.6, abs=1e-6)
        assert found.low < 0.6 < found.high
        assert np.all(np.diff(found.values) >= 0)
        wider = critical_ratio_interval(fitted, **where, general_loss_limit=limit, confidence=0.99)
        assert wider.low < found.low
        assert wider.high > found.high

    def test_a_loss_is_the_prediction_with_an_interval(self, fitted):
        where = {"model_params": 3e5, "train_tokens": 1e6, "domain_ratio": 0.3}
        found = loss_interval(fitted, "domain", **where)
        assert found.estimate == pytest.approx(fitted.predict("domain", **where).loss[0])
        assert found.low < found.estimate < found.high

    def test_on_the_command_line(self, fitted, call, tmp_path):
        cp.write_fit(fitted, tmp_path / "fit.json")
        answer = call("profile", str(tmp_path / "fit.json"), "--parameter", "beta", "--json")
        intervals = json.loads(answer.out)["intervals"]
        assert [(i["corpus"], i["name"]) for i in intervals] == [
            ("general", "beta"),
            ("domain", "beta"),
        ]
        direct = parameter_interval(fitted, "domain", "beta")
        assert intervals[1]["low"] == direct.low
        unknown = call("profile", str(tmp_path / "fit.json"), "--parameter", "zeta")
        assert unknown.code == 2
        assert "zeta" in unknown.err
        lacking = call("profile", str(tmp_path / "fit.json"), "--domain-ratio", "0.5")
        assert lacking.code == 2
        assert "--model-params" in lacking.err
