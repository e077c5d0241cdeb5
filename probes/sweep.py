"""Run a whole sweep: corpora once, one base a size, every probe from its base.

Everything that is finished is left alone, so starting again after a kill, a crash or a change of
the grid does only what is missing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from cmrplan.errors import InputError
from cmrplan.files import read_text, write_text
from probes.collect import read_ledger
from probes.data.prepared import prepare_corpora
from probes.executors.local import LocalExecutor, usable_cores
from probes.jobs import Job
from probes.models.checks import check_checkpoints
from probes.progress import PlainProgress, SweepProgress, TerminalProgress
from probes.runs import SweepFolder
from probes.settings import sweep_settings
from probes.spec.file import parse_spec, spec_text
from probes.spec.sweep import SweepSpec
from probes.training.loop import CHECKPOINT_SECONDS


def run_sweep(
    spec: SweepSpec,
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    device: str | None = None,
    progress: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> pd.DataFrame:
    """Train every run of a spec that is not finished yet.

    Parameters
    ----------
    spec : SweepSpec
        What to run; see :func:`probes.spec.file.read_spec`.
    out : path
        The sweep's folder. One that holds the same sweep is continued; its grid may have grown.
    workers : int, optional
        Processes at a time; one per usable core on a CPU, one on a GPU.
    device : {"cpu", "cuda"}, optional
        Where to train; a GPU if there is one.
    progress : bool
        Whether to show progress on standard error.
    checkpoint_seconds : float
        Longest time between two checkpoints of a run.

    Returns
    -------
    DataFrame
        The run ledger; see :func:`probes.collect.read_ledger`. Failed runs stand in it with their
        reason and raise nothing.

    Raises
    ------
    InputError
        If ``out`` holds another sweep, a corpus cannot be read, or a checkpoint does not fit.
    CmrplanError
        If a corpus is too small, or another process works on a run.
    """
    device = device or default_device()
    sweep = SweepFolder(Path(out))
    _refuse_another_sweep(sweep, spec, device)
    check_checkpoints(spec)
    if progress and not (sweep.corpora / "manifest.json").exists():
        print("corpora: reading, splitting and packing", file=sys.stderr, flush=True)
    corpora = prepare_corpora(spec, sweep.corpora, progress=progress)
    bases, probes = sweep_settings(spec, corpora.identity, device=device)
    write_text(sweep.spec, spec_text(spec))

    jobs = [Job(settings) for settings in [*bases.values(), *probes]]
    todo = []
    for job in jobs:
        run = sweep.plan(job.settings)
        outcome = run.read_outcome()
        if outcome and outcome["retry"]:
            run.outcome.unlink()
            outcome = None
        if outcome is None:
            todo.append(job)
    if todo:
        workers = workers or default_workers(device)
        executor = LocalExecutor(sweep, workers=workers, checkpoint_seconds=checkpoint_seconds)
        display: type[SweepProgress] = SweepProgress
        if progress:
            display = TerminalProgress if sys.stderr.isatty() else PlainProgress
        with display(sweep, todo, num_runs=len(jobs), workers=workers) as watcher:
            executor.run(todo, watcher)
    return read_ledger(sweep.path)


def default_device() -> str:
    """Return ``"cuda"`` if there is a GPU, else ``"cpu"``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def default_workers(device: str) -> int:
    """Return how many worker processes a device gets: one per core, or one per GPU."""
    return usable_cores() if device == "cpu" else 1


def _refuse_another_sweep(sweep: SweepFolder, spec: SweepSpec, device: str) -> None:
    """Refuse a folder whose runs were made with other settings than this spec's."""
    if sweep.path.exists() and not sweep.path.is_dir():
        raise InputError(f"{sweep.path} is a file; give a folder for the runs")
    if not sweep.spec.exists():
        return
    stored = parse_spec(yaml.safe_load(read_text(sweep.spec)), origin=str(sweep.spec))
    before, now = _fixed_part(stored), _fixed_part(spec)
    before["device"] = next((run.read_settings().device for run in sweep.all_runs()), device)
    now["device"] = device
    for key in now:
        if before.get(key, now[key]) != now[key]:
            raise InputError(
                f"{sweep.path} holds a sweep with {key} {before[key]}, now it is {now[key]}; "
                "choose another output folder"
            )


def _fixed_part(spec: SweepSpec) -> dict[str, Any]:
    """Return all values that must not change while a sweep grows, by dotted key."""
    values = spec.model_dump(exclude={"name": True, "probes": {"grid", "runs"}})
    values["sizes"] = {size.pop("name"): size for size in values["sizes"]}
    flat: dict[str, Any] = {}

    def flatten(value: Any, key: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                flatten(inner, f"{key}.{name}" if key else name)
        else:
            flat[key] = value

    flatten(values, "")
    return flat
