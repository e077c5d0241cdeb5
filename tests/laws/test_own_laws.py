"""The laws of this project: factors against complex steps and by hand, signs, sizes, few levels, cold starts."""

import json

import numpy as np
import pytest

from cmrplan.laws import build_law
from cmrplan.laws.bilinear import bilinear_law, size_law
from cmrplan.laws.by_size import AtSize
from cmrplan.laws.chinchilla import HELD_EXPONENT
from cmrplan.laws.relearning import relearning_law
from cmrplan.laws.scaled import (
    BoxCox,
    LogOnePlus,
    Relearned,
    ScaledExponential,
    ScaledPower,
    SizePower,
    box_cox,
)
from cmrplan.solve.law_fit import Status, fit_law, predict_draws, refit
from cmrplan.solve.problem import FitProblem, box
from cmrplan.solve.varpro import minimize

NAMES = ("bilinear", "bilinear_exp", "bilinear_dip", "relearning", "size_law")
SHARES = np.array([0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1])
TOKENS = np.geomspace(1e6, 3e7, 7)
SCALE = float(np.exp(np.mean(np.log(TOKENS))))
ROWS = {
    "share": np.array([0.0, 0.02, 0.3, 0.5, 0.9, 1.0]),
    "train_tokens": np.array([0.2, 0.7, 1.0, 1.0001, 3.0, 40.0]),
    "model_params": np.array([0.3, 0.9, 1.0, 2.0, 8.0, 30.0]),
}
FACTORS = [
    (LogOnePlus("train_tokens", "D1"), {"D1": 1.3}),
    *((BoxCox("train_tokens", "beta", "D1"), {"beta": b, "D1": 1.3}) for b in (-2, -1e-4, 0, 0.4)),
    (ScaledPower("share", "eps", "gamma"), {"eps": 0.02, "gamma": 0.7}),
    (ScaledPower("share", "eps", "gamma"), {"eps": 1.5, "gamma": 1e-3}),
    (ScaledPower("share", "eps", "gamma"), {"eps": 1e-4, "gamma": 9.0}),
    *((ScaledExponential("share", "k"), {"k": k}) for k in (0.01, 3.0, 200.0)),
    (SizePower("model_params", "a0", "N0"), {"a0": -0.3, "N0": 2.0}),
    (SizePower("model_params", "a1", "N0", times="share"), {"a1": 1.6, "N0": 2.0}),
    (
        Relearned("share", "train_tokens", "eta", "D0", "beta"),
        {"eta": 0.4, "D0": 0.6, "beta": 0.3},
    ),
]


def loss_rows(sizes=(1e6,), shares=SHARES, tokens=TOKENS):
    picks = np.meshgrid(sizes, tokens, shares, indexing="ij")
    names = ("model_params", "train_tokens", "share")
    return dict(zip(names, (p.ravel() for p in picks), strict=True))


def options(name, sizes=(1e6,), shares=SHARES, tokens=TOKENS):
    chosen = {
        "levels_by_size": tuple((float(n), len(shares), len(tokens)) for n in sizes),
        "token_scale": SCALE,
        "smallest_share": float(np.min(shares)),
        "share_levels": len(shares),
    }
    return chosen if name != "relearning" else {k: v for k, v in chosen.items() if "sm" not in k}


