"""Constraints together: which binds, where each would matter, and what is refused; see :mod:`by_hand`."""

import json
import re

import numpy as np
import pytest
from by_hand import BASE, D, N, ask, make_fit
from hypothesis import given, settings
from hypothesis import strategies as st

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.numbers import parse_compute
from cmrplan.report.text import constraint_text

FINE = 1e-6  # of a straight line between ratios 1/1000 apart, on these curves


def of(plan, name):
    return next(c for c in plan.constraints if c.name == name)


class TestWhatBinds:
    def test_a_ceiling_binds_where_it_is_the_lowest(self):
        made = ask(max_ratio=0.3)
        assert (made.domain_ratio, made.binding) == (0.3, "ratio_ceiling")
        assert ask(max_ratio=0.6).binding == "tolerance"

    def test_a_floor_binds_where_the_best_ratio_lies_below(self):
        # r² - 2 r 0.3 + const has its minimum at 0.3: weight 5 on 0.2 r², and a domain loss of -0.6 r
        made = ask(
            make_fit(domain=(2.0, -0.6, 1.0)),
            max_general_rise=None,
            general_weight=5.0,
            min_ratio=0.4,
        )
        assert (made.domain_ratio, made.binding) == (0.4, "ratio_floor")
        assert made.unconstrained_domain_ratio == pytest.approx(0.3, abs=0.001)  # the grid's step
        assert of(made, "ratio_floor").breakpoint == pytest.approx(0.3, abs=0.001)

    def test_every_constraint_together(self):
        # tolerance allows 0.5, the domain tokens 0.45, the ceiling 0.7, and compute is no limit
        made = ask(domain_tokens=0.9e9, max_ratio=0.7, min_ratio=0.1, compute=1e20)
        assert made.domain_ratio == pytest.approx(0.45, abs=1e-12)
        assert made.binding == "domain_tokens"
        assert [c.name for c in made.constraints if c.is_binding] == ["domain_tokens"]
        assert of(made, "tolerance").allows == pytest.approx(0.5, abs=FINE)
        assert of(made, "ratio_ceiling").allows == 0.7
        assert of(made, "domain_tokens").ratio_without == pytest.approx(0.5, abs=FINE)


class TestHowFarEachWouldHaveToMove:
    def test_a_binding_tolerance_stops_where_the_next_limit_begins(self):
        # 0.6 is allowed by a rise of 0.2 * 0.36
        made = ask(max_ratio=0.6)
        assert of(made, "tolerance").breakpoint == pytest.approx(0.072, abs=FINE)
        assert ask(max_ratio=0.6, max_general_rise=0.0721).binding == "ratio_ceiling"
        assert ask(max_ratio=0.6, max_general_rise=0.0719).binding == "tolerance"

    def test_a_loose_tolerance_begins_where_it_just_allows_the_ratio(self):
        made = ask(max_ratio=0.3)
        assert of(made, "tolerance").breakpoint == pytest.approx(0.2 * 0.09, abs=FINE)

    def test_domain_tokens(self):
        loose, tight = ask(domain_tokens=1.9e9), ask(domain_tokens=0.4e9, max_epochs=2)
        assert of(loose, "domain_tokens").breakpoint == pytest.approx(0.5 * D, rel=1e-5)
        # two passes over 0.25 D would allow 0.5 too, but harm both losses; without repeats it is kept from 0.5 D on
        assert of(tight, "domain_tokens").breakpoint == pytest.approx(0.5 * D, rel=1e-5)
        assert of(tight, "domain_tokens").ratio_without == pytest.approx(0.5, rel=1e-5)

    @pytest.mark.parametrize("passes", [2, 4])
    def test_domain_tokens_that_repeat_matter_until_none_does(self, passes):
        scarce = ask(domain_tokens=0.05 * D, max_epochs=passes, max_general_rise="1nats")
        assert scarce.binding == "domain_tokens"
        assert scarce.unconstrained_domain_ratio == 1.0
        bound = of(scarce, "domain_tokens")
        assert bound.is_binding
        assert (bound.ratio_without, bound.breakpoint) == (1.0, D)
        enough = ask(domain_tokens=bound.breakpoint, max_epochs=passes, max_general_rise="1nats")
        assert (enough.domain_ratio, enough.binding) == (1.0, "none")

    def test_no_number_of_domain_tokens_is_named_where_the_tolerance_binds_and_they_repeat(self):
        made = ask(domain_tokens=0.02 * D, max_epochs=100)
        assert made.binding == "tolerance"
        assert made.domain_ratio < 0.5
        bound = of(made, "domain_tokens")
        assert (bound.ratio_without, bound.breakpoint) == (pytest.approx(0.5, abs=1e-5), None)
        assert constraint_text(bound) == "domain_tokens 4e+07 allows up to 1.000; repeats count"

    def test_ceiling_and_floor(self):
        made = ask(max_ratio=0.8, min_ratio=0.2)
        assert of(made, "ratio_ceiling").breakpoint == pytest.approx(0.5, abs=FINE)
        assert of(made, "ratio_floor").breakpoint == pytest.approx(0.5, abs=FINE)

    def test_compute_is_in_flops(self):
        assert of(ask(compute=1e20), "compute").breakpoint == pytest.approx(6 * N * D)

    def test_in_percent_of_perplexity(self):
        # the ceiling 0.6 is allowed by 0.072 nats, a factor exp(0.072) of perplexity
        made = ask(max_general_rise="5%ppl", max_ratio=0.6)
        assert of(made, "tolerance").breakpoint == pytest.approx(np.expm1(0.072), abs=FINE)
        assert made.domain_ratio == pytest.approx(np.sqrt(np.log(1.05) / 0.2), abs=FINE)

    def test_in_words(self):
        made = ask(max_ratio=0.6)
        assert constraint_text(of(made, "tolerance")) == (
            "tolerance 0.05 nats allows up to 0.500; binds, stops to matter from 0.072 nats on (ratio 0.600)"
        )
        assert constraint_text(of(made, "ratio_ceiling")) == (
            "ratio_ceiling 0.600 allows up to 0.600; would bind below 0.500"
        )


