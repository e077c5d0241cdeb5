"""The folders of runs become two tables: the probe log of finished probes, and the ledger of all runs.

The log has only what a run's settings, seed and data decide, no times and no paths, so two
executions of a sweep on one machine give the same file. How long a run took, and why one has no
result, stands in the ledger.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError
from cmrplan.files import read_json
from cmrplan.log import CORPORA
from probes.models.source import count_params
from probes.run_table import RUN_COLUMNS, open_sweep, run_rows
from probes.runs import RunFolder, RunState, SweepFolder
from probes.training.metrics import read_rows

PROBE_LOG_COLUMNS = (
    "run_id",
    "model_params",
    "train_tokens",
    "domain_ratio",
    "eval_corpus",
    "loss",
    "loss_stderr",
    "rise_stderr",
    "seed",
    "step",
    "schedule",
    "learning_rate",
    "realized_domain_ratio",
    "unique_domain_tokens",
    "domain_epochs",
    "params_kind",
    "params_total",
    "base_model",
    "tokenizer",
    "data_fingerprint",
    "settings_fingerprint",
    "code_version",
)

_SCHEDULE_NAMES = {
    "constant": "constant",
    "branches": "trunk_and_branch",
    "cosine": "cosine",
}


def collect(runs: str | os.PathLike[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read a sweep's folder into the probe log and the run ledger.

    Parameters
    ----------
    runs : path
        The folder that was given to :func:`probes.sweep.run_sweep`.

    Returns
    -------
    log : DataFrame
        One row per finished probe, evaluation and corpus, sorted by model size, seed, ratio,
        tokens and corpus. Losses in nats per token; ``loss_stderr`` is the standard error of the
        mean over the evaluation sequences, ``rise_stderr`` that of the difference to the row of
        token 0, paired by sequence (0 in that row). ``model_params`` counts neither the input
        embedding nor the output head.
    ledger : DataFrame
        See :func:`read_ledger`.

    Raises
    ------
    InputError
        If ``runs`` is not a sweep's folder.
    CmrplanError
        If no probe is finished.
    """
    sweep = open_sweep(runs)
    rows = []
    for run in sweep.all_runs():
        if run.state() is RunState.FINISHED and run.read_settings().stage == "probe":
            rows += _log_rows(sweep, run)
    ledger = read_ledger(runs)
    if not rows:
        counts = ledger.loc[ledger["stage"] == "probe", "state"].value_counts()
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        raise CmrplanError(f"{sweep.path} has no finished probe ({states}); run the sweep first")
    log = pd.DataFrame(rows, columns=list(PROBE_LOG_COLUMNS))
    log["eval_corpus"] = pd.Categorical(log["eval_corpus"], CORPORA)
    order = ["model_params", "seed", "domain_ratio", "run_id", "train_tokens", "eval_corpus"]
    log = log.sort_values(order, ignore_index=True)
    log["eval_corpus"] = log["eval_corpus"].astype(str)
    return log, ledger


def read_ledger(runs: str | os.PathLike[str]) -> pd.DataFrame:
    """Return one row per planned run, bases first: its state, reason, tokens, seconds and versions.

    Raises
    ------
    InputError
        If ``runs`` is not a sweep's folder.
    """
    return pd.DataFrame(run_rows(open_sweep(runs)), columns=list(RUN_COLUMNS))


def _log_rows(sweep: SweepFolder, run: RunFolder) -> list[dict[str, Any]]:
    settings = run.read_settings()
    params = count_params(settings.model)
    unique = read_json(sweep.corpora / "manifest.json")["corpora"]["domain"]["train_tokens"]
    outcome = run.read_outcome()
    assert outcome is not None, "only finished runs are collected"
    start: dict[str, np.ndarray] = {}
    rows = []
    for row in read_rows(run.metrics):
        with np.load(run.losses(row["step"]), allow_pickle=False) as stored:
            losses = {name: stored[name].astype(np.float64) for name in CORPORA}
        start = start or losses
        for name in CORPORA:
            rows.append(
                {
                    "run_id": settings.run_id,
                    "model_params": params.non_embedding,
                    "train_tokens": row["train_tokens"],
                    "domain_ratio": settings.domain_ratio,
                    "eval_corpus": name,
                    "loss": row[f"{name}_loss"],
                    "loss_stderr": standard_error(losses[name]),
                    "rise_stderr": standard_error(losses[name] - start[name]),
                    "seed": settings.seed,
                    "step": row["step"],
                    "schedule": _SCHEDULE_NAMES[settings.schedule.kind],
                    "learning_rate": row["learning_rate"],
                    "realized_domain_ratio": row["realized_domain_ratio"],
                    "unique_domain_tokens": unique,
                    "domain_epochs": row["domain_tokens"] / unique,
                    "params_kind": "non_embedding",
                    "params_total": params.total,
                    "base_model": settings.base_model,
                    "tokenizer": settings.tokenizer,
                    "data_fingerprint": settings.data_fingerprint,
                    "settings_fingerprint": settings.fingerprint,
                    "code_version": outcome["code_version"],
                }
            )
    return rows


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean of independent values; NaN for a single one.

    Examples
    --------
    >>> standard_error(np.array([1.0, 2.0, 3.0, 4.0])) == (5 / 12) ** 0.5
    True
    """
    if len(values) < 2:
        return float("nan")
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
