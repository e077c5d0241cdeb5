"""The status of a sweep says of each run its state, tokens, newest losses, speed, time left and reason."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

from cmrplan.errors import InputError
from probes.jobs import Job, makespan, run_flops
from probes.ledger import Event, History, read_histories
from probes.run_settings import RunSettings
from probes.run_table import TabledRun, open_sweep, tabled_runs
from probes.runs import RunState, SweepFolder
from probes.training.metrics import read_rows


@dataclass(frozen=True)
class RunStatus:
    """How one run stands.

    Parameters
    ----------
    run_id, stage, size : str
        Which run.
    domain_ratio, seed : float, int
        Which run; NaN and None where its settings are damaged.
    state : str
        A :class:`probes.runs.RunState`.
    reason : str
        Why it failed or stopped, or was tried again; empty when all is well.
    step, steps : int
        Training steps done, and of the whole run.
    train_tokens, planned_tokens : int
        The same in tokens.
    general_loss, domain_loss : float or None
        Newest validation losses, nats per token.
    seconds : float
        Time trained so far.
    tokens_per_second : float
        Speed, evaluations included.
    seconds_left : float or None
        Time left at that speed, of a run in work.
    attempts : int
        How often a worker began it.
    host : str
        Where the newest attempt is or was.
    device, torch_version, code_version : str
        What it ran with.
    """

    run_id: str
    stage: str
    size: str
    domain_ratio: float
    seed: int | None
    state: str
    reason: str
    step: int
    steps: int
    train_tokens: int
    planned_tokens: int
    general_loss: float | None
    domain_loss: float | None
    seconds: float
    tokens_per_second: float
    seconds_left: float | None
    attempts: int
    host: str
    device: str
    torch_version: str
    code_version: str


@dataclass(frozen=True)
class SweepStatus:
    """How a sweep stands.

    Parameters
    ----------
    runs : tuple of RunStatus
        Bases and probes, in the order of the table of runs.
    counts : dict of str to int
        Runs by state.
    work_done : float
        Share of the FLOPs of all runs that is done, 0 to 1.
    seconds_left : float or None
        Time left with as many runs at a time as now; None while none is in work.
    waiting : int
        Runs of the spec that nobody has begun where a process is started for each; they are in none of the above.
    """

    runs: tuple[RunStatus, ...]
    counts: dict[str, int]
    work_done: float
    seconds_left: float | None
    waiting: int

    def as_dict(self) -> dict[str, Any]:
        """Return the status as JSON-able values."""
        return vars(self) | {"runs": [vars(run) for run in self.runs]}


def read_status(runs: str | os.PathLike[str]) -> SweepStatus:
    """Return how the sweep in a folder stands; nothing in it is touched.

    Raises
    ------
    InputError
        If ``runs`` is not a sweep's folder.
    """
    sweep = open_sweep(runs)
    runs_of_sweep = tabled_runs(sweep)
    histories = read_histories(sweep.ledger)
    statuses = tuple(
        _run_status(run, histories.get(run.row["run_id"], History())) for run in runs_of_sweep
    )
    settings = {run.row["run_id"]: run.settings for run in runs_of_sweep if run.settings}
    counts = dict(Counter(run.row["state"] for run in runs_of_sweep).most_common())
    measured = tuple(status for status in statuses if status.state != RunState.DAMAGED)
    return SweepStatus(statuses, counts, *_work(measured, settings), _waiting(sweep, statuses))


def _waiting(sweep: SweepFolder, statuses: tuple[RunStatus, ...]) -> int:
    """Return how many runs of the spec have no folder, as after an export; 0 where the spec cannot be read."""
    # Here, since pydantic and YAML take as long to load as all else that a status needs, 0.1 s.
    from probes.planned_probes import planned_probes, run_tokens
    from probes.spec.file import read_stored_spec

    try:
        spec = read_stored_spec(sweep.spec)
    except InputError:
        return 0
    probes = {
        ("probe", probe.size, probe.domain_ratio, probe.seed, tokens)
        for probe in planned_probes(spec)
        for tokens in run_tokens(spec, probe)
    }
    bases = {("base", size) for _, size, *_ in probes}
    begun = {
        (run.stage, run.size)
        if run.stage == "base"
        else (run.stage, run.size, run.domain_ratio, run.seed, run.planned_tokens)
        for run in statuses
    }
    damaged = sum(run.state == RunState.DAMAGED for run in statuses)  # which they are is not known
    return max(0, len(bases - begun) + len(probes - begun) - damaged)


def _run_status(run: TabledRun, history: History) -> RunStatus:
    row, settings = run.row, run.settings
    rows = read_rows(run.folder.metrics)
    newest = rows[-1] if rows else {}
    speed = row["tokens_per_second"]
    tokens_left = row["planned_tokens"] - row["train_tokens"]
    open_again = history.last in (Event.REOPENED, Event.FINISHED)
    return RunStatus(
        run_id=row["run_id"],
        stage=row["stage"],
        size=row["size"],
        domain_ratio=row["domain_ratio"],
        seed=row["seed"],
        state=row["state"],
        reason=row["reason"] or ("" if open_again else history.reason),
        step=row["train_tokens"] // settings.step_tokens if settings else 0,
        steps=settings.steps if settings else 0,
        train_tokens=row["train_tokens"],
        planned_tokens=row["planned_tokens"],
        general_loss=_loss(newest, "general"),
        domain_loss=_loss(newest, "domain"),
        seconds=row["seconds"],
        tokens_per_second=speed,
        seconds_left=tokens_left / speed if speed and row["state"] == RunState.RUNNING else None,
        attempts=history.attempts,
        host=history.host,
        device=row["device"],
        torch_version=row["torch_version"],
        code_version=row["code_version"],
    )


def _loss(row: dict[str, Any], corpus: str) -> float | None:
    loss = row.get(f"{corpus}_loss")
    return loss if isinstance(loss, float) else None


def _work(
    statuses: tuple[RunStatus, ...], settings: dict[str, RunSettings]
) -> tuple[float, float | None]:
    """Return the share of the work that is done, and the seconds the rest will take."""
    if not statuses:
        return 0.0, None
    part = {status.run_id: _part(status) for status in statuses}
    flops = {run_id: run_flops(run) for run_id, run in settings.items()}
    done = sum(flops[run_id] * part[run_id] for run_id in flops)
    seconds = sum(status.seconds for status in statuses)
    ended = {RunState.FINISHED, RunState.FAILED}
    waiting = [Job((settings[one.run_id],)) for one in statuses if one.state not in ended]
    workers = sum(status.state == RunState.RUNNING for status in statuses)
    if not workers or not done:
        return done / sum(flops.values()), None
    left = makespan(
        waiting,
        workers,
        lambda job: sum(flops[i] * (1 - part[i]) for i in job.run_ids) * seconds / done,
    )
    return done / sum(flops.values()), left


def _part(status: RunStatus) -> float:
    """Return the part of a run that is done, 0 to 1; the base of a checkpoint has nothing to train."""
    if not status.planned_tokens:
        return float(status.state == RunState.FINISHED)
    return status.train_tokens / status.planned_tokens