class TestRiseOverReplay:
    # pure replay ends at 2.5 while the base was at 2.47: 0.03 nats come from re-warming alone
    def test_both_rises_are_given(self):
        made = ask(make_fit(base=BASE - 0.03))
        assert made.replay_loss == pytest.approx(BASE)
        assert made.general_rise.estimate == pytest.approx(0.05, abs=FINE)
        assert made.replay_rise.estimate == pytest.approx(0.02, abs=FINE)

    def test_the_tolerance_can_be_set_against_either(self):
        fit = make_fit(base=BASE - 0.03)
        assert ask(fit).domain_ratio == pytest.approx(np.sqrt(0.02 / 0.2), abs=FINE)
        made = ask(fit, rise_over="replay")
        assert made.domain_ratio == pytest.approx(0.5, abs=FINE)
        assert made.general_loss_limit == pytest.approx(BASE + 0.05)
        assert made.base_loss == BASE - 0.03

    def test_its_resamples_are_paired(self):
        # every resample shifts the whole curve, so the rise over replay has no spread at all
        fit = make_fit(spread=np.linspace(-0.02, 0.02, 41))
        made = ask(fit, rise_over="replay")
        assert made.domain_ratio_low == pytest.approx(made.domain_ratio_high, abs=1e-9)
        assert made.replay_rise.high - made.replay_rise.low == pytest.approx(0, abs=1e-12)
        assert ask(fit).domain_ratio_high - ask(fit).domain_ratio_low > 0.05

    def test_it_is_not_known_far_from_probes_near_zero(self):
        fit = make_fit(ratios=(0.25, 0.5, 1.0))
        assert ask(fit).replay_loss is None
        with pytest.raises(CmrplanError, match=r"smallest is 0\.25.*domain_ratio = 0"):
            ask(fit, rise_over="replay")

    def test_a_short_way_to_zero_is_said(self):
        made = ask(make_fit(ratios=(0.05, 0.5, 1.0)), rise_over="replay")
        assert "replay_extrapolated" in [f.code for f in made.warnings]


class TestWeightedObjective:
    @pytest.mark.parametrize("weight", [2.5, 5.0, 10.0])
    def test_matches_the_closed_form(self, weight):
        # 2 - r + w (2.5 + 0.2 r²) is lowest at 1 / (0.4 w)
        made = ask(max_general_rise=None, general_weight=weight)
        assert made.domain_ratio == pytest.approx(1 / (0.4 * weight), abs=5e-4)  # half a grid step
        assert made.binding == "none"
        assert made.general_loss_limit is None
        assert made.violation_probability is None

    def test_with_a_tolerance_the_lower_ratio_wins(self):
        assert ask(general_weight=10.0).domain_ratio == pytest.approx(0.25, abs=5e-4)
        assert ask(general_weight=2.5).domain_ratio == pytest.approx(0.5, abs=FINE)


