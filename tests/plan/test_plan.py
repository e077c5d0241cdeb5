"""Planner: known answers, properties, refusals.

The fits are built by hand, see :mod:`by_hand`.
"""

import numpy as np
import pandas as pd
import pytest
from by_hand import BASE, D, N, ask, make_fit
from hypothesis import given, settings
from hypothesis import strategies as st

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.noise import Noise
from cmrplan.fit.probed import base_loss_at
from cmrplan.numbers import parse_tolerance
from cmrplan.plan.loss_curves import best_ratio
from cmrplan.plan.questions.frontier import frontier


class TestKnownAnswers:
    @pytest.mark.parametrize(("tolerance", "expected"), [(0.0, 0.0), (0.05, 0.5), (0.2, 1.0)])
    def test_matches_the_closed_form(self, tolerance, expected):
        # a straight line between grid points 1/1000 apart errs by less than 1e-6 here
        assert ask(max_general_rise=tolerance).domain_ratio == pytest.approx(expected, abs=1e-6)

    def test_percent_is_of_the_base_loss(self):
        # 2 % of 2.5 is 0.05
        made = ask(max_general_rise="2%")
        assert made.domain_ratio == pytest.approx(0.5, abs=1e-6)
        assert made.general_loss_limit == pytest.approx(2.55)
        assert made.general_rise.estimate == pytest.approx(0.05, abs=1e-6)

    def test_binding_is_the_tolerance_or_none(self):
        assert ask().binding == "tolerance"
        assert ask(max_general_rise=0.5).binding == "none"
        assert ask().unconstrained_domain_ratio == 1.0

    def test_domain_tokens_bind_when_they_are_the_tighter_limit(self):
        # 0.4e9 unique tokens of 2e9 allow a fifth in one pass, two fifths in two
        made = ask(domain_tokens=0.4e9)
        assert made.binding == "domain_tokens"
        assert made.domain_ratio == pytest.approx(0.2, abs=1e-9)
        assert made.domain_epochs == pytest.approx(1.0)
        assert ask(domain_tokens=0.4e9, max_epochs=2).domain_ratio == pytest.approx(0.4)
        assert ask(domain_tokens=1.9e9).binding == "tolerance"

    def test_compute_cuts_the_tokens(self):
        # 6 * 1e8 * 1e9 FLOPs pay for 1e9 tokens
        made = ask(compute=6e17, max_general_rise=0.5)
        assert made.train_tokens == pytest.approx(1e9)
        assert made.binding == "compute"
        assert ask(compute=6e17, train_tokens=None).train_tokens == pytest.approx(1e9)
        assert ask(compute=6e18).train_tokens == D

    def test_interval_and_risk_come_from_the_resamples(self):
        # general loss shifted by -0.02 ... 0.02: the best ratio is sqrt((0.05 - shift) / 0.2)
        spread = np.linspace(-0.02, 0.02, 401)
        made = ask(make_fit(spread=spread), confidence=0.9)
        low, high = (np.sqrt((0.05 - shift) / 0.2) for shift in (0.018, -0.018))
        safe = np.sqrt((0.05 - 0.016) / 0.2)  # the 90 % quantile of the shift is 0.016
        assert made.domain_ratio_low == pytest.approx(low, abs=1e-5)
        assert made.domain_ratio_high == pytest.approx(high, abs=1e-5)
        assert made.domain_ratio == pytest.approx(safe, abs=1e-5)
        assert made.ratio.estimate == pytest.approx(0.5, abs=1e-5)
        assert made.violation_probability == pytest.approx(0.1, abs=0.003)
        assert made.general_loss.high - made.general_loss.estimate == pytest.approx(0.018, abs=1e-9)

    def test_without_resamples_there_is_no_interval(self):
        made = ask()
        assert made.domain_ratio_low is None
        assert made.violation_probability is None

    def test_a_domain_loss_that_turns_is_said(self):
        # 2 + (r - 0.3)^2 has no closed form in ByHand: a falling then rising curve by two powers
        grid = np.linspace(0, 1, 1001)
        curve = (2 + (grid - 0.3) ** 2)[None, :]
        flat = np.full((1, 1001), 2.5)
        assert best_ratio(grid, flat, curve, 2.6)[0] == pytest.approx(0.3, abs=1e-9)

    def test_an_infinite_loss_of_the_target_leaves_the_ratio_beside_it(self):
        # a power law of the share has no finite loss at 0, within the limit or beyond it
        grid, domain = np.array([0.0, 0.5, 1.0]), np.array([[np.inf, 1.8, 1.9]])
        for general in ([2.6, 2.6, 2.7], [2.7, 2.6, 2.5]):
            assert best_ratio(grid, np.array([general]), domain, 2.65).tolist() == [0.5]

    def test_nothing_is_recommended_beyond_a_hole(self):
        # rising through the limit at 0.5 and back under it at 0.9: the domain loss falls all along
        grid = np.linspace(0, 1, 101)
        general = np.where(grid < 0.9, 2.5 + 0.1 * grid, 2.5)[None, :]
        assert best_ratio(grid, general, 2 - grid[None, :], 2.55)[0] == pytest.approx(0.5)


