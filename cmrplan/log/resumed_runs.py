"""Runs that seem to be one run that was resumed under another name.

The last evaluation of a run counts as that of a finished run, which it is not where the run went on, and evaluations
that both starts have count as two witnesses.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import Code
from cmrplan.log.cells import LogFinding, shown
from cmrplan.log.columns import share_columns
from cmrplan.numbers import compact

_NEXT = 1.5  # steps between evaluations that may lie between the end of one start and the begin of the next
_ALIKE = 2.0  # times by which the steps of both may differ


def resumed_run_findings(log: pd.DataFrame, source: str) -> list[LogFinding]:
    """Return a finding where runs begin at the end of a run of the same size, mixture and seed.

    A run that was not resumed begins to be evaluated where its like do, so one whose first evaluation is the next one
    of a run that ended earlier is taken for its continuation.
    """
    rows = log[log["train_tokens"] > 0]
    mixture = ["domain_ratio"] if "domain_ratio" in rows else share_columns(rows)
    settings = ["model_params", *mixture, *(["seed"] if "seed" in rows else [])]
    when = rows[[*settings, "run_id", "train_tokens"]].drop_duplicates()
    runs = when.groupby([*settings, "run_id"], dropna=False, sort=False)["train_tokens"].agg(
        first="min", last="max", step=_step
    )
    pairs = [
        (before, after)
        for _, like in runs.reset_index().groupby(settings, dropna=False, sort=False)
        if len(like) > 1
        for before, after in _continued(like.sort_values("first", kind="stable"))
    ]
    if not pairs:
        return []
    before, after = pairs[0]
    more = (
        f", and {len(pairs) - 1} more such pair{'s' * (len(pairs) > 2)}" if len(pairs) > 1 else ""
    )
    message = (
        f"{source}: run {shown(after['run_id'])} begins at {compact(after['first'])} tokens, where run "
        f"{shown(before['run_id'])} of its size, mixture and seed ends{more}; if it is that run, resumed, its last "
        "evaluation before counts as that of a finished run: give both one run_id, and keep one of the evaluations "
        "that they share"
    )
    return [
        LogFinding(Code.RESUMED_RUN, message, source, column="run_id", value=shown(after["run_id"]))
    ]


def _step(tokens: pd.Series[float]) -> float:
    """Return the tokens between evaluations, NaN of one evaluation."""
    between = np.diff(np.sort(tokens.to_numpy(dtype=float)))
    return float(np.median(between)) if len(between) else float("nan")


def _continued(like: pd.DataFrame) -> list[tuple[dict[Hashable, Any], dict[Hashable, Any]]]:
    """Return the runs, each with the one that goes on from it, of runs in the order of their first evaluation."""
    runs = like.to_dict("records")
    return [
        (before, after)
        for before, after in pairwise(runs)
        if before["first"] < after["first"] <= before["last"] + _NEXT * before["step"]
        and before["last"] < after["last"]
        and not after["step"] > _ALIKE * before["step"]
        and not after["step"] < before["step"] / _ALIKE
    ]