class TestFactors:
    @pytest.mark.parametrize(("factor", "theta"), FACTORS)
    def test_slopes_match_complex_steps(self, factor, theta):
        columns = {name: np.array([[float(x)]]) for name, x in theta.items()}
        value, slopes = factor(ROWS, columns)
        assert np.isfinite(value).all()
        for name, slope in zip(factor.exponents, slopes, strict=True):
            moved = columns | {name: columns[name] + 1e-30j}
            complex_value, _ = factor(ROWS, moved)
            exact = np.imag(complex_value) / 1e-30
            # no differences are taken: both are exact but for rounding, near a power of 0 of its series
            scale = np.abs(exact).max()
            np.testing.assert_allclose(
                np.broadcast_to(slope, exact.shape), exact, rtol=1e-9, atol=1e-11 * scale
            )

    def test_box_cox_by_hand(self):
        # (4^-1/2 - 1) / (-1/2) = 1, (4^1 - 1) / 1 = 3, and ln 4 between them
        rows = {"d": np.array([8.0])}
        for beta, expected in [(0.5, 1.0), (-1.0, 3.0), (0.0, np.log(4.0))]:
            theta = {"beta": np.array([[beta]]), "D1": np.array([[2.0]])}
            value, _ = BoxCox("d", "beta", "D1")(rows, theta)
            assert value[0, 0] == pytest.approx(expected, rel=1e-14)

    def test_box_cox_is_smooth_through_zero(self):
        # across the edge of its series: second differences over h^2 are the curvature, here of order |x|^4 at most
        for x in (1.0, -3.0):
            powers = np.linspace(-0.05, 0.05, 2001)
            for part in box_cox(np.array(x), powers):
                bend = np.diff(part, 2) / (powers[1] - powers[0]) ** 2
                assert np.ptp(bend) < 2.0 * abs(x) ** 4

    @pytest.mark.parametrize("factor", [f for f in FACTORS if isinstance(f[0], ScaledPower)])
    def test_the_curve_of_the_share_is_scaled(self, factor):
        theta = {name: np.array([[x]]) for name, x in factor[1].items()}
        value, _ = factor[0]({"share": np.array([1.0, 0.5, 0.0])}, theta)
        assert value[0, :2] == pytest.approx([0.0, 1.0], abs=1e-14)
        shifted = np.array([1.0, 0.5, 0.0]) + factor[1]["eps"]
        curve = shifted ** -factor[1]["gamma"]
        by_hand = (curve[2] - curve[0]) / (curve[1] - curve[0])
        assert value[0, 2] == pytest.approx(by_hand, rel=1e-10)

    def test_the_exponential_curve_by_hand(self):
        # (e^(k/2) - 1) / (1 - ...) : with q = e^(-k/2), (1 - q^2) / (q - q^2) = (1 + q) / q
        value, _ = ScaledExponential("share", "k")(
            {"share": np.array([1.0, 0.5, 0.0])}, {"k": np.array([[2 * np.log(3)]])}
        )
        assert value[0] == pytest.approx([0.0, 1.0, 4.0], abs=1e-14)

    def test_each_size_has_its_coefficient(self):
        sizes = (1e6, 4e6, 9e6)
        at = {"model_params": np.array([1e5, 1e6, 2e6, 4e6, 9e6, 9e7])}
        kept = np.stack([AtSize(sizes, k)(at, {})[0] for k in range(3)])
        on = np.stack([AtSize(sizes, k, goes_on=True)(at, {})[0] for k in range(3)])
        assert kept[:, [1, 3, 4]].tolist() == np.eye(3).tolist()
        np.testing.assert_allclose(kept.sum(axis=0), 1)
        np.testing.assert_allclose(on.sum(axis=0), 1)
        assert kept[:, 0].tolist() == [1, 0, 0]
        assert kept[:, 5].tolist() == [0, 0, 1]
        # a level that is a straight line in N^-0.35 comes out everywhere
        line = 2 + 30 * at["model_params"] ** -HELD_EXPONENT
        there = 2 + 30 * np.array(sizes) ** -HELD_EXPONENT
        np.testing.assert_allclose(there @ on, line)


def curve(s, eps=0.1, gamma=0.8):
    part = (s + eps) ** -gamma - (1 + eps) ** -gamma
    return part / ((0.5 + eps) ** -gamma - (1 + eps) ** -gamma)


def token_curve(d, beta):
    return np.log(d / SCALE) if beta == 0 else ((d / SCALE) ** -beta - 1) / -beta