class TestProperties:
    @settings(deadline=None, max_examples=50)
    @given(st.floats(0, 0.3), st.floats(0, 0.3))
    def test_more_tolerance_never_lowers_the_ratio(self, a, b):
        low, high = sorted((a, b))
        fit = make_fit()
        first, second = (ask(fit, max_general_rise=t).domain_ratio for t in (low, high))
        assert first <= second + 1e-12

    @settings(deadline=None, max_examples=50)
    @given(st.floats(0.05, 0.95), st.floats(0.05, 0.95))
    def test_more_confidence_never_raises_the_ratio(self, a, b):
        low, high = sorted((a, b))
        fit = make_fit(spread=np.linspace(-0.02, 0.02, 101))
        first, second = (ask(fit, confidence=c).domain_ratio for c in (low, high))
        assert second <= first + 1e-12

    @settings(deadline=None, max_examples=50)
    @given(st.floats(0, 1))
    def test_the_returned_ratio_is_feasible(self, tolerance):
        made = ask(max_general_rise=f"{tolerance!r}nats")
        # the crossing is found on a straight line between grid points 1/1000 apart
        assert made.general_loss.estimate <= made.general_loss_limit + 1e-6

    @settings(deadline=None, max_examples=50)
    @given(st.floats(-1, 1))
    def test_shifting_the_general_loss_and_its_base_changes_nothing(self, shift):
        moved = make_fit(base=BASE + shift, general=(BASE + shift, 0.2, 2.0))
        assert ask(moved).domain_ratio == pytest.approx(0.5, abs=1e-6)