class TestCompute:
    def test_gpu_hours_at_a_stated_speed(self):
        # 2 hours of one GPU at 5e13 FLOP/s
        assert parse_compute("2gpu-hours", 5e13) == 2 * 3600 * 5e13
        made = ask(compute="2 gpu-hours", gpu_flops=5e13, train_tokens=None)
        assert made.train_tokens == pytest.approx(3.6e17 / (6 * N))
        assert made.compute == pytest.approx(3.6e17)

    def test_gpu_hours_without_a_speed(self):
        with pytest.raises(InputError, match="gpu_flops"):
            ask(compute="2gpu-hours")

    @pytest.mark.parametrize("given_as", ["2 days", "-1", "gpu-hours", "nan"])
    def test_other_spellings_are_refused(self, given_as):
        with pytest.raises(InputError, match="compute must be FLOPs"):
            parse_compute(given_as, 1e14)


class TestContradictions:
    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({"min_ratio": 0.6, "max_ratio": 0.4}, "min_ratio 0.6 is above max_ratio 0.4"),
            ({"max_ratio": 40}, "max_ratio must be a fraction.*Divide by 100"),
            ({"max_general_rise": None}, "max_general_rise must be given"),
            ({"general_weight": -1}, "general_weight"),
            ({"rise_over": "start"}, "rise_over must be base or replay, got 'start'"),
        ],
    )
    def test_mistakes_name_the_argument(self, asked, words):
        with pytest.raises(InputError, match=words):
            ask(**asked)

    def test_the_way_out_works(self):
        # a floor of 0.4 wants 0.8e9 tokens in one pass, or two passes over 0.4e9
        with pytest.raises(CmrplanError) as refused:
            ask(min_ratio=0.4, domain_tokens=0.4e9)
        for words in ("lower min_ratio to 0.2", "8e+08 domain_tokens", "allow 2 max_epochs"):
            assert words in str(refused.value)
        assert ask(min_ratio=0.2, domain_tokens=0.4e9).domain_ratio == pytest.approx(0.2)
        assert ask(min_ratio=0.4, domain_tokens=0.8e9).domain_ratio == pytest.approx(0.4)
        assert ask(min_ratio=0.4, domain_tokens=0.4e9, max_epochs=2).domain_ratio == pytest.approx(
            0.4
        )

    def test_a_floor_above_the_critical_ratio(self):
        # 0.6 needs 0.072 nats; 0.5 is what 0.05 allows
        reason = ask(min_ratio=0.6).reason
        assert re.search(r"tolerance is 0\.072 nats .* lower min_ratio to 0\.5$", reason)
        assert ask(min_ratio=0.6, max_general_rise=0.072).domain_ratio == pytest.approx(0.6)

    def test_beyond_what_was_probed(self):
        fit = make_fit(ratios=(0.25, 0.5, 0.75))
        with pytest.raises(CmrplanError, match=r"above the largest fitted ratio 0\.75"):
            ask(fit, min_ratio=0.8)
        with pytest.raises(CmrplanError, match=r"raise max_ratio to 0\.25"):
            ask(fit, max_ratio=0.1)

    def test_far_beyond_the_fit_is_said_beside_the_refusal(self):
        made = ask(make_fit(base=BASE - 1), model_params=1e20)
        assert "model_params = 1e+20 is 1e+12 times the largest" in made.reason


class TestJson:
    def test_is_plain_json_with_infinite_and_missing_numbers(self, log, tmp_path):
        fit = cp.fit(log, "cmr", bootstrap=0)
        where = {"model_params": 1e6, "train_tokens": 1e6}
        made = cp.plan(fit, **where, turning_point=np.inf, max_general_rise="5%ppl")
        read = json.loads(json.dumps(made.as_dict(), allow_nan=False))
        assert read["asked"]["turning_point"] == "inf"
        assert read["asked"]["max_general_rise"] == "5%ppl"
        by_name = {constraint["name"]: constraint for constraint in read["constraints"]}
        assert by_name["turning_point"]["setting"] == "inf"
        assert set(by_name["tolerance"]) == {
            "name", "setting", "unit", "is_binding", "allows", "ratio_without", "edge",
        }  # fmt: skip

    def test_an_estimate_that_allows_nothing_is_null(self):
        # one in ten resamples allows a ratio, the estimate none
        made = ask(make_fit(base=BASE - 0.06, spread=np.linspace(-0.02, 0.02, 41)), confidence=0.05)
        assert json.loads(json.dumps(made.as_dict(), allow_nan=False))["point_domain_ratio"] is None


