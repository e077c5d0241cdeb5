"""One loss for each model size and number of FLOPs, as read off Figure 4 of the Chinchilla paper.

The layout of github.com/epoch-research/analyzing-chinchilla: columns ``Model Size`` (parameters), ``Training FLOP``
and ``loss`` (nats per token); others are dropped. D = FLOPs / (6 N). Sizes are then rounded to four digits, finer than
they can be read, so that the runs of one model share one size. Every row is a run of its own on one corpus, so it
counts as general data at a domain ratio of 0.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import Code, InputError
from cmrplan.log.cells import RawLog, listed, read_raw, shown
from cmrplan.log.columns import parse_numbers
from cmrplan.log.importers.changes import Changes, Imported, runs_named, to_log
from cmrplan.log.importers.headers import header_of

NAMES = {"Model Size": "model_params", "Training FLOP": "training_flops"}
CONSTANTS = {"eval_corpus": "general", "domain_ratio": "0"}
DIGITS = 4
FAR_APART = 1.2  # times; repeated runs differ by a hundredth
_KEPT = {"run_id", "model_params", "train_tokens", "training_flops", "loss", *CONSTANTS}


def is_chinchilla(path: Path, head: bytes) -> bool:
    """Tell whether the header of a file has the columns of that extraction."""
    return set(NAMES) | {"loss"} <= set(header_of(head))


def import_chinchilla(source: Path, changes: Changes) -> Imported:
    """Return the table as a probe log; a ``names`` entry replaces a column's own name.

    Raises
    ------
    InputError
        If rows of one size and budget differ in a column that would be dropped, or lie far apart.
    """
    raw = read_raw(source)
    given = set(changes.names.values())
    defaults = {old: new for old, new in NAMES.items() if new not in given and old in raw.table}
    changes = changes.with_defaults(defaults, CONSTANTS)
    kept = [name for name in raw.table if name in {*_KEPT, *changes.names, *changes.scales}]
    table = raw.table[kept].copy()
    names_runs = "run_id" not in {*table, *changes.names.values(), *changes.constants}
    if names_runs:
        table["run_id"] = [f"row_{number}" for number in range(1, len(table) + 1)]
    imported = to_log(replace(raw, table=table), changes)
    log = imported.log
    log["model_params"] = [float(f"{size:.{DIGITS}g}") for size in log["model_params"]]
    if len(log) == len(raw.table):
        _require_one_metric(raw, log)
    return imported.with_remark(runs_named(raw, None, table["run_id"])) if names_runs else imported


def _require_one_metric(raw: RawLog, log: pd.DataFrame) -> None:
    """Refuse rows of one size and budget that a dropped column of words tells apart, or their losses."""
    dropped = [name for name in raw.table if name not in _KEPT and _is_of_words(raw.table[name])]
    for _, rows in log.groupby(["model_params", "train_tokens", "eval_corpus"]).groups.items():
        part, cells = log.loc[rows], raw.table.loc[rows]
        low, high = part["loss"].min(), part["loss"].max()
        apart = [name for name in dropped if cells[name].nunique() > 1]
        if len(rows) > 1 and (apart or high > FAR_APART * low):
            column = (
                f"; they differ in {shown(apart[0])} ({listed(list(cells[apart[0]].unique()))})"
                if apart
                else ""
            )
            which = apart[0] if apart else "COLUMN"
            finding = raw.finding(
                Code.LOSSES_APART,
                f"losses of {low:g} and {high:g} at one size and budget would become runs of one law{column}",
                f"Keep the rows of one metric, or --map {which}=eval_corpus makes a corpus of each.",
                rows=np.asarray(rows),
                column="loss",
            )
            raise InputError(finding.message)


def _is_of_words(cells: pd.Series[Any]) -> bool:
    _, _, bad = parse_numbers(cells)
    return bool(bad.any())