class TestRefusals:
    def test_infeasible_names_the_tolerance_that_would_work(self):
        assert "smallest feasible tolerance is 0.1 nats" in ask(make_fit(base=BASE - 0.1)).reason

    def test_infeasible_in_percent(self):
        made = ask(make_fit(base=2.4), max_general_rise="1%")
        assert "smallest feasible tolerance is 4.17%" in made.reason

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("model_params", 0),
            ("train_tokens", -1),
            ("max_general_rise", -0.1),
            ("max_general_rise", "lots"),
            ("max_general_rise", "nan"),
            ("max_general_rise", 3),
            ("confidence", 1.0),
            ("base_loss", 0),
            ("domain_tokens", -5),
            ("compute", float("inf")),
        ],
    )
    def test_bad_input_names_the_argument(self, argument, value):
        with pytest.raises(InputError, match=argument):
            ask(**{argument: value})

    @pytest.mark.parametrize("size", [0.97, 410])
    def test_a_size_without_its_unit_is_asked_for_it(self, size):
        with pytest.raises(InputError, match=rf"model_params is {size:g} .* write {size:g}M or"):
            ask(model_params=size)

    @pytest.mark.parametrize("percent", [3, "3", 0.51])
    def test_a_large_number_without_its_unit_is_taken_for_percent(self, percent):
        with pytest.raises(InputError, match=rf"percent\? write {percent}%, or {percent}nats"):
            ask(max_general_rise=percent)
        with pytest.raises(InputError, match=rf"tolerance of web: .* write {percent}%, or"):
            cp.MixturePlanRequest(train_tokens=1e9, protected={"web": percent})
        assert ask(max_general_rise=f"{percent}nats").domain_ratio == 1.0

    def test_a_fit_that_explains_nothing_is_not_planned_from(self):
        """The general loss falls with the ratio, and this law knows none that does: its R² is that of a mean."""
        rows = [
            (f"r{r}", 1e8, tokens, r, corpus, loss)
            for r in (0.1, 0.4, 0.7, 1.0)
            for tokens in (1e9, 2e9, 4e9)
            for corpus, loss in (("general", 3.2 - 0.3 * r), ("domain", 2.6 - 0.2 * r))
        ]
        names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
        fit = cp.fit(pd.DataFrame(rows, columns=names), "dcpt_exp", bootstrap=0)
        assert fit.summary()["general"]["r2"] <= 0
        with pytest.raises(
            CmrplanError, match=r"explains nothing of the general loss \(R² "
        ) as refusal:
            cp.plan(fit, model_params=1e8, train_tokens=2e9, max_general_rise=0.5, base_loss=3.0)
        assert "\n" not in str(refusal.value)

    def test_no_budget(self):
        with pytest.raises(InputError, match="train_tokens or compute"):
            ask(train_tokens=None)

    def test_turning_point_needs_the_cmr_laws(self):
        with pytest.raises(InputError, match="--law cmr"):
            ask(turning_point=100.0)

    def test_unknown_base_loss_says_what_to_give(self):
        with pytest.raises(CmrplanError, match="--base-loss"):
            base_loss_at({}, N)


class TestBaseLoss:
    def test_measured_size_is_taken_as_it_is(self):
        assert base_loss_at({1e8: 2.5, 1e9: 2.2}, 1.004e8) == (2.5, [])

    def test_between_sizes_on_a_line_in_the_logarithms(self):
        # loss 3 * N^-0.1 is such a line, so any size gives it back
        measured = {n: 3 * n**-0.1 for n in (1e6, 1e7, 1e8)}
        value, findings = base_loss_at(measured, 1e10)
        assert value == pytest.approx(3 * 1e10**-0.1)
        assert [f.code for f in findings] == ["base_loss_extrapolated"]

    def test_a_single_size_is_used_elsewhere_with_a_word(self):
        value, findings = base_loss_at({1e8: 2.5}, 1e9)
        assert value == 2.5
        assert [f.code for f in findings] == ["base_loss_of_other_size"]


class TestBeyondTheProbedBudgets:
    """Resamples that agree, and noise of 0.003 a run and 0.004 an evaluation: together 0.005, nine tenths below 0.0064.

    Of 2,000 draws that quantile is known to 0.0002, so the ratio at three times that to 0.003.
    """

    FIT = make_fit(spread=np.zeros(2000), noise=Noise(0.003, 0.004, 1e6))

    def test_the_interval_of_a_new_run_decides(self):
        made = ask(self.FIT, train_tokens=2 * D)
        expected = np.sqrt((0.05 - 1.2816 * 0.005) / 0.2)
        assert made.domain_ratio == pytest.approx(expected, abs=0.003)
        assert made.violation_probability == pytest.approx(0.1, abs=0.001)
        assert made.general_rise.high == pytest.approx(
            0.2 * made.domain_ratio**2 + 1.6449 * 0.005, abs=0.0008
        )
        # no resample of the mean differs from the estimate
        assert made.ratio.low == pytest.approx(0.5, abs=1e-6)
        (message,) = [f.message for f in made.warnings if f.code == "extrapolates_tokens"]
        assert "the interval of one new run" in message

    def test_up_to_the_largest_probed_budget_the_mean_does(self):
        for tokens in (D, 1.009 * D):  # within one percent is the probed one
            assert ask(self.FIT, train_tokens=tokens).domain_ratio == pytest.approx(0.5, abs=1e-6)

    def test_a_frontier_has_the_interval_of_its_budget(self):
        within, beyond = (
            frontier(self.FIT, model_params=N, train_tokens=tokens, confidence=0.9)
            for tokens in (D, 2 * D)
        )
        np.testing.assert_array_equal(within.general_loss_high, within.general_loss)
        half = beyond.general_loss_high - beyond.general_loss
        np.testing.assert_allclose(half, 1.6449 * 0.005, atol=0.0008)

    def test_a_fit_that_does_not_tell_its_noise_keeps_the_mean(self):
        made = ask(make_fit(spread=np.zeros(10)), train_tokens=2 * D)
        assert made.domain_ratio == pytest.approx(0.5, abs=1e-6)
        (message,) = [f.message for f in made.warnings if f.code == "extrapolates_tokens"]
        assert "new run" not in message


