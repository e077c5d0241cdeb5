"""The ``metrics.csv`` of Lightning's CSVLogger, and of litgpt, which logs with the same class: one file a run.

A row holds what was logged at once and leaves the rest empty. Lightning counts steps from 0, so a row of ``step`` 99
stands after 100 steps; litgpt counts the batches of its accumulation and logs ``total_tokens``. Several validation
sets are told apart by ``dataloader_idx_<i>`` alone, so ``--map val_loss/dataloader_idx_0=general`` names each. A run
is called by the folder above ``version_<N>``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cmrplan.errors import InputError
from cmrplan.log.cells import RawLog, listed, read_raw
from cmrplan.log.importers.changes import Changes, Imported
from cmrplan.log.importers.headers import header_of
from cmrplan.log.importers.run_cells import unique_names
from cmrplan.log.importers.run_layout import TOKEN_COUNTS, RunLayout, TrainerRun
from cmrplan.log.importers.runs import run_of_table, runs_to_log

LIGHTNING_LAYOUT = RunLayout(steps={"step": 1}, tokens=TOKEN_COUNTS)
LITGPT_LAYOUT = RunLayout(steps={"step": 1}, tokens=("total_tokens",))
_VERSION = re.compile(r"version_\d+|logs|csv_logs|csv")


def is_lightning_csv(path: Path, head: bytes) -> bool:
    """Tell whether the header of a file is one of Lightning's CSVLogger: a step, metrics, and no run."""
    header = header_of(head)
    words = {word for name in header for word in re.split(r"[^a-z]+", name.lower())}
    return (
        "step" in header
        and not {"run_id", "run", "run_name", "name", "eval_corpus"} & set(header)
        and bool({"val", "train", "eval", "valid", "validation", "test", "epoch"} & words)
    )


def is_litgpt_csv(path: Path, head: bytes) -> bool:
    """Tell whether the header of a file is one of litgpt."""
    return {"iter", "iter_time", "total_tokens"} <= set(header_of(head))


def import_lightning_csv(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return the validation losses in the files of Lightning's CSVLogger as a probe log."""
    return runs_to_log(_runs(paths, changes), LIGHTNING_LAYOUT, changes)


def import_litgpt(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return the validation losses in litgpt's files as a probe log: ``--map val_loss=general`` names its one set."""
    return runs_to_log(_runs(paths, changes), LITGPT_LAYOUT, changes)


def _runs(paths: Sequence[Path], changes: Changes) -> list[TrainerRun]:
    paths = sorted(paths)
    folders = [path.resolve().parent.parts for path in paths]
    short = [tuple(part for part in parts if not _VERSION.fullmatch(part)) for parts in folders]
    apart = short if len(set(short)) == len(short) else folders
    names = unique_names(apart, changes.facts.pattern)
    return [_run_of_csv(path, name) for path, name in zip(paths, names, strict=True)]


def _run_of_csv(path: Path, name: str) -> TrainerRun:
    raw: RawLog = read_raw(path)
    if "step" not in raw.table:
        raise InputError(
            f"{raw.source} is no metrics.csv: it has {listed(list(raw.table))} and no column step; give one of a "
            "CSVLogger"
        )
    return run_of_table(raw, name)
