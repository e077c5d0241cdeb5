"""Laws: values by hand, limits, every Jacobian against central differences, recovery without noise.

Every law is written out a second time here; expected values come from that or from arithmetic by hand.
"""

import doctest
import math
from pathlib import Path

import numpy as np
import pytest

from cmrplan.errors import InputError
from cmrplan.laws import build_law, required_options
from cmrplan.laws.chinchilla import HELD_EXPONENT, chinchilla_law
from cmrplan.laws.cmr import cmr_ratio, peak_tokens, turning_tokens
from cmrplan.laws.cross_domain import cross_domain_law, domain_coefficient
from cmrplan.laws.dcpt import dcpt_law
from cmrplan.laws.law import Power
from cmrplan.laws.learning_rate import learning_rate_law, schedule_areas
from cmrplan.laws.mixtures import autoscale_law, bimix_law, data_mixing_law, optimal_mixture_law
from cmrplan.laws.registry import REGISTRY
from cmrplan.laws.repetition import effective_tokens, with_repetition
from cmrplan.solve.law_fit import fit_law

CORPORA = ["web", "code", "math"]
DCPT_NAMES = [
    "dcpt",
    "dcpt_exp",
    "dcpt_no_mixture",
    "dcpt_product_exp",
    "dcpt_sum",
    "dcpt_sum_exp",
]
LEVELS = [(sizes, budgets) for sizes in (1, 2, 3) for budgets in (1, 2, 3)]
OWN_NAMES = ["bilinear", "bilinear_exp", "bilinear_dip", "relearning", "size_law"]
OWN_LEVELS = [
    (),
    ((1.0, 9, 6), (2.0, 1, 6), (4.0, 9, 6)),
    ((1.0, 9, 2), (4.0, 9, 2)),
    ((1.0, 9, 1),),
]
VARIANTS = [
    *(
        (name, {"size_levels": sizes, "token_levels": budgets, "smallest_share": 0.0})
        for name in DCPT_NAMES
        for sizes, budgets in LEVELS
    ),
    *(("chinchilla", {"size_levels": sizes, "token_levels": budgets}) for sizes, budgets in LEVELS),
    ("chinchilla_repetition", {}),
    ("chinchilla_repetition", {"repeat_scale": 2.0}),
    ("dcpt_repetition", {"repeated_share": "share"}),
    ("dcpt_exp_repetition", {"size_levels": 1}),
    ("cross_domain", {}),
    ("cmr_ratio", {}),
    ("cmr_domain_tokens", {}),
    ("cmr_general_tokens", {}),
    ("cmr", {}),
    *(
        (name, {"corpus": corpus})
        for name in ("learning_rate", "learning_rate_replay")
        for corpus in ("general", "domain")
    ),
    ("learning_rate", {"corpus": "domain", "base_levels": 1}),
    ("data_mixing", {"corpora": CORPORA}),
    ("bimix", {"corpus": "web"}),
    ("optimal_mixture", {"corpora": CORPORA}),
    ("optimal_mixture", {"corpora": CORPORA[:2], "size_levels": 1, "token_levels": 2}),
    ("autoscale", {"corpora": CORPORA}),
    *(
        (
            name,
            {"corpora": CORPORA, "size_levels": sizes, "token_levels": budgets, "size_scale": 1.7},
        )
        for name in ("bilinear_mixing", "size_mixing")
        for sizes, budgets in LEVELS
    ),
    ("forgetting", {}),
    *(
        (name, {"levels_by_size": levels, "token_scale": 1.3, "share_levels": shares})
        for name in OWN_NAMES
        for levels in OWN_LEVELS
        for shares in (4, 9)
    ),
]


def simplex(num_rows, rng, num_corpora=3):
    shares = rng.dirichlet(np.ones(num_corpora), num_rows)
    return {f"share_{name}": shares[:, k] for k, name in enumerate(CORPORA[:num_corpora])}


def some_rows(law, num_rows=9, seed=0):
    """Rows of order one; tokens in the unit of the box where a law has a prior in tokens."""
    rng = np.random.default_rng(seed)
    rows = {name: rng.uniform(0.1, 5, num_rows) for name in law.inputs}
    for name in ("share", "domain_ratio", "replay_ratio"):
        rows[name] = rng.uniform(0.02, 0.98, num_rows)
    rows |= simplex(num_rows, rng)
    if law.name == "autoscale":
        rows["train_tokens"] = rows["train_tokens"] * 1e5
    return rows


def some_theta(law, seed=1):
    rng = np.random.default_rng(seed)
    columns = []
    for e in law.exponents:
        if e.lower >= 1:
            columns.append(e.lower * np.exp(rng.uniform(0, 3, 3)))
        else:
            columns.append(rng.uniform(max(e.lower, -1.5), min(e.upper, 1.5), 3))
    return np.stack(columns, axis=1) if columns else np.zeros((3, 0))


