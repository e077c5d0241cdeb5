"""The history of one run of Weights & Biases as a table, CSV or Parquet: a column a key, a row a line.

So ``run.history()`` and ``run.scan_history()`` are kept as frames, and so the service stores a finished run. A line
has the keys that were logged at once, so tokens and losses need not share one. No column says the run: it is called by
its file, with as many folders above it as tell the files apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cmrplan.errors import InputError
from cmrplan.log.cells import listed, read_raw
from cmrplan.log.importers.changes import Changes, Imported
from cmrplan.log.importers.headers import column_names
from cmrplan.log.importers.run_cells import folders_of, unique_names
from cmrplan.log.importers.run_facts import NAMES_OF_RUNS
from cmrplan.log.importers.run_layout import LINE_COUNTER, TrainerRun
from cmrplan.log.importers.runs import by_step, run_of_table, runs_to_log
from cmrplan.log.importers.wandb_offline import WANDB_LAYOUT


def is_wandb_history(path: Path, head: bytes) -> bool:
    """Tell whether the columns of a file are those of the history of one run."""
    columns = column_names(path, head)
    return LINE_COUNTER in columns and not {*NAMES_OF_RUNS, "eval_corpus"} & set(columns)


def import_wandb_history(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return the validation losses in histories, a file a run, as a probe log."""
    paths = sorted(paths)
    names = unique_names(folders_of(paths), changes.facts.pattern)
    runs = [_run(path, name) for path, name in zip(paths, names, strict=True)]
    return runs_to_log(runs, WANDB_LAYOUT, changes)


def _run(path: Path, name: str) -> TrainerRun:
    raw = read_raw(path)
    if LINE_COUNTER not in raw.table:
        raise InputError(
            f"{raw.source} is no history of a run: it has {listed(list(raw.table))} and no column {LINE_COUNTER}"
        )
    table = raw.table.astype(object).where(raw.table.notna(), None)  # frames have NaN for no value
    return by_step(run_of_table(replace(raw, table=table), name), LINE_COUNTER)