class TestMisfit:
    """Resamples shifted by -0.02 to 0.02: nine tenths of them are within 0.018, so the interval is 0.036 wide."""

    SPREAD = np.linspace(-0.02, 0.02, 401)

    def misfits(self, *, miss, spread=SPREAD, base=BASE, tolerance=0.0):
        made = ask(make_fit(spread=spread, base=base, miss=miss), max_general_rise=tolerance)
        return [f.message for f in made.warnings if f.code == "misfit"]

    def test_without_an_allowed_rise_the_width_of_the_interval_decides(self):
        # a base loss of 2.6 leaves room up to the square root of (0.1 - 0.016) / 0.2 at a tolerance of 0
        assert self.misfits(miss=0.035, base=2.6) == []
        (message,) = self.misfits(miss=0.054, base=2.6)
        assert "0.054 nats above the fitted one, 1.5 times the width of its interval" in message

    def test_the_larger_of_the_two_decides(self):
        # a quarter of 0.3 is 0.075, above the width; a quarter of 0.08 is 0.02, below it
        assert self.misfits(miss=-0.07, tolerance=0.3) == []
        (message,) = self.misfits(miss=-0.09, tolerance=0.3)
        assert "0.090 nats below the fitted one, 30 % of the allowed rise" in message
        assert self.misfits(miss=0.03, tolerance=0.08) == []
        (message,) = self.misfits(miss=0.04, tolerance=0.08)
        assert "50 % of the allowed rise" in message

    def test_without_resamples_only_an_allowed_rise_decides(self):
        (message,) = self.misfits(miss=0.02, spread=(), tolerance=0.05)
        assert "40 % of the allowed rise" in message
        assert self.misfits(miss=0.02, spread=()) == []


def test_extrapolation_is_said_with_its_distance():
    codes = {f.code: f.message for f in ask(train_tokens=5 * D).warnings}
    assert "5 times the largest fitted (2e+09)" in codes["extrapolates_tokens"]


@pytest.mark.parametrize(
    ("given_as", "limit"),
    [
        ("0.05", 2.05),
        ("3%", 2.06),
        (" 3 % ", 2.06),
        (0.05, 2.05),
        ("1e-2", 2.01),
        ("0.05 nats", 2.05),
        ("5%ppl", 2.0 + np.log(1.05)),
        ("0.5 ppl", np.log(np.exp(2.0) + 0.5)),
    ],
)
def test_tolerance_spellings(given_as, limit):
    assert parse_tolerance(given_as).limit(2.0) == pytest.approx(limit)


@pytest.mark.parametrize("given_as", ["0.05", "3%", "5%ppl", "0.5ppl"])
def test_a_tolerance_reads_back_and_its_limit_is_its_rise(given_as):
    tolerance = parse_tolerance(given_as)
    assert parse_tolerance(str(tolerance)) == tolerance
    assert tolerance.rise(np.array([tolerance.limit(2.0)]), 2.0)[0] == pytest.approx(
        tolerance.value, rel=1e-12
    )


@pytest.mark.parametrize("given_as", ["3%nats", "ppl", "5ppl%", "1e999ppl", "-1%ppl"])
def test_other_spellings_are_refused(given_as):
    with pytest.raises(InputError, match="5%ppl"):
        parse_tolerance(given_as)
