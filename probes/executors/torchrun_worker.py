"""A process that ``torchrun`` started trains a run together with others.

Its arguments are PID (of :mod:`probes.executors.torchrun`, which waits for it), SWEEP, RUN,
CHECKPOINT_SECONDS and ``keep`` or nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from probes.runner import execute_runs
from probes.runs import RunFolder, SweepFolder
from probes.training.distributed import process_group
from probes.training.repeatable import make_repeatable


def main() -> None:
    """Be one of the processes."""
    starter, sweep, path = int(sys.argv[1]), SweepFolder(Path(sys.argv[2])), Path(sys.argv[3])
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stops.append(number))

    def should_stop() -> str:
        if stops:
            return "stopped by the user"
        return "" if Path(f"/proc/{starter}").exists() else "the worker process ended"

    make_repeatable()
    with process_group(RunFolder(path).read_settings().device) as ranks:
        execute_runs(
            sweep,
            [path],
            should_stop=should_stop,
            checkpoint_seconds=float(sys.argv[4]),
            keep_checkpoints=bool(sys.argv[5]),
            ranks=ranks,
        )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