class TestDeclarations:
    @pytest.mark.parametrize(("name", "options"), VARIANTS)
    def test_jacobian_matches_central_differences(self, name, options):
        law = build_law(name, options)
        rows, theta = some_rows(law), some_theta(law)
        signs = np.array([term.sign or 1 for term in law.terms])
        coefficients = signs * np.random.default_rng(2).uniform(0.5, 2, (3, len(law.terms)))
        jacobian = law.jacobian(rows, theta, coefficients)
        size = np.abs(law.predict(rows, theta, coefficients)).max()
        both = np.concatenate([coefficients, theta], axis=1)
        num_terms = len(law.terms)
        for k in range(both.shape[1]):
            unit = np.maximum(np.abs(both[:, k]), 1e-2)
            step = np.zeros_like(both)
            step[:, k] = np.finfo(float).eps ** (1 / 3) * unit
            up, down = both + step, both - step
            difference = law.predict(rows, up[:, num_terms:], up[:, :num_terms])
            difference -= law.predict(rows, down[:, num_terms:], down[:, :num_terms])
            slope = difference / (2 * step[:, k : k + 1])
            # per relative change of the parameter; a central difference with step eps^(1/3) errs by
            # about eps^(2/3) = 4e-11 of the loss, times third derivatives
            np.testing.assert_allclose(
                jacobian[:, :, k] * unit[:, None], slope * unit[:, None], atol=3e-9 * size
            )
            assert np.abs(slope * unit[:, None]).max() > 1e-5 * size  # the parameter is at work

    def test_every_law_is_tried(self):
        assert {name for name, _ in VARIANTS} == set(REGISTRY)

    @pytest.mark.parametrize(("name", "options"), VARIANTS)
    def test_declaration_is_whole_and_can_be_made_again(self, name, options):
        law = build_law(name, options)
        assert law.name == name
        for text in (law.formula, law.latex, law.reference, law.needs):
            assert text
        assert law.needs.endswith(".")
        assert build_law(law.name, dict(law.options)) == law
        assert len(set(law.parameter_names)) == len(law.parameter_names)
        for factor in (factor for term in law.terms for factor in term.factors):
            # other factors do not tell what their coefficient gains by a change of units
            assert isinstance(factor, Power) or not set(factor.variables) & set(law.scaled)

    def test_laws_that_need_options_say_so(self):
        assert required_options("optimal_mixture") == ("corpora",)
        assert required_options("dcpt") == ()
        with pytest.raises(InputError, match="corpora"):
            build_law("optimal_mixture", {})
        with pytest.raises(InputError, match="unknown law 'dctp'"):
            build_law("dctp", {})

    @pytest.mark.parametrize("corpora", [["web"], ["web", "web"], "web"])
    def test_corpora_must_be_different_names(self, corpora):
        with pytest.raises(InputError, match="corpora"):
            build_law("autoscale", {"corpora": corpora})


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
        assert offset.lower == pytest.approx(0.1)


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
        tokens = turning_tokens((-0.5, 1.0), (2.0, 0.5, -1.0, 1.0), multiplier=1.0, longest=100)
        assert tokens == pytest.approx(1 / 2.25, rel=1e-9)

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
        with pytest.warns(UserWarning, match=r"2 ratio\(s\) outside \[0, 1\], the first -0.256"):
            ratio = cmr_ratio(np.array([1.0, 1e6]), 0.22524761, 0.26944345, -0.48139982)
        assert ratio.tolist() == [0.0, 1.0]


def value(law, coefficients, exponents, **inputs):
    """The law at rows given by name, with one set of parameters given in their order."""
    rows = {name: np.atleast_1d(np.asarray(x, dtype=float)) for name, x in inputs.items()}
    theta = np.array([exponents], dtype=float).reshape(1, len(law.exponents))
    return law.predict(rows, theta, np.array([coefficients], dtype=float))[0]


# the ratio terms 1/(r + 1/2)^(1/2) at r = 0 and 1, and exp(-r/2) at 1
AT_0, AT_1, EXP_1 = math.sqrt(2), math.sqrt(2 / 3), math.exp(-0.5)


