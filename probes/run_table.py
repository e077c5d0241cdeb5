"""The table of a sweep has one row a run that says how it stands, from its JSON files alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cmrplan.errors import InputError
from probes.runs import RunFolder, SweepFolder

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


def run_rows(sweep: SweepFolder) -> list[dict[str, Any]]:
    """Return one row per planned run, bases first, then by size, seed, ratio and name.

    The keys of a row are ``RUN_COLUMNS``.
    """
    rows = [_run_row(run) for run in sweep.all_runs()]
    order = ("stage", "size", "seed", "domain_ratio", "run_id")
    return sorted(rows, key=lambda row: [row[column] for column in order])


def _run_row(run: RunFolder) -> dict[str, Any]:
    settings, outcome, progress = run.read_settings(), run.read_outcome(), run.read_progress()
    tokens = progress["train_tokens"] if progress else 0
    seconds = (outcome or progress or {"seconds": 0.0})["seconds"]
    return {
        "run_id": settings.run_id,
        "stage": settings.stage,
        "size": settings.size,
        "domain_ratio": settings.domain_ratio,
        "seed": settings.seed,
        "state": str(run.state()),
        "reason": outcome["reason"] if outcome else "",
        "train_tokens": tokens,
        "planned_tokens": settings.train_tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds if seconds else 0.0,
        "device": settings.device,
        "torch_version": outcome["torch_version"] if outcome else "",
        "code_version": outcome["code_version"] if outcome else "",
    }
