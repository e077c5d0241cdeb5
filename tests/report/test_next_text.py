"""The text of the next probes."""

from pathlib import Path

from simulated import simulated_log

import cmrplan as cp
from cmrplan.errors import Code
from cmrplan.report.probes import next_text

PUBLISHED = Path(__file__).parents[2] / "data" / "published" / "dcpt_usage1_log.csv"


def test_no_best_estimate_is_said_in_a_word():
    fit = cp.fit(simulated_log(sizes=(1e6,), seeds=(0,), noise=0.01), "dcpt", bootstrap=50)
    asked = {"model_params": 1e6, "train_tokens": 1e6, "max_general_rise": "2%", "min_ratio": 0.99}
    found = cp.next_probes(fit, budget="6Mtokens", **asked)
    first, *_ = next_text(found).splitlines()
    assert first == "best estimate now         none, and no interval"
    values = found.as_dict()
    assert values["domain_ratio_low"] is values["domain_ratio_high"] is None


def test_resamples_without_a_ratio_recommend_none():
    """They count as the smallest ratio, and ``next`` said that 100 % of them recommend it."""
    fit = cp.fit(PUBLISHED, bootstrap=50)
    run = {"model_params": 1.8e9, "train_tokens": 1e10}
    found = cp.next_probes(fit, budget="1e20flops", max_general_rise="0.1%", **run)
    assert not found.has_interval
    assert Code.RATIO_AT_EDGE not in [finding.code for finding in found.warnings]
    lowest = {"max_general_rise": "10%", "general_weight": 10}  # the smallest ratio is the best one
    kept = cp.next_probes(fit, budget="1e20flops", **lowest, **run)
    assert Code.RATIO_AT_EDGE in [finding.code for finding in kept.warnings]