class TestDcptVariants:
    def test_sum_by_hand(self):
        law = build_law("dcpt_sum", {})
        assert law.parameter_names == (
            *("E", "A", "B", "F", "C"),
            *("alpha", "beta", "eta", "gamma", "ratio_offset"),
        )
        # 1 + 2/4^.5 + 3/9^.5 + 4*.25^.5 + 5/(.25+.25) = 1 + 1 + 1 + 2 + 10
        loss = value(
            law,
            [1, 2, 3, 4, 5],
            [0.5, 0.5, 0.5, 1.0, 0.25],
            model_params=4,
            train_tokens=9,
            share=0.25,
        )
        assert loss[0] == pytest.approx(15, rel=1e-14)

    def test_sum_with_exponential_by_hand(self):
        law = build_law("dcpt_sum_exp", {})
        assert [e.name for e in law.exponents] == ["alpha", "beta", "eta", "k"]
        # 1 + 2/2 + 3/3 + 4*.5 + 5*exp(-ln 2) = 7.5
        loss = value(
            law,
            [1, 2, 3, 4, 5],
            [0.5, 0.5, 0.5, 4 * math.log(2)],
            model_params=4,
            train_tokens=9,
            share=0.25,
        )
        assert loss[0] == pytest.approx(7.5, rel=1e-14)

    def test_no_mixture_and_product_with_exponential_by_hand(self):
        rows = {"model_params": 4, "train_tokens": 9, "share": 0.25}
        dropped = value(
            build_law("dcpt_no_mixture", {}), [1, 2, 3, 5], [0.5, 0.5, 1.0, 0.25], **rows
        )
        assert dropped[0] == pytest.approx(13, rel=1e-14)  # 1 + 1 + 1 + 5/.5
        product = value(
            build_law("dcpt_product_exp", {}),
            [1, 2, 3, 5],
            [0.5, 0.5, 0.5, 4 * math.log(2)],
            **rows,
        )
        assert product[0] == pytest.approx(5, rel=1e-14)  # 1 + 1 + 3*.5/3 + 5/2

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("dcpt", [2 + AT_0, 3 + AT_1, 2 + AT_0, 2 + AT_1]),
            ("dcpt_no_mixture", [3 + AT_0, 3 + AT_1, 2 + AT_0, 2 + AT_1]),
            ("dcpt_sum", [3 + AT_0, 4 + AT_1, 2 + AT_0, 3 + AT_1]),
            ("dcpt_product_exp", [3, 3 + EXP_1, 3, 2 + EXP_1]),
            ("dcpt_exp", [4, 3 + EXP_1, 3, 2 + EXP_1]),
            ("dcpt_sum_exp", [4, 4 + EXP_1, 3, 3 + EXP_1]),
        ],
    )
    def test_limits_in_ratio_and_tokens(self, name, expected):
        """Every coefficient 1, every exponent 1/2, at (D, r) = (1, 0), (1, 1), (oo, 0), (oo, 1)."""
        law = build_law(name, {})
        theta = np.full((1, len(law.exponents)), 0.5)
        ones = np.ones((1, len(law.terms)))
        rows = {
            "model_params": np.ones(4),
            "train_tokens": np.array([1.0, 1.0, 1e300, 1e300]),
            "share": np.array([0.0, 1.0, 0.0, 1.0]),
        }
        assert np.isfinite(law.jacobian(rows, theta, ones)).all()
        np.testing.assert_allclose(law.predict(rows, theta, ones)[0], expected, rtol=1e-12)

    @pytest.mark.parametrize(
        ("name", "terms"),
        [
            ("dcpt", ["E", "C"]),
            ("dcpt_no_mixture", ["E", "C"]),
            ("dcpt_sum", ["E", "F", "C"]),
            ("dcpt_sum_exp", ["E", "F", "C"]),
        ],
    )
    def test_one_level_drops_the_terms(self, name, terms):
        law = build_law(name, {"size_levels": 1, "token_levels": 1})
        assert [t.coefficient for t in law.terms] == terms
        assert law.inputs == ("share",)

    @pytest.mark.parametrize("name", [*DCPT_NAMES, "cross_domain"])
    def test_two_levels_hold_the_exponents(self, name):
        law = build_law(name, {"size_levels": 2, "token_levels": 2})
        assert dict(law.fixed) == {"alpha": HELD_EXPONENT, "beta": HELD_EXPONENT}


class TestCrossDomain:
    def test_by_hand(self):
        law = cross_domain_law(size_levels=1, token_levels=1)
        # 1 + 2/(.25+.25) + 3/4^.5
        loss = value(law, [1, 2, 3], [1.0, 0.25, 0.5], share=0.25, domain_coefficient=4)
        assert loss[0] == pytest.approx(6.5, rel=1e-14)

    def test_two_domains_are_refused(self):
        with pytest.raises(InputError, match="domain_levels must be at least 3"):
            cross_domain_law(domain_levels=2)

    def test_coefficient_by_hand(self):
        # k1 = 2; a line that falls by 0.3 nats in 1e8 tokens has k2 = 3 nats per 1e9 tokens
        tokens = np.array([1e7, 6e7, 1.1e8])
        loss = 2.0 - 3e-9 * (tokens - 1e7)
        assert domain_coefficient(tokens, loss, 4.0, 0.5) == pytest.approx(2 + 1.5, rel=1e-12)

    def test_coefficient_of_a_rising_loss_is_refused(self):
        with pytest.raises(InputError, match="must be positive"):
            domain_coefficient([0, 1e8], [2.0, 2.5])

    @pytest.mark.parametrize(
        ("tokens", "loss"), [([1e8], [2.0]), ([0, 1e8], [2.0]), ([1e8, 1e8], [2.0, 1.9])]
    )
    def test_short_runs_are_refused(self, tokens, loss):
        with pytest.raises(InputError, match="increasing token counts"):
            domain_coefficient(tokens, loss)


class TestLearningRate:
    def test_by_hand(self):
        law = learning_rate_law(corpus="general")
        assert law.parameter_names == ("L0", "A", "C1", "C2", "B", "alpha", "E", "beta")
        # 1 + 2/(1+3)^.5 - 0.1*2 - 0.2*3 + 4*(1 - (1+1*3)^-.5) = 1 + 1 - .2 - .6 + 2
        rows = {"s1_pt": 1, "s1_cpt": 3, "s2_pt": 2, "s2_cpt": 3}
        loss = value(law, [1, 2, 0.1, 0.2, 4], [0.5, 1.0, 0.5], **rows)
        assert loss[0] == pytest.approx(3.2, rel=1e-14)

    @pytest.mark.parametrize(
        ("corpus", "shift", "b"),
        [("general", 1 - 1 / 2, 4.0), ("domain", 2 - 1, -4.0)],
    )
    def test_replay_by_hand(self, corpus, shift, b):
        law = learning_rate_law(corpus=corpus, has_replay=True)
        assert [e.name for e in law.exponents] == ["alpha", "a1", "E", "beta", "a2"]
        # replay .5 with a1 = 2 ln 3 multiplies C2 by 3; a2 = 2 ln 2 on the new half gives exp(-+ln 2)
        rows = {"s1_pt": 1, "s1_cpt": 3, "s2_pt": 2, "s2_cpt": 3, "replay_ratio": 0.5}
        theta = [0.5, 2 * math.log(3), 1.0, 0.5, 2 * math.log(2)]
        loss = value(law, [1, 2, 0.1, 0.2, b], theta, **rows)
        expected = 1 + 1 - 0.2 - 0.6 * 3 + b * 0.5 * shift
        assert loss[0] == pytest.approx(expected, rel=1e-14)

    def test_sign_of_the_shift_follows_the_corpus(self):
        signs = {
            corpus: {t.coefficient: t.sign for t in learning_rate_law(corpus=corpus).terms}["B"]
            for corpus in ("general", "domain")
        }
        assert signs == {"general": 1, "domain": -1}
        with pytest.raises(InputError, match="corpus must be"):
            learning_rate_law(corpus="code")

    def test_pure_replay_does_not_shift(self):
        law = learning_rate_law(corpus="domain", has_replay=True)
        rows = {"s1_pt": 1, "s1_cpt": [0, 50], "s2_pt": 0, "s2_cpt": 0, "replay_ratio": 1}
        rows = {k: np.broadcast_to(x, 2) for k, x in rows.items()}
        loss = value(law, [1, 0, 0, 0, -4], [0.5, 1, 1, 0.5, 3], **rows)
        assert loss.tolist() == [1.0, 1.0]

    def test_one_base_has_no_term_for_its_annealing(self):
        law = learning_rate_law(corpus="general", base_levels=1)
        assert "s2_pt" not in law.inputs
        assert "C1" not in law.parameter_names


