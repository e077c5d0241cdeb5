"""The Slurm executor does tasks as Slurm jobs, through submitit; tasks that can start together are one job array.

Slurm signals a job before it preempts it or its time is over. The run then saves a checkpoint and Slurm queues the
job again, as often as it takes for preemptions and a few times for the time limit. Results come back as
files in the sweep's folder, which all nodes share. Jobs outlive the process that submitted them: it can be started
again and waits for those that still run.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import Checkpointable
from submitit.slurm.slurm import _get_default_parameters

from cmrplan.errors import InputError
from cmrplan.files import read_text, write_text
from probes.executors.base import STOP_SECONDS, Cause, ExecutorOptions, Task, TaskResult
from probes.executors.slurm_options import CLUSTERS, asks_for_gpus, slurm_parameters
from probes.executors.task import (
    do_task,
    not_shared,
    prepare_process,
    read_results,
    results_text,
    stop_file_says,
)
from probes.runs import RunFolder, SweepFolder

ARRAY_SLOTS = 256
"""Tasks at a time unless ``workers`` is given; Slurm starts them as it has room."""

TIMEOUTS = 10
"""How often a job may run into its time limit and be queued again."""

_LOST_STATES = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT", "REVOKED")


class SlurmExecutor:
    """Does tasks as Slurm jobs.

    Parameters
    ----------
    sweep : SweepFolder
        The sweep, in a folder that all nodes share.
    options : ExecutorOptions
        ``slurm`` has the options of the jobs; its ``cluster`` may be ``local`` or ``debug`` to do without
        Slurm.

    Raises
    ------
    InputError
        If there is no Slurm here, or an option is wrong.
    """

    def __init__(self, sweep: SweepFolder, options: ExecutorOptions) -> None:
        self._options = options
        self._folder = sweep.workers.absolute() / "slurm"
        self._sweep = str(sweep.path.absolute())
        given = dict(options.slurm)
        self._cluster = given.pop("cluster", "slurm")
        if self._cluster not in CLUSTERS:
            raise InputError(
                f"--slurm cluster must be one of {', '.join(CLUSTERS)}, got '{self._cluster}'"
            )
        given.setdefault("cpus", str(options.cpus_per_run))
        self._threads = options.cpus_per_run
        if options.device == "cuda" and not asks_for_gpus(given):
            given["gpus"] = str(options.processes_per_run)
        parameters = slurm_parameters(given, _get_default_parameters())
        if self._cluster == "slurm" and not shutil.which("sbatch"):
            raise InputError(
                "executor slurm: no sbatch on this machine; start the sweep where Slurm is"
            )
        parameters.setdefault("job_name", "cmrplan")
        parameters["array_parallelism"] = self.slots()
        self._submitit = submitit.AutoExecutor(
            self._folder / "%j", cluster=self._cluster, slurm_max_num_timeout=TIMEOUTS
        )
        self._submitit.update_parameters(**_for_submitit(parameters))
        self._jobs: dict[str, tuple[Task, Any]] = {}
        self._gone: dict[str, float] = {}
        self._done: list[Any] = []

    def slots(self) -> int:
        """Return the most tasks that may be queued at a time."""
        return self._options.workers or ARRAY_SLOTS

    def submit(self, tasks: Sequence[Task]) -> None:
        """Submit tasks as one job array."""
        with self._submitit.batch():
            jobs = [
                self._submitit.submit(
                    SlurmTask(
                        self._sweep,
                        [str(path) for path in task.paths],
                        task.token,
                        str(self._results_file(task)),
                        str(self._stop_file()),
                        self._options.checkpoint_seconds,
                        self._options.run_seconds,
                        self._threads,
                    )
                )
                for task in tasks
            ]
        self._jobs.update({task.token: (task, job) for task, job in zip(tasks, jobs, strict=True)})

    def _results_file(self, task: Task) -> Path:
        return self._folder / f"results-{task.token}.json"

    def _stop_file(self) -> Path:
        return self._folder / f"stop-{os.getpid()}"

    def wait(self, seconds: float) -> list[TaskResult]:
        """Look once for results and ended jobs, after a moment if there is none yet."""
        done = self._look()
        if not done:
            time.sleep(seconds)
            done = self._look()
        return done

    def _look(self) -> list[TaskResult]:
        done = []
        for token, (task, job) in [*self._jobs.items()]:
            results = self._results_file(task)
            if results.exists():
                done.append(TaskResult(task, read_results(read_text(results))))
                results.unlink()
                self._done.append(job)
            elif job.done():
                since = self._gone.setdefault(token, time.monotonic())
                if time.monotonic() - since < 2.0:  # the disk may show the results a little later
                    continue
                done.append(self._death(task, job))
            else:
                continue
            del self._jobs[token]
        return done

    def _death(self, task: Task, job: Any) -> TaskResult:
        state = str(job.state).upper()
        words = (job.stderr() or "").strip().splitlines()[-1:]
        cause = Cause.LOST if state.startswith(_LOST_STATES) else Cause.DIED
        reason = ": ".join(
            [f"its Slurm job {job.job_id} ended as {state} without a result", *words]
        )
        return TaskResult(task, cause=cause, reason=reason)

    def shutdown(self, *, cancel: bool) -> None:
        """Cancel what waits in the queue, have what runs save its checkpoint, then cancel that."""
        if cancel and self._jobs:
            stop = self._stop_file()
            stop.touch()
            for task, job in self._jobs.values():
                if not _has_begun(task):
                    job.cancel(check=False)
            deadline = time.monotonic() + STOP_SECONDS
            running = [task for task, _ in self._jobs.values() if _has_begun(task)]
            while time.monotonic() < deadline and not all(
                self._results_file(task).exists() or self._jobs[task.token][1].done()
                for task in running
            ):
                time.sleep(0.2)
            for task, job in self._jobs.values():
                job.cancel(check=False)
                self._results_file(task).unlink(missing_ok=True)
            stop.unlink()
        if self._cluster == "local":  # its jobs are children of this process
            for job in [*self._done, *(job for _, job in self._jobs.values())]:
                _wait_for(job)
        self._done.clear()
        self._jobs.clear()


class SlurmTask(Checkpointable):
    """One task on a node, queued again by submitit when Slurm takes the node away.

    Parameters
    ----------
    sweep, paths, token : str, list of str, str
        What to do.
    results_file, stop_file : str
        Where the results go, and what says to stop once it is there.
    checkpoint_seconds, run_seconds : float, optional
        As in :func:`probes.executors.task.do_task`.
    threads : int
        Threads that a run on a CPU may have.
    """

    def __init__(
        self,
        sweep: str,
        paths: list[str],
        token: str,
        results_file: str,
        stop_file: str,
        checkpoint_seconds: float,
        run_seconds: float | None,
        threads: int,
    ) -> None:
        self.sweep = sweep
        self.paths = paths
        self.token = token
        self.results_file = results_file
        self.stop_file = stop_file
        self.checkpoint_seconds = checkpoint_seconds
        self.run_seconds = run_seconds
        self.threads = threads

    def __call__(self) -> None:
        """Do the task and write its results; a warning of Slurm first saves the run, then requeues."""
        prepare_process()
        sweep = SweepFolder(Path(self.sweep))
        if not sweep.path.is_dir():
            raise FileNotFoundError(not_shared(sweep))
        with _Warning() as warning:
            stop_file = stop_file_says(Path(self.stop_file))
            results = do_task(
                sweep,
                [Path(path) for path in self.paths],
                token=self.token,
                asked_to_stop=lambda: warning.reason or stop_file(),
                checkpoint_seconds=self.checkpoint_seconds,
                run_seconds=self.run_seconds,
                threads=lambda: self.threads,
            )
        if warning.reason and any(result.reason == warning.reason for result in results):
            warning.requeue()
        write_text(self.results_file, results_text(results))


class _Warning:
    """Holds back submitit's requeue on Slurm's signal until the run has saved its checkpoint."""

    def __init__(self) -> None:
        self.reason = ""
        name = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")  # as submitit has it
        self._number = signal.Signals[f"SIG{name}"]
        self._requeue: Callable[[int, Any], Any] | int | None = None

    def __enter__(self) -> _Warning:
        if threading.current_thread() is threading.main_thread():
            self._requeue = signal.getsignal(self._number)
            if callable(self._requeue):
                signal.signal(self._number, self._note)
        return self

    def __exit__(self, *details: object) -> None:
        if callable(self._requeue):
            signal.signal(self._number, self._requeue)

    def _note(self, number: int, frame: Any) -> None:
        self.reason = "Slurm takes the node away"

    def requeue(self) -> None:
        """Let submitit queue this job again; does not return."""
        if callable(self._requeue):
            self._requeue(self._number, None)


def _wait_for(job: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not job.done() and time.monotonic() < deadline:
        time.sleep(0.05)


def _has_begun(task: Task) -> bool:
    attempts = (RunFolder(path).read_attempt() for path in task.paths)
    return any(attempt and attempt["token"] == task.token for attempt in attempts)


def _for_submitit(parameters: dict[str, Any]) -> dict[str, Any]:
    """Name parameters as submitit's AutoExecutor wants them, for any of its clusters."""
    general = {"time": "timeout_min"}
    for_all = {"gpus_per_node", "cpus_per_task"}
    return {
        general.get(name, name if name in for_all else f"slurm_{name}"): value
        for name, value in parameters.items()
    }
