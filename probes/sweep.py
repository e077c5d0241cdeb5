"""A sweep prepares its corpora once, trains one base a size, and every probe from its base.

Everything that is finished is left alone, so starting again after a kill, a crash or a change of
the grid does only what is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cmrplan.errors import InputError, printable
from cmrplan.files import read_json, write_text
from probes.checkpoint_checks import check_checkpoints, check_prepared
from probes.collect import read_ledger
from probes.data.build import open_sources
from probes.data.prepare import prepare_corpora
from probes.epoch_check import check_epochs
from probes.executors.base import Executor, ExecutorOptions, make_executor
from probes.executors.local import LocalExecutor, usable_cores
from probes.executors.scheduler import RunLimits, Scheduler
from probes.executors.slurm_options import asks_for_gpus
from probes.grouping import Batching, free_memory, group_runs
from probes.jobs import Job, disk_bytes, working_bytes
from probes.ledger import Event, Ledger
from probes.locks import only_sweep
from probes.mirrors import Mirrors, open_mirrors
from probes.planned_runs import sweep_settings
from probes.progress import PlainProgress, SweepProgress, TerminalProgress
from probes.run_settings import RunSettings
from probes.runs import SweepFolder
from probes.spec.changes import change_text, flat_values
from probes.spec.file import read_stored_spec, spec_text
from probes.spec.sweep import SweepSpec


def run_sweep(
    spec: SweepSpec,
    out: str | os.PathLike[str],
    *,
    executor: ExecutorOptions | None = None,
    limits: RunLimits | None = None,
    batched: Batching = "auto",
    mirrors: Mapping[str, str] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train every run of a spec that is not finished yet.

    Parameters
    ----------
    spec : SweepSpec
        What to run; see :func:`probes.spec.file.read_spec`.
    out : path
        The sweep's folder. One that holds the same sweep is continued; its grid may have grown.
    executor : ExecutorOptions, optional
        Where the runs go; processes of this machine, on a GPU if there is one, when left out.
    limits : RunLimits, optional
        Attempts, time limit and failure rate; see :class:`probes.executors.scheduler.RunLimits`.
    batched : {"auto", "always", "never"}
        Whether runs that differ in ratio and seed only are trained as one; see :mod:`probes.grouping`.
    mirrors : mapping of str to str, optional
        Where to show the evaluations too: ``tensorboard`` with a folder, ``wandb`` with a project.
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    DataFrame
        The table of runs; see :func:`probes.collect.read_ledger`. Failed runs stand in it with their
        reason and raise nothing.

    Raises
    ------
    InputError
        If ``out`` holds another sweep or one is running in it, a corpus cannot be read, a checkpoint
        does not fit, the disk has not enough space, or the executor or device is not there.
    CmrplanError
        If a corpus is too small, too many runs failed, or another process works on a run.
    """
    limits = limits or RunLimits()
    options = _completed(executor or ExecutorOptions(), spec, limits)
    sweep = SweepFolder(Path(out))
    refuse_another_sweep(sweep, spec, options.device)
    check_checkpoints(spec)
    if not (sweep.corpora / "manifest.json").exists():
        open_sources(spec)  # refused here, a spec leaves no folder behind
    pages = open_mirrors(sweep, mirrors or {})
    with only_sweep(sweep.path):
        _train_all(spec, sweep, options, limits, batched=batched, pages=pages, progress=progress)
    return read_ledger(sweep.path)


def _train_all(
    spec: SweepSpec,
    sweep: SweepFolder,
    options: ExecutorOptions,
    limits: RunLimits,
    *,
    batched: Batching,
    pages: Mirrors,
    progress: bool,
) -> None:
    """Prepare the corpora and train what is not finished, in a folder whose lock is held."""
    with ExitStack() as stack:
        pool = make_executor(sweep, options)
        stack.callback(pool.shutdown, cancel=True)
        runs = prepare_sweep(spec, sweep, device=options.device, progress=progress)
        ledger = Ledger(sweep.ledger)
        jobs = _jobs(open_runs(sweep, runs, ledger), batched, pool, options, progress=progress)
        if jobs:
            workers = max(1, min(pool.slots(), len(jobs)))
            shown = stack.enter_context(
                _display(progress)(sweep, jobs, num_runs=len(runs), workers=workers)
            )
            watcher = stack.enter_context(pages).beside(shown)
            Scheduler(sweep, pool, ledger=ledger, watcher=watcher, limits=limits).run(jobs)


def _completed(options: ExecutorOptions, spec: SweepSpec, limits: RunLimits) -> ExecutorOptions:
    """Return the options with a device, and with what spec and limits say to the executor."""
    device = options.device
    if not device and options.name == "slurm":
        device = "cuda" if asks_for_gpus(options.slurm) else "cpu"
    processes = max(size.processes for size in spec.sizes)
    return replace(
        options,
        device=device or default_device(),
        processes_per_run=processes,
        cpus_per_run=max(options.cpus_per_run, processes),
        run_seconds=limits.run_seconds,
    )


def _display(progress: bool) -> type[SweepProgress]:
    """Return how progress is shown: not at all, by bars on a terminal, elsewhere by lines."""
    if not progress:
        return SweepProgress
    return TerminalProgress if sys.stderr.isatty() else PlainProgress


def _jobs(
    runs: Sequence[RunSettings],
    batched: Batching,
    pool: Executor,
    options: ExecutorOptions,
    *,
    progress: bool,
) -> list[Job]:
    """Return the runs as jobs, in groups where batched training pays, and say why.

    On this machine no worker is left idle by it; elsewhere a machine costs what it is used.
    """
    here = isinstance(pool, LocalExecutor)
    sharing = options.per_gpu if options.device == "cuda" else pool.slots() if here else 1
    grouping = group_runs(
        runs,
        batched=batched,
        free_bytes=free_memory(options.device) / sharing,
        slots=pool.slots() if here else 1,
    )
    for reason in grouping.reasons if progress else ():
        print(printable(reason), file=sys.stderr, flush=True)
    return [Job(group) for group in grouping.groups]


