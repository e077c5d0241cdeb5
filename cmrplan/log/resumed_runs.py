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
_ALIKE = 0.02  # by which the steps of both may differ: runs of other lengths often are evaluated at parts of theirs
_GONE_OVER = 0.5  # of a run, at most, that its continuation goes over again


def resumed_run_findings(log: pd.DataFrame, source: str) -> list[LogFinding]:
    """Return a finding where runs begin at the end of a run of the same size, mixture and seed.

    A run that was not resumed begins to be evaluated where its like do, so one whose first evaluation is the next one
    of a run that ended earlier, or one of its last, is taken for its continuation if it goes on in the same steps. One
    that evaluated its base is a run of its own.
    """
    rows = log[log["train_tokens"] > 0]
    mixture = ["domain_ratio"] if "domain_ratio" in rows else share_columns(rows)
    more = [name for name in ("seed", "schedule") if name in rows]
    settings = ["model_params", *mixture, *more]
    when = rows[[*settings, "run_id", "train_tokens"]].drop_duplicates()
    of_base = set(log.loc[log["train_tokens"] == 0, "run_id"])
    runs = when.groupby([*settings, "run_id"], dropna=False, sort=False)["train_tokens"].agg(
        first="min", last="max", step=_step
    )
    pairs = [
        (before, after)
        for _, like in runs.reset_index().groupby(settings, dropna=False, sort=False)
        if len(like) > 1
        for before, after in _continued(like.sort_values("first", kind="stable"))
        if after["run_id"] not in of_base
    ]
    if not pairs:
        return []
    before, after = pairs[0]
    others = (
        f", and {len(pairs) - 1} more such pair{'s' * (len(pairs) > 2)}" if len(pairs) > 1 else ""
    )
    message = (
        f"{source}: run {shown(after['run_id'])} begins at {compact(after['first'])} tokens, and run "
        f"{shown(before['run_id'])} of its size, mixture and seed ends at {compact(before['last'])}{others}; if it is "
        "that run, resumed, its last evaluation before counts as that of a finished run: give both one run_id, and "
        "keep one of the evaluations that they share"
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
        if _GONE_OVER * before["last"] < after["first"] <= before["last"] + _NEXT * before["step"]
        and before["last"] < after["last"]
        and not abs(after["step"] - before["step"]) > _ALIKE * before["step"]
    ]
