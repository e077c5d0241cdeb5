"""Probes that pass over their domain data many times: what a plan from them recommends, and what it says."""

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.fit.supply import Supply, discounted_tokens, supply_of, tokens_of_same_worth

UNIQUE, LARGEST = 1e8, 3.2e9
ASK = {"model_params": 2e8, "train_tokens": LARGEST, "max_general_rise": 0.4}


def worth(tokens, ratio, unique):
    """Return effective tokens by the law of Muennighoff et al. 2023 with its published R*, written out anew."""
    passes = tokens * ratio / unique
    repeated = unique * (1 + 15.387756 * (1 - np.exp(-(passes - 1) / 15.387756)))
    return tokens * (1 - ratio) + np.where(passes > 1, repeated, tokens * ratio)


def domain_loss(tokens, ratio, unique=UNIQUE):
    """Return the true loss: at the largest budget it is lowest at 0.64, and 0.055 nats higher at 1."""
    return 2.0 + 0.4 * np.exp(-4 * ratio) + 2000 / worth(tokens, ratio, unique) ** 0.4


def probes(unique=UNIQUE, **columns):
    rng = np.random.default_rng(3)
    rows = []
    for ratio in (0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 1.0):
        for tokens in (0.0, 2e8, 4e8, 8e8, 1.6e9, LARGEST):
            general = 3.0 + (0.15 * ratio**2 - 0.02 * np.log10(tokens / 1e8) if tokens else 0)
            domain = domain_loss(tokens, ratio, unique) if tokens else 3.4
            for corpus, loss in (("general", general), ("domain", domain)):
                noise = 0.001 * rng.standard_normal() if tokens else 0.0
                rows.append((f"r{ratio}", 2e8, tokens, ratio, corpus, float(loss + noise)))
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    return pd.DataFrame(rows, columns=names).assign(unique_domain_tokens=unique, **columns)


@pytest.fixture(scope="module")
def fit():
    return cp.fit(probes())  # fifty draws would leave the ends of an interval to chance


def messages(result, code):
    return [finding.message for finding in result.warnings if finding.code == code]


