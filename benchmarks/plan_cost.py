"""What the planner's answers cost from a fit with 1,000 resamples, on one core.

    python benchmarks/plan_cost.py data/probes/log.csv

Reading the fit's file is not counted; fitting is, where an answer fits anew.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cmrplan as cp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--max-general-rise", default="5%")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    log = cp.read_log(asked.log)
    size, tokens = float(log["model_params"].max()), float(log["train_tokens"].max())
    fit = cp.fit(log, bootstrap=asked.resamples)
    rise = {"max_general_rise": asked.max_general_rise}
    here = {"model_params": size, "train_tokens": tokens, **rise}
    made = cp.plan(fit, **here)
    # as reachable as the domain loss at the recommended ratio is with twice the tokens
    target = cp.plan(fit, **here | {"train_tokens": 2 * tokens}).domain_loss.high
    flops = 6 * size * tokens
    answers: dict[str, Callable[[], object]] = {
        "plan": lambda: cp.plan(fit, **here),
        "plan with every constraint": lambda: cp.plan(
            fit,
            **here,
            rise_over="replay",
            min_ratio=0.05,
            max_ratio=0.9,
            domain_tokens=tokens / 4,
            max_epochs=4,
            compute=2 * flops,
        ),
        "frontier of 200 ratios": lambda: cp.frontier(fit, **here, num_points=200),
        "ratio at 25 budgets": lambda: cp.critical_over_tokens(fit, model_params=size, **rise),
        "ratio at 25 sizes": lambda: cp.critical_over_sizes(fit, train_tokens=tokens, **rise),
        "fewest tokens for a target": lambda: cp.fewest_tokens(
            fit, target_domain_loss=target, model_params=size, **rise
        ),
        "best size in a range for a budget": lambda: cp.best_budget(fit, compute=flops, **rise),
    }
    print(f"{asked.resamples} resamples, {len(log)} rows; fastest of {asked.repeats}\n")
    print("| answer | time |\n| --- | --- |")
    for name, answer in answers.items():
        print(f"| {name} | {fastest(answer, asked.repeats):.2f} s |", flush=True)
    slow = {
        "panel of every law (fits each)": lambda: cp.law_panel(fit, made),
        "sensitivity (fits each choice)": lambda: cp.sensitivity(fit, made),
    }
    for name, answer in slow.items():
        print(f"| {name} | {fastest(answer, 1):.1f} s |", flush=True)


def fastest(answer: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        answer()
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    main()
