"""What cooldown branches save against separate runs, and what they change.

Six budgets, each twice the last. First the tokens, counted: one trunk with cooldown branches, and one
constant run, against a cosine run for each budget. Then the losses, measured: branches at the same
peak learning rate and at the one with which the rates of a budget add up to a cosine's, minus the cosine
run's, with the noise of data seeds beside it. A branch equals a straight run of its own schedule bit
for bit (tests/probes/test_loop.py), so what is left is the schedule.

    python benchmarks/branches.py --out /tmp/branches --ratios 0.5 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from probes.collect import collect
from probes.executors.base import ExecutorOptions
from probes.spec.file import parse_spec
from probes.sweep import run_sweep
from probes.training.schedule import Schedule, segments, trained_steps

BUDGETS = 6
DECAY_SHARE = 0.2
PEAK = 1e-3
WARMUP_STEPS = 4
SIZE = {"name": "0.3M", "width": 96, "layers": 3, "heads": 3, "feedforward": 256}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder for the runs; without it only counts")
    parser.add_argument("--steps", type=int, default=256, help="steps of the largest budget")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    budgets = [options.steps // 2**power for power in reversed(range(BUDGETS))]
    report_tokens(budgets)
    if options.out:
        matched = PEAK * mean_rate("cosine", budgets) / mean_rate("branches", budgets)
        ways = {
            "cosine": ("cosine", PEAK),
            "branches": ("branches", PEAK),
            f"branches, peak x {matched / PEAK:.3f}": ("branches", matched),
        }
        logs = {name: log_of(options, name, *way) for name, way in ways.items()}
        report_losses(logs, budgets)


def report_tokens(budgets: list[int]) -> None:
    """Print how many steps each schedule takes for all budgets."""
    separate = sum(budgets)
    print("| schedule | steps for all budgets | share of separate runs |\n| --- | --- | --- |")
    print(f"| a run for each budget | {separate} | 100 % |")
    for kind, share in (("branches", DECAY_SHARE), ("constant", 0.0)):
        steps = trained_steps(Schedule(kind, PEAK, WARMUP_STEPS, share), budgets)
        print(f"| {kind} | {steps} | {steps / separate:.1%} |")


def mean_rate(kind: str, budgets: list[int]) -> float:
    """Return the mean learning rate of the largest budget over its peak."""
    steps = budgets[-1:] if kind == "cosine" else budgets
    schedule = Schedule(kind, 1.0, WARMUP_STEPS, DECAY_SHARE if kind == "branches" else 0.0)
    last = segments(schedule, steps)[-1]
    return float(np.mean([schedule.rate(step, last) for step in range(budgets[-1])]))


def log_of(options: argparse.Namespace, name: str, kind: str, peak: float) -> pd.DataFrame:
    """Run the sweep of one schedule and return its rows by budget, ratio and seed."""
    batch, length = 8, 128
    spec = parse_spec(
        {
            "name": "branches",
            "corpora": {
                "general": {"source": "embedded:english"},
                "domain": {"source": "embedded:python"},
            },
            "sequence_length": length,
            "batch_size": batch,
            "evaluation_sequences": 128,
            "sizes": [SIZE],
            "base": {"train_tokens": 0.5e6},
            "probes": {
                "train_tokens": options.steps * batch * length,
                "first_evaluation_tokens": options.steps * batch * length / 2 ** (BUDGETS - 1),
                "evaluations": BUDGETS,
                "schedule": kind,
                "decay_share": DECAY_SHARE,
                "learning_rate": peak,
                "warmup_steps": WARMUP_STEPS,
                "runs": [
                    {"domain_ratio": ratio, "size": "0.3M", "seed": seed}
                    for ratio, seed in product(options.ratios, options.seeds)
                ],
            },
        }
    )
    folder = options.out / f"{kind}-{peak:.3g}"
    for other in options.out.glob("cosine-*"):  # all schedules start from one base
        for part in ("corpora", "bases"):
            if not (folder / part).exists():
                shutil.copytree(other / part, folder / part)
    run_sweep(spec, folder, executor=ExecutorOptions(workers=options.workers, device="cpu"))
    log, _ = collect(folder)
    return log


def report_losses(logs: dict[str, pd.DataFrame], budgets: list[int]) -> None:
    """Print the mean difference from the cosine runs over ratios and seeds, and the noise of seeds."""
    keys = ["eval_corpus", "step", "domain_ratio", "seed"]
    losses = {
        name: log[log["step"].isin(budgets)].set_index(keys)["loss"].sort_index()
        for name, log in logs.items()
    }
    cosine = losses.pop("cosine")
    for name, branch in losses.items():
        print(f"\n{name}: loss minus that of the cosine run, nats per token\n")
        print("| steps | corpus | difference | between seeds | cosine runs between seeds |")
        print("| --- | --- | --- | --- | --- |")
        for step, corpus in product(budgets, ("general", "domain")):
            difference = (branch - cosine)[corpus, step]
            level = cosine[corpus, step]
            print(
                f"| {step} | {corpus} | {difference.mean():+.4f} | {seed_noise(difference):.4f} "
                f"| {seed_noise(level):.4f} |"
            )


def seed_noise(values: pd.Series) -> float:
    """Return the standard deviation between seeds at equal ratio, pooled over the ratios."""
    return float(np.sqrt(values.groupby("domain_ratio").var(ddof=1).mean()))


if __name__ == "__main__":
    main()
