"""What a worker does with a task is the same whichever executor started it."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cmrplan.errors import CmrplanError
from cmrplan.files import write_json
from probes.executors.base import Cause, RunResult
from probes.executors.torchrun import execute_distributed
from probes.ledger import now
from probes.runner import execute_runs
from probes.runs import RunFolder, RunState, SweepFolder
from probes.training.repeatable import make_repeatable
from probes.training.threads import Threads

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # makes matrix products repeatable
}
"""What a worker's environment says."""

STOP_FILE_SECONDS = 1.0
"""Time between two looks for a stop file, which may lie on a slow shared disk."""

THREADS_FILE_SECONDS = 0.5
"""Time between two looks at how many threads a run may have."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def prepare_process() -> None:
    """Make this process a single-threaded worker whose results can be repeated."""
    os.environ.update(ENVIRONMENT)
    make_repeatable()


def do_task(
    sweep: SweepFolder,
    paths: Sequence[Path],
    *,
    token: str,
    asked_to_stop: Callable[[], str],
    checkpoint_seconds: float,
    run_seconds: float | None,
    threads: Threads = lambda: 1,
) -> list[RunResult]:
    """Train the runs in ``paths`` to their end and return the result of each.

    Parameters
    ----------
    sweep : SweepFolder
        The sweep, with prepared corpora and, for probes, the finished base.
    paths : sequence of Path
        Run folders of one job.
    token : str
        Name of the attempt; stands in the runs' attempt files.
    asked_to_stop : callable
        Asked before every step; returns why to stop, or an empty string.
    checkpoint_seconds : float
        Longest time between two checkpoints.
    run_seconds : float, optional
        Longest time of a run, over all its attempts.
    threads : callable
        Says how many threads a run on a CPU may have; asked at every step.
    """
    if not sweep.spec.exists():
        return _all(paths, RunState.STOPPED, not_shared(sweep), Cause.REFUSED)
    over_time = f"over the limit of {(run_seconds or 0) / 60:g} minutes a run"
    stop_at = time.monotonic() + run_seconds - _seconds_before(paths) if run_seconds else None

    def should_stop() -> str:
        if reason := asked_to_stop():
            return reason
        return over_time if stop_at and time.monotonic() > stop_at else ""

    try:
        _write_attempts(paths, token)
        processes = RunFolder(paths[0]).read_settings().numerics.processes
        execute = partial(execute_runs, threads=threads) if processes == 1 else execute_distributed
        outcomes = execute(
            sweep, paths, should_stop=should_stop, checkpoint_seconds=checkpoint_seconds
        )
    except Exception as error:
        return _failed(sweep, paths, error)
    return [
        RunResult(RunState.FAILED, outcome.reason, Cause.TIME_LIMIT)
        if outcome.state is RunState.STOPPED and outcome.reason == over_time
        else RunResult(outcome.state, outcome.reason)
        for outcome in outcomes
    ]


def _write_attempts(paths: Sequence[Path], token: str) -> None:
    """Note in the folder of every run that has no outcome who works on it from now on."""
    attempt = {"token": token, "host": socket.gethostname(), "pid": os.getpid(), "time": now()}
    for path in paths:
        if not RunFolder(path).outcome.exists():
            write_json(RunFolder(path).attempt, attempt)


def _failed(sweep: SweepFolder, paths: Sequence[Path], error: Exception) -> list[RunResult]:
    """Return the results of runs that an error ended; raise it where its cause is not known."""
    if disk_is_full(error):
        reason = f"no space left on the disk of {sweep.path}"
        return _all(paths, RunState.STOPPED, reason, Cause.DISK_FULL)
    if isinstance(error, OSError):
        reason = f"{error.filename or 'a file'}: {error.strerror or error}"
        return _all(paths, RunState.FAILED, reason, Cause.FILE)
    if isinstance(error, CmrplanError):
        return _all(paths, RunState.STOPPED, str(error), Cause.REFUSED)
    raise error


def disk_is_full(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it was made from, says that no space is left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(f"(os error {number})" in str(error) for number in _FULL):  # from safetensors
            return True
        error = error.__cause__ or error.__context__
    return False


def stop_file_says(path: Path) -> Callable[[], str]:
    """Return a function that says to stop once a file exists; it looks once a second."""
    looked, answer = 0.0, ""

    def asked_to_stop() -> str:
        nonlocal looked, answer
        if not answer and time.monotonic() - looked > STOP_FILE_SECONDS:
            looked = time.monotonic()
            answer = "stopped by the user" if path.exists() else ""
        return answer

    return asked_to_stop


def file_says_threads(path: Path) -> Threads:
    """Return a function that says how many threads a file grants; it looks once a second."""
    looked, answer = 0.0, 1

    def threads() -> int:
        nonlocal looked, answer
        if time.monotonic() - looked > THREADS_FILE_SECONDS:
            looked = time.monotonic()
            answer = int(path.read_text())
        return answer

    return threads


def not_shared(sweep: SweepFolder) -> str:
    """Say that this machine does not see the sweep's folder."""
    return (
        f"{sweep.path} is not there on {socket.gethostname()}; choose a folder that all nodes share"
    )


def results_text(results: Sequence[RunResult]) -> str:
    """Return results as one line of JSON."""
    return json.dumps([result.as_dict() for result in results])


def read_results(text: str) -> tuple[RunResult, ...]:
    """Return the results that :func:`results_text` gave."""
    return tuple(RunResult.from_dict(values) for values in json.loads(text))


def _all(paths: Sequence[Path], state: RunState, reason: str, cause: Cause) -> list[RunResult]:
    """Give every run the same result, except those that have an outcome."""
    results = []
    for path in paths:
        outcome = RunFolder(path).read_outcome()
        results.append(
            RunResult(RunState(outcome["state"]), outcome["reason"])
            if outcome
            else RunResult(state, reason, cause)
        )
    return results


def _seconds_before(paths: Sequence[Path]) -> float:
    """Return the longest time that one of the runs was trained so far."""
    progress = [RunFolder(path).read_progress() for path in paths]
    return max((one["seconds"] for one in progress if one), default=0.0)
