"""A folder of callback logs becomes two tables: the probe log of finished runs, and the ledger of all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from cmrplan.errors import CmrplanError, InputError
from cmrplan.log.cells import shown
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.log.files import validate_log
from probes.callbacks.rows import LOG_SUFFIX, STATE_SUFFIX, State, read_state, rows_checksum
from probes.training.metrics import read_rows

CALLBACK_LEDGER_COLUMNS = (
    "run_id",
    "domain_ratio",
    "seed",
    "state",
    "reason",
    "train_tokens",
    "code_version",
)


def is_log_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether callbacks have written to a folder."""
    return bool(_state_files(path))


def collect_logs(path: str | os.PathLike[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the logs of a folder that callbacks have written to.

    Runs that failed or are not at their end have no rows: their last checkpoint may lie inside a decay, which a law
    would take for the end of a shorter run. Each file can be fitted by itself. A finished run whose files were cut,
    edited or damaged has no rows either: it stands in the ledger as damaged, with the reason.

    Returns
    -------
    log : DataFrame
        The rows of the finished runs, sorted by model size, seed, ratio, run, tokens and corpus.
    ledger : DataFrame
        One row a run, by run id: its state and, where it has failed or stopped, the reason.

    Raises
    ------
    CmrplanError
        If no run is finished.
    """
    entries, rows = [], []
    for file in _state_files(path):
        run_id = file.name.removesuffix(STATE_SUFFIX)
        entry: dict[str, Any] = {"run_id": run_id, "train_tokens": 0}
        try:
            state = read_state(file, run_id)
            entry = {**state["run"], **state}
            if state["state"] == State.FINISHED:
                rows += _read_log(file.with_name(f"{run_id}{LOG_SUFFIX}"), state)
        except InputError as error:
            entry |= {"state": "damaged", "reason": str(error)}
        entries.append(entry)
    ledger = pd.DataFrame(entries, columns=list(CALLBACK_LEDGER_COLUMNS))
    if not rows:
        counts = ledger["state"].value_counts()
        states_text = ", ".join(f"{count} {state}" for state, count in counts.items())
        damaged = ledger.loc[ledger["state"] == "damaged", "reason"]
        reason = damaged.iloc[0] if len(damaged) else "let one end"
        raise CmrplanError(f"{path} has no finished run with evaluations ({states_text}); {reason}")
    log = pd.DataFrame(rows)
    order = ["model_params", "seed", "domain_ratio", "run_id", "train_tokens", "eval_corpus"]
    shares = sorted(name for name in log.columns if name.startswith(SHARE_PREFIX))
    order[3:3] = shares
    log = log.sort_values([name for name in order if name in log], ignore_index=True)
    return log, ledger


def _read_log(path: Path, state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a finished run, which are those that it wrote.

    Raises
    ------
    InputError
        If they are not a probe log, not of this run, or not what they were at its end.
    """
    kept = state.get("rows_checksum")  # Logs of 0.2 have none.
    if kept is not None and kept != rows_checksum(path):
        raise InputError(f"{path} is not what its run wrote; it was cut or edited, so copy it back")
    rows = read_rows(path)
    log = validate_log(pd.DataFrame(rows), source=str(path)) if rows else pd.DataFrame(rows)
    for column, value in state["run"].items():
        if len(log) and (column not in log or set(log[column]) != {value}):
            raise InputError(
                f"{path} has another {column} than {shown(value)} of its run; copy it back"
            )
    last = rows[-1]["train_tokens"] if rows else 0
    if last != state.get("train_tokens"):
        raise InputError(
            f"{path} ends at {shown(last)} tokens, and its run at {shown(state.get('train_tokens'))}; copy it back"
        )
    return rows


def _state_files(path: str | os.PathLike[str]) -> list[Path]:
    return sorted(Path(path).glob(f"*{STATE_SUFFIX}"))
