"""The local executor does tasks on this machine, in a pool of worker processes, one a slot.

On a CPU a slot is a core. A worker has one thread, and those of slots that have nothing to do (see
:mod:`probes.training.threads`). On GPUs each slot has its GPU. A worker that dies, for example for want
of memory, costs its runs one attempt and nothing else.
"""

from __future__ import annotations

import itertools
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import torch

import probes
from cmrplan.errors import InputError
from cmrplan.files import write_text
from probes.executors.base import (
    STOP_SECONDS,
    Cause,
    ExecutorOptions,
    RunResult,
    Task,
    TaskResult,
)
from probes.executors.task import ENVIRONMENT, read_results
from probes.runs import RunState, SweepFolder


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Return the names of the GPUs this process may use, as ``CUDA_VISIBLE_DEVICES`` has them."""
    if not torch.cuda.is_available():
        return []
    listed = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return list(filter(None, listed)) or [str(i) for i in range(torch.cuda.device_count())]


def gpu_groups(gpus: Sequence[str], size: int) -> list[str]:
    """Return the GPUs in groups of a size, each as ``CUDA_VISIBLE_DEVICES`` has it.

    Raises
    ------
    InputError
        If there are not enough for one group.

    Examples
    --------
    >>> gpu_groups(["0", "1", "2"], 2)
    ['0,1']
    """
    if not gpus:
        raise InputError("device cuda: torch sees no GPU on this machine; use --device cpu")
    if len(gpus) < size:
        raise InputError(
            f"sizes: a run of {size} processes needs {size} GPUs and this machine has {len(gpus)}"
        )
    return [",".join(gpus[i : i + size]) for i in range(0, len(gpus) - size + 1, size)]


class LocalExecutor:
    """Does tasks in worker processes on this machine.

    Parameters
    ----------
    sweep : SweepFolder
        The sweep, with prepared corpora and planned run folders.
    options : ExecutorOptions
        ``workers`` is one a core on a CPU and ``per_gpu`` a GPU unless given.

    Raises
    ------
    InputError
        If a GPU is asked for and there is none.
    """

    def __init__(self, sweep: SweepFolder, options: ExecutorOptions) -> None:
        self._sweep = sweep
        self._options = options
        self._gpus: list[str] = []
        if options.device == "cuda":
            self._gpus = gpu_groups(visible_gpus(), options.processes_per_run)
        cores = max(1, usable_cores() // options.processes_per_run)
        default = len(self._gpus) * options.per_gpu if self._gpus else cores
        self._slots = options.workers or default
        self._pool: list[_Worker] = []
        self._threads_file = sweep.workers.absolute() / "threads"
        self._threads = 0
        self._numbers = itertools.count()

    def slots(self) -> int:
        """Return how many workers there may be."""
        return self._slots

    def submit(self, tasks: Sequence[Task]) -> None:
        """Give each task to an idle worker, or to a new one."""
        self._share_cores(sum(worker.task is not None for worker in self._pool) + len(tasks))
        for task in tasks:
            worker = next((worker for worker in self._pool if worker.task is None), None)
            if worker is None:
                number, gpu = next(self._numbers), self._free_gpu()
                worker = _Worker(self._sweep, number, self._options, gpu, self._threads_file)
                self._pool.append(worker)
            worker.submit(task)

    def _free_gpu(self) -> str | None:
        """Return the GPUs with the fewest workers, or None on a CPU."""
        used = [worker.gpu for worker in self._pool]
        return min(self._gpus, key=used.count) if self._gpus else None

    def wait(self, seconds: float) -> list[TaskResult]:
        """Wait for results and deaths of workers."""
        results = []
        for worker in _done(self._pool, seconds):
            runs, task = worker.result(), worker.task
            if runs is None:
                reason = worker.cause_of_death()
                self._pool.remove(worker)
                if task is not None:
                    results.append(TaskResult(task, cause=Cause.DIED, reason=reason))
            elif task is not None:
                worker.task = None
                results.append(TaskResult(task, runs))
        self._share_cores(sum(worker.task is not None for worker in self._pool))
        return results + self._kill_overdue()

    def _share_cores(self, busy: int) -> None:
        """Tell the workers how many threads each may have when so many have a task."""
        cores = min(self._slots, usable_cores()) if self._options.device == "cpu" else 1
        threads = max(1, cores // max(1, busy))
        if threads != self._threads:
            write_text(self._threads_file, f"{threads}\n")
            self._threads = threads

    def _kill_overdue(self) -> list[TaskResult]:
        """Kill workers that do not end their run, though its time limit told them to."""
        results: list[TaskResult] = []
        limit = self._options.run_seconds
        if limit is None:
            return results
        for worker in [*self._pool]:
            if worker.task and time.monotonic() - worker.submitted_at > limit + STOP_SECONDS:
                worker.kill()
                self._pool.remove(worker)
                reason = (
                    f"over the limit of {limit / 60:g} minutes a run and did not stop by itself"
                )
                result = RunResult(RunState.FAILED, reason, Cause.TIME_LIMIT)
                results.append(TaskResult(worker.task, (result,) * len(worker.task.paths)))
        return results

    def shutdown(self, *, cancel: bool) -> None:
        """Ask all workers to end, wait for them, and kill those that do not."""
        for worker in self._pool:
            worker.shutdown(cancel=cancel)
        for worker in self._pool:
            worker.wait()
        self._pool.clear()


def _done(pool: Sequence[_Worker], seconds: float) -> list[_Worker]:
    """Wait for results, at most so long, and return the workers that have one or died."""
    with selectors.DefaultSelector() as selector:
        for worker in pool:
            selector.register(worker.output, selectors.EVENT_READ, worker)
        return [key.data for key, _ in selector.select(seconds)]


class _Worker:
    """One worker process and the task it is doing."""

    def __init__(
        self,
        sweep: SweepFolder,
        number: int,
        options: ExecutorOptions,
        gpu: str | None,
        threads_file: Path,
    ) -> None:
        self.task: Task | None = None
        self.submitted_at = 0.0
        self.gpu = gpu
        sweep.workers.mkdir(parents=True, exist_ok=True)
        self._log = sweep.workers / f"worker-{number}.log"
        package_folder = str(Path(probes.__file__).parent.parent)
        search_path = filter(None, [package_folder, os.environ.get("PYTHONPATH")])
        environment = os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(search_path)}
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        settings = {
            "sweep": str(sweep.path.absolute()),
            "parent": os.getpid(),
            "checkpoint_seconds": options.checkpoint_seconds,
            "run_seconds": options.run_seconds,
            "threads_file": str(threads_file),
        }
        with open(self._log, "w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "probes.executors.local_worker", json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
                env=environment,
            )

    @property
    def output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def submit(self, task: Task) -> None:
        self.task = task
        self.submitted_at = time.monotonic()
        message = {"token": task.token, "paths": [str(path) for path in task.paths]}
        try:
            print(json.dumps(message), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # it died; its closed output says so to the loop

    def result(self) -> tuple[RunResult, ...] | None:
        """Return the results of the runs, or None when the process has died."""
        line = self.output.readline()
        return read_results(line) if line.endswith("\n") else None

    def cause_of_death(self) -> str:
        """Say how the process ended: its signal or exit code and its last words."""
        code = self._process.wait()
        self._close()
        how = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code == -9:
            how += " (often: out of memory)"
        last_words = self._log.read_text(errors="replace").strip().splitlines()[-1:]
        return ": ".join([f"worker process {how}", *last_words])

    def shutdown(self, *, cancel: bool) -> None:
        """Ask the process to end: now, with its run's checkpoint saved, or when it has no task."""
        if cancel:
            self._process.terminate()
        self._close_input()

    def wait(self) -> None:
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close()

    def _close_input(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass

    def _close(self) -> None:
        self._close_input()
        self.output.close()
