"""Do jobs on this machine: a pool of single-threaded worker processes.

One process per core beats one process with several threads on small models, and keeps its speed
when others use the machine. A worker that dies, for example for want of memory, costs its run one
attempt and nothing else; the parent writes that run's outcome after the second death.
"""

from __future__ import annotations

import itertools
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import probes
from cmrplan.errors import CmrplanError
from probes.jobs import Job, JobQueue
from probes.runner import write_outcome
from probes.runs import RunState, SweepFolder
from probes.training.loop import Outcome

STOP_SECONDS = 60.0
"""How long a worker has to save its checkpoint when it is told to stop."""

TICK_SECONDS = 0.5
"""Time between two updates of the progress display."""


class Watcher(Protocol):
    """What wants to hear how the work goes; see :mod:`probes.progress`."""

    def tick(self, active: Sequence[Job]) -> None:
        """Hear which jobs are in work, twice a second."""

    def ended(self, job: Job, state: RunState, reason: str) -> None:
        """Hear that a job ended."""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalExecutor:
    """Runs jobs in worker processes on this machine.

    Parameters
    ----------
    sweep : SweepFolder
        The sweep, with prepared corpora and planned run folders.
    workers : int
        Processes at a time.
    checkpoint_seconds : float
        Longest time between two checkpoints of a run.
    """

    def __init__(self, sweep: SweepFolder, *, workers: int, checkpoint_seconds: float) -> None:
        self._sweep = sweep
        self._num_workers = workers
        self._checkpoint_seconds = checkpoint_seconds

    def run(self, jobs: Sequence[Job], watcher: Watcher) -> None:
        """Do all jobs, bases first, costliest first; return when every one has ended.

        Raises
        ------
        CmrplanError
            If a run could not be worked on at all, such as one that another sweep holds. All
            other runs are done first.
        """
        queue = JobQueue(jobs)
        problems: list[str] = []
        for base in {job.settings.base for job in jobs} - {job.run_id for job in jobs} - {""}:
            self._settle_base(queue, base, watcher)
        pool: list[_Worker] = []
        numbers = itertools.count()
        at_once = True
        try:
            while queue or any(worker.job for worker in pool):
                idle = sum(worker.job is None for worker in pool)
                for _ in range(min(self._num_workers - len(pool), len(queue) - idle)):
                    pool.append(_Worker(self._sweep, next(numbers), self._checkpoint_seconds))
                for worker in pool:
                    if worker.job is None and (job := queue.take()):
                        worker.give(job, self._sweep.run(job.settings).path)
                for worker in _with_answers(pool):
                    job, answer = worker.job, worker.read()
                    if answer is None:
                        reason = worker.cause_of_death()
                        pool.remove(worker)
                        if job is None:
                            raise CmrplanError(f"a worker process cannot start: {reason}")
                        if queue.put_back(job):
                            continue
                        self._write_failure(job, reason, retry=True)
                        answer = Answer(RunState.FAILED, reason)
                    worker.job = None
                    if answer.problem:
                        problems.append(answer.reason)
                    watcher.ended(job, answer.state, answer.reason)
                    if job.settings.stage == "base":
                        self._settle_base(queue, job.run_id, watcher)
                watcher.tick([worker.job for worker in pool if worker.job])
            at_once = False
        finally:
            for worker in pool:
                worker.dismiss(at_once=at_once)
            for worker in pool:
                worker.wait()
        if problems:
            raise CmrplanError(problems[0])

    def _settle_base(self, queue: JobQueue, base: str, watcher: Watcher) -> None:
        """Release the probes of a finished base, or take those of a failed one as failed too."""
        outcome = self._sweep.base(base).read_outcome()
        if outcome and outcome["state"] == RunState.FINISHED:
            queue.finished(base)
            return
        for job in queue.drop_probes(base):
            if outcome:
                reason = f"its base {base} failed: {outcome['reason']}"
                self._write_failure(job, reason, retry=outcome["retry"])
                watcher.ended(job, RunState.FAILED, reason)

    def _write_failure(self, job: Job, reason: str, *, retry: bool) -> None:
        run = self._sweep.run(job.settings)
        progress = run.read_progress()
        seconds = progress["seconds"] if progress else 0.0
        write_outcome(run, Outcome(RunState.FAILED, reason, seconds), retry=retry)


@dataclass(frozen=True)
class Answer:
    """What a worker says about the run it was given.

    Parameters
    ----------
    state : RunState
        The run's state now.
    reason : str
        Why it is not finished.
    problem : bool
        Whether the run could not be worked on at all.
    """

    state: RunState
    reason: str
    problem: bool = False


def _with_answers(pool: Sequence[_Worker]) -> list[_Worker]:
    """Wait for answers, at most one tick, and return the workers that gave one or died."""
    with selectors.DefaultSelector() as selector:
        for worker in pool:
            selector.register(worker.answers, selectors.EVENT_READ, worker)
        return [key.data for key, _ in selector.select(TICK_SECONDS)]


class _Worker:
    """One worker process and the job it is doing."""

    def __init__(self, sweep: SweepFolder, number: int, checkpoint_seconds: float) -> None:
        self.job: Job | None = None
        sweep.workers.mkdir(parents=True, exist_ok=True)
        self._log = sweep.workers / f"worker-{number}.log"
        package_folder = str(Path(probes.__file__).parent.parent)
        search_path = filter(None, [package_folder, os.environ.get("PYTHONPATH")])
        arguments = (str(sweep.path.absolute()), str(os.getpid()), str(checkpoint_seconds))
        with open(self._log, "w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "probes.executors.worker", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
                env=os.environ
                | {
                    "PYTHONPATH": os.pathsep.join(search_path),
                    "OMP_NUM_THREADS": "1",
                    "MKL_NUM_THREADS": "1",
                    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # makes matrix products repeatable
                },
            )

    @property
    def answers(self) -> IO[str]:
        return self._process.stdout

    def give(self, job: Job, path: Path) -> None:
        self.job = job
        try:
            print(json.dumps(str(path.absolute())), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # it died; its closed output says so to the loop

    def read(self) -> Answer | None:
        """Return the answer, or None when the process has died."""
        line = self.answers.readline()
        if not line.endswith("\n"):
            return None
        answer = json.loads(line)
        return Answer(RunState(answer["state"]), answer["reason"], answer["problem"])

    def cause_of_death(self) -> str:
        """Say how the process ended: its signal or exit code and its last words."""
        code = self._process.wait()
        self._close()
        how = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code == -9:
            how += " (often: out of memory)"
        last_words = self._log.read_text(errors="replace").strip().splitlines()[-1:]
        return ": ".join([f"worker process {how}", *last_words])

    def dismiss(self, *, at_once: bool) -> None:
        """Ask the process to end: now, with its run's checkpoint saved, or when it has no job."""
        if at_once:
            self._process.terminate()
        self._close_input()

    def wait(self) -> None:
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close_input(self) -> None:
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass

    def _close(self) -> None:
        self._close_input()
        self._process.stdout.close()