def prepare_sweep(
    spec: SweepSpec, sweep: SweepFolder, *, device: str, progress: bool
) -> list[RunSettings]:
    """Prepare the corpora, write the spec and return the settings of all runs, bases first."""
    if progress and not (sweep.corpora / "manifest.json").exists():
        print("corpora: reading, splitting and packing", file=sys.stderr, flush=True)
    corpora = prepare_corpora(spec, sweep.corpora, progress=progress)
    check_prepared(spec, corpora.identity.tokenizer)
    bases, probes = sweep_settings(spec, corpora.identity, device=device)
    _refuse_other_bases(sweep, bases)
    check_epochs(spec.corpora, [*bases.values(), *probes], corpora.manifest["corpora"], say=notice)
    write_text(sweep.spec, spec_text(spec))
    return [*bases.values(), *probes]


def notice(line: str) -> None:
    """Print a line on standard error."""
    print(printable(line), file=sys.stderr, flush=True)


def open_runs(sweep: SweepFolder, runs: list[RunSettings], ledger: Ledger) -> list[RunSettings]:
    """Give every run its folder and return those that are to be done."""
    folders = [sweep.plan(run) for run in runs]
    ledger.catch_up(folders)
    todo = []
    _refuse_too_little_space(sweep, runs)
    for run, folder in zip(runs, folders, strict=True):
        outcome = folder.read_outcome()
        if outcome and outcome["retry"]:
            folder.outcome.unlink()
            ledger.write(Event.REOPENED, run.run_id)
            outcome = None
        if outcome is None:
            todo.append(run)
    return todo


def _refuse_too_little_space(sweep: SweepFolder, runs: list[RunSettings]) -> None:
    """Refuse to go on with runs for whose checkpoints and losses there is no space."""
    needed = sum(max(0, disk_bytes(run) - _folder_bytes(sweep.run(run).path)) for run in runs)
    open_runs = [run for run in runs if sweep.run(run).read_outcome() is None]
    needed += max(map(working_bytes, open_runs), default=0)  # of one at a time at least
    free = shutil.disk_usage(sweep.path).free
    if needed > free:
        raise InputError(
            f"{sweep.path}: the runs need about {needed / 1e9:.3g} GB more and {free / 1e9:.3g} GB are free; free "
            "space or choose another output folder"
        )


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def default_device() -> str:
    """Return ``"cuda"`` if there is a GPU, else ``"cpu"``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def default_workers(device: str) -> int:
    """Return how many worker processes a device gets: one per core, or one per GPU."""
    return usable_cores() if device == "cpu" else max(1, torch.cuda.device_count())


def refuse_another_sweep(sweep: SweepFolder, spec: SweepSpec, device: str) -> None:
    """Refuse a folder whose runs were made with other settings than this spec's."""
    if sweep.path.exists() and not sweep.path.is_dir():
        raise InputError(f"{sweep.path} is a file; give a folder for the runs")
    if not sweep.spec.exists():
        return
    if not (sweep.corpora.exists() or sweep.ledger.exists() or sweep.all_runs()):
        raise InputError(
            f"{sweep.spec} belongs to no sweep and would be overwritten; choose another output folder"
        )
    stored = read_stored_spec(sweep.spec)
    before, now = _fixed_part(stored), _fixed_part(spec)
    before["device"] = next((run.read_settings().device for run in sweep.all_runs()), device)
    now["device"] = device
    for key in now:
        if before.get(key, now[key]) != now[key]:
            raise InputError(
                f"{sweep.path} holds another sweep: {change_text(key, before[key], now[key])}; "
                "choose another output folder"
            )


def _refuse_other_bases(sweep: SweepFolder, bases: Mapping[str, RunSettings]) -> None:
    """Refuse a folder in which a size has a base that would now be made otherwise.

    Its probes would stand beside new ones of the same ratio and seed, and count twice.
    """
    known = (
        {size.name for size in read_stored_spec(sweep.spec).sizes} if sweep.spec.exists() else ()
    )
    for run in sweep.all_runs():
        if run.path.parent.name != "bases":
            continue
        before = read_json(run.settings)
        now = bases.get(before.get("size"))
        if not now or now.run_id == run.path.name:
            continue
        as_stored = json.loads(json.dumps(now.as_dict()))  # with lists for tuples
        change = "" if now.size in known else _first_change(before, as_stored)
        if change:  # of a size that the spec had, lacked at last, and has again
            raise InputError(
                f"{sweep.path} holds a base of another size '{now.size}', from before the spec left it out: {change}; "
                "give the size another name or choose another output folder"
            )
        raise InputError(
            f"{sweep.path} was begun by another version of cmrplan: its base {run.path.name} would now be "
            f"{now.run_id}; finish it with that version or choose another output folder"
        )


def _first_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the first setting of a base that differs, or nothing."""
    flat_before, flat_now = flat_values(before), flat_values(now)
    for key in flat_now | flat_before:
        if flat_before.get(key) != flat_now.get(key):
            name = key.removeprefix("model.")
            return change_text(name, flat_before.get(key), flat_now.get(key))
    return ""


def _fixed_part(spec: SweepSpec) -> dict[str, Any]:
    """Return all values that must not change while a sweep grows, by dotted key."""
    values = spec.model_dump(exclude={"name": True, "probes": {"grid", "runs"}})
    values["sizes"] = {size.pop("name"): size for size in values["sizes"]}
    return flat_values(values)
