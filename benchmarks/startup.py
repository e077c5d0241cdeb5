"""Processor seconds that a command takes from start to end: help, a typo, a sweep's state, a question to a saved fit.

    python benchmarks/startup.py [--runs RUNS]

Each command is run five times in turn with the others; prints the median, and its ratio to the bare interpreter with
numpy and pandas imported, which no question to a fit can go below. RUNS is a sweep's folder for ``probe status``.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LOG = Path(__file__).parents[1] / "data" / "probes" / "log.csv"
CMRPLAN = [sys.executable, "-m", "cmrplan"]
ROUNDS = 5


def processor_seconds(command: list[str]) -> float:
    """Return user and system time of a command and its children."""
    before = os.times()
    subprocess.run(command, capture_output=True, check=False)
    after = os.times()
    return (
        after.children_user - before.children_user + after.children_system - before.children_system
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, help="a sweep's folder")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        fit = f"{folder}/fit.json"
        fitting = ["fit", str(LOG), "--min-train-tokens", "160k", "--out", fit]
        subprocess.run([*CMRPLAN, *fitting], capture_output=True, check=True)
        place = ["--model-params", "974208", "--train-tokens", "1.6M"]
        commands = {
            "import numpy, pandas": [sys.executable, "-c", "import numpy, pandas"],
            "cmrplan --help": [*CMRPLAN, "--help"],
            "cmrplan fti": [*CMRPLAN, "fti"],
            "cmrplan predict": [*CMRPLAN, "predict", fit, *place, "--domain-ratio", "0.3"],
            "cmrplan plan": [*CMRPLAN, "plan", fit, *place, "--max-general-rise", "5%"],
        }
        if runs is not None:
            commands["cmrplan probe status"] = [*CMRPLAN, "probe", "status", str(runs)]
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                seconds[name].append(processor_seconds(command))
    floor = statistics.median(seconds["import numpy, pandas"])
    print("| command | processor seconds | times the imports |\n| --- | --- | --- |")
    for name, values in seconds.items():
        middle = statistics.median(values)
        print(f"| `{name}` | {middle:.2f} | {middle / floor:.2f} |")


if __name__ == "__main__":
    main()