class TestPlan:
    def test_the_inner_optimum_is_recommended(self, fit):
        plan = cp.plan(fit, **ASK)
        ratios = np.linspace(0, 1, 1001)
        regret = domain_loss(LARGEST, plan.domain_ratio) - domain_loss(LARGEST, ratios).min()
        assert regret < 0.003  # a twentieth of what a ratio of 1 costs, three times the noise
        assert plan.domain_ratio_low < 0.64 < plan.domain_ratio_high

    def test_the_passes_that_the_losses_count_are_said_and_exported(self, fit):
        plan = cp.plan(fit, **ASK)
        passes = LARGEST * plan.domain_ratio / UNIQUE
        assert passes > 10
        assert plan.domain_epochs == pytest.approx(passes, rel=1e-9)
        known = {"general": 1e10}
        assert cp.export(plan, "axolotl", available=known).weights["domain"] == pytest.approx(
            passes
        )
        same = cp.export(plan, "olmo-core", available={"domain": UNIQUE})
        assert same.passes["domain"] == pytest.approx(passes)
        with pytest.raises(cp.CmrplanError, match="and the plan allows"):
            cp.export(plan, "olmo-core", available={"domain": UNIQUE / 2})
        given = cp.plan(fit, **ASK, domain_tokens=2 * UNIQUE, max_epochs=1000)
        assert given.supply_tokens is None

    def test_the_supply_of_the_probes_changes_nothing(self, fit):
        own = cp.plan(fit, **ASK)
        given = cp.plan(fit, **ASK, domain_tokens=UNIQUE, max_epochs=1000)
        assert given.domain_ratio == own.domain_ratio
        assert given.domain_loss == own.domain_loss
        assert not messages(given, "repetition_assumed")

    def test_more_data_raise_the_ratio_and_are_said_to_be_carried(self, fit):
        own = cp.plan(fit, **ASK)
        rich = cp.plan(fit, **ASK, domain_tokens=2 * UNIQUE, max_epochs=1000)
        assert rich.domain_ratio > own.domain_ratio
        assert rich.domain_loss.estimate < own.domain_loss.estimate
        (message,) = messages(rich, "repetition_assumed")
        assert "draws from 2e+08 unique domain tokens and the probes drew from 1e+08" in message

    def test_what_is_said(self, fit):
        (message,) = messages(fit, "probes_repeat")
        assert message.startswith(
            "probes pass over their unique_domain_tokens (1e+08) up to 32 times"
        )
        (turns,) = messages(cp.plan(fit, **ASK), "domain_loss_turns")
        assert "the probes repeat their domain data" in turns
        assert "look at the fit" not in turns

    def test_another_supply_is_predicted(self, fit):
        ratios = np.linspace(0, 1, 1001)
        for unique in (2 * UNIQUE, UNIQUE / 2):
            loss = fit.predict(
                "domain",
                model_params=2e8,
                train_tokens=LARGEST,
                domain_ratio=ratios,
                unique_domain_tokens=unique,
            )
            expected = domain_loss(LARGEST, ratios, unique)
            low, high = loss.interval(0.9)
            assert np.max(np.abs(loss.loss - expected)) < 0.01  # a sixth of what repeats cost at 1
            assert np.mean((low < expected) & (expected < high)) > 0.9

    def test_two_supplies_are_told_apart(self):
        both = pd.concat([probes(), probes(UNIQUE / 4).assign(run_id=lambda f: "s" + f["run_id"])])
        fit = cp.fit(both, bootstrap=0)
        scarce, own = (
            cp.plan(fit, **ASK, domain_tokens=unique, max_epochs=1000).domain_ratio
            for unique in (UNIQUE / 4, UNIQUE)
        )
        ratios = np.linspace(0, 1, 1001)
        assert scarce == pytest.approx(
            ratios[domain_loss(LARGEST, ratios, UNIQUE / 4).argmin()], abs=0.05
        )
        assert own == cp.plan(fit, **ASK).domain_ratio

    def test_many_more_passes_than_probed_are_said(self, fit):
        plan = cp.plan(fit, **{**ASK, "train_tokens": 4 * LARGEST})
        (message,) = messages(plan, "repetition_assumed")
        assert "the probes did so at most 32 times" in message

    def test_the_published_scale_is_recovered(self, fit):
        scale = fit.summary()["domain"]["repeat_scale"]
        assert scale["low"] <= 15.387756 <= scale["high"]
        assert scale["estimate"] == pytest.approx(
            15.387756, rel=0.3
        )  # the next values are a factor of 2 away
        names = [(m["law"], m["residual"]) for m in fit.summary()["domain"]["members"]]
        assert len(names) == len(set(names))

    def test_a_fit_file_keeps_it(self, fit, tmp_path):
        cp.write_fit(fit, tmp_path / "fit.json")
        again = cp.read_fit(tmp_path / "fit.json")
        assert supply_of(again.log) == Supply(UNIQUE, True, 32.0)
        assert cp.plan(again, **ASK).domain_ratio == cp.plan(fit, **ASK).domain_ratio

    def test_a_law_of_fresh_tokens_is_warned_of(self):
        fit = cp.fit(probes(), "dcpt", bootstrap=0)
        (message,) = messages(cp.plan(fit, **ASK), "probes_repeat")
        assert "the law dcpt takes repeats for fresh data" in message

    def test_a_law_of_repetition_takes_the_supply_of_the_log(self):
        fit = cp.fit(probes(), "dcpt_exp_repetition", bootstrap=0)
        own = cp.plan(fit, **ASK)
        assert (
            own.domain_ratio
            == cp.plan(fit, **ASK, domain_tokens=UNIQUE, max_epochs=99).domain_ratio
        )
        assert own.domain_ratio == pytest.approx(0.64, abs=0.03)


