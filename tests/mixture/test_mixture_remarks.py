"""What a fit and a plan of several corpora say about themselves."""

import re
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from known_mixtures import D, true_losses, world

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.report.mixture import mixture_plan_text
from cmrplan.report.page.mixtures import report_on_mixture


class TestReference:
    """The corners were probed at 0.9 of a corpus and a third of the rest of each, c0 alone is 0.1 x 2/3 away."""

    def remarks(self, fit, reference):
        plan = cp.plan_mixture(fit, train_tokens=D, protected={"c0": "60%"}, reference=reference)
        return [one for one in plan.warnings if "reference mixture" in one.message]

    def test_a_reference_far_from_the_probes_is_said(self, three):
        remarks = self.remarks(three, {"c0": 1.0})
        assert {one.code for one in remarks} == {"extrapolates_share", "extrapolates_mixture"}
        start = "the reference mixture, from which rises are counted: "
        assert all(one.message.startswith(start) for one in remarks)
        assert f"{start}7 % of the tokens would have to move" in remarks[-1].message

    def test_a_reference_among_the_probes_is_not(self, three):
        assert self.remarks(three, dict.fromkeys(three.corpora, 1 / 3)) == []

    def test_what_is_said_of_the_run_is_said_once(self, three):
        plan = cp.plan_mixture(
            three, train_tokens=2 * D, protected={"c0": "60%"}, reference={"c0": 1.0}
        )
        assert [one.code for one in plan.warnings].count("extrapolates_tokens") == 1


NEEDS_MUCH = {
    "train_tokens": D,
    "protected": {"c0": 0.0},
    "base_loss": {"c0": true_losses(3, [0.8, 0.1, 0.1])[0, 0]},
}


class TestInfeasible:
    """The true loss at a share of 0.8 of c0 is the limit, so a larger share keeps it and a smaller one does not."""

    @pytest.fixture(scope="class")
    @classmethod
    def half(cls):
        log = world(3, 40)
        return cp.fit_mixture(log[log["share_c0"] < 0.5], "data_mixing", bootstrap=20)

    def message(self, fit, **asked):
        return cp.plan_mixture(fit, **NEEDS_MUCH | asked).reason

    def test_the_largest_probed_share_is_named_where_it_binds(self, half, three):
        largest = half.log["share_c0"].max()
        assert (
            f"what binds there is the largest probed share of c0, {largest:.3g}: probe larger ones"
            in self.message(half)
        )
        # as the message says: with larger shares probed there is an answer
        assert cp.plan_mixture(three, **NEEDS_MUCH).shares["c0"] > 0.7

    def test_other_bounds_are_named_with_what_loosens_them(self, three):
        assert "the ceiling of c0, 0.4: raise it" in self.message(three, ceilings={"c0": 0.4})
        told = self.message(three, available={"c0": 0.3 * D})
        assert "what is available of c0, a share of 0.3: give more, or allow more passes" in told
        # of c1 the loss on c0 needs least: by the rates of the truth c2 does more for it
        rates = true_losses(3, [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]])[:, 0]
        scarce = ("c1", "c2") if rates[0] > rates[1] else ("c2", "c1")
        told = self.message(three, floors={scarce[0]: 0.5})
        assert f"the floor of {scarce[0]}, 0.5: lower it" in told

    def test_nothing_is_named_where_no_bound_binds(self, three):
        every = dict.fromkeys(("c0", "c1", "c2"), 0.0)
        assert "what binds" not in self.message(three, protected=every, base_loss={})


class TestFewMixtures:
    """The data mixing law of three corpora has a level, a scale and, as shares sum to 1, two rates to tell."""

    def remarks(self, log):
        fit = cp.fit_mixture(log, "data_mixing", bootstrap=0)
        return [one.message for one in fit.warnings if one.code == "few_mixtures"]

    def test_a_loss_measured_at_few_mixtures_is_named(self):
        log = world(3, 15)
        late = sorted(log["run_id"].unique())[5:]
        (told,) = self.remarks(log[~((log["eval_corpus"] == "c2") & log["run_id"].isin(late))])
        assert told.startswith("the loss on 'c2': 5 mixtures for laws with up to ")

    def test_losses_of_as_many_are_said_at_once(self):
        (told,) = self.remarks(world(3, 5))
        assert told.startswith("the loss on 'c0', 'c1', 'c2': 5 mixtures")

    def test_enough_are_not_said(self):
        assert self.remarks(world(3, 15)) == []


class TestBaseLosses:
    def test_the_rise_of_a_loss_without_a_limit_is_counted_too(self, three):
        plan = cp.plan_mixture(three, train_tokens=D, protected={"c0": "5%"})
        for name, loss in plan.losses.items():
            assert loss.reference == pytest.approx(true_losses(3, [1 / 3] * 3)[0, int(name[1:])])
            assert loss.rise.estimate == pytest.approx(loss.loss.estimate - loss.reference)
        assert plan.losses["c1"].limit is None
        given = cp.plan_mixture(three, train_tokens=D, base_loss={"c1": 2.0})
        assert given.losses["c1"].reference == 2.0

    def test_one_that_no_checkpoint_has_is_refused_for_it_too(self, three):
        with pytest.raises(InputError, match="base_loss of c1"):
            cp.plan_mixture(three, train_tokens=D, base_loss={"c1": 20.0})


