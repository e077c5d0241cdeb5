"""Plans for a size that was not probed: what is carried there, and how wide the interval gets."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from by_hand import BASE, D, N, ask, make_fit
from simulated import simulated_log

import cmrplan as cp
from cmrplan.errors import InputError
from cmrplan.fit.other_sizes import WALK_STEP, general_loss_at
from cmrplan.fit.probed import nearest_size
from cmrplan.fit.size_prior import FACTOR, drawn_at
from cmrplan.report.markdown import summary_page
from cmrplan.report.text import plan_text

SIZES = (3e5, 1e6)
NEAR = {"model_params": N, "train_tokens": D, "domain_ratio": np.array([0.0, 0.5, 1.0])}


@pytest.fixture(scope="module")
def two_sizes():
    return cp.fit(simulated_log(seeds=(0,)), "dcpt", bootstrap=100)


def codes(found):
    return {finding.code for finding in found.warnings}


def many(size=4000):
    """Resamples without a spread of their own."""
    return np.zeros(size)


class TestCarriedLevel:
    def test_the_rise_is_the_probed_one_whatever_the_law_says_of_the_level(self):
        # the law falls by 0.3 nats a decade of N and the base is 0.7 lower: 2.5 + 0.2 r^2 - 2.5 = 0.05 at r = 0.5
        fit = make_fit(per_size=(0.3, 0.0))
        made = ask(fit, model_params=10 * N, base_loss=BASE - 0.7)
        assert made.domain_ratio == pytest.approx(0.5, abs=1e-3)  # of the grid
        assert made.general_loss.estimate == pytest.approx(BASE - 0.7 + 0.05, abs=1e-3)

    def test_without_a_base_loss_base_and_run_go_along_the_law(self):
        made = ask(make_fit(per_size=(0.3, 0.0)), model_params=10 * N)
        assert made.base_loss == pytest.approx(BASE - 0.3)
        assert made.domain_ratio == pytest.approx(0.5, abs=1e-3)
        assert {"base_loss_carried", "rise_carried"} <= codes(made)

    def test_a_probed_size_is_left_alone(self):
        made = ask(make_fit(spread=many(50)))
        assert made.domain_ratio_low == made.domain_ratio_high == pytest.approx(0.5, abs=1e-3)
        assert not {"base_loss_carried", "rise_carried"} & codes(made)

    def test_between_two_sizes_the_rises_are_joined(self):
        log = simulated_log(noise=0, seeds=(0,))
        is_base = (log["train_tokens"] == 0) & (log["eval_corpus"] == "general")
        log.loc[is_base & (log["model_params"] == SIZES[1]), "loss"] += 0.1  # its rise is 0.1 lower
        fit = cp.fit(log, "dcpt", bootstrap=0)
        rises = []
        for size in (SIZES[0], np.sqrt(SIZES[0] * SIZES[1]), SIZES[1]):
            there = general_loss_at(fit, **(NEAR | {"model_params": size, "train_tokens": 1e6}))
            rises.append(there.prediction.loss - there.base_loss)
        assert rises[0] - rises[2] == pytest.approx(0.1, abs=1e-6)
        assert rises[1] == pytest.approx((rises[0] + rises[2]) / 2)


class TestWalk:
    def spread(self, times, rise_over="base"):
        fit = make_fit(spread=many())
        at_size = NEAR | {"model_params": times * N}
        loss = general_loss_at(fit, **at_size, rise_over=rise_over).prediction
        if rise_over == "replay":
            return (loss.draws - loss.draws[:, :1]).std(axis=0)
        return loss.draws.std(axis=0)

    # standard errors of a standard deviation from 4000 draws are 1.1 %
    def test_grows_with_the_root_of_the_distance(self):
        assert self.spread(np.e)[0] == pytest.approx(WALK_STEP, rel=0.05)
        assert self.spread(np.e**4) / self.spread(np.e) == pytest.approx(2)
        assert self.spread(np.e**-4) == pytest.approx(self.spread(np.e**4))

    def test_over_replay_it_is_none_without_domain_data(self):
        spread = self.spread(np.e, "replay")
        assert spread[0] == 0
        assert spread[1:] == pytest.approx([WALK_STEP / 2, WALK_STEP], rel=0.05)

    def test_a_step_seen_counts(self):
        # the measured rise at ten times the size is 0.3 higher; one prior step of WALK_STEP * (1, r) and this one
        one = make_fit(spread=many())
        larger = one.log.assign(model_params=10 * N, loss=one.log["loss"] + 0.3)
        bases = {"general": {N: BASE, 10 * N: BASE}}
        two = replace(one, log=pd.concat([one.log, larger], ignore_index=True), base_loss=bases)
        loss = general_loss_at(two, **(NEAR | {"model_params": 100 * N})).prediction
        expected = np.sqrt(np.log(10) / 2 * (WALK_STEP**2 + 0.3**2 / np.log(10)))
        assert loss.draws[:, 0].std() == pytest.approx(expected, rel=0.05)
        with_ratio = np.sqrt(np.log(10) / 2 * (2 * WALK_STEP**2 + 0.3**2 / np.log(10)))
        assert loss.draws[:, 2].std() == pytest.approx(with_ratio, rel=0.05)

    def test_farther_off_never_means_a_larger_ratio(self):
        fit = make_fit(spread=many(500))
        found = [
            ask(fit, model_params=times * N, max_general_rise=0.15).domain_ratio
            for times in (1, 1.2, 2, 3)
        ]
        assert found == sorted(found, reverse=True)
        assert found[-1] < found[0]

    def test_too_far_is_refused_with_the_way_out(self):
        made = ask(make_fit(spread=many(500)), model_params=1e4 * N)
        assert re.search(r"smallest feasible tolerance.*probe a size nearer", made.reason)


class TestUnknownLevel:
    def test_two_sizes_draw_exponents_around_the_held_one(self):
        sizes, level = np.array(SIZES), lambda size: np.full((4000, 1), 1 + 100 * size**-0.3526596)
        drawn = drawn_at(1e7, sizes, level, 0)
        # the same two losses carried on with the exponents at the ends of the middle 90 %
        ends = []
        for exponent in (0.3526596 / FACTOR, 0.3526596 * FACTOR):
            near, far = sizes[0] ** -exponent, sizes[1] ** -exponent
            slope = (level(sizes[0])[0, 0] - level(sizes[1])[0, 0]) / (near - far)
            ends.append(level(sizes[1])[0, 0] + slope * (1e7**-exponent - far))
        assert np.quantile(drawn, [0.05, 0.95]) == pytest.approx(ends, rel=0.01)

    def test_resamples_stay_at_probed_sizes(self, two_sizes):
        fit = two_sizes
        where = {"train_tokens": 1e6, "domain_ratio": [0.25, 0.5]}
        widths = []
        for size in (*SIZES, 1e7):
            low, high = fit.predict("domain", model_params=size, **where).interval(0.9)
            widths.append(high - low)
            columns = {
                "model_params": np.full(2, size),
                "train_tokens": np.full(2, 1e6),
                "domain_ratio": np.array([0.25, 0.5]),
            }
            inside = fit.models["domain"].predict(columns).draws
            if size in SIZES:
                np.testing.assert_array_equal(
                    fit.predict("domain", model_params=size, **where).draws, inside
                )
        assert np.all(widths[2] > 3 * widths[1])

    def test_the_interval_holds_the_law_that_made_the_log(self, two_sizes):
        # its exponent is 0.2, the held one 0.35
        truth = 1.2 + 3 / 1e8**0.2 + 2.0 * 0.5**0.3 / 1e6**0.25 + 0.12 / 0.55**0.5
        found = two_sizes.predict("domain", model_params=1e8, train_tokens=1e6, domain_ratio=0.5)
        low, high = found.interval(0.9)
        assert low < truth < high

    def test_one_size_says_nothing_of_lower_losses(self):
        fit = cp.fit(simulated_log(sizes=(3e5,)), "dcpt", bootstrap=60)
        found = fit.predict("domain", model_params=3e7, train_tokens=1e6, domain_ratio=0.5)
        low, high = found.interval(0.9)
        # a hundred times the size: the part that shrinks does so by 0.8, and up to half may shrink
        assert 0.6 * found.loss < low < 0.75 * found.loss < found.loss < high


class TestOneSize:
    log = simulated_log(sizes=(3e5,), seeds=(0,))

    def test_sizes_are_not_compared(self):
        fit = cp.fit(self.log, "dcpt", bootstrap=0)
        asked = {"sizes": [3e5, 3e6], "max_general_rise": 0.3}
        with pytest.raises(cp.CmrplanError, match="one model size, 3e\\+05"):
            cp.smallest_model(fit, target_domain_loss=1.5, train_tokens=1e6, **asked)
        with pytest.raises(cp.CmrplanError, match="probe a second one"):
            cp.best_budget(fit, compute=1e13, **asked)

    def test_a_base_loss_alone_is_not_enough(self):
        fit = cp.fit(
            self.log[self.log["train_tokens"] > 0].reset_index(drop=True), "dcpt", bootstrap=0
        )
        with pytest.raises(cp.CmrplanError, match="add a row with train_tokens = 0 at 3e\\+05"):
            cp.plan(fit, model_params=3e6, train_tokens=1e6, base_loss=1.5, max_general_rise=0.3)


def test_a_ratio_that_only_other_sizes_were_probed_at_is_said():
    log = simulated_log(seeds=(0,))
    is_far = (log["model_params"] == SIZES[1]) & (log["domain_ratio"] > 0.3)
    fit = cp.fit(log[~is_far].reset_index(drop=True), "dcpt", bootstrap=0)
    near, there, other, between = (
        fit.probed.extrapolation_findings(model_params=size, train_tokens=1e6, domain_ratio=ratio)
        for size, ratio in ((SIZES[1], 0.2), (SIZES[1], 0.8), (SIZES[0], 0.8), (6e5, 0.8))
    )
    assert not any("only other sizes" in finding.message for finding in (*near, *other, *between))
    (said,) = [f.message for f in there if f.code == "extrapolates_ratio"]
    largest = log["domain_ratio"][~is_far & (log["model_params"] == SIZES[1])].max()
    assert f"outside the ratios 0 to {largest:g} that were probed at 1e+06 parameters" in said


def test_of_two_sizes_that_are_equally_near_the_first_is_nearest():
    sizes = np.array([1e8, 9e8])
    assert nearest_size(sizes, 3e8) == 1e8
    assert nearest_size(sizes, 3e8 * (1 - 1e-15)) == nearest_size(sizes, 3e8 * (1 + 1e-15)) == 1e8
    assert nearest_size(sizes, 3.1e8) == 9e8


class TestBaseLossThatIsGiven:
    """At a size whose probed base is known: another checkpoint, the same one measured again, or another unit."""

    def test_the_loss_of_another_checkpoint_goes_with_its_base(self):
        fit = make_fit()
        first, other = ask(fit), ask(fit, base_loss=BASE + 0.3)
        assert other.domain_ratio == pytest.approx(first.domain_ratio, abs=1e-9)
        assert other.general_loss.estimate == pytest.approx(first.general_loss.estimate + 0.3)
        (said,) = [finding.message for finding in other.warnings if finding.code == "rise_carried"]
        assert f"the base loss {BASE + 0.3:.4f} is not that of the probed base" in said

    def test_a_residual_carries_the_rise_in_proportion(self):
        fit = cp.fit(simulated_log(sizes=(3e5,), seeds=(0,)), bootstrap=40)
        asked = {"model_params": 3e5, "train_tokens": 1e6, "max_general_rise": "2%"}
        base = fit.base_loss["general"][3e5]
        first, other, near = (
            cp.plan(fit, **asked, base_loss=times * base) for times in (1.0, 1.1, 1.002)
        )
        assert other.domain_ratio == pytest.approx(first.domain_ratio, abs=1e-9)
        assert other.general_loss.estimate == pytest.approx(1.1 * first.general_loss.estimate)
        assert "rise_carried" in codes(other)
        assert "rise_carried" not in codes(near)
        assert near.domain_ratio > first.domain_ratio  # only the limit is 0.2 % higher

    @pytest.mark.parametrize(
        ("base", "said"),
        [
            (np.exp(BASE), f"the logarithm of a perplexity gives {BASE:.4f}"),
            (BASE / np.log(2), f"bits times ln 2 gives {BASE:.4f}"),
            (60 * BASE, f"has {BASE:.4f}"),
            (0.3 * BASE, f"has {BASE:.4f}"),
        ],
    )
    def test_what_cannot_be_nats_is_refused(self, base, said):
        for size in (N, 3 * N):
            with pytest.raises(InputError, match=re.escape(said)):
                ask(make_fit(), model_params=size, base_loss=base)

    def test_a_much_larger_model_may_have_a_much_lower_base(self):
        assert ask(make_fit(), model_params=100 * N, base_loss=0.6 * BASE).base_loss == 0.6 * BASE


def test_without_any_base_row_the_law_has_the_level_and_says_so():
    log = simulated_log()
    fit = cp.fit(log[log["train_tokens"] > 0].reset_index(drop=True), "dcpt", bootstrap=60)
    where = {"model_params": 1e7, "train_tokens": 1e6}
    made = cp.plan(fit, **where, base_loss=1.7, max_general_rise="1nats")
    found = fit.predict("general", **where, domain_ratio=made.domain_ratio)
    assert made.general_loss.estimate == pytest.approx(float(found.loss[0]))
    assert "level_by_law" in codes(made)
    none = cp.plan(fit, **where, base_loss=0.5, max_general_rise=0.01)
    assert "add rows with train_tokens = 0 at 3e+05 and 1e+06" in none.reason


@pytest.mark.parametrize("law", ["dcpt", "auto"])
def test_over_replay_the_base_loss_is_not_needed_and_moves_no_ratio(law):
    log = simulated_log(sizes=(3e5, 1e6))
    fit = cp.fit(log[log["train_tokens"] > 0].reset_index(drop=True), law, bootstrap=20)
    asked = {"train_tokens": 1e6, "max_general_rise": "3%", "rise_over": "replay"}
    for size in (3e5, 3e6):
        unknown, low, high = (
            cp.plan(fit, model_params=size, base_loss=loss, **asked) for loss in (None, 1, 2)
        )
        assert unknown.domain_ratio == low.domain_ratio == high.domain_ratio
        assert unknown.base_loss is None
        assert unknown.general_rise is None
        assert low.general_rise.estimate == pytest.approx(low.general_loss.estimate - 1)
        assert unknown.replay_rise == low.replay_rise
        values = unknown.as_dict()
        assert (values["base_loss"], values["general_rise"]) == (None, None)
        assert "rise over the base        not known" in plan_text(unknown)
        page = summary_page(fit, unknown, title="Answer")
        assert not re.search(r"\bnan\b", page + repr(unknown) + plan_text(unknown))
        assert "over the base" not in page
