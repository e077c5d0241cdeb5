"""How often nominal 90 % intervals hold the truth, in simulated sweeps.

    python benchmarks/coverage.py --worlds 200

Worlds are D-CPT laws drawn at random, one size, eight token counts over a factor of 16. Noise on the log loss: 0.003
shared by a run, 0.002 that decays along a run (correlation 0.7 between neighboring checkpoints), 0.001 of its own.
Four questions: the general and the domain loss at a ratio that was not probed, both at four times the largest
budget, the critical ratio, and what one new run at the new ratio measures (the interval includes noise). Beside our
intervals with the law that made the worlds stand those of ``--law auto``, and the naive bootstrap of the D-CPT
law that treats evaluations as independent. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

import cmrplan as cp
from cmrplan.plan.loss_curves import best_ratio

NOISE = (0.003, 0.002, 0.001)
CORRELATION = 0.7
TOKENS = np.geomspace(1e6, 16e6, 8)
SIZE = 1e8
DESIGNS = {
    "5 runs": (np.array([0, 0.25, 0.5, 0.75, 1]), 1),
    "7 runs": (np.array([0, 0.05, 0.2, 0.4, 0.6, 0.8, 1]), 1),
    "9 runs": (np.array([0, 0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1]), 1),
    "12 runs, 2 seeds": (np.array([0, 0.1, 0.3, 0.6, 0.9, 1]), 2),
}
METHODS = ("ours", "ours, law auto", "rows drawn")
GRID = np.linspace(0, 1, 2001)


def draw_law(rng):
    """Return a D-CPT loss of (tokens, share) with terms of the size that small sweeps show."""
    e, beta, eta = rng.uniform(1, 2), rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.6)
    b, swing = rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.4)
    offset, gamma = np.exp(rng.uniform(np.log(0.02), np.log(0.3))), rng.uniform(0.2, 1.2)
    c = swing / (offset**-gamma - (1 + offset) ** -gamma)
    return lambda d, r: e + b * r**eta / (d / 1e6) ** beta + c * (r + offset) ** -gamma


def run_noise(rng):
    """Return the noise of one run's log losses."""
    kick = rng.standard_normal(len(TOKENS))
    drift = np.zeros(len(TOKENS))
    for k in range(len(TOKENS)):
        fresh = np.sqrt(1 - CORRELATION**2) * kick[k]
        drift[k] = CORRELATION * drift[k - 1] + fresh if k else kick[k]
    noise = NOISE[0] * rng.standard_normal() + NOISE[1] * drift
    return noise + NOISE[2] * rng.standard_normal(len(TOKENS))


def simulate(rng, ratios, seeds):
    """Return the true losses by corpus, as functions of (tokens, domain ratio), and a noisy log."""
    general, domain = draw_law(rng), draw_law(rng)
    truth = {"general": lambda d, r: general(d, 1 - r), "domain": domain}
    rows = []
    for ratio in ratios:
        for seed in range(seeds):
            for corpus, law in truth.items():
                noise = run_noise(rng)
                for d, loss in zip(TOKENS, law(TOKENS, ratio) * np.exp(noise), strict=True):
                    rows.append((f"r{ratio:g}-s{seed}", SIZE, np.round(d), ratio, corpus, loss))
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    return truth, pd.DataFrame(rows, columns=names)


def fit_by(method, log):
    if method == "ours":
        return cp.fit(log, "dcpt")
    if method == "ours, law auto":
        return cp.fit(log)
    rows = log.assign(run_id=[f"row{k}" for k in range(len(log))])
    return cp.fit(rows, "dcpt", method="runs")


def one_world(task):
    design, number = task
    rng = np.random.default_rng(number)
    truth, log = simulate(rng, *DESIGNS[design])
    last, new = float(np.round(TOKENS[-1])), rng.uniform(0.1, 0.9)
    limit = truth["general"](last, rng.uniform(0.3, 0.8))
    critical = GRID[truth["general"](last, GRID) <= limit].max()
    measured = {c: truth[c](last, new) * np.exp(run_noise(rng)[-1]) for c in truth}
    found = []
    for method in METHODS:
        fit = fit_by(method, log)
        hits, width = [], []
        for corpus in ("general", "domain"):
            for tokens in (last, 4 * last):
                low, high = fit.predict(
                    corpus, model_params=SIZE, train_tokens=tokens, domain_ratio=new
                ).interval(0.9)
                hits.append(bool(low[0] <= truth[corpus](tokens, new) <= high[0]))
                width.append(float(high[0] - low[0]))
            low, high = fit.predict(
                corpus, model_params=SIZE, train_tokens=last, domain_ratio=new, new_run=True
            ).interval(0.9)
            hits.append(bool(low[0] <= measured[corpus] <= high[0]))
            width.append(float(high[0] - low[0]))
        curves = fit.predict(
            "general", model_params=SIZE, train_tokens=last, domain_ratio=GRID
        ).draws
        largest = best_ratio(GRID, curves, np.broadcast_to(-GRID, curves.shape), limit)
        low, high = np.quantile(np.nan_to_num(largest), [0.05, 0.95])
        hits.append(bool(low <= critical <= high))
        width.append(float(high - low))
        found.append((hits, width))
    return design, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    tasks = [(design, number) for design in DESIGNS for number in range(asked.worlds)]
    with ProcessPoolExecutor(asked.workers) as pool:
        results = list(pool.map(one_world, tasks, chunksize=4))
    print(f"coverage of nominal 90 % intervals in {asked.worlds} worlds (median width)\n")
    print(
        "| sweep | intervals | loss at a new ratio | loss at 4 x the budget | critical ratio | a new run |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for design in DESIGNS:
        mine = [found for name, found in results if name == design]
        for k, method in enumerate(METHODS):
            hits = np.array([found[k][0] for found in mine], dtype=float)
            width = np.array([found[k][1] for found in mine])
            cells = [
                f"{hits[:, columns].mean():.3f} ({np.median(width[:, columns]):.4f})"
                for columns in ([0, 3], [1, 4], [6], [2, 5])
            ]
            print(f"| {design} | {method} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