class TestScheduleAreas:
    def test_matches_the_double_sum(self):
        rate = np.random.default_rng(0).uniform(0, 1, 40)
        decay = 0.9
        s1, s2 = schedule_areas(rate, decay=decay)
        # the definition, term by term, for every end of the sums
        for end in (0, 1, 7, 39):
            double = sum(
                (rate[k - 1] - rate[k]) * decay ** (i - k)
                for i in range(1, end + 1)
                for k in range(1, i + 1)
            )
            assert s2[end] == pytest.approx(double, abs=1e-12)
            assert s1[end] == pytest.approx(rate[: end + 1].sum(), rel=1e-12)

    def test_constant_rate_has_no_annealing(self):
        s1, s2 = schedule_areas(np.full(1000, 2e-4))
        assert s1[-1] == pytest.approx(0.2)
        assert not s2.any()

    def test_a_drop_to_zero_is_worth_a_thousand_steps(self):
        # one drop of 1 adds decay^j on its j-th later step: 1/(1 - .999) = 1000 in the end
        _, s2 = schedule_areas(np.concatenate([[1.0], np.zeros(100_000)]))
        assert s2[-1] == pytest.approx(1000, rel=1e-9)

    def test_a_million_steps_stay_finite(self):
        s1, s2 = schedule_areas(np.linspace(1.0, 0.0, 10**6))
        assert s1[-1] == pytest.approx(5e5)
        # each drop is worth 1000 in the end, less what the last ones still lack: about 1000^2/n = 1
        assert s2[-1] == pytest.approx(999, rel=1e-3)

    @pytest.mark.parametrize("bad", [{"decay": 1.0}, {"decay": -0.1}, {"learning_rate": []}])
    def test_refusals(self, bad):
        with pytest.raises(InputError):
            schedule_areas(**{"learning_rate": [1.0, 0.5], **bad})


class TestMixtures:
    thirds = {"share_web": 0.5, "share_code": 0.25, "share_math": 0.25}  # noqa: RUF012

    def test_data_mixing_by_hand(self):
        law = data_mixing_law(corpora=CORPORA)
        assert [e.name for e in law.exponents] == ["t_web", "t_code"]
        # 1 + 3 exp(.5 * -2 ln 2 + .25 * 4 ln 3) = 1 + 3 * 3/2
        theta = [-2 * math.log(2), 4 * math.log(3)]
        assert value(law, [1, 3], theta, **self.thirds)[0] == pytest.approx(5.5, rel=1e-14)

    def test_bimix_by_hand(self):
        law = bimix_law(corpus="code")
        # A = 2, B = 3, C = 5: (2/.25^.5) (3/9^.5 + 5) = 4 * 6
        loss = value(law, [6, 10], [0.5, 0.5], share_code=0.25, train_tokens=9)
        assert loss[0] == pytest.approx(24, rel=1e-14)

    def test_optimal_mixture_by_hand(self):
        law = optimal_mixture_law(corpora=CORPORA)
        # C_i = 2, 4, 8 and gamma = 1, .5, 2: sum 2*.5 + 4*.5 + 8/16 = 3.5; 1 + 1/3.5 + 2/2 + 3/3
        theta = [1, 0.5, 2, 4 / 2, 8 / 2, 0.5, 0.5]
        loss = value(law, [1, 1 / 2, 2, 3], theta, model_params=4, train_tokens=9, **self.thirds)
        assert loss[0] == pytest.approx(3 + 1 / 3.5, rel=1e-14)

    def test_optimal_mixture_is_finite_where_corpora_are_absent(self):
        law = optimal_mixture_law(corpora=CORPORA[:2], size_levels=1, token_levels=1)
        rows = {"share_web": np.array([1.0, 0.0]), "share_code": np.array([0.0, 1.0])}
        theta = np.array([[0.5, 0.5, 4.0]])
        assert np.isfinite(law.jacobian(rows, theta, np.ones((1, 2)))).all()
        # one corpus alone: E + C/w_i
        np.testing.assert_allclose(law.predict(rows, theta, np.ones((1, 2)))[0], [2.0, 1.25])

    def test_autoscale_by_hand(self):
        law = autoscale_law(corpora=CORPORA)
        # D = 8: (12+4)^-.5 + (2+2)^-.5 + (14+2)^-.25 = 1/4 + 1/2 + 1/2
        theta = [12, 2, 14, 0.5, 0.5, 0.25]
        loss = value(law, [1, 4], theta, train_tokens=8, **self.thirds)
        assert loss[0] == pytest.approx(6, rel=1e-14)


