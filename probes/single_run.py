"""One run of a sweep is done by this process alone, so that any scheduler can run the sweep, a process a run.

Processes of one sweep's folder may start together, on any machine that sees it. The first prepares the corpora and
the others wait. A probe whose base is not finished trains the base first, or waits for the process that does. A run
that has ended is left alone.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from cmrplan.errors import CmrplanError, InputError
from probes.checkpoint_checks import check_checkpoints
from probes.data.build import open_sources
from probes.executors.base import Cause, RunResult
from probes.executors.local import usable_cores
from probes.executors.scheduler import RETRY_LATER, terminate_as_interrupt
from probes.executors.task import do_task, prepare_process
from probes.ledger import Event, History, Ledger, now
from probes.locks import beside_single_runs, is_locked, one_at_a_time
from probes.run_settings import RunSettings
from probes.runner import write_failure
from probes.runs import CHECKPOINT_SECONDS, RunFolder, RunState, SweepFolder
from probes.spec.sweep import SweepSpec
from probes.sweep import default_device, notice, open_runs, prepare_sweep, refuse_another_sweep

RUN_POLL_SECONDS = 1.0
"""Time between two looks whether another process has ended its work on a run."""


@dataclass(frozen=True)
class SweepRuns:
    """A sweep whose corpora are prepared, and its runs by id, bases first.

    Parameters
    ----------
    folder : SweepFolder
        Its folder.
    by_id : dict of str to RunSettings
        Every run that the spec asks for.
    """

    folder: SweepFolder
    by_id: dict[str, RunSettings]

    def unfinished(self) -> list[RunSettings]:
        """Return the runs that have no result, and those that failed and may be tried again."""
        outcomes = {
            run_id: self.folder.run(run).read_outcome() for run_id, run in self.by_id.items()
        }
        return [self.by_id[key] for key, one in outcomes.items() if one is None or one["retry"]]


def plan_runs(
    spec: SweepSpec, out: str | os.PathLike[str], *, device: str = "", progress: bool = True
) -> SweepRuns:
    """Prepare the corpora of a sweep, where they are not, and return its runs; trains nothing.

    Raises
    ------
    InputError, CmrplanError
        As :func:`probes.sweep.run_sweep` does before anything is trained.
    """
    _refuse_early(spec, SweepFolder(Path(out)), device)
    with terminate_as_interrupt(), beside_single_runs(Path(out)):
        return _prepared_runs(spec, out, device=device or default_device(), progress=progress)


def _refuse_early(spec: SweepSpec, sweep: SweepFolder, device: str) -> None:
    """Refuse what can be refused before a folder is made."""
    refuse_another_sweep(sweep, spec, device or default_device())
    check_checkpoints(spec)
    if not (sweep.corpora / "manifest.json").exists():
        open_sources(spec)


def _prepared_runs(
    spec: SweepSpec, out: str | os.PathLike[str], *, device: str, progress: bool
) -> SweepRuns:
    """Prepare the corpora, one process at a time, and return the runs."""
    sweep = SweepFolder(Path(out))
    with one_at_a_time(sweep.workers):
        refuse_another_sweep(sweep, spec, device)
        runs = prepare_sweep(spec, sweep, device=device, progress=progress)
    return SweepRuns(sweep, {run.run_id: run for run in runs})


def run_single(
    spec: SweepSpec,
    out: str | os.PathLike[str],
    run_id: str,
    *,
    device: str = "",
    run_seconds: float | None = None,
    progress: bool = True,
) -> RunResult:
    """Train one run of a sweep in this process, if it has not ended, and return how it ended.

    A run that another process works on is waited for.

    Parameters
    ----------
    spec, out : SweepSpec, path
        The sweep and its folder, as for :func:`probes.sweep.run_sweep`.
    run_id : str
        The run; a probe's base is trained first where it is not finished.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; a GPU if there is one.
    run_seconds : float, optional
        Longest time of the run, over all its starts.
    progress : bool
        Whether to say on standard error what is waited for.

    Raises
    ------
    InputError
        If the sweep has no such run, or a whole sweep works in the folder.
    CmrplanError
        If its base failed, the disk is full, or its files cannot be gone on with.
    """
    _refuse_early(spec, SweepFolder(Path(out)), device)
    with terminate_as_interrupt(), beside_single_runs(Path(out)):
        runs = _prepared_runs(spec, out, device=device or default_device(), progress=progress)
        run = runs.by_id.get(run_id)
        if run is None:
            near = get_close_matches(run_id, runs.by_id, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"the sweep has no run {run_id!a}{hint}")
        worker = _SingleWorker(runs.folder, run_seconds, notice if progress else lambda line: None)
        if run.stage == "probe":
            base = worker.finish(runs.by_id[run.base])
            if base.state is RunState.FAILED:
                raise CmrplanError(f"the base {run.base} failed: {base.reason}")
            if base.state is not RunState.FINISHED:
                return base
        return worker.finish(run)


class _SingleWorker:
    """Does runs in this process and writes down how they ended."""

    def __init__(
        self, sweep: SweepFolder, run_seconds: float | None, say: Callable[[str], None]
    ) -> None:
        self._sweep = sweep
        self._run_seconds = run_seconds
        self._say = say
        self._token = f"{now()}-{os.getpid()}"

    def finish(self, run: RunSettings) -> RunResult:
        """Train a run that has not ended, or wait until the process that does has ended; return how it ended."""
        folder = self._sweep.run(run)
        said = False
        while True:
            if not is_locked(folder.path):
                self._open(run)
                if outcome := folder.read_outcome():
                    return RunResult(RunState(outcome["state"]), outcome["reason"])
                result = self._train(folder)
                # Refused and locked: another process was a moment faster.
                if not (result.cause is Cause.REFUSED and is_locked(folder.path)):
                    return self._settled(folder, result)
            if not said:
                self._say(f"{run.run_id}: another process works on this run; waiting for it")
                said = True
            time.sleep(RUN_POLL_SECONDS)

    def _train(self, folder: RunFolder) -> RunResult:
        prepare_process()
        with _stops_asked_for() as stops:
            (result,) = do_task(
                self._sweep,
                [folder.path.absolute()],
                token=self._token,
                asked_to_stop=lambda: "stopped by the user" if stops else "",
                checkpoint_seconds=CHECKPOINT_SECONDS,
                run_seconds=self._run_seconds,
                threads=usable_cores,
            )
        return result

    def _settled(self, folder: RunFolder, result: RunResult) -> RunResult:
        """Write down how a run ended; raise what ends more than the run."""
        if result.cause is Cause.REFUSED:
            raise CmrplanError(result.reason)
        if result.state is RunState.FAILED and result.cause is not Cause.NONE:
            write_failure(folder, result.reason, retry=result.cause in RETRY_LATER)
        self._note(folder, result)
        if result.cause is Cause.DISK_FULL:
            raise CmrplanError(
                f"{result.reason}; what is finished is kept: free space and start again"
            )
        return result

    def _open(self, run: RunSettings) -> None:
        """Give a run its folder, and a new chance if it failed and may be tried again."""
        with one_at_a_time(self._sweep.workers):
            if not is_locked(self._sweep.run(run).path):
                open_runs(self._sweep, [run], Ledger(self._sweep.ledger))

    def _note(self, folder: RunFolder, result: RunResult) -> None:
        """Write to the ledger that this process began the run, and how that ended."""
        run_id = folder.path.name
        with one_at_a_time(self._sweep.workers):
            ledger = Ledger(self._sweep.ledger)
            attempt = folder.read_attempt()
            if attempt and attempt["time"] > ledger.histories.get(run_id, History()).began:
                ledger.write(Event.STARTED, run_id, attempt=attempt)
            if result.state is RunState.STOPPED:
                ledger.write(Event.STOPPED, run_id, reason=result.reason)
            else:
                ledger.catch_up([folder])


@contextmanager
def _stops_asked_for() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in a list instead of dying from them, so that a run ends with a checkpoint."""
    stops: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield stops
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda given, frame: stops.append(given)) for number in numbers]
    try:
        yield stops
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
