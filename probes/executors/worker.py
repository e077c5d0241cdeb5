"""A worker process: reads run folders from standard input, trains them, answers on standard output.

Started as ``python -m probes.executors.worker SWEEP PARENT_PID CHECKPOINT_SECONDS``. Each line in is the
path of a run folder, each line out a JSON object with the run's state and reason. The worker ends
when its input closes; when its parent has died it saves a checkpoint and ends by itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

from cmrplan.errors import CmrplanError
from probes.runner import execute_runs
from probes.runs import RunState, SweepFolder


def main() -> None:
    """Work until the input closes, a signal says stop, or the parent is gone."""
    sweep, parent = SweepFolder(Path(sys.argv[1])), int(sys.argv[2])
    checkpoint_seconds = float(sys.argv[3])
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stray prints never mix with answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stops.append(number))
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    def should_stop() -> str:
        if stops:
            return "stopped by the user"
        return "the sweep's process ended" if os.getppid() != parent else ""

    for line in iter(sys.stdin.readline, ""):
        path = json.loads(line)
        try:
            (outcome,) = execute_runs(
                sweep,
                [Path(path)],
                should_stop=should_stop,
                checkpoint_seconds=checkpoint_seconds,
            )
            answer = {"state": outcome.state, "reason": outcome.reason, "problem": False}
        except CmrplanError as error:
            answer = {"state": RunState.STOPPED, "reason": str(error), "problem": True}
        if should_stop():
            return
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
