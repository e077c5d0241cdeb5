"""The scheduler decides which task starts when, what is tried again, and when a sweep is given up.

It is the same for every executor.

==============  ======================================================================================
a run that      is
==============  ======================================================================================
diverged        failed for good: the same settings give the same numbers
lost a worker   tried again, ``attempts`` times in a start of the sweep, then failed until the next start
lost a machine  tried again up to ``LOST_ATTEMPTS`` times, without being charged for it
is over time    failed until the next start, which may allow more; its checkpoint is kept
misses a file   failed until the next start
has no space    stopped, and the sweep with it; the next start goes on
==============  ======================================================================================
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from cmrplan.errors import CmrplanError, printable
from probes.executors.base import Cause, Executor, RunResult, Task, TaskResult
from probes.jobs import Job, JobQueue
from probes.ledger import Event, Ledger, now
from probes.locks import is_locked
from probes.run_settings import RunSettings
from probes.runner import write_failure
from probes.runs import RunState, SweepFolder

TICK_SECONDS = 0.5
"""Time between two updates of the progress display."""

LOST_ATTEMPTS = 20
"""How often a run is tried, in one start, when its machine is taken away each time."""

FEWEST_ENDED = 5
"""Runs that must have ended before their failure rate is judged."""

RETRY_LATER = frozenset({Cause.TIME_LIMIT, Cause.FILE, Cause.DIED, Cause.LOST})
"""What is tried again at the next start of the sweep."""


@dataclass(frozen=True)
class RunLimits:
    """When to give up.

    Parameters
    ----------
    attempts : int
        How often a run is tried, in one start of the sweep, when its worker dies.
    failures : float
        Share of the ended runs, 0 to 1, that may have failed; above it the sweep stops. Judged from
        ``FEWEST_ENDED`` ended runs on.
    run_seconds : float, optional
        Longest time of a run, over all its attempts.
    """

    attempts: int = 3
    failures: float = 0.5
    run_seconds: float | None = None


class Watcher(Protocol):
    """What wants to hear how the work goes; see :mod:`probes.progress`."""

    def tick(self, active: Sequence[Job]) -> None:
        """Hear which jobs are in work, twice a second."""

    def ended(self, run: RunSettings, state: RunState, reason: str) -> None:
        """Hear that a run ended."""


class Scheduler:
    """Does the jobs of a sweep with an executor: bases first, costliest first.

    Parameters
    ----------
    sweep : SweepFolder
        The sweep, with prepared corpora and planned run folders.
    executor : Executor
        Where the tasks go.
    ledger : Ledger
        Hears what happens.
    watcher : Watcher
        Is told how the work goes.
    limits : RunLimits
        When to give up.
    """

    def __init__(
        self,
        sweep: SweepFolder,
        executor: Executor,
        *,
        ledger: Ledger,
        watcher: Watcher,
        limits: RunLimits,
    ) -> None:
        self._sweep = sweep
        self._executor = executor
        self._ledger = ledger
        self._watcher = watcher
        self._limits = limits
        self._stamp = f"{now()}-{os.getpid()}"
        self._num_started = 0
        self._in_work: dict[str, Task] = {}
        self._workers: dict[str, str] = {}  # by run: when its attempt began, as far as noted
        self._tries: Counter[tuple[str, Cause]] = Counter()
        self._states: Counter[RunState] = Counter()
        self._last_failure = ""
        self._refusals: list[str] = []
        self._said_waiting = False

    def run(self, jobs: Sequence[Job]) -> None:
        """Do all jobs; return when every one has ended.

        Raises
        ------
        CmrplanError
            If too many runs failed, no space is left on the disk, or a run could not be worked on at
            all, such as one that another process holds; all other runs are done before the last.
        """
        self._queue = JobQueue(jobs)
        with terminate_as_interrupt():
            cancel = True
            try:
                todo = {run_id for job in jobs for run_id in job.run_ids}
                for base in {job.base for job in jobs} - todo - {""}:
                    self._settle_base(base)
                while self._queue or self._in_work:
                    self._start_what_can()
                    for result in self._wait():
                        self._settle(result)
                    self._note_starts()
                    self._watcher.tick([task.job for task in self._in_work.values()])
                cancel = False
            finally:
                self._executor.shutdown(cancel=cancel)
                self._note_starts()
                for task in self._in_work.values():
                    self._note_stopped(task.job, "the sweep was stopped")
        if self._refusals:
            raise CmrplanError(self._refusals[0])

    def _start_what_can(self) -> None:
        tasks = []
        while len(self._in_work) < self._executor.slots():
            job = self._queue.take(self._is_free)
            if job is None:
                break
            self._num_started += 1
            paths = tuple(self._sweep.run(run).path.absolute() for run in job.runs)
            task = Task(job, paths, f"{self._stamp}-{self._num_started}")
            self._in_work[task.token] = task
            tasks.append(task)
        if tasks:
            self._executor.submit(tasks)

    def _is_free(self, job: Job) -> bool:
        return not any(is_locked(self._sweep.run(run).path) for run in job.runs)

    def _wait(self) -> list[TaskResult]:
        """Wait for results of tasks, or for a run that a worker of an earlier start still holds."""
        if self._in_work:
            return self._executor.wait(TICK_SECONDS)
        if self._queue and not self._said_waiting:
            self._said_waiting = True
            why = (
                "a worker of an earlier start holds them"
                if self._executor.slots()
                else "no machine is left"
            )
            print(
                printable(f"waiting with {len(self._queue)} run(s): {why}"),
                file=sys.stderr,
                flush=True,
            )
        time.sleep(TICK_SECONDS)
        return []

    def _note_starts(self) -> None:
        """Write to the ledger which attempts have begun, and where."""
        for task in self._in_work.values():
            for run in task.job.runs:
                attempt = self._sweep.run(run).read_attempt()
                if not attempt or attempt["token"] != task.token:
                    continue
                before = self._workers.get(run.run_id)
                if attempt["time"] == before:
                    continue
                known = before is not None
                self._workers[run.run_id] = attempt["time"]
                event = Event.REQUEUED if known else Event.STARTED
                self._ledger.write(event, run.run_id, attempt=attempt)

    def _settle(self, result: TaskResult) -> None:
        """Take note of how a task ended and decide what comes of its runs."""
        self._note_starts()
        job = result.task.job
        del self._in_work[result.task.token]
        for run_id in job.run_ids:
            self._workers.pop(run_id, None)
        if not result.runs:
            if self._try_again(result):
                return
            result = TaskResult(
                result.task, self._results_without_worker(job, result.cause, result.reason)
            )
        for run, run_result in zip(job.runs, result.runs, strict=True):
            self._settle_run(run, run_result)
        if full := [one.reason for one in result.runs if one.cause is Cause.DISK_FULL]:
            raise CmrplanError(
                f"{full[0]}; what is finished is kept: free space and start the sweep again"
            )
        self._judge_failures()

    def _try_again(self, result: TaskResult) -> bool:
        """Put a job back whose worker is gone, unless that happened too often."""
        job = result.task.job
        if all(self._sweep.run(run).read_outcome() for run in job.runs):
            return False
        allowed = LOST_ATTEMPTS if result.cause is Cause.LOST else self._limits.attempts
        self._tries[job.run_ids[0], result.cause] += 1
        again = self._tries[job.run_ids[0], result.cause] < allowed
        for run in job.runs:
            if self._sweep.run(run).read_outcome() is None:
                self._ledger.write(Event.DIED, run.run_id, reason=result.reason)
                if again:
                    self._ledger.write(Event.RETRIED, run.run_id)
        if again:
            self._queue.put_back(job)
        return again

    def _results_without_worker(self, job: Job, cause: Cause, reason: str) -> tuple[RunResult, ...]:
        """Return the results of a worker that is gone: what it finished, and failures."""
        results = []
        for run in job.runs:
            outcome = self._sweep.run(run).read_outcome()
            results.append(
                RunResult(RunState(outcome["state"]), outcome["reason"])
                if outcome
                else RunResult(RunState.FAILED, reason, cause)
            )
        return tuple(results)

    def _settle_run(self, run: RunSettings, result: RunResult) -> None:
        if result.cause is Cause.REFUSED:
            self._refusals.append(result.reason)
        if result.state is RunState.STOPPED:
            self._note_stopped(Job((run,)), result.reason)
        else:
            if result.cause is not Cause.NONE:
                retry = result.cause in RETRY_LATER
                write_failure(self._sweep.run(run), result.reason, retry=retry)
            self._note_end(run, result.state, result.reason)
        self._watcher.ended(run, result.state, result.reason)
        if run.stage == "base":
            self._settle_base(run.run_id)

    def _settle_base(self, base: str) -> None:
        """Release the probes of a finished base, or take those of a failed one as failed too."""
        outcome = self._sweep.base(base).read_outcome()
        if outcome and outcome["state"] == RunState.FINISHED:
            self._queue.finished(base)
            return
        dropped = self._queue.drop_probes(base)
        if not outcome:
            return
        for job in dropped:
            for run in job.runs:
                reason = f"its base {base} failed: {outcome['reason']}"
                write_failure(self._sweep.run(run), reason, retry=outcome["retry"])
                self._ledger.write(Event.FAILED, run.run_id, reason=reason)
                self._watcher.ended(run, RunState.FAILED, reason)

    def _judge_failures(self) -> None:
        """Stop a sweep of which too many runs fail.

        Raises
        ------
        CmrplanError
            If so, and runs are left that would be done for nothing.
        """
        ended, failed = self._states.total(), self._states[RunState.FAILED]
        too_many = ended >= FEWEST_ENDED and failed > self._limits.failures * ended
        if too_many and (self._queue or self._in_work):
            raise CmrplanError(
                f"stopped: {failed} of {ended} ended runs failed, more than {self._limits.failures:.0%}; the last: "
                f"{self._last_failure}; mend the cause and start again, or allow more with --max-failures"
            )

    def _note_end(self, run: RunSettings, state: RunState, reason: str) -> None:
        self._states[state] += 1
        if state is RunState.FAILED:
            self._last_failure = reason
        event = Event.FINISHED if state is RunState.FINISHED else Event.FAILED
        self._ledger.write(event, run.run_id, reason=reason)

    def _note_stopped(self, job: Job, reason: str) -> None:
        """Write that runs were interrupted, unless one had ended before it heard of it."""
        for run in job.runs:
            outcome = self._sweep.run(run).read_outcome()
            if outcome:
                self._note_end(run, RunState(outcome["state"]), outcome["reason"])
            else:
                self._ledger.write(Event.STOPPED, run.run_id, reason=reason)


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end a block as Ctrl-C does, so that workers save their checkpoints."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt("terminated")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
