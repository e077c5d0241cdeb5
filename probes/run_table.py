"""The table of a sweep has one row a run that says how it stands, from its JSON files alone."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmrplan.errors import InputError
from probes.run_settings import RunSettings
from probes.runs import RunFolder, RunState, SweepFolder

RUN_COLUMNS = (
    "run_id",
    "stage",
    "size",
    "domain_ratio",
    "seed",
    "state",
    "reason",
    "train_tokens",
    "planned_tokens",
    "seconds",
    "tokens_per_second",
    "device",
    "torch_version",
    "code_version",
)


def open_sweep(runs: str | os.PathLike[str]) -> SweepFolder:
    """Return the folder of a sweep.

    Raises
    ------
    InputError
        If ``runs`` is not a sweep's folder.
    """
    sweep = SweepFolder(Path(runs))
    if not sweep.path.is_dir():
        raise InputError(f"{sweep.path}: no such folder; give the --out of probe run")
    if not sweep.spec.exists():
        raise InputError(f"{sweep.path} has no spec.yaml; give the --out of probe run")
    return sweep


@dataclass(frozen=True)
class TabledRun:
    """A run of a sweep.

    Parameters
    ----------
    folder : RunFolder
    row : dict
        Its row of the table; the keys are ``RUN_COLUMNS``.
    settings : RunSettings or None
        None where they, its outcome or its progress are damaged.
    """

    folder: RunFolder
    row: dict[str, Any]
    settings: RunSettings | None


def tabled_runs(sweep: SweepFolder) -> list[TabledRun]:
    """Return every planned run, bases first, then by size, seed, ratio and name.

    Runs whose settings, outcome or progress are damaged come last, with the reason.
    """
    runs = [_tabled(run) for run in sweep.all_runs()]
    order = ("stage", "size", "seed", "domain_ratio", "run_id")
    return sorted(runs, key=lambda run: [run.settings is None, *map(run.row.get, order)])


def run_rows(sweep: SweepFolder) -> list[dict[str, Any]]:
    """Return the rows of :func:`tabled_runs`."""
    return [run.row for run in tabled_runs(sweep)]


def _tabled(run: RunFolder) -> TabledRun:
    try:
        settings = run.verified_settings()
        return TabledRun(run, _sound_row(run, settings), settings)
    except InputError as error:
        return TabledRun(run, _damaged_row(run, str(error)), None)


def _damaged_row(run: RunFolder, reason: str) -> dict[str, Any]:
    """Return the row of a run of which only the folder's name is known."""
    empty = {"size": "", "domain_ratio": math.nan, "seed": None, "device": ""}
    zeros = dict.fromkeys(("train_tokens", "planned_tokens", "seconds", "tokens_per_second"), 0)
    return {
        "run_id": run.path.name,
        "stage": run.path.parent.name.removesuffix("s"),
        "state": str(RunState.DAMAGED),
        "reason": reason,
        "torch_version": "",
        "code_version": "",
        **empty,
        **zeros,
    }


def _sound_row(run: RunFolder, settings: RunSettings) -> dict[str, Any]:
    outcome, progress = run.read_outcome(), run.read_progress()
    tokens = progress["train_tokens"] if progress else 0
    seconds = (outcome or progress or {"seconds": 0.0})["seconds"]
    return {
        "run_id": settings.run_id,
        "stage": settings.stage,
        "size": settings.size,
        "domain_ratio": settings.domain_ratio,
        "seed": settings.seed,
        "state": str(run.state_after(outcome)),
        "reason": outcome["reason"] if outcome else "",
        "train_tokens": tokens,
        "planned_tokens": settings.train_tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds if seconds else 0.0,
        "device": settings.device,
        "torch_version": outcome["torch_version"] if outcome else "",
        "code_version": outcome["code_version"] if outcome else "",
    }
