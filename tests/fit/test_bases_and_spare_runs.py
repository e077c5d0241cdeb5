"""Whose base the rises of a log are counted from, and how far another run would scatter: said where it is not known."""

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.design.forecast import FEWEST_DRAWS
from cmrplan.report.text import answer_sentences

SIZE, TOKENS = 1e8, 1e9


def sweep(ratios, *, seeds=1, base=2.5, name="r"):
    """Return the ends of runs: losses 2.5 + 0.2 r² and 1.2 + 0.5 (r + 0.1)^-0.2, and 0.002 nats from seed to seed."""
    rng, rows = np.random.default_rng(0), []
    for ratio in ratios:
        for seed in range(seeds):
            run = f"{name}{ratio:g}-{seed}"
            losses = {"general": 2.5 + 0.2 * ratio**2, "domain": 1.2 + 0.5 * (ratio + 0.1) ** -0.2}
            for corpus, loss in losses.items():
                start = base if corpus == "general" else 2.1
                measured = loss + 0.002 * rng.standard_normal()
                rows += [(run, 0.0, ratio, corpus, start), (run, TOKENS, ratio, corpus, measured)]
    log = pd.DataFrame(
        rows, columns=["run_id", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    )
    return log.assign(model_params=SIZE)


def messages(fit, code):
    return [finding.message for finding in fit.warnings if finding.code == code]


ASKED = {"model_params": SIZE, "train_tokens": TOKENS, "max_general_rise": 0.05}


class TestLawsThatGoThroughEveryRun:
    def test_have_no_intervals_and_say_so(self):
        fit = cp.fit(sweep([0, 0.3, 1]), bootstrap=60)
        (said,) = messages(fit, "no_spare_runs")
        assert "go through all 3 runs" in said
        made = cp.plan(fit, **ASKED)
        assert made.num_resamples == 0
        assert made.domain_ratio_low is None
        assert made.violation_probability is None
        (sentence,) = answer_sentences(made)
        assert "how often it breaks the limit is not known (add runs at other ratios" in sentence
        with pytest.raises(cp.CmrplanError, match=f"need {FEWEST_DRAWS} or more: add runs"):
            cp.next_probes(fit, budget="1e20flops", **ASKED)

    def test_are_read_from_their_file(self, tmp_path):
        fit = cp.fit(sweep([0, 0.3, 1]), bootstrap=60)
        assert messages(fit, "no_spare_runs")
        cp.write_fit(fit, tmp_path / "fit.json")
        again = cp.plan(tmp_path / "fit.json", **ASKED)
        assert again.domain_ratio == cp.plan(fit, **ASKED).domain_ratio

    @pytest.mark.parametrize("log", [sweep([0, 0.3, 1], seeds=2), sweep([0, 0.3, 0.6, 1])])
    def test_one_run_more_gives_them(self, log):
        fit = cp.fit(log, bootstrap=60)
        assert not messages(fit, "no_spare_runs")
        made = cp.plan(fit, **ASKED)
        assert made.domain_ratio_low < made.domain_ratio_high


class TestBasesOfOneSize:
    ratios = (0, 0.25, 0.5, 0.75, 1)

    def test_that_differ_are_said_with_the_mean_that_is_taken(self):
        log = pd.concat([sweep(self.ratios), sweep(self.ratios, base=2.3, name="m")])
        (said,) = messages(cp.fit(log, bootstrap=0), "base_rows_differ")
        assert "on 'general' run from 2.3000 to 2.5000, and their mean 2.4000 is taken" in said

    def test_measured_again_are_no_word_worth(self):
        # 0.4 % of the loss
        log = pd.concat([sweep(self.ratios), sweep(self.ratios, base=2.49, name="m")])
        assert not messages(cp.fit(log, bootstrap=0), "base_rows_differ")

    def test_are_said_of_several_corpora_too(self):
        log = pd.concat([sweep(self.ratios), sweep(self.ratios, base=2.3, name="m")])
        shares = {"share_domain": log["domain_ratio"], "share_general": 1 - log["domain_ratio"]}
        fit = cp.fit_mixture(log.drop(columns="domain_ratio").assign(**shares), bootstrap=0)
        assert "on 'general' run from 2.3000" in messages(fit, "base_rows_differ")[0]
