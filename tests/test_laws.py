"""Laws: values by hand, limits, and every Jacobian against central differences."""

import math

import numpy as np
import pytest

from cmrplan.errors import InputError
from cmrplan.laws import LAW_BUILDERS, build_law
from cmrplan.laws.cmr import cmr_ratio, peak_tokens, turning_tokens
from cmrplan.laws.dcpt import HELD_EXPONENT, dcpt_law

VARIANTS = [
    ("dcpt", {"size_levels": sizes, "token_levels": budgets, "smallest_share": 0.0})
    for sizes in (1, 2, 3)
    for budgets in (1, 2, 3)
] + [
    ("dcpt_exp", {"size_levels": 3, "token_levels": 3, "smallest_share": 0.0}),
    ("cmr_ratio", {}),
    ("cmr_domain_tokens", {}),
    ("cmr_general_tokens", {}),
    ("cmr", {}),
]


def some_rows(num_rows=7, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "model_params": rng.uniform(0.2, 5, num_rows),
        "train_tokens": rng.uniform(0.1, 10, num_rows),
        "share": rng.uniform(0.02, 1, num_rows),
        "domain_ratio": rng.uniform(0.02, 1, num_rows),
    }


def some_theta(law, seed=1):
    rng = np.random.default_rng(seed)
    low = [max(e.lower, -1.5) for e in law.exponents]
    high = [min(e.upper, 1.5) for e in law.exponents]
    return rng.uniform(low, high, size=(3, len(law.exponents)))


class TestJacobians:
    @pytest.mark.parametrize(("name", "options"), VARIANTS)
    def test_matches_central_differences(self, name, options):
        law = build_law(name, options)
        rows, theta = some_rows(), some_theta(law)
        coefficients = np.random.default_rng(2).uniform(0.5, 2, (3, len(law.terms)))
        jacobian = law.jacobian(rows, theta, coefficients)
        both = np.concatenate([coefficients, theta], axis=1)
        num_terms = len(law.terms)
        for k in range(both.shape[1]):
            # the error of a central difference with step eps^(1/3) is about eps^(2/3) = 4e-11
            step = np.zeros_like(both)
            step[:, k] = np.finfo(float).eps ** (1 / 3) * np.maximum(np.abs(both[:, k]), 1e-2)
            up, down = both + step, both - step
            difference = law.predict(rows, up[:, num_terms:], up[:, :num_terms])
            difference -= law.predict(rows, down[:, num_terms:], down[:, :num_terms])
            slope = difference / (2 * step[:, k : k + 1])
            scale = np.abs(slope).max() + 1
            np.testing.assert_allclose(jacobian[:, :, k], slope, atol=1e-7 * scale)

    def test_every_law_is_tried(self):
        assert {name for name, _ in VARIANTS} == set(LAW_BUILDERS)