class TestUnmeasured:
    def remarks(self, log):
        fit = cp.fit_mixture(log, "data_mixing", bootstrap=0)
        return [one.message for one in fit.warnings if one.code == "unmeasured_corpus"]

    def test_a_training_corpus_without_a_loss_is_named(self):
        log = world(3, 9)
        (told,) = self.remarks(log[log["eval_corpus"] != "c1"])
        assert told.startswith("no loss was measured on 'c1', which runs were trained on")
        assert self.remarks(log) == []

    def test_validation_corpora_with_names_of_their_own_are_not(self):
        log = world(3, 9)
        assert self.remarks(log.assign(eval_corpus="val_" + log["eval_corpus"])) == []


class TestOutliers:
    """One run of eighteen lies 0.08 nats off, forty times the noise."""

    log = world(3, 18, noise=0.002)

    def remarks(self, log):
        fit = cp.fit_mixture(log, bootstrap=0)
        return [one.message for one in fit.warnings if one.code == "outlier_run"]

    def test_a_run_that_is_not_what_the_others_say_is_named(self):
        log = self.log.copy()
        own = (log["run_id"] == "r007") & (log["train_tokens"] > 0)
        log.loc[own & (log["eval_corpus"] == "c1"), "loss"] += 0.08
        (told,) = self.remarks(log)
        assert told.startswith("the c1 loss of run r007 (share_c")
        (miss,) = re.findall(r"it lies ([\d.]+) nats above its prediction without it", told)
        assert float(miss) == pytest.approx(0.08, abs=0.01)

    def test_sound_runs_are_left_in_peace(self):
        assert self.remarks(self.log) == []

    def test_what_laws_miss_of_many_runs_is_no_wrong_run(self):
        """The process follows it; the laws call three runs of each corpus wrong where they are wrong themselves."""
        log = world(3, 40, noise=0.001)
        pull = np.abs(log["share_c1"] - log["share_c2"]) ** 3
        log["loss"] += np.where(log["train_tokens"] > 0, 0.3 * pull, 0.0)
        assert self.remarks(log) == []


class TestNoNoise:
    """Laws that go through every run leave nothing to tell how far another run would scatter."""

    told = (
        "as many parameters as the log has runs, 4, .* false; add a run .* or fit without intervals"
    )

    @pytest.mark.parametrize("noise", [0.003, 0.02])
    def test_as_many_runs_as_parameters_have_no_intervals(self, noise):
        with pytest.raises(CmrplanError, match=self.told):
            cp.fit_mixture(world(3, 4, noise=noise), bootstrap=20)

    def test_nor_at_several_sizes(self):
        log = world(3, 5)
        log.loc[log["run_id"].isin(["r003", "r004"]), "model_params"] = 3e8
        log.loc[log["model_params"] == 3e8, "loss"] *= 0.9
        with pytest.raises(CmrplanError, match=self.told.replace("4", "5")):
            cp.fit_mixture(log, "data_mixing", bootstrap=20)

    def test_the_estimates_alone_are_given(self):
        assert cp.fit_mixture(world(3, 4), bootstrap=0).num_draws == 0

    def test_one_run_more_or_one_seed_more_has_them(self):
        assert cp.fit_mixture(world(3, 5), bootstrap=20).num_draws == 20
        log = world(3, 4)
        seed = log[log["run_id"] == "r000"].assign(run_id="again")
        seed.loc[seed["train_tokens"] > 0, "loss"] += 0.004
        assert cp.fit_mixture(pd.concat([log, seed]), bootstrap=20).num_draws == 20


class TestNatural:
    """Natural shares are those of the available tokens: 0.01 of c0 and c1, far from the equal shares of the base."""

    SCARCE: ClassVar = {"c0": 0.5 * D, "c1": 0.5 * D, "c2": 49 * D}

    def test_a_natural_mix_that_breaks_a_limit_is_said_beside_the_gain(self, three):
        base, natural = true_losses(3, [[1 / 3, 1 / 3, 1 / 3], [0.01, 0.01, 0.98]])
        assert natural[0] > 1.02 * base[0]  # by the truth
        plan = cp.plan_mixture(three, train_tokens=D, protected={"c0": "2%"}, available=self.SCARCE)
        assert plan.candidates["natural"].breaks == ("c0",)
        told = f"{plan.gain.text(4)}; the natural mix breaks the limit of c0"
        assert f"gain over the natural mix {told}" in mixture_plan_text(plan)
        assert told in repr(plan)
        assert any(
            f"{plan.gain.text(4)} below that of the natural mixture, which breaks the limit of c0."
            in line
            for line in report_on_mixture(three, plan.asked).meaning
        )

    def test_a_natural_mix_with_the_lower_loss_is_said_to_lie_below(self, three):
        limits = {"protected": {"c0": "2%"}, "available": self.SCARCE}
        plan = cp.plan_mixture(three, train_tokens=D, objective={"c2": 1.0}, **limits)
        low, loss, high = -plan.gain.high, -plan.gain.estimate, -plan.gain.low
        assert low > 0  # nearly all of the natural mix is c2
        above = f"{loss:.4f} ({low:.4f} to {high:.4f}) above that of the natural mixture"
        (line, *_) = report_on_mixture(three, plan.asked).meaning
        assert line.endswith(f"{above}, which breaks the limit of c0.")

    @pytest.mark.parametrize("asked", [{}, {"protected": {"c0": "2%"}}])
    def test_one_that_keeps_them_is_not(self, three, asked):
        """Without available tokens the natural shares are equal, as those of the base."""
        plan = cp.plan_mixture(three, train_tokens=D, **asked)
        assert plan.candidates["natural"].breaks == ()
        assert "breaks the limit" not in mixture_plan_text(plan) + repr(plan)
        if not asked:
            (line, *_) = report_on_mixture(three, plan.asked).meaning
            assert line.endswith(f"{plan.gain.text(4)} below that of the natural mixture.")