class TestFits:
    @pytest.mark.parametrize("beta", [-0.7, 0.0, 0.5])
    def test_a_general_loss_that_rises_near_no_replay_and_falls_near_pure_replay(self, beta):
        rows = loss_rows()
        d, h = token_curve(rows["train_tokens"], beta), curve(rows["share"])
        loss = 2 - 0.03 * d + 0.05 * h + 0.02 * d * h
        at_ends = loss.reshape(len(TOKENS), len(SHARES))[:, [0, -1]]
        assert (np.diff(at_ends[:, 0]) > 0).all()
        assert (np.diff(at_ends[:, 1]) < 0).all()
        fit = fit_law(build_law("bilinear", options("bilinear")), rows, loss)
        np.testing.assert_allclose(fit.predict(rows), loss, atol=1e-9)
        assert fit.status is Status.CONVERGED
        truth = {"a": 2, "b": -0.03, "c": 0.05, "e": 0.02, "beta": beta, "gamma": 0.8}
        for name, expected in truth.items():
            assert fit.params[name] == pytest.approx(expected, abs=1e-5), name
        later = {"share": SHARES, "train_tokens": np.full(8, 1e8), "model_params": np.full(8, 1e6)}
        d, h = token_curve(1e8, beta), curve(SHARES)
        expected = 2 - 0.03 * d + 0.05 * h + 0.02 * d * h
        np.testing.assert_allclose(fit.predict(later), expected, atol=1e-6)

    @pytest.mark.parametrize("name", NAMES)
    def test_the_signs_are_free(self, name):
        law = build_law(name, options(name, (1e6, 4e6)))
        assert {term.sign for term in law.terms} == {0}
        rows = loss_rows((1e6, 4e6))
        theta = np.array([[0.4 if e.lower < 0.4 < e.upper else SCALE for e in law.exponents]])
        for flip in (1, -1):
            coefficients = flip * np.linspace(0.02, 0.05, len(law.terms))[None, :]
            coefficients[:, 0] = 3.0  # the level
            loss = law.predict(rows, theta, coefficients)[0]
            assert (loss > 0).all()
            np.testing.assert_allclose(fit_law(law, rows, loss).predict(rows), loss, atol=1e-7)

    def test_sizes_in_different_states_are_fitted_exactly(self):
        sizes = (1e6, 4e6, 1.6e7)
        own = [(2.6, -0.06, 0.02, 0.01), (2.1, 0.01, 0.05, -0.02), (2.0, -0.02, -0.01, 0.03)]
        rows = loss_rows(sizes)
        d, h = token_curve(rows["train_tokens"], 0.3), curve(rows["share"])
        a, b, c, e = np.array([own[sizes.index(n)] for n in rows["model_params"]]).T
        loss = a + b * d + c * h + e * d * h
        fit = fit_law(build_law("bilinear", options("bilinear", sizes)), rows, loss)
        np.testing.assert_allclose(fit.predict(rows), loss, atol=1e-9)
        differences = [fit.params[name] for name in ("b", "b_2", "b_3")]
        assert differences == pytest.approx([-0.06, 0.07, 0.04], abs=1e-6)

    def test_a_size_of_which_a_resample_tells_little_follows_the_others(self):
        sizes = (1e6, 4e6, 1.6e7)
        rows = loss_rows(sizes)
        noise = np.random.default_rng(1).normal(0, 1e-3, len(rows["share"]))
        d, h = token_curve(rows["train_tokens"], 0.3), curve(rows["share"])
        loss = 2 - 0.05 * d + (0.2 + 0.02 * d) * h + noise
        fit = fit_law(build_law("bilinear_dip", options("bilinear_dip", sizes)), rows, loss)
        for lost in sizes:
            # two of the eight shares are left at one size, where the curve needs three
            kept = (rows["model_params"] != lost) | (rows["share"] > 0.8)
            ends = refit(fit, rows, loss[None, :], kept[None, :].astype(float))
            drawn = predict_draws(fit.law, fit.scales, rows, *ends)[0]
            assert np.abs(ends[1]).max() < 10
            # its curve is that of the others, drawn toward none where it is the one they are told from
            assert np.abs(drawn - loss).max() < 0.5 * np.ptp(loss)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_cold_start_finds_what_many_starts_find(self, name):
        sizes = (1e6, 4e6)
        law, rows = build_law(name, options(name, sizes)), loss_rows(sizes)
        rng = np.random.default_rng(4)
        # no law's own: a rise that ends, on a base that differs, with noise
        d, s = rows["train_tokens"] / SCALE, rows["share"]
        loss = 2 + 0.3 * np.exp(-3 * s) * (1 - np.exp(-d)) - 0.1 * s * np.log1p(d)
        loss = loss + 0.2 * (rows["model_params"] < 2e6) + rng.normal(0, 0.002, len(s))
        fit = fit_law(law, rows, loss, delta=np.inf)
        level = np.exp(np.mean(np.log(loss)))
        problem = FitProblem(law, rows, loss[None, :] / level, np.ones((1, len(loss))), np.inf)
        lower, upper = box(law)
        starts = rng.uniform(lower, upper, (60, len(lower)))
        with np.errstate(all="ignore"):  # the outer parts of a box overflow
            ends = minimize(problem, starts)
        # descents end where float64 shows no more gain, about 1e-11 of the objective
        assert fit.objective <= np.nanmin(ends.objective) * (1 + 1e-8)


