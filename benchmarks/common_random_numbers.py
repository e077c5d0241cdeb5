"""By how much the common order of sequences cuts the noise of a difference between two ratios.

    python benchmarks/common_random_numbers.py RUNS

Trains one base of 0.36M parameters and, from it, probes of 5 ratios with 8 data seeds each on the embedded corpora, in
the folder RUNS with the product's own sweep (killed, it goes on). Runs of one seed share the order of their sequences
slot by slot; runs of two seeds share nothing but base, corpora and evaluation sequences. So, for two ratios a and b,

- paired: the variance over seeds of ``loss(a, seed) - loss(b, seed)``;
- independent: ``var(loss(a)) + var(loss(b))``, the variance of that difference between runs of different seeds.

The cut is the sum of the second over the sum of the first, over the pairs of a row. Intervals: seeds drawn again with
replacement, all ratios and both losses of a seed together, 5th to 95th percentile. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
from itertools import combinations, pairwise

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from probes.collect import collect
from probes.spec.file import parse_spec
from probes.sweep import run_sweep

RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
RESAMPLES = 10_000


def sweep(seeds: int, steps: int) -> dict[str, object]:
    """Return the values of the sweep's spec."""
    return {
        "name": "common-random-numbers",
        "corpora": {
            "general": {"source": "embedded:english"},
            "domain": {"source": "embedded:python"},
        },
        "sequence_length": 128,
        "batch_size": 16,
        "evaluation_sequences": 512,
        "sizes": [{"name": "0.3M", "width": 96, "layers": 3, "heads": 3, "feedforward": 256}],
        "base": {"train_tokens": 600 * 2048, "learning_rate": 2e-3},
        "probes": {
            "train_tokens": steps * 2048,
            "evaluations": 1,
            "first_evaluation_tokens": steps * 2048,
            "learning_rate": 1e-3,
            "grid": {"domain_ratio": list(RATIOS), "seed": list(range(seeds))},
        },
    }


def final_losses(log: pd.DataFrame, corpus: str) -> np.ndarray:
    """Return the losses at the end of the runs, shape (seeds, ratios)."""
    last = log[(log["eval_corpus"] == corpus) & (log["train_tokens"] == log["train_tokens"].max())]
    return last.pivot(index="seed", columns="domain_ratio", values="loss").to_numpy()


def variances(losses: np.ndarray, pairs: list[tuple[int, int]]) -> tuple[float, float]:
    """Return the sums over pairs of the variance between independent and between paired runs."""
    alone = losses.var(axis=0, ddof=1)
    paired = sum((losses[:, a] - losses[:, b]).var(ddof=1) for a, b in pairs)
    return float(sum(alone[a] + alone[b] for a, b in pairs)), float(paired)


def table_row(losses: np.ndarray, pairs: list[tuple[int, int]]) -> str:
    """Return standard deviations of a difference, the cut and its interval."""
    generator = np.random.default_rng(0)
    cuts = []
    while len(cuts) < RESAMPLES:
        drawn = generator.integers(len(losses), size=len(losses))
        if len(set(drawn.tolist())) > 2:  # two seeds or fewer say nothing of a variance
            independent, paired = variances(losses[drawn], pairs)
            cuts.append(independent / paired)
    independent, paired = variances(losses, pairs)
    low, high = np.percentile(cuts, [5, 95])
    spread = " | ".join(f"{(value / len(pairs)) ** 0.5:.4f}" for value in (independent, paired))
    return f"{spread} | {independent / paired:.1f} | {low:.1f} to {high:.1f}"


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", help="folder of the sweep")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=120, help="steps of a probe, 2048 tokens each")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    spec = parse_spec(sweep(options.seeds, options.steps))
    run_sweep(spec, options.runs, workers=options.workers, device="cpu")
    log, _ = collect(options.runs)
    print("| loss | ratios | std independent | std paired | variance cut | 90 % interval |")
    print("| --- | --- | --- | --- | --- | --- |")
    places = range(len(RATIOS))
    kinds = {
        "neighbors, 0.25 apart": list(pairwise(places)),
        "all but 0 and 1": list(combinations(places[1:-1], 2)),
        "all pairs": list(combinations(places, 2)),
    }
    for corpus in ("general", "domain"):
        for kind, pairs in kinds.items():
            print(f"| {corpus} | {kind} | {table_row(final_losses(log, corpus), pairs)} |")


if __name__ == "__main__":
    main()
