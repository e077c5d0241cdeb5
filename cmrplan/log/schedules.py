"""Checkpoints inside a decaying learning rate, which are not short finished runs.

A decay lowers the loss beyond what the tokens alone would. On public logs of a decaying schedule, fitting the first
half and predicting the end misses by about 0.015 nats; the last checkpoint of a run, after the whole decay, is
sound. Where ``learning_rate`` changes within a run it says where the decay is; otherwise the name in ``schedule`` does.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.errors import Code, Finding

_DECAYING = re.compile(r"cos|linear|decay|anneal|wsd|sqrt", re.IGNORECASE)
SAME_RATE = 0.99  # of the peak: rates are logged with a few digits


def inside_decay(log: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows are checkpoints inside a decay, the last one of each run excepted.

    Parameters
    ----------
    log : DataFrame
        A checked log, or some of its rows.
    """
    if not len(log):
        return np.zeros(0, dtype=bool)
    runs, tokens = log["run_id"], log["train_tokens"]
    is_early = (tokens > 0) & (tokens < tokens.groupby(runs).transform("max"))
    decays = pd.Series(False, index=log.index)
    if "schedule" in log:
        decays = log["schedule"].map(_is_decaying).astype(bool)
    if "learning_rate" in log:
        rate = log["learning_rate"].where(tokens > 0)
        by_run = rate.groupby(runs)
        is_peak = rate >= SAME_RATE * by_run.transform("max")
        peak_tokens = tokens.where(is_peak).groupby(runs).transform("min")
        is_logged = by_run.transform("nunique") > 1
        decays = decays.where(~is_logged, (tokens > peak_tokens) & ~is_peak)
    return np.asarray(is_early & decays, dtype=bool)


def schedule_findings(log: pd.DataFrame) -> list[Finding]:
    """Return a finding where rows were evaluated inside a decay."""
    inside = inside_decay(log)
    if not inside.any():
        return []
    num_runs = log["run_id"][inside].nunique()
    return [
        Finding(
            Code.DECAYING_SCHEDULE,
            f"{inside.sum()} rows of {num_runs} run(s) were evaluated inside a decaying learning rate, which lowers "
            "the loss by itself, so they are not short finished runs; keep only the last evaluation of each run, or "
            "fit --law learning_rate_replay (of one ratio: learning_rate)",
        )
    ]


def _is_decaying(name: object) -> bool:
    return (
        isinstance(name, str)
        and _DECAYING.search(name) is not None
        and "constant" not in name.lower()
    )
