"""One loss for each model size and number of FLOPs, as read off Figure 4 of the Chinchilla paper.

The layout of github.com/epoch-research/analyzing-chinchilla: columns ``Model Size`` (parameters), ``Training FLOP``
and ``loss`` (nats per token); others are dropped. D = FLOPs / (6 N). Sizes are then rounded to four digits, finer than
they can be read, so that the runs of one model share one size. Every row is a run of its own on one corpus, so it
counts as general data at a domain ratio of 0.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from cmrplan.log.cells import read_raw
from cmrplan.log.importers.changes import Changes, to_log

NAMES = {"Model Size": "model_params", "Training FLOP": "training_flops"}
CONSTANTS = {"eval_corpus": "general", "domain_ratio": "0"}
DIGITS = 4
_KEPT = {"run_id", "model_params", "train_tokens", "training_flops", "loss", *CONSTANTS}


def import_chinchilla(source: Path, changes: Changes) -> pd.DataFrame:
    """Return the table as a probe log; a ``names`` entry replaces a column's own name."""
    raw = read_raw(source)
    given = set(changes.names.values())
    defaults = {old: new for old, new in NAMES.items() if new not in given and old in raw.table}
    changes = changes.with_defaults(defaults, CONSTANTS)
    kept = [name for name in raw.table if name in {*_KEPT, *changes.names, *changes.scales}]
    table = raw.table[kept].copy()
    if "run_id" not in {*table, *changes.names.values(), *changes.constants}:
        table["run_id"] = [f"row_{number}" for number in range(1, len(table) + 1)]
    log = to_log(replace(raw, table=table), changes)
    log["model_params"] = [float(f"{size:.{DIGITS}g}") for size in log["model_params"]]
    return log
