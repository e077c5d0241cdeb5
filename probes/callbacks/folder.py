"""A folder of callback logs becomes two tables: the probe log of finished runs, and the ledger of all."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from cmrplan.errors import CmrplanError
from cmrplan.files import read_json
from cmrplan.log.columns import SHARE_PREFIX
from probes.callbacks.rows import LOG_SUFFIX, STATE_SUFFIX, State
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
    would take for the end of a shorter run. Each file can be fitted by itself.

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
    states = [read_json(file) for file in _state_files(path)]
    ledger = pd.DataFrame(
        [{**state["run"], **state} for state in states], columns=list(CALLBACK_LEDGER_COLUMNS)
    )
    rows = []
    for state in states:
        if state["state"] == State.FINISHED:
            rows += read_rows(Path(path) / f"{state['run']['run_id']}{LOG_SUFFIX}")
    if not rows:
        counts = ledger["state"].value_counts()
        states_text = ", ".join(f"{count} {state}" for state, count in counts.items())
        raise CmrplanError(
            f"{path} has no finished run with evaluations ({states_text}); let one end"
        )
    log = pd.DataFrame(rows)
    order = ["model_params", "seed", "domain_ratio", "run_id", "train_tokens", "eval_corpus"]
    shares = sorted(name for name in log.columns if name.startswith(SHARE_PREFIX))
    order[3:3] = shares
    log = log.sort_values([name for name in order if name in log], ignore_index=True)
    return log, ledger


def _state_files(path: str | os.PathLike[str]) -> list[Path]:
    return sorted(Path(path).glob(f"*{STATE_SUFFIX}"))