class TestMoreDataThanTheProbesHad:
    """Probes of three budgets that all repeat at the largest: what fresh data do there was never seen."""

    TOKENS, FRESH = 1.6e9, 8e9
    PLAN = ("--model-params", "5e7", "--train-tokens", "1.6e9")

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, tmp_path_factory):
        rng, rows = np.random.default_rng(5), []
        for ratio in (0.1, 0.2, 0.35, 0.5, 0.7, 1.0):
            for tokens in (0.0, 1e8, 4e8, cls.TOKENS):
                passes = max(tokens * ratio / 5e7, 1.0)
                seen = (
                    5e7 * (1 + 8 * (1 - np.exp(-(passes - 1) / 8))) * min(tokens * ratio / 5e7, 1.0)
                )
                domain = 2.6 + 0.8 * (1 + seen / 1e7) ** -0.35 + 0.015 * np.log(passes) ** 2
                for corpus, loss in (("general", 3.2 + 0.1 * ratio**2), ("domain", domain)):
                    noise = 0.002 * rng.standard_normal() if tokens else 0.0
                    rows.append((f"r{ratio}", 5e7, tokens, ratio, corpus, float(loss + noise)))
        names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
        log = pd.DataFrame(rows, columns=names).assign(unique_domain_tokens=5e7)
        path = tmp_path_factory.mktemp("fresh") / "fit.json"
        cp.write_fit(cp.fit(log, bootstrap=50), path)
        return path

    def test_a_turn_is_not_laid_to_repeats_that_the_run_does_not_make(self, fitted):
        ask = {"model_params": 5e7, "train_tokens": self.TOKENS, "max_general_rise": 0.4}
        plan = cp.plan(fitted, **ask, domain_tokens=self.FRESH)
        (turns,) = messages(plan, "domain_loss_turns")
        assert "as this run does" not in turns
        assert "this run does not" in turns

    def test_plan_and_predict_say_the_same_of_it(self, fitted, call):
        fresh = f"{self.FRESH:g}"
        plan = call(
            "plan",
            fitted,
            *self.PLAN,
            "--max-general-rise",
            "0.4",
            "--domain-tokens",
            fresh,
            "--json",
        )
        predict = call(
            "predict", fitted, *self.PLAN, "--domain-ratio", "0.5", "--unique-domain-tokens", fresh, "--json"
        )  # fmt: skip
        said = [
            [one["message"] for one in answer.json()["warnings"] if one["code"] == "repetition_assumed"]
            for answer in (plan, predict)
        ]  # fmt: skip
        assert said[0] == said[1]
        assert "published discount" not in said[1][0]


class TestSupply:
    def test_fresh_probes_have_none(self):
        assert supply_of(cp.validate_log(probes(LARGEST))) is None
        assert supply_of(cp.validate_log(probes()).drop(columns="unique_domain_tokens")) is None
        assert cp.fit(probes(LARGEST), "dcpt", bootstrap=0).probed.supply is None

    def test_of_several_supplies_the_largest_counts(self):
        log = cp.validate_log(probes())
        log.loc[log["domain_ratio"] == 0.4, "unique_domain_tokens"] = 2e8
        assert supply_of(log) == Supply(2e8, False, 32.0)

    @pytest.mark.parametrize("unique", [3e7, 1e8, 1e9, 1e11])
    @pytest.mark.parametrize("probed", [5e7, 2e8])
    def test_the_length_is_worth_the_same(self, unique, probed):
        ratio = np.array([0.0, 0.2, 0.7])
        tokens = tokens_of_same_worth(LARGEST, ratio, unique, probed)
        expected = worth(LARGEST, ratio, unique)
        np.testing.assert_allclose(worth(tokens, ratio, probed), expected, rtol=1e-9)
        np.testing.assert_allclose(discounted_tokens(LARGEST, ratio, unique), expected, rtol=1e-12)
