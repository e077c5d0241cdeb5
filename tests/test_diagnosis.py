"""Early evaluations: found where they bend the law, left in peace where they do not."""

import numpy as np
from simulated import simulated_log

import cmrplan as cp


def codes(log):
    return {finding.code: finding.message for finding in cp.fit(log, "dcpt", bootstrap=0).warnings}


def test_a_bump_at_the_start_is_found_with_its_end():
    log = simulated_log(sizes=(3e5,), noise=0.001)
    tokens = np.unique(log["train_tokens"])
    early = log["train_tokens"].isin(tokens[1:3])
    log.loc[early, "loss"] += 0.15
    found = codes(log)
    assert f"--min-train-tokens {tokens[3]:.0f} " in found["early_evaluations"]


def test_a_log_that_follows_the_law_from_the_start_is_left_alone():
    assert "early_evaluations" not in codes(simulated_log(sizes=(3e5,), noise=0.001))
