"""What every executor has: tasks to do come in, ends of tasks come out.

An executor only starts tasks and says how they ended. What is started when, what is tried again and
when a sweep is given up is the same for all of them: :mod:`probes.executors.scheduler`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from cmrplan.errors import InputError
from probes.jobs import Job
from probes.runs import RunState, SweepFolder

STOP_SECONDS = 60.0
"""How long a worker has to save its checkpoint when it is told to stop."""


class Trouble(StrEnum):
    """Why a task or a run ended without a result, where that decides what comes next."""

    NONE = ""
    """Finished, or failed by itself (diverged): never tried again."""
    TIME_LIMIT = "time_limit"
    """Over its time limit: tried again at the next start of the sweep."""
    FILE = "file"
    """A file it needs cannot be read or written: tried again at the next start."""
    DISK_FULL = "disk_full"
    """No space left: the sweep stops, and the run goes on at the next start."""
    REFUSED = "refused"
    """Held by another process, or with a foreign checkpoint: told after all others are done."""
    DIED = "died"
    """Its worker died: tried again a few times."""
    LOST = "lost"
    """Its machine was taken away: tried again, and not held against the run."""


@dataclass(frozen=True)
class Answer:
    """What a worker says about one run it was given.

    Parameters
    ----------
    state : RunState
        The run's state now.
    reason : str
        Why it is not finished.
    trouble : Trouble
        What kind of reason that is.
    """

    state: RunState
    reason: str
    trouble: Trouble = Trouble.NONE

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, str]) -> Answer:
        """Return the answer that :meth:`as_dict` gave."""
        return cls(RunState(values["state"]), values["reason"], Trouble(values["trouble"]))


@dataclass(frozen=True)
class Task:
    """One attempt at a job.

    Parameters
    ----------
    job : Job
        What to do.
    paths : tuple of Path
        The run folders, absolute.
    token : str
        Name of the attempt, unique in the sweep's folder.
    """

    job: Job
    paths: tuple[Path, ...]
    token: str


@dataclass(frozen=True)
class End:
    """How a task ended: with answers, one a run, or without.

    Parameters
    ----------
    task : Task
    answers : tuple of Answer
        Empty when the worker gave none.
    trouble : Trouble
        ``DIED`` or ``LOST`` when there are no answers.
    reason : str
        What became of the worker.
    """

    task: Task
    answers: tuple[Answer, ...] = ()
    trouble: Trouble = Trouble.NONE
    reason: str = ""


class Executor(Protocol):
    """Where tasks are done."""

    def slots(self) -> int:
        """Return how many tasks it can do at a time, as things are now."""

    def start(self, tasks: Sequence[Task]) -> None:
        """Start tasks, at most as many as there are free slots."""

    def poll(self, seconds: float) -> list[End]:
        """Wait for the end of a task, at most so long, and return all that ended."""

    def close(self, *, at_once: bool) -> None:
        """Let go of all workers; ``at_once`` first has running tasks save their checkpoints."""


@dataclass(frozen=True)
class ExecutorOptions:
    """How to do tasks; each executor takes what concerns it.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Where the runs train.
    workers : int, optional
        Tasks at a time.
    per_gpu : int
        Tasks that share one GPU.
    processes_per_run : int
        Most processes that a run of the sweep is trained on; each task then gets as many GPUs.
    checkpoint_seconds : float
        Longest time between two checkpoints of a run.
    run_seconds : float, optional
        Longest time of a run, over all its attempts.
    ray_address : str
        A running Ray cluster; empty for Ray on this machine.
    cpus_per_run : int
        Cores that Ray or Slurm sets aside for a task.
    slurm : mapping of str to str
        Options of the Slurm jobs.
    """

    device: str
    workers: int | None = None
    per_gpu: int = 1
    processes_per_run: int = 1
    checkpoint_seconds: float = 30.0
    run_seconds: float | None = None
    ray_address: str = ""
    cpus_per_run: int = 1
    slurm: Mapping[str, str] = field(default_factory=dict)


_EXECUTORS = {
    "local": ("probes.executors.local", "LocalExecutor", ""),
    "ray": ("probes.executors.on_ray", "RayExecutor", "ray"),
    "slurm": ("probes.executors.on_slurm", "SlurmExecutor", "submitit"),
}

EXECUTOR_NAMES = tuple(_EXECUTORS)


def make_executor(name: str, sweep: SweepFolder, options: ExecutorOptions) -> Executor:
    """Return the executor with a name of ``EXECUTOR_NAMES``.

    Raises
    ------
    InputError
        If there is none of that name, its package is not installed, or the options ask for what is
        not there, such as a GPU.
    """
    if name not in _EXECUTORS:
        raise InputError(f"executor must be one of {', '.join(_EXECUTORS)}, got '{name}'")
    module, class_name, package = _EXECUTORS[name]
    if package and not importlib.util.find_spec(package):
        raise InputError(f"executor {name} needs {package}: pip install 'cmrplan[{name}]'")
    executor: Executor = getattr(importlib.import_module(module), class_name)(sweep, options)
    return executor
