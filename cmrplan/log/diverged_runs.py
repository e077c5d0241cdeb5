"""Runs that diverged and went on: every loss rises far above what it was, to numbers that are still finite."""

from __future__ import annotations

import pandas as pd

from cmrplan.errors import Code
from cmrplan.log.cells import LogFinding, listed, shown
from cmrplan.numbers import compact

_JUMP = 1.5  # times the lowest loss before; 32 passes over a corpus raise the loss on it by a third


def diverged_run_findings(log: pd.DataFrame, source: str) -> list[LogFinding]:
    """Return a finding where all losses of a run lie far above the lowest before, its own or those of the base.

    What training on one corpus does to another one raises that loss alone, so a run is judged where every corpus
    of the log was evaluated, two at least.
    """
    keys = ["run_id", "model_params", "eval_corpus", "train_tokens"]
    rows = log[[*keys, "loss"]].sort_values("train_tokens", kind="stable")
    base = rows[rows["train_tokens"] == 0].groupby(["model_params", "eval_corpus"])["loss"].max()
    of_run = rows.groupby(["run_id", "eval_corpus"], sort=False)["loss"]
    before = of_run.cummin().groupby([rows["run_id"], rows["eval_corpus"]], sort=False).shift()
    of_base = rows.join(base.rename("base"), on=["model_params", "eval_corpus"])["base"]
    lowest = pd.concat([before, of_base], axis=1).min(axis=1)
    rows = rows.assign(times=rows["loss"] / lowest)[rows["train_tokens"] > 0].dropna()
    at = rows.groupby(["run_id", "train_tokens"], sort=False)["times"].agg(["min", "size"])
    number = max(2, log["eval_corpus"].nunique())
    far = at[(at["min"] > _JUMP) & (at["size"] >= number)].reset_index()
    if far.empty:
        return []
    first = far.iloc[0]
    runs = far["run_id"].unique().tolist()
    others = f"; so do {listed(runs[1:])}" if len(runs) > 1 else ""
    message = (
        f"{source}: the losses of run {shown(first['run_id'])} on every corpus lie {first['min']:.3g} times or more "
        f"above what they were before, at {compact(first['train_tokens'])} tokens{others}: it diverged, and one such "
        "run moves the ratio of a plan; leave it out"
    )
    return [
        LogFinding(
            Code.DIVERGED_RUN,
            message,
            source,
            column="loss",
            value=shown(first["run_id"]),
            num_rows=int(far["size"].sum()),
        )
    ]
