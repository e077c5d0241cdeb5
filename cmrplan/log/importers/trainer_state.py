r"""The ``trainer_state.json`` that the transformers Trainer writes beside its checkpoints: one run, or a folder.

Entries of ``log_history`` with ``eval_<corpus>_loss`` become rows; ``num_input_tokens_seen`` counts the tokens
(``include_num_input_tokens_seen`` of its arguments), or else ``--tokens-per-step``. What the files do not say::

    cmrplan logs import trainer_state RUNS --out log.csv --set model_params=410M \
        --run-pattern 'r(?P<domain_ratio>[\\d.]+)-s(?P<seed>\\d+)'

A single evaluation set has no name there: ``--map eval_loss=general``. A run is called by its folder, unless ``--set
run_id=NAME``; of several checkpoints of a run the longest history is read, with a remark where another one has other
losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cmrplan.errors import Code, InputError
from cmrplan.files import read_json
from cmrplan.log.cells import LogFinding, RawLog, named, shown
from cmrplan.log.importers.changes import Changes, Imported, runs_named
from cmrplan.log.importers.run_cells import cells_of, unique_names
from cmrplan.log.importers.run_layout import RunLayout, TrainerRun
from cmrplan.log.importers.runs import runs_to_log

TRAINER_LAYOUT = RunLayout(
    steps={"step": 0}, tokens=("num_input_tokens_seen",), counting="include_num_input_tokens_seen"
)

_Checkpoint = tuple[Path, list[dict[str, Any]]]


def is_trainer_state(path: Path, head: bytes) -> bool:
    """Tell whether a file is a JSON object with a history of the Trainer."""
    return head.lstrip().startswith(b"{") and b'"log_history"' in head


def import_trainer_state(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return the evaluations of runs as a probe log."""
    histories: dict[Path, list[_Checkpoint]] = {}
    for path in sorted(paths):
        histories.setdefault(_run_folder(path), []).append((path, _history(path)))
    longest = {folder: max(those, key=_entries) for folder, those in histories.items()}
    remarks = [
        remark
        for folder, those in histories.items()
        if (remark := _other_training(longest[folder], those)) is not None
    ]
    called = unique_names([folder.parts for folder in longest], changes.facts.pattern)
    names = [name or "run" for name in called]
    runs = [
        TrainerRun(name, named(path), cells_of(history))
        for name, (path, history) in zip(names, longest.values(), strict=True)
    ]
    imported = runs_to_log(runs, TRAINER_LAYOUT, changes)
    for remark in remarks:
        imported = imported.with_remark(remark)
    if "run_id" in changes.constants:
        return imported
    raw = RawLog(pd.DataFrame(), runs[0].source)
    return imported.with_remark(runs_named(raw, None, pd.Series(names)))


def _entries(checkpoint: _Checkpoint) -> int:
    return len(checkpoint[1])


def _other_training(read: _Checkpoint, those: Sequence[_Checkpoint]) -> LogFinding | None:
    """Return the remark that a checkpoint beside the one that is read has other losses at the same steps."""
    path, history = read
    losses = _losses(history)
    for other, its_history in those:
        apart = [
            key for key, value in _losses(its_history).items() if losses.get(key, value) != value
        ]
        if apart:
            step, metric = apart[0]
            message = (
                f"{named(path)} was read, the longest of its run, and {named(other)} has another {metric} at step "
                f"{step}, so the folder holds two trainings, or one that was resumed; if another is right, give "
                "its file"
            )
            return LogFinding(Code.CHECKPOINTS_DIFFER, message, named(path), column="loss")
    return None


def _losses(history: Sequence[dict[str, Any]]) -> dict[tuple[Any, str], str]:
    """Return the losses of a history as text, so that NaN is itself, by step and metric."""
    return {
        (entry.get("step"), key): str(value)
        for entry in history
        for key, value in entry.items()
        if key == "loss" or key.endswith("_loss")
    }


def _history(source: Path) -> list[dict[str, Any]]:
    where = named(source)
    state = read_json(source)
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise InputError(f"{where} has no log_history; give the trainer_state.json of a checkpoint")
    steps = (entry.get("step") for entry in history)
    wrong = next((step for step in steps if isinstance(step, list | dict)), None)
    if wrong is not None:
        raise InputError(
            f"{where}: step must be a number, got {shown(str(wrong))}; copy the file again"
        )
    if not history:
        raise InputError(
            f"{where} has an empty log_history; give the last checkpoint of a run that evaluated"
        )
    return history


def _run_folder(source: Path) -> Path:
    parent = source.resolve().parent
    return parent.parent if parent.name.startswith("checkpoint-") else parent
