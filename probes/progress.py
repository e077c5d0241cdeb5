"""Progress tells a person how a sweep goes: bars on a terminal, now and then a line elsewhere.

Everything goes to standard error; standard output belongs to the caller.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from cmrplan.errors import printable
from probes.jobs import Job, makespan, run_flops
from probes.run_settings import RunSettings
from probes.runs import RunState, SweepFolder


class SweepProgress:
    """Counts the work done and estimates the time left; shows nothing.

    Parameters
    ----------
    sweep : SweepFolder
        Where the runs keep their progress.
    todo : sequence of Job
        What is not finished.
    num_runs : int
        All runs of the sweep, finished ones included.
    workers : int
        Runs at a time.
    """

    def __init__(
        self, sweep: SweepFolder, todo: Sequence[Job], *, num_runs: int, workers: int
    ) -> None:
        self._sweep = sweep
        self._num_runs = num_runs
        self._workers = workers
        self._open = {run.run_id: (job, run) for job in todo for run in job.runs}
        self._parts = {run_id: self._part(run) for run_id, (_, run) in self._open.items()}
        self._total = sum(job.flops for job in todo)
        self._at_start = self._work_done()
        self._busy_seconds = 0.0  # of one thread, summed over the workers
        self._last_tick = time.monotonic()

    def __enter__(self) -> SweepProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def tick(self, active: Sequence[Job]) -> None:
        """Take note of how far the jobs in work are."""
        now = time.monotonic()
        threads = self._workers // max(1, len(active))
        speed = sum(job.speedup(threads) for job in active)
        self._busy_seconds += speed * (now - self._last_tick)
        self._last_tick = now
        for job in active:
            self._parts.update({run.run_id: self._part(run) for run in job.runs})

    def ended(self, run: RunSettings, state: RunState, reason: str) -> None:
        """Take note that a run ended."""
        del self._open[run.run_id]

    @property
    def _num_done(self) -> int:
        return self._num_runs - len(self._open)

    def _part(self, run: RunSettings) -> float:
        """Return the part of a run that is done, 0 to 1."""
        progress = self._sweep.run(run).read_progress()
        return progress["step"] / max(progress["steps"], 1) if progress else 0.0

    def _tokens_per_second(self, run: RunSettings) -> float:
        """Return the training tokens per second of a run, evaluations included in its time."""
        progress = self._sweep.run(run).read_progress()
        return progress["train_tokens"] / max(progress["seconds"], 1e-3) if progress else 0.0

    def _flops_left(self, run: RunSettings) -> float:
        """Return the FLOPs a run has still to do; none once it has ended."""
        return run_flops(run) * (1 - self._parts[run.run_id]) if run.run_id in self._open else 0.0

    def _work_done(self) -> float:
        """Return the share of the work that is done, 0 to 1."""
        return 1 - sum(self._flops_left(run) for _, run in self._open.values()) / self._total

    def _seconds_left(self) -> float | None:
        """Return the time left at the speed of a worker so far, or None before there is one."""
        done = (self._work_done() - self._at_start) * self._total
        if done <= 0 or not self._busy_seconds:
            return None
        flops_per_second = done / self._busy_seconds
        return makespan(
            list(dict.fromkeys(job for job, _ in self._open.values())),
            self._workers,
            lambda job: sum(map(self._flops_left, job.runs)) / flops_per_second,
        )


class PlainProgress(SweepProgress):
    """One line on standard error for every run that ends."""

    def ended(self, run: RunSettings, state: RunState, reason: str) -> None:
        """Print how a run ended, its speed and the time left."""
        speed = f"{self._tokens_per_second(run):,.0f} tokens/s"
        super().ended(run, state, reason)
        left = self._seconds_left()
        print(
            f"{run.stage} {run.run_id} {state}"
            + (f" ({reason})" if reason else f", {run.train_tokens:,} tokens, {speed}")
            + f"; {self._num_done} of {self._num_runs} runs"
            + (f", about {duration(left)} left" if left else ""),
            file=sys.stderr,
            flush=True,
        )


class TerminalProgress(SweepProgress):
    """A bar for the sweep and one for every run in work, with tokens/s and time left."""

    def __init__(
        self, sweep: SweepFolder, todo: Sequence[Job], *, num_runs: int, workers: int
    ) -> None:
        super().__init__(sweep, todo, num_runs=num_runs, workers=workers)
        self._display = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._overall = self._display.add_task("sweep", total=1.0, note="")
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> TerminalProgress:
        self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._display.stop()

    def tick(self, active: Sequence[Job]) -> None:
        """Move the bars."""
        super().tick(active)
        left = self._seconds_left()
        note = f"{self._num_done} of {self._num_runs} runs"
        note += f", {duration(left)} left" if left else ""
        self._display.update(self._overall, completed=self._work_done(), note=note)
        for run in (run for job in active for run in job.runs if run.run_id in self._open):
            bar = self._bars.get(run.run_id)
            if bar is None:
                bar = self._display.add_task(run.run_id, total=1.0, note="")
                self._bars[run.run_id] = bar
            speed = f"{self._tokens_per_second(run):,.0f} tokens/s"
            self._display.update(bar, completed=self._parts[run.run_id], note=speed)

    def ended(self, run: RunSettings, state: RunState, reason: str) -> None:
        """Take away a run's bar; a failure stays on the screen as a line."""
        super().ended(run, state, reason)
        if (bar := self._bars.pop(run.run_id, None)) is not None:
            self._display.remove_task(bar)
        if state is RunState.FAILED:
            self._display.console.print(printable(f"{run.run_id} failed: {reason}"), markup=False)


def duration(seconds: float) -> str:
    """Return a time in the unit a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
