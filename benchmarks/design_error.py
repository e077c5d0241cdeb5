"""How far the estimate of ``probe design`` is from the time that the sweep then takes.

Sweeps of several kinds, each priced and then run on this machine with corpora already prepared, a few
times in turn. The estimate is measured right before the run, so what else the machine does enters
both; how much it changes between them is seen from the load and from the spread.

    python benchmarks/design_error.py --repetitions 3
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from probes.data.prepare import prepare_corpora
from probes.design import design_sweep
from probes.executors.base import ExecutorOptions
from probes.spec.file import parse_spec
from probes.sweep import run_sweep

TINY = {"name": "0.1M", "width": 64, "layers": 3, "heads": 2, "feedforward": 176}
SMALL = {"name": "0.3M", "width": 96, "layers": 3, "heads": 3, "feedforward": 256}
MIDDLE = {"name": "1M", "width": 128, "layers": 5, "heads": 4, "feedforward": 336}

SWEEPS: dict[str, dict[str, Any]] = {
    "0.1M, averaged": {"sizes": [TINY], "probes": {"train_tokens": 2e5, "evaluations": 8}},
    "0.3M, branches": {
        "sizes": [SMALL],
        "probes": {"train_tokens": 1.3e5, "evaluations": 4, "schedule": "branches"},
    },
    "0.1M and 1M, constant": {
        "sizes": [TINY, MIDDLE],
        "probes": {"train_tokens": 4e4, "evaluations": 3, "schedule": "constant"},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--sweeps", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    options = parser.parse_args()
    print("| sweep | estimate s | real s | error | load before and after |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for _ in range(options.repetitions):
        for name in options.sweeps:
            with tempfile.TemporaryDirectory() as folder:
                report(name, Path(folder), options)


def report(name: str, folder: Path, options: argparse.Namespace) -> None:
    """Price a sweep, run it, and print both times."""
    values = SWEEPS[name]
    spec = parse_spec(
        {
            "name": "priced",
            "corpora": {
                "general": {"source": "embedded:english"},
                "domain": {"source": "embedded:python"},
            },
            "sequence_length": 128,
            "batch_size": 16,
            "evaluation_sequences": 64,
            "base": {"train_tokens": 1e5},
            **values,
            "probes": values["probes"] | {"grid": {"domain_ratio": [0, 0.25, 0.5, 0.75, 1]}},
        }
    )
    prepare_corpora(spec, folder / "corpora")
    loads = [os.getloadavg()[0]]
    estimate = design_sweep(spec, workers=options.workers, device=options.device).seconds
    began = time.perf_counter()
    where = ExecutorOptions(workers=options.workers, device=options.device or "")
    run_sweep(spec, folder, executor=where, progress=False)
    real = time.perf_counter() - began
    loads.append(os.getloadavg()[0])
    print(
        f"| {name} | {estimate:.0f} | {real:.0f} | {estimate / real - 1:+.0%} "
        f"| {loads[0]:.1f}, {loads[1]:.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