class TestProperties:
    """Random sets of constraints."""

    sets = st.fixed_dictionaries(
        {
            "max_general_rise": st.floats(0.001, 0.3),
            "max_ratio": st.floats(0.2, 1.0),
            "min_ratio": st.floats(0.0, 0.05),
            "domain_tokens": st.floats(0.1, 2.0).map(lambda share: share * D),
            "general_weight": st.floats(0.0, 6.0),
            "confidence": st.floats(0.5, 0.99),
        }
    )
    fit = make_fit(spread=np.linspace(-0.02, 0.02, 51), base=BASE + 0.03)

    @settings(deadline=None, max_examples=25)
    @given(sets)
    def test_the_ratio_keeps_every_constraint_and_none_is_wasted(self, asked):
        made = ask(self.fit, **asked)
        assert asked["min_ratio"] - 1e-12 <= made.domain_ratio <= asked["max_ratio"] + 1e-12
        assert made.domain_epochs <= 1 + 1e-12
        assert made.general_loss.estimate <= made.general_loss_limit + FINE
        # the quantile is taken between two of 51 resamples, so a share may be one of them higher
        assert made.violation_probability <= 1 - asked["confidence"] + 1 / 51
        beside = ("confidence", "untested")  # they tighten the tolerance and bind with it
        binding = [c for c in made.constraints if c.is_binding and c.name not in beside]
        assert len(binding) == (made.binding != "none")
        for constraint in binding:
            assert constraint.ratio_without >= made.domain_ratio - 1e-9

    @settings(deadline=None, max_examples=25)
    @given(
        sets,
        st.sampled_from(["max_general_rise", "domain_tokens", "confidence", "general_weight"]),
        st.floats(1.0, 3.0),
    )
    def test_loosening_never_lowers_the_ratio(self, asked, name, factor):
        loosened = asked | {name: asked[name] * factor}
        if name == "max_general_rise":
            loosened[name] = f"{loosened[name]!r}nats"
        if name == "confidence":
            loosened["confidence"] = 0.5 + (asked["confidence"] - 0.5) / factor
        if name == "general_weight":
            loosened["general_weight"] = asked["general_weight"] / factor
        tight, loose = ask(self.fit, **asked), ask(self.fit, **loosened)
        # a weighted optimum lies on the grid, which has a mark wherever a constraint ends
        assert (
            loose.domain_ratio >= tight.domain_ratio - 1e-3 * (asked["general_weight"] > 0) - 1e-12
        )

    @settings(deadline=None, max_examples=25)
    @given(sets, st.floats(-1, 1), st.floats(-1, 1))
    def test_shifting_both_losses_changes_nothing(self, asked, general, domain):
        moved = make_fit(
            spread=np.linspace(-0.02, 0.02, 51),
            base=BASE + 0.03 + general,
            general=(BASE + general, 0.2, 2.0),
            domain=(2.0 + domain, -1.0, 1.0),
        )
        first, second = ask(self.fit, **asked), ask(moved, **asked)
        # two grid points can tie to the last digit where a weighted objective is flat
        slack = 1.1e-3 if asked["general_weight"] else 1e-9
        assert second.domain_ratio == pytest.approx(first.domain_ratio, abs=slack)
        assert second.binding == first.binding

    @settings(deadline=None, max_examples=25)
    @given(sets)
    def test_the_breakpoint_of_the_binding_constraint_is_where_it_stops(self, asked):
        made = ask(self.fit, **asked)
        if made.binding not in ("tolerance", "domain_tokens"):
            return
        name = {"tolerance": "max_general_rise"}.get(made.binding, made.binding)
        breakpoint = of(made, made.binding).breakpoint
        unit = "nats" if name == "max_general_rise" else ""
        beyond = ask(self.fit, **(asked | {name: f"{breakpoint * 1.001 + 1e-6:.17g}{unit}"}))
        assert beyond.binding != made.binding
