"""Processor seconds of ``probe status``, ``logs collect``, a fit, a plan and a report on a sweep of many runs.

    python benchmarks/many_runs.py [--runs 10000] [--evaluations 4]

The folders are those that a sweep would leave: settings, metrics and losses of sequences go through the project's own
writers, with invented losses and without waiting for the disk. The losses follow a law of ratio and steps, with noise
of runs and of sequences. Each command is a process of its own with one thread.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import faults
import numpy as np
import yaml
from scale import measured

from probes.run_settings import RunSettings
from probes.runner import write_outcome
from probes.runs import Outcome, RunFolder, RunState, SweepFolder
from probes.spec.file import read_spec
from probes.sweep import prepare_sweep
from probes.training.evaluations import Clock, record

SEEDS = 10
STEPS = 40
LOSS = {"general": 3.0, "domain": 2.5}
BASE_LOSS = {"general": 3.2, "domain": 4.0}
NOISE_OF_RUNS = 0.003
ASKED = ["--model-params", "2224", "--train-tokens", "2560", "--max-general-rise", "3%"]


def write_runs(folder: Path, num_runs: int, num_evaluations: int) -> Path:
    """Write a sweep of so many finished probes to a folder, and return it."""
    spec_path = faults.write_spec(folder / "in", steps=STEPS, ratios=[0.5])
    values = yaml.safe_load(spec_path.read_text())
    ratios = np.linspace(0, 1, -(-num_runs // SEEDS)).round(6).tolist()
    values["probes"] |= {
        "evaluations": num_evaluations,
        "grid": {"domain_ratio": ratios, "seed": list(range(SEEDS))},
    }
    spec_path.write_text(yaml.safe_dump(values))
    out = folder / "runs"
    os.fsync = lambda descriptor: None
    sweep = SweepFolder(out)
    generator = np.random.default_rng(0)
    for settings in prepare_sweep(read_spec(spec_path), sweep, device="cpu", progress=False):
        write_run(sweep.plan(settings), settings, generator)
    return out


def write_run(run: RunFolder, settings: RunSettings, generator: np.random.Generator) -> None:
    """Write a finished run with invented losses."""
    of_run = np.exp(NOISE_OF_RUNS * generator.normal())
    for step in (0, *settings.evaluation_steps):
        losses = {}
        for name, loss in LOSS.items():
            share = settings.domain_ratio if name == "domain" else 1 - settings.domain_ratio
            learned = loss * (1 + 0.015 * (1 - share) / (0.1 + share) + 0.8 * (step + 20) ** -0.7)
            sequences = np.random.default_rng(0) if step == 0 else generator
            spread = sequences.uniform(0.9, 1.1, settings.evaluation_sequences).astype(np.float32)
            losses[name] = spread * (BASE_LOSS[name] if step == 0 else learned * of_run)
        record(run, settings, step, losses)
    Clock(run, settings, share=1.0).write(settings.steps)
    write_outcome(run, Outcome(RunState.FINISHED, "", 1.0))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--evaluations", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        runs = write_runs(Path(name), options.runs, options.evaluations)
        commands = {
            "probe status": ["probe", "status", str(runs), "--json"],
            "logs collect": ["logs", "collect", str(runs), "--out", f"{name}/log.csv"],
            "logs check": ["logs", "check", f"{name}/log.csv"],
            "fit": ["fit", f"{name}/log.csv", "--out", f"{name}/fit.json"],
            "plan": ["plan", f"{name}/fit.json", *ASKED, "--out", f"{name}/plan.json"],
            "report": ["report", f"{name}/fit.json", "--quick", "--out", f"{name}/report.html"],
        }
        print("| runs | command | processor seconds | MB |\n| --- | --- | --- | --- |")
        for title, arguments in commands.items():
            seconds, memory = measured(arguments)
            print(f"| {options.runs:,} | `{title}` | {seconds:.1f} | {memory:.0f} |", flush=True)
        for written in ("log.csv", "fit.json", "report.html"):
            print(f"\n{written}: {Path(name, written).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