class TestFewLevels:
    @pytest.mark.parametrize("name", NAMES)
    def test_one_size_has_one_set_of_coefficients(self, name):
        law = build_law(name, options(name))
        assert "model_params" not in law.inputs
        assert not any("_2" in term.coefficient for term in law.terms)
        assert not {"a0", "a1", "N0"} & set(law.parameter_names)

    def test_the_size_law_of_one_size_is_the_bilinear_law(self):
        rows = loss_rows()
        theta = np.array([[0.3, 0.8, 0.1]])
        coefficients = np.array([[2.0, -0.1, 0.2, 0.3]])
        one, other = size_law(token_scale=SCALE), bilinear_law(token_scale=SCALE)
        np.testing.assert_array_equal(
            one.predict(rows, theta, coefficients), other.predict(rows, theta, coefficients)
        )

    @pytest.mark.parametrize(
        ("name", "shares", "held"),
        [
            ("bilinear", 3, {"ratio_offset"}),
            ("bilinear", 4, {"ratio_offset"}),
            ("bilinear", 5, set()),
            ("bilinear_exp", 3, set()),
            ("bilinear_dip", 4, {"ratio_offset", "gamma"}),
            ("bilinear_dip", 5, {"ratio_offset"}),
            ("bilinear_dip", 6, set()),
            ("size_law", 4, {"ratio_offset"}),
            ("relearning", 3, {"eta", "beta"}),
            ("relearning", 4, {"eta"}),
            ("relearning", 5, set()),
        ],
    )
    def test_few_shares_hold_shapes(self, name, shares, held):
        law = build_law(name, options(name, shares=np.linspace(0.1, 0.9, shares)))
        assert {key for key, _ in law.fixed} - {"D1"} == held

    @pytest.mark.parametrize("name", NAMES)
    def test_few_token_counts_reduce(self, name):
        two = build_law(name, options(name, tokens=TOKENS[:2]))
        assert dict(two.fixed)["beta"] == (HELD_EXPONENT if name == "relearning" else 0.0)
        one = build_law(name, options(name, tokens=TOKENS[:1]))
        assert "D1" not in one.parameter_names
        assert len(one.terms) < len(two.terms)

    def test_a_size_with_one_run_has_a_level_and_no_curve(self):
        levels = ((1e6, 8, 7), (2e6, 1, 7), (4e6, 8, 1), (8e6, 5, 7))
        law = bilinear_law(levels_by_size=levels, token_scale=SCALE)
        names = [term.coefficient for term in law.terms]
        own = {letter: [n[2:] for n in names if n[0] == letter] for letter in "abce"}
        assert own == {
            "a": ["", *"234"],
            "b": ["", *"24"],
            "c": ["", *"34"],
            "e": ["", "4"],
        }

    @pytest.mark.parametrize("name", NAMES)
    def test_a_law_comes_back_from_its_file(self, name):
        law = build_law(name, options(name, (1e6, 4e6)))
        assert build_law(name, json.loads(json.dumps(dict(law.options)))) == law


def test_the_relearning_law_by_hand():
    law = relearning_law(token_scale=2.0)
    # s^eta D/D0 = (1/4)^(1/2) 6 = 3, so 1 - 4^(-1/2) = 1/2, and ln(1 + D/D1) = ln 4
    rows = {"share": np.array([0.25]), "train_tokens": np.array([6.0])}
    theta = np.array([[0.5, 1.0, 0.5]])
    assert [term.coefficient for term in law.terms] == ["a", "w", "G", "q"]
    value = law.predict(rows, theta, np.array([[5.0, 0.1, 0.8, 0.2]]))[0, 0]
    assert value == pytest.approx(5 + 0.1 * np.log(4) - 0.4 - 0.05 * np.log(4), rel=1e-14)


def test_the_dipping_law_by_hand():
    law = bilinear_law(token_scale=2.0, has_dip=True)
    assert [term.coefficient for term in law.terms] == [*"abcefg"]
    # at s = 1/2 and D = 2 e, beta = 0: d = 1, h = 1, s - 1 = -1/2
    rows = {"share": np.array([0.5]), "train_tokens": np.array([2 * np.e])}
    value = law.predict(rows, np.array([[0.0, 0.7, 0.1]]), np.array([[1, 2, 3, 4, 5, 6.0]]))[0, 0]
    assert value == pytest.approx(1 + 2 + 3 + 4 - 2.5 - 3, rel=1e-13)


def test_the_size_law_by_hand():
    law = size_law(levels_by_size=((1.0, 8, 7), (16.0, 8, 7)), token_scale=2.0)
    names = [term.coefficient for term in law.terms]
    assert names == ["e", "e_2", "b", "b_2", "C", "F"]
    assert dict(law.fixed)["N0"] == pytest.approx(4.0)
    # at N = 16: e = 9 - 8 and b = 9 - 7, (16/4)^-(a0 + a1/2) with a0 = 1/4 and a1 = 1/2 is 1/2; d = h = 1
    rows = {
        "model_params": np.array([16.0]),
        "share": np.array([0.5]),
        "train_tokens": np.array([2 * np.e]),
    }
    theta = np.array([[0.0, 0.7, 0.1, 0.25, 0.5]])
    value = law.predict(rows, theta, np.array([[9, -8, 9, -7, 3, 5.0]]))[0, 0]
    assert value == pytest.approx(1 + 2 + (3 + 5) / 2, rel=1e-13)
