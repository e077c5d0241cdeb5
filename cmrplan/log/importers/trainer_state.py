"""The ``trainer_state.json`` that the ``transformers`` Trainer writes beside its checkpoints: one run.

Entries of ``log_history`` with ``eval_<corpus>_loss`` become rows; ``num_input_tokens_seen`` counts the tokens
(``include_num_input_tokens_seen`` of its arguments), or else ``--set tokens_per_step=VALUE``. What the file does
not say::

    cmrplan logs import trainer_state RUN/checkpoint-500/trainer_state.json --out log.csv \
        --set model_params=410M --set domain_ratio=0.3

A single evaluation set has no name there: ``--map eval_loss=general``. The run is called by its folder, unless ``--set
run_id=NAME``.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from cmrplan.errors import InputError
from cmrplan.files import read_text
from cmrplan.log.cells import RawLog, named
from cmrplan.log.importers.changes import Changes, Imported, as_number, runs_named, to_log

TOKENS = "num_input_tokens_seen"
_EVAL_LOSS = re.compile(r"eval_(?P<corpus>.+)_loss")


def import_trainer_state(source: Path, changes: Changes) -> Imported:
    """Return the evaluations of a run as a probe log."""
    where = named(source)
    history = _history(source, where)
    constants = dict(changes.constants)
    step_tokens = constants.pop("tokens_per_step", None)
    rows = []
    for number, entry in enumerate(history, start=1):
        for key, loss in entry.items():
            match = _EVAL_LOSS.fullmatch(key)
            corpus = changes.names.get(key, match["corpus"] if match else None)
            if corpus is None:
                continue
            rows.append(
                {
                    "train_tokens": _tokens(entry, step_tokens, f"{where} entry {number}"),
                    "eval_corpus": corpus,
                    "loss": str(loss) if isinstance(loss, float) else loss,
                    "step": entry.get("step"),
                }
            )
    if not rows:
        raise InputError(
            f"{where}: no entry of log_history has eval_<corpus>_loss; evaluate with a dict of datasets, or say what "
            "eval_loss is of: --map eval_loss=general"
        )
    raw = RawLog(pd.DataFrame(rows, dtype=object), where)
    name = _run_name(source)
    imported = to_log(raw, replace(changes, names={}, constants={"run_id": name, **constants}))
    return (
        imported
        if "run_id" in constants
        else imported.with_remark(runs_named(raw, None, pd.Series([name])))
    )


def _history(source: Path, where: str) -> list[dict[str, Any]]:
    try:
        state = json.loads(read_text(source))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where} is not JSON ({error}); give a trainer_state.json") from None
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise InputError(f"{where} has no log_history; give the trainer_state.json of a checkpoint")
    return history


def _tokens(entry: dict[str, Any], step_tokens: str | None, where: str) -> object:
    if step_tokens is not None:
        return entry.get("step", 0) * as_number(step_tokens, "tokens_per_step")
    if TOKENS not in entry:
        raise InputError(
            f"{where} has no {TOKENS}; add --set tokens_per_step=VALUE, and train with include_{TOKENS} next time"
        )
    return entry[TOKENS]


def _run_name(source: Path) -> str:
    folders = [folder.name for folder in source.resolve().parents]
    return next(name for name in (*folders, "run") if name and not name.startswith("checkpoint-"))