class TestRepetition:
    def test_no_repeats_change_nothing(self):
        tokens = np.array([1e6, 1e9, 5e9])
        assert effective_tokens(tokens, 5e9).tolist() == tokens.tolist()
        assert effective_tokens(tokens, np.inf).tolist() == tokens.tolist()

    def test_endless_repeats_are_worth_the_scale(self):
        # U + U R* (1 - 0) = 16.387756 U
        assert effective_tokens(1e15, 1e9) == pytest.approx(16.387756e9, rel=1e-12)

    @pytest.mark.parametrize(("unique", "scale"), [(0.0, 15.0), (-1.0, 15.0), (1e9, 0.0)])
    def test_refuses_what_is_not_positive(self, unique, scale):
        with pytest.raises(InputError, match="must be positive"):
            effective_tokens(1e9, unique, scale)

    @pytest.mark.parametrize("law", [chinchilla_law(), dcpt_law(), bimix_law(corpus="web")])
    def test_composed_law_is_the_law_at_effective_tokens(self, law):
        rows = {
            "model_params": np.array([1e8, 1e9, 1e9]),
            "train_tokens": np.array([1e9, 4e9, 4e10]),
            "share": np.array([0.2, 0.5, 1.0]),
            "share_web": np.array([0.2, 0.5, 1.0]),
        }
        unique = np.array([2e9, 1e9, 1e9])
        theta = np.full((1, len(law.exponents)), 0.3)
        ones = np.ones((1, len(law.terms)))
        composed = with_repetition(law, repeat_scale=4.0)
        loss = composed.predict(rows | {"unique_tokens": unique}, theta, ones)
        # U + U R (1 - exp(-(D/U - 1)/R)), with D below U in the first row
        fresh = np.array(
            [1e9, 1e9 + 4e9 * (1 - math.exp(-3 / 4)), 1e9 + 4e9 * (1 - math.exp(-39 / 4))]
        )
        np.testing.assert_allclose(
            loss, law.predict(rows | {"train_tokens": fresh}, theta, ones), rtol=1e-12
        )

    def test_only_the_share_repeats(self):
        law = with_repetition(
            chinchilla_law(size_levels=1), repeat_scale=2.0, repeated_share="share"
        )
        # D = 8, half of it from U = 1: 4 fresh and 1 + 2 (1 - exp(-3/2)) effective
        rows = {"train_tokens": 8.0, "unique_tokens": 1.0, "share": 0.5}
        loss = value(law, [0, 1], [1.0], **rows)
        assert loss[0] == pytest.approx(1 / (5 + 2 * (1 - math.exp(-1.5))), rel=1e-14)

    def test_the_scale_is_fitted_or_held(self):
        assert "repeat_scale" in [e.name for e in with_repetition(dcpt_law()).exponents]
        assert dict(with_repetition(dcpt_law(), repeat_scale=9.0).fixed) == {"repeat_scale": 9.0}

    def test_laws_that_do_not_read_tokens_as_a_power_are_refused(self):
        with pytest.raises(InputError, match="does not read train_tokens"):
            with_repetition(build_law("cmr_ratio", {}))
        with pytest.raises(InputError, match="other than as a power"):
            with_repetition(autoscale_law(corpora=CORPORA))


def test_forgetting_by_hand():
    law = build_law("forgetting", {})
    # 3 * 16^.5 / ((1 + 15*.2) * 9)^.5 = 12/6, at p = 0 12/3, and nothing without fine-tuning tokens
    rows = {
        "unique_domain_tokens": [16, 16, 0],
        "replay_ratio": [0.2, 0.0, 0.2],
        "model_params": [9, 9, 9],
    }
    assert value(law, [3], [0.5, 15, 0.5], **rows) == pytest.approx([2, 4, 0], rel=1e-14)


SIZES = np.array([1e8, 4e8, 1.6e9, 7e9])
TOKENS = np.geomspace(2e8, 2.6e10, 6)
SHARES = np.array([0, 0.01, 0.05, 0.2, 0.5, 0.8, 1])
SIMPLEX = np.array([(a, b, 6 - a - b) for a in range(7) for b in range(7 - a)]) / 6


def crossed(**levels):
    """Every combination of the levels; the level of ``shares`` is a row of the simplex."""
    sizes = [len(values) for values in levels.values()]
    picks = [a.ravel() for a in np.meshgrid(*map(np.arange, sizes), indexing="ij")]
    rows = {
        name: np.asarray(values)[pick]
        for (name, values), pick in zip(levels.items(), picks, strict=True)
    }
    if "shares" in rows:
        shares = rows.pop("shares")
        rows |= {f"share_{name}": shares[:, k] for k, name in enumerate(CORPORA)}
    return {name: np.asarray(values, dtype=float) for name, values in rows.items()}


