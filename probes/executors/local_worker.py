"""A worker process of :mod:`probes.executors.local` reads tasks and writes the results of their runs.

It is started as ``python -m probes.executors.local_worker SETTINGS``. Each line of standard input is a JSON object with
the token of an attempt and the paths of its run folders, each line of standard output a JSON list with the
result of each run. The worker ends when its input closes; when its parent has died it saves a checkpoint and
ends by itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from probes.executors.task import do_task, file_says_threads, prepare_process, results_text
from probes.runs import SweepFolder


def main() -> None:
    """Work until the input closes, a signal says stop, or the parent is gone."""
    settings = json.loads(sys.argv[1])
    sweep = SweepFolder(Path(settings["sweep"]))
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stray prints never mix with results
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stops.append(number))
    prepare_process()
    threads = file_says_threads(Path(settings["threads_file"]))

    def should_stop() -> str:
        if stops:
            return "stopped by the user"
        return "the sweep's process ended" if os.getppid() != settings["parent"] else ""

    for line in iter(sys.stdin.readline, ""):
        message = json.loads(line)
        results = do_task(
            sweep,
            [Path(path) for path in message["paths"]],
            token=message["token"],
            asked_to_stop=should_stop,
            checkpoint_seconds=settings["checkpoint_seconds"],
            run_seconds=settings["run_seconds"],
            threads=threads,
        )
        if should_stop():
            return
        print(results_text(results), file=output, flush=True)


if __name__ == "__main__":
    main()
