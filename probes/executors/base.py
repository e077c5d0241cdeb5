"""An executor takes the tasks that are submitted to it, and gives their results.

An executor only starts tasks and says how they ended. What is started when, what is tried again and
when a sweep is given up is the same for all of them: :mod:`probes.executors.scheduler`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from cmrplan.errors import InputError
from probes.jobs import Job
from probes.runs import CHECKPOINT_SECONDS, RunState, SweepFolder

STOP_SECONDS = 60.0
"""How long a worker has to save its checkpoint when it is told to stop."""


class Cause(StrEnum):
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
class RunResult:
    """What a worker says about one run of its task.

    Parameters
    ----------
    state : RunState
        The run's state now.
    reason : str
        Why it is not finished.
    cause : Cause
        What kind of reason that is.
    """

    state: RunState
    reason: str
    cause: Cause = Cause.NONE

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, str]) -> RunResult:
        """Return the result that :meth:`as_dict` gave."""
        return cls(RunState(values["state"]), values["reason"], Cause(values["cause"]))


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
class TaskResult:
    """How a task ended: with a result for each of its runs, or without any.

    Parameters
    ----------
    task : Task
    runs : tuple of RunResult
        One a run of the task; empty when the worker gave none.
    cause : Cause
        ``DIED`` or ``LOST`` when there are no results of runs.
    reason : str
        What became of the worker.
    """

    task: Task
    runs: tuple[RunResult, ...] = ()
    cause: Cause = Cause.NONE
    reason: str = ""


class Executor(Protocol):
    """Where tasks are done."""

    def slots(self) -> int:
        """Return how many tasks it can do at a time, as things are now."""

    def submit(self, tasks: Sequence[Task]) -> None:
        """Start tasks, at most as many as there are free slots."""

    def wait(self, seconds: float) -> list[TaskResult]:
        """Wait until a task is done, at most so long, and return the results of all that are."""

    def shutdown(self, *, cancel: bool) -> None:
        """Let go of all workers; ``cancel`` first has running tasks save their checkpoints."""


@dataclass(frozen=True)
class ExecutorOptions:
    """Where and how tasks are done; each executor takes what concerns it.

    Parameters
    ----------
    name : str
        One of ``EXECUTOR_NAMES``; for Ray and Slurm all nodes must share the sweep's folder.
    device : {"", "cpu", "cuda"}
        Where the runs train; empty for a GPU if there is one, on Slurm if its options ask for one.
    workers : int, optional
        Tasks at a time. Otherwise one per usable core on a CPU, ``per_gpu`` on a GPU; on Ray what
        the cluster has room for, on Slurm all that can start.
    per_gpu : int
        Tasks that share one GPU.
    cpus_per_run : int
        Cores that Ray or Slurm sets aside for a task.
    checkpoint_seconds : float
        Longest time between two checkpoints of a run.
    ray_address : str
        A running Ray cluster; empty for Ray on this machine.
    slurm : mapping of str to str
        Options of the Slurm jobs, such as ``partition``; see :mod:`probes.executors.on_slurm`.
    processes_per_run : int
        Most processes that a run of the sweep is trained on, which the sweep fills in from its
        spec; each task then gets as many GPUs.
    run_seconds : float, optional
        Longest time of a run, over all its attempts, which the sweep fills in from its limits.

    Raises
    ------
    InputError
        If there are options of an executor that is not the one named, which would do nothing.
    """

    name: str = "local"
    device: str = ""
    workers: int | None = None
    per_gpu: int = 1
    cpus_per_run: int = 1
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    ray_address: str = ""
    slurm: Mapping[str, str] = field(default_factory=dict)
    processes_per_run: int = 1
    run_seconds: float | None = None

    def __post_init__(self) -> None:
        for owner, option, given in (
            ("ray", "--ray-address", self.ray_address),
            ("slurm", "--slurm", self.slurm),
        ):
            if given and self.name != owner:
                raise InputError(
                    f"{option} is for --executor {owner}, and these runs would go to {self.name}; give --executor "
                    f"{owner}, or leave {option} out"
                )


_EXECUTORS = {
    "local": ("probes.executors.local", "LocalExecutor", ""),
    "ray": ("probes.executors.on_ray", "RayExecutor", "ray"),
    "slurm": ("probes.executors.on_slurm", "SlurmExecutor", "submitit"),
}

EXECUTOR_NAMES = tuple(_EXECUTORS)


def make_executor(sweep: SweepFolder, options: ExecutorOptions) -> Executor:
    """Return the executor that the options name.

    Raises
    ------
    InputError
        If there is none of that name, its package is not installed, or the options ask for what is
        not there, such as a GPU.
    """
    name = options.name
    if name not in _EXECUTORS:
        raise InputError(f"executor must be one of {', '.join(_EXECUTORS)}, got '{name}'")
    module, class_name, package = _EXECUTORS[name]
    if package and not importlib.util.find_spec(package):
        raise InputError(f"executor {name} needs {package}: pip install 'cmrplan[{name}]'")
    if name == "ray" and not (options.ray_address or os.environ.get("RAY_ADDRESS")):
        # Ray reads this when it is imported: a cluster of one machine then listens on 127.0.0.1 alone.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    executor: Executor = getattr(importlib.import_module(module), class_name)(sweep, options)
    return executor
