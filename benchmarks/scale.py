"""Processor seconds and memory of reading and fitting logs of growing size, and of a sweep of thousands of runs.

    python benchmarks/scale.py [--rows 1e3 1e4 1e5 1e6] [--law dcpt] [--bootstrap 200] [--runs 500] [--uneven]

Logs are of runs at eight ratios and three sizes that follow a law like D-CPT with noise of runs and of evaluations,
evaluated at even steps; with ``--uneven`` each has a ratio and steps of its own. Each command is a process of its own
with one thread; seconds are those of its processor, so that other work on the machine counts little. The ratio is to
the size before it: below that of the rows, the cost grows less than they do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

RATIOS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
SIZES = (1e7, 5e7, 2e8)
NOISE_OF_RUNS, NOISE_OF_EVALUATIONS = 0.003, 0.002


def simulated_log(num_rows: int, num_runs: int, *, is_uneven: bool = False) -> pd.DataFrame:
    """Return a log of about so many rows."""
    generator = np.random.default_rng(0)
    evaluations = max(num_rows // (2 * num_runs), 1)
    tokens = np.linspace(1e9 / evaluations, 1e9, evaluations).round()
    parts = []
    for k in range(num_runs):
        ratio, size = RATIOS[k % len(RATIOS)], SIZES[k // len(RATIOS) % len(SIZES)]
        if is_uneven:
            ratio = float(np.clip(ratio + generator.uniform(-0.02, 0.02), 0, 1))
            tokens = np.sort(np.exp(generator.uniform(*np.log([2e7, 1e9]), evaluations))).round()
        for corpus, share in (("general", 1 - ratio), ("domain", ratio)):
            loss = 1.7 + 60 / size**0.3 + 12 / tokens**0.25 + 0.12 / (share + 0.1) ** 0.5
            noise = NOISE_OF_RUNS * generator.normal() + NOISE_OF_EVALUATIONS * generator.normal(
                size=evaluations
            )
            parts.append(
                pd.DataFrame(
                    {
                        "run_id": f"run-{k:05d}",
                        "model_params": size,
                        "train_tokens": tokens,
                        "domain_ratio": ratio,
                        "eval_corpus": corpus,
                        "loss": loss * np.exp(noise),
                    }
                )
            )
    bases = pd.DataFrame(
        [
            (f"base-{size:.0f}", size, 0, 0.0, corpus, 2.0 + 60 / size**0.3)
            for size in SIZES
            for corpus in ("general", "domain")
        ],
        columns=parts[0].columns,
    )
    return pd.concat([bases, *parts], ignore_index=True)


MEASURE = """
import json, os, sys
process = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(process, 0)
print(json.dumps([status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3]))
"""


def measured(arguments: list[str]) -> tuple[float, float]:
    """Return the processor seconds and the largest memory, in MB, of a command.

    A small process starts it: the system counts the memory of whoever starts a process as memory of that process.

    Raises
    ------
    SystemExit
        If the command fails.
    """
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, "-c", MEASURE, sys.executable, "-m", "cmrplan", *arguments]
    with tempfile.TemporaryFile("w+") as answer:
        environment = os.environ | one_thread
        subprocess.run(
            command, stdout=answer, stderr=subprocess.DEVNULL, env=environment, check=True
        )
        answer.seek(0)
        status, seconds, megabytes = json.loads(answer.read().splitlines()[-1])
    if status:
        raise SystemExit(f"{' '.join(arguments)} ended with status {status}")
    return seconds, megabytes


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, nargs="+", default=[1e3, 1e4, 1e5, 1e6])
    parser.add_argument("--runs", type=int, default=24, help="runs of a log")
    parser.add_argument("--law", default="dcpt")
    parser.add_argument("--bootstrap", type=int, default=200)
    parser.add_argument("--uneven", action="store_true", help="ratios and steps of each run's own")
    options = parser.parse_args()
    print("| rows | runs | command | processor seconds | MB | ratio of seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    before: dict[str, float] = {}
    for number in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            path, fit = Path(folder) / "log.csv", Path(folder) / "fit.json"
            log = simulated_log(int(number), options.runs, is_uneven=options.uneven)
            log.to_csv(path, index=False)
            fitting = ["fit", str(path), "--law", options.law, "--bootstrap"]
            commands = {
                "logs check": ["logs", "check", str(path)],
                f"fit --law {options.law}": [*fitting, str(options.bootstrap), "--out", str(fit)],
            }
            for name, arguments in commands.items():
                seconds, memory = measured(arguments)
                ratio = f"{seconds / before[name]:.1f}" if name in before else ""
                before[name] = seconds
                print(
                    f"| {len(log):,} | {options.runs:,} | `{name}` | {seconds:.1f} | {memory:.0f} | {ratio} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
