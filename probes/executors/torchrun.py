"""One run is trained on several processes of this machine, which ``torchrun`` starts.

:func:`execute_distributed` starts the processes and waits. Each of them runs
:mod:`probes.executors.torchrun_worker`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cmrplan.errors import CmrplanError
from probes.executors.base import STOP_SECONDS
from probes.runs import Outcome, RunFolder, RunState, SweepFolder

POLL_SECONDS = 0.2
"""Time between two looks whether the processes have ended."""


def execute_distributed(
    sweep: SweepFolder,
    paths: Sequence[Path],
    *,
    should_stop: Callable[[], str] = lambda: "",
    checkpoint_seconds: float,
    keep_checkpoints: bool = False,
) -> list[Outcome]:
    """Train the run in ``paths``, which is one, on as many processes as its settings say.

    Parameters
    ----------
    sweep, paths, should_stop, checkpoint_seconds, keep_checkpoints
        As in :func:`probes.runner.execute_runs`.

    Raises
    ------
    CmrplanError
        If the processes ended without an outcome and nobody stopped them.
    """
    (path,) = paths
    run = RunFolder(path)
    command = [
        *(sys.executable, "-P", "-m", "torch.distributed.run", "--standalone"),
        f"--nproc-per-node={run.read_settings().numerics.processes}",
        *("-m", "probes.executors.torchrun_worker"),
        *(
            str(os.getpid()),
            str(sweep.path),
            str(path),
            str(checkpoint_seconds),
            "keep" * keep_checkpoints,
        ),
    ]
    process = subprocess.Popen(command)
    reason = ""
    try:
        while process.poll() is None:
            if not reason and (reason := should_stop()):
                process.send_signal(signal.SIGTERM)
                deadline = time.monotonic() + STOP_SECONDS
            if reason and time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if run.read_outcome() is not None:
        return [run.read_finished()]
    progress = run.read_progress() or {"seconds": 0.0}
    if reason:
        return [Outcome(RunState.STOPPED, reason, progress["seconds"])]
    raise CmrplanError(
        f"{path.name}: a process of its {command[5].partition('=')[2]} ended with exit code "
        f"{process.returncode}; what it wrote is above"
    )