def between(levels, num_rows=300):
    """Rows inside the range of the levels, drawn evenly (in the logarithm above 1000)."""
    rng = np.random.default_rng(3)
    rows = {}
    for name, values in levels.items():
        if name == "shares":
            rows |= simplex(num_rows, rng)
        elif np.min(values) > 1000:
            rows[name] = np.exp(rng.uniform(np.log(min(values)), np.log(max(values)), num_rows))
        else:
            rows[name] = rng.uniform(min(values), max(values), num_rows)
    return rows


def written_dcpt(x, p, mixture="product", is_power=True):
    n, d, r = x["model_params"], x["train_tokens"], x["share"]
    loss = p["E"] + p["A"] / n ** p["alpha"]
    loss = loss + p["B"] * (r ** p["eta"] if mixture == "product" else 1) / d ** p["beta"]
    if mixture == "sum":
        loss = loss + p["F"] * r ** p["eta"]
    if is_power:
        return loss + p["C"] / (r + p["ratio_offset"]) ** p["gamma"]
    return loss + p["C"] * np.exp(-p["k"] * r)


def written_effective(d, unique, scale):
    return np.where(
        d > unique, unique + unique * scale * (1 - np.exp(-(d / unique - 1) / scale)), d
    )


def written_learning_rate(x, p, shift=1.0, annealing=1.0):
    return (
        p["L0"]
        + p["A"] * (x["s1_pt"] + x["s1_cpt"]) ** -p["alpha"]
        - p["C1"] * x["s2_pt"]
        - p["C2"] * annealing * x["s2_cpt"]
        + p["B"] * shift * (1 - (1 + p["E"] * x["s1_cpt"]) ** -p["beta"])
    )


DCPT_TRUTH = {
    **{"E": 1.3, "A": 400.0, "B": 500.0, "C": 0.2, "F": 0.15, "k": 6.0},
    **{"alpha": 0.35, "eta": 0.4, "beta": 0.3, "gamma": 0.6, "ratio_offset": 0.05},
}
DCPT_LEVELS = {"model_params": SIZES, "train_tokens": TOKENS, "share": SHARES}
GENERAL = {
    **{"L0": 3.057, "A": 0.490, "alpha": 0.497, "B": 0.366, "E": 28.0, "beta": 0.189},
    **{"C1": 0.299, "C2": 0.298},
}
DOMAIN = {
    **{"L0": 3.024, "A": 0.412, "alpha": 0.677, "B": -0.666, "E": 5662.0, "beta": 0.146},
    **{"C1": 0.278, "C2": 0.324},
}
SCHEDULES = {
    "s1_pt": [2.0, 8.0, 20.0],
    "s2_pt": [0.0, 0.7],
    "s1_cpt": [0, 1e-4, 1e-3, 0.01, 0.1, 0.4, 1, 2, 4, 8],
    "s2_cpt": [0.0, 0.2, 0.6],
}
REPLAYED = {**SCHEDULES, "s1_pt": [2.0, 20.0], "replay_ratio": [0, 0.1, 0.3, 0.6, 0.9]}
TOKEN_SCALE = float(np.exp(np.mean(np.log(TOKENS))))
OWN_OPTIONS = {
    "levels_by_size": tuple((size, len(SHARES), len(TOKENS)) for size in SIZES.tolist()),
    "token_scale": TOKEN_SCALE,
}
RELEARNED = {"eta": 0.6, "D0": 3e9, "beta": 0.5}


def written_size(x, low, high):
    """A coefficient that is ``low`` at the smallest size and ``high`` at the largest, straight in N^-0.3526596."""
    part, (start, end) = x["model_params"] ** -0.3526596, SIZES[[0, -1]] ** -0.3526596
    return low + (high - low) * (start - part) / (start - end)


def written_bilinear(x, p, h, rise=None):
    s, (d, h) = x["share"], (((x["train_tokens"] / TOKEN_SCALE) ** -p["beta"] - 1) / -p["beta"], h)
    loss = written_size(x, 3.0, 2.2) + written_size(x, -0.2, -0.1) * d
    rise = written_size(x, 0.3, 0.1) + written_size(x, -0.02, 0.05) * d if rise is None else rise(d)
    dip = written_size(x, 0.1, 0.2) + written_size(x, 0.05, -0.05) * d
    return loss + rise * h + (p.get("dip", 0.0) * (s - 1) * dip)


def written_share(s, p):
    curve = [(share + p["ratio_offset"]) ** -p["gamma"] for share in (s, 0.5, 1.0)]
    return (curve[0] - curve[2]) / (curve[1] - curve[2])


def written_relearning(x, p):
    s, d = x["share"], x["train_tokens"]
    drift = np.log(1 + d / TOKEN_SCALE)
    regained = 1 - (1 + s ** p["eta"] * d / p["D0"]) ** -p["beta"]
    loss = written_size(x, 3.0, 2.2) + written_size(x, 0.03, 0.01) * drift
    return loss - written_size(x, 0.9, 0.7) * regained - written_size(x, 0.02, 0.05) * s * drift