class TestDcptValues:
    def test_full_form_by_hand(self):
        law = dcpt_law()
        rows = {
            "model_params": np.array([4.0]),
            "train_tokens": np.array([9.0]),
            "share": np.array([0.25]),
        }
        # E=1, A=2, B=3, C=5; alpha=.5, eta=.5, beta=.5, gamma=1, epsilon=.25:
        # 1 + 2/2 + 3*.5/3 + 5/.5 = 12.5
        names = [e.name for e in law.exponents]
        assert names == ["alpha", "eta", "beta", "gamma", "ratio_offset"]
        theta = np.array([[0.5, 0.5, 0.5, 1.0, 0.25]])
        value = law.predict(rows, theta, np.array([[1.0, 2.0, 3.0, 5.0]]))
        assert value[0, 0] == pytest.approx(12.5, rel=1e-14)

    def test_finite_at_both_ends_of_the_ratio(self):
        law = dcpt_law()
        rows = {
            "model_params": np.ones(2),
            "train_tokens": np.ones(2),
            "share": np.array([0.0, 1.0]),
        }
        theta = np.array([[0.3, 0.5, 0.3, 0.5, 0.1]])
        jacobian = law.jacobian(rows, theta, np.ones((1, 4)))
        assert np.isfinite(jacobian).all()
        # at r = 0 the mixture term is gone: E + A + C / 0.1^0.5
        value = law.predict(rows, theta, np.ones((1, 4)))
        assert value[0, 0] == pytest.approx(2 + 10**0.5, rel=1e-14)

    def test_terms_follow_the_levels_of_the_log(self):
        one = dcpt_law(size_levels=1, token_levels=1)
        assert [t.coefficient for t in one.terms] == ["E", "C"]
        two = dcpt_law(size_levels=2, token_levels=2)
        assert dict(two.fixed) == {"alpha": HELD_EXPONENT, "beta": HELD_EXPONENT}
        assert not dcpt_law(size_levels=3, token_levels=3).fixed

    def test_offset_is_bounded_by_the_smallest_share(self):
        law = dcpt_law(smallest_share=0.1)
        offset = next(e for e in law.exponents if e.name == "ratio_offset")
        assert offset.lower == pytest.approx(0.01)


class TestTurningPoint:
    def test_peak_of_a_known_curve(self):
        # L = 2 T^0.5 - T has slope T^-0.5 - 1, so its peak is at T = 1
        assert peak_tokens(2.0, 0.5, -1.0, 1.0) == pytest.approx(1.0, rel=1e-14)

    def test_order_of_the_terms_does_not_matter(self):
        assert peak_tokens(-1.0, 1.0, 2.0, 0.5) == pytest.approx(1.0, rel=1e-14)

    def test_a_valley_is_not_a_peak(self):
        assert math.isnan(peak_tokens(-2.0, 0.5, 1.0, 1.0))

    def test_monotone_curves_have_no_peak(self):
        assert math.isnan(peak_tokens(1.0, 0.5, 1.0, 1.0))
        assert math.isnan(peak_tokens(1.0, 0.5, 0.0, 1.0))

    def test_multiplier_by_hand(self):
        # d(gen)/dT = T^-0.5 - 1 and d(dom)/dT = -0.5: with lambda = 1 the sum is zero at T^-0.5 = 1.5
        found = turning_tokens((-0.5, 1.0), (2.0, 0.5, -1.0, 1.0), multiplier=1.0, longest=100)
        assert found == pytest.approx(1 / 2.25, rel=1e-9)

    def test_satisfies_the_papers_implicit_equation(self):
        a1, s1, a2, s2, a3, s3, lam = -0.4, 0.3, 0.9, 0.4, -0.6, 0.6, 5.0
        t0 = turning_tokens((a1, s1), (a2, s2, a3, s3), multiplier=lam, longest=1e4)
        inner = -(a1 * s1) / (lam * a2 * s2) / (1 + (a3 * s3) / (a2 * s2) * t0 ** (s3 - s2))
        assert inner ** (1 / (s2 - s1)) == pytest.approx(t0, rel=1e-8)

    def test_goes_to_the_peak_as_the_multiplier_grows(self):
        general = (2.0, 0.5, -1.0, 1.0)
        far = turning_tokens((-0.5, 1.0), general, multiplier=1e9, longest=100)
        assert far == pytest.approx(peak_tokens(*general), rel=1e-6)
        assert turning_tokens((-0.5, 1.0), general, multiplier=math.inf, longest=100) == (
            pytest.approx(1.0)
        )

    def test_refuses_a_negative_multiplier(self):
        with pytest.raises(InputError, match="multiplier"):
            turning_tokens((-0.5, 1.0), (2.0, 0.5, -1.0, 1.0), multiplier=-1, longest=10)

    def test_cmr_law_is_clipped(self):
        assert cmr_ratio(np.array([1.0, 1e6]), 0.22524761, 0.26944345, -0.48139982).tolist() == [
            0.0,
            1.0,
        ]
