"""The folders of runs become two tables: the probe log of finished probes, and the ledger of all runs.

The log has only what a run's settings, seed and data decide, no times and no paths, so two
executions of a sweep on one machine give the same file. How long a run took, and why one has no
result, stands in the ledger.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError, InputError
from cmrplan.files import read_json
from cmrplan.log import CORPORA
from probes.models.source import count_params
from probes.run_evidence import read_evidence
from probes.run_settings import RunSettings
from probes.run_table import RUN_COLUMNS, open_sweep, run_rows, tabled_runs
from probes.runs import RunFolder, RunState, SweepFolder

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
    "base_tokens",
    "tokenizer",
    "data_fingerprint",
    "settings_fingerprint",
    "code_version",
)

_SCHEDULE_NAMES = {
    "constant": "constant",
    "averaged": "constant_averaged",
    "branches": "trunk_and_branch",
    "cosine": "cosine",
}


def collect(runs: str | os.PathLike[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read a sweep's folder into the probe log and the run ledger.

    A finished probe whose files contradict each other has no rows: it stands in the ledger as damaged, with the reason
    (:mod:`probes.run_evidence`). The others are read.

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
        embedding nor the output head. ``base_tokens`` is missing where a checkpoint was given as the base.
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
    data = _read_data(sweep)
    runs_of_sweep = tabled_runs(sweep)
    of_bases = [
        run.settings for run in runs_of_sweep if run.row["stage"] == "base" and run.settings
    ]
    base_tokens = {base.run_id: base.train_tokens for base in of_bases if not base.is_pretrained}
    rows = []
    for run in runs_of_sweep:
        if run.row["stage"] == "probe" and run.row["state"] == RunState.FINISHED and run.settings:
            try:
                seen = base_tokens.get(run.settings.base)
                rows += _log_rows(run.folder, run.settings, data, seen, run.row["code_version"])
            except InputError as error:
                run.row.update({"state": str(RunState.DAMAGED), "reason": str(error)})
    ledger = _ledger([run.row for run in runs_of_sweep])
    if not rows:
        counts = ledger.loc[ledger["stage"] == "probe", "state"].value_counts()
        states = (
            ", ".join(f"{count} {state}" for state, count in counts.items()) or "none was begun"
        )
        damaged = ledger.loc[ledger["state"] == RunState.DAMAGED, "reason"]
        first = f"; {damaged.iloc[0]}" if len(damaged) else "; run the sweep first"
        raise CmrplanError(f"{sweep.path} has no finished probe ({states}){first}")
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
    return _ledger(run_rows(open_sweep(runs)))


def _ledger(entries: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(entries, columns=list(RUN_COLUMNS)).astype({"seed": "Int64"})


@dataclass(frozen=True)
class _Data:
    """What the manifest of the prepared corpora says that a log repeats."""

    fingerprint: str
    unique_domain_tokens: int


def _read_data(sweep: SweepFolder) -> _Data:
    path = sweep.corpora / "manifest.json"
    manifest = read_json(path)
    try:
        domain = manifest["corpora"]["domain"]
        tokens = domain["train_tokens"]
        if tokens != domain["train_sequences"] * manifest["sequence_length"] or tokens < 1:
            raise ValueError(f"train_tokens is {tokens}")
        return _Data(manifest["data_fingerprint"], tokens)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); write it again from a copy"
        ) from None


def _log_rows(
    run: RunFolder, settings: RunSettings, data: _Data, base_tokens: int | None, code_version: str
) -> list[dict[str, Any]]:
    evaluations = read_evidence(run, settings)
    if settings.data_fingerprint != data.fingerprint:
        raise InputError(
            f"{run.settings} has data_fingerprint {settings.data_fingerprint}, and the prepared corpora of the sweep "
            f"have {data.fingerprint}; the run was trained on other data"
        )
    params = count_params(settings.model)
    start = evaluations[0].losses
    return [
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
            "unique_domain_tokens": data.unique_domain_tokens,
            "domain_epochs": row["domain_tokens"] / data.unique_domain_tokens,
            "params_kind": "non_embedding",
            "params_total": params.total,
            "base_model": settings.base_model,
            "base_tokens": base_tokens,
            "tokenizer": settings.tokenizer,
            "data_fingerprint": settings.data_fingerprint,
            "settings_fingerprint": settings.fingerprint,
            "code_version": code_version,
        }
        for row, losses in ((one.row, one.losses) for one in evaluations)
        for name in CORPORA
    ]


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