SHAPES = {"beta": -0.2, "gamma": 0.6, "ratio_offset": 0.1}
RECOVERED = {
    "bilinear": (
        OWN_OPTIONS,
        DCPT_LEVELS,
        lambda x, p: written_bilinear(x, p, written_share(x["share"], p)),
        SHAPES | {"a": 3.0, "a_4": -0.8, "b": -0.2, "c_4": -0.2, "e": -0.02, "e_4": 0.07},
    ),
    "bilinear_exp": (
        OWN_OPTIONS,
        DCPT_LEVELS,
        lambda x, p: written_bilinear(
            x,
            p,
            (np.exp(-p["k"] * x["share"]) - np.exp(-p["k"]))
            / (np.exp(-p["k"] / 2) - np.exp(-p["k"])),
        ),
        {"beta": 0.4, "k": 3.0, "a": 3.0, "c": 0.3},
    ),
    "bilinear_dip": (
        OWN_OPTIONS,
        DCPT_LEVELS,
        lambda x, p: written_bilinear(x, p, written_share(x["share"], p)),
        SHAPES | {"dip": 1.0, "f": 0.1, "g_4": -0.1},
    ),
    "relearning": (
        OWN_OPTIONS,
        DCPT_LEVELS,
        written_relearning,
        RELEARNED | {"a": 3.0, "w_4": -0.02, "G": 0.9, "q": 0.02},
    ),
    "size_law": (
        OWN_OPTIONS | {"smallest_share": 0.0},
        DCPT_LEVELS,
        lambda x, p: written_bilinear(
            x,
            p,
            written_share(x["share"], p),
            lambda d: (
                (x["model_params"] / np.exp(np.mean(np.log(SIZES)))) ** -(0.3 + 1.2 * x["share"])
                * (0.2 + 0.05 * d)
            ),
        ),
        SHAPES | {"a0": 0.3, "a1": 1.2, "C": 0.2, "F": 0.05, "e": 3.0, "b_4": 0.1},
    ),
    "chinchilla": (
        {},
        {"model_params": SIZES, "train_tokens": TOKENS},
        lambda x, p: 1.69 + 406.4 / x["model_params"] ** 0.34 + 410.7 / x["train_tokens"] ** 0.28,
        {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    ),
    "dcpt": ({}, DCPT_LEVELS, written_dcpt, DCPT_TRUTH),
    "dcpt_exp": (
        {},
        DCPT_LEVELS,
        lambda x, p: written_dcpt(x, p, "none", False),
        DCPT_TRUTH,
    ),
    "dcpt_no_mixture": ({}, DCPT_LEVELS, lambda x, p: written_dcpt(x, p, "none"), DCPT_TRUTH),
    "dcpt_product_exp": (
        {},
        DCPT_LEVELS,
        lambda x, p: written_dcpt(x, p, "product", False),
        DCPT_TRUTH,
    ),
    "dcpt_sum": ({}, DCPT_LEVELS, lambda x, p: written_dcpt(x, p, "sum"), DCPT_TRUTH),
    "dcpt_sum_exp": ({}, DCPT_LEVELS, lambda x, p: written_dcpt(x, p, "sum", False), DCPT_TRUTH),
    "chinchilla_repetition": (
        {},
        {"model_params": SIZES, "train_tokens": TOKENS, "unique_tokens": [1e8, 1e9, 1e10]},
        lambda x, p: (
            1.69
            + 406.4 / x["model_params"] ** 0.34
            + 410.7 / written_effective(x["train_tokens"], x["unique_tokens"], 12.0) ** 0.28
        ),
        {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28, "repeat_scale": 12.0},
    ),
    "dcpt_repetition": (
        {},
        {**DCPT_LEVELS, "unique_tokens": [1e8, 1e9]},
        lambda x, p: written_dcpt(
            x | {"train_tokens": written_effective(x["train_tokens"], x["unique_tokens"], 12.0)}, p
        ),
        DCPT_TRUTH | {"repeat_scale": 12.0},
    ),
    "dcpt_exp_repetition": (
        {"repeated_share": "share"},
        {**DCPT_LEVELS, "unique_tokens": [1e8, 1e9]},
        lambda x, p: written_dcpt(
            x
            | {
                "train_tokens": x["train_tokens"] * (1 - x["share"])
                + written_effective(x["train_tokens"] * x["share"], x["unique_tokens"], 12.0)
            },
            p,
            "none",
            False,
        ),
        DCPT_TRUTH | {"repeat_scale": 12.0},
    ),
    "cross_domain": (
        {},
        {**DCPT_LEVELS, "model_params": SIZES[:3], "domain_coefficient": [0.6, 0.9, 1.4, 2.2]},
        lambda x, p: written_dcpt(x, p) + p["F"] / x["domain_coefficient"] ** p["mu"],
        DCPT_TRUTH | {"mu": 0.8},
    ),
    "cmr_ratio": (
        {},
        {"domain_ratio": [0.1, 0.2, 0.4, 0.6, 0.8]},
        lambda x, p: 2.0 - 0.3 * x["domain_ratio"] ** 0.18,
        {"alpha": -0.3, "s": 0.18, "beta": 2.0},
    ),
    "cmr_domain_tokens": (
        {},
        {"train_tokens": TOKENS},
        lambda x, p: 0.1 - 1e-4 * x["train_tokens"] ** 0.37,
        {"alpha1": -1e-4, "s1": 0.37, "beta1": 0.1},
    ),
    "cmr_general_tokens": (
        {},
        {"train_tokens": np.geomspace(2e8, 2e10, 12)},
        lambda x, p: (
            0.02 + 0.2 * (x["train_tokens"] / 2e9) ** 0.4 - 0.1 * (x["train_tokens"] / 2e9) ** 0.8
        ),
        {},
    ),
    "cmr": (
        {},
        {"train_tokens": np.geomspace(4e9, 2e10, 6)},
        lambda x, p: 0.22524761 * (x["train_tokens"] / 2e8) ** 0.26944345 - 0.48139982,
        {"alpha4": 0.22524761 / 2e8**0.26944345, "s4": 0.26944345, "beta3": -0.48139982},
    ),
    "learning_rate": ({"corpus": "domain"}, SCHEDULES, written_learning_rate, DOMAIN),
    "learning_rate_replay": (
        {"corpus": "general"},
        REPLAYED,
        lambda x, p: written_learning_rate(
            x, p, 1 - np.exp(-1.5 * (1 - x["replay_ratio"])), np.exp(-0.4 * x["replay_ratio"])
        ),
        GENERAL | {"a1": -0.4, "a2": 1.5},
    ),
    "data_mixing": (
        {"corpora": CORPORA},
        {"shares": SIMPLEX},
        lambda x, p: 1.5 + 0.8 * np.exp(-3 * x["share_web"] + 0.7 * x["share_code"]),
        {"c": 1.5, "k": 0.8, "t_web": -3.0, "t_code": 0.7, "t_math": 0.0},
    ),
    **{
        name: (
            {
                "corpora": CORPORA,
                "size_levels": 3,
                "token_levels": 4,
                "token_scale": 1e9,
                "size_scale": 4e7,
            },
            {"shares": SIMPLEX, "model_params": SIZES[:3], "train_tokens": TOKENS[::2]},
            lambda x, p: (
                1.8
                + 0.5 * (x["model_params"] / 4e7) ** -0.4
                - 0.1 * np.log(x["train_tokens"] / 1e9)
                + (x["model_params"] / 4e7) ** -p.get("a0", 0.0)
                * (0.8 - 0.04 * np.log(x["train_tokens"] / 1e9))
                * np.exp(-2 * x["share_web"] + 0.7 * x["share_code"])
            ),
            {"c": 1.8, "A": 0.5, "alpha": 0.4, "b": -0.1, "k": 0.8, "q": -0.04, "t_code": 0.7}
            | more,
        )
        for name, more in (("bilinear_mixing", {}), ("size_mixing", {"a0": 0.2}))
    },
    "bimix": (
        {"corpus": "web"},
        {"share_web": [0.05, 0.2, 0.5, 1], "train_tokens": TOKENS},
        lambda x, p: (2 / x["share_web"] ** 0.05) * (30 / x["train_tokens"] ** 0.2 + 0.8),
        {"AB": 60.0, "AC": 1.6, "alpha": 0.05, "beta": 0.2},
    ),
    "optimal_mixture": (
        {"corpora": CORPORA},
        {"shares": SIMPLEX, "model_params": SIZES[:3], "train_tokens": TOKENS[::2]},
        lambda x, p: (
            1.2
            + 1
            / (
                4 * x["share_web"] ** 0.3
                + 1.5 * x["share_code"] ** 0.6
                + 2 * x["share_math"] ** 0.9
            )
            + 400 / x["model_params"] ** 0.35
            + 500 / x["train_tokens"] ** 0.3
        ),
        {
            **{"E": 1.2, "C": 0.25, "w_code": 0.375, "w_math": 0.5, "A": 400.0, "B": 500.0},
            **{"gamma_web": 0.3, "gamma_code": 0.6, "gamma_math": 0.9},
        },
    ),
    "autoscale": (
        {"corpora": CORPORA[:2]},
        {
            "share_web": [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1],
            "train_tokens": np.geomspace(1e8, 1e11, 8),
        },
        lambda x, p: (
            1.4
            + 20 * (3e8 + x["train_tokens"] * x["share_web"]) ** -0.2
            + 20 * (5e9 + x["train_tokens"] * (1 - x["share_web"])) ** -0.15
        ),
        {"k": 20.0, "prior_web": 3e8, "prior_code": 5e9, "gamma_web": 0.2, "gamma_code": 0.15},
    ),
    "forgetting": (
        {},
        {
            "unique_domain_tokens": [1e5, 1e6, 1e7, 1e8],
            "replay_ratio": [0, 0.01, 0.05, 0.2],
            "model_params": SIZES[:3],
        },
        lambda x, p: (
            0.02
            * x["unique_domain_tokens"] ** 0.4
            / ((1 + 300 * x["replay_ratio"]) * x["model_params"]) ** 0.15
        ),
        {"A": 0.02, "beta": 0.4, "B": 300.0, "alpha": 0.15},
    ),
}


class TestRecovery:
    @pytest.mark.parametrize("name", RECOVERED)
    def test_noise_free_losses_are_recovered(self, name):
        options, levels, formula, truth = RECOVERED[name]
        fit_rows, new_rows = crossed(**levels), between(levels)
        for rows in (fit_rows, new_rows):
            if "share_web" in rows:
                rows.setdefault("share_code", 1 - rows["share_web"])
        fit = fit_law(build_law(name, options), fit_rows, formula(fit_rows, truth))
        expected = formula(new_rows, truth)
        np.testing.assert_allclose(fit.predict(new_rows), expected, atol=1e-6, rtol=0)
        for parameter in fit.params.keys() & truth.keys() - set(fit.unidentified):
            assert fit.params[parameter] == pytest.approx(truth[parameter], rel=1e-3), parameter

    def test_every_law_is_recovered(self):
        assert set(RECOVERED) == set(REGISTRY)


def test_the_how_to_runs():
    page = Path(__file__).parents[2] / "docs" / "add-a-law.md"
    outcome = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert outcome.attempted > 5
    assert outcome.failed == 0
