"""The text of the next probes."""

from simulated import simulated_log

import cmrplan as cp
from cmrplan.report.probes import next_text


def test_no_best_estimate_is_said_in_a_word():
    fit = cp.fit(simulated_log(sizes=(1e6,), seeds=(0,), noise=0.01), "dcpt", bootstrap=50)
    asked = {"model_params": 1e6, "train_tokens": 1e6, "max_general_rise": "2%", "min_ratio": 0.99}
    found = cp.next_probes(fit, budget="6Mtokens", **asked)
    first, *_ = next_text(found).splitlines()
    assert first == "best estimate now         none, and no interval"
    values = found.as_dict()
    assert values["domain_ratio_low"] is values["domain_ratio_high"] is None
