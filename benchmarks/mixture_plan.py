"""What a plan over several corpora costs, and how near its mixture comes to the best one of a known world.

    python benchmarks/mixture_plan.py

Every corpus helps its own loss most and the others a little (data mixing laws), and is evaluated. Half the corpora
may rise by 2 % over equal shares, tokens cap each at 0.4 of the run. Regret is the weighted true loss at the planned
mixture less that at the best one a search on the true laws finds under the same limits.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from scipy.optimize import minimize

import cmrplan as cp

TOKENS = 1e9
CAP = 0.4


def laws(m: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rates = -rng.uniform(0.1, 0.6, (m, m))
    rates[np.arange(m), np.arange(m)] = -rng.uniform(1.5, 3.0, m)
    return rng.uniform(1.2, 1.8, m), rng.uniform(1.0, 2.0, m), rates


def simulated(m: int, runs: int, seed: int, noise: float) -> pd.DataFrame:
    level, scale, rates = laws(m, seed)
    rng = np.random.default_rng(seed + 1000)
    rows = []
    for run in range(runs):
        x = rng.dirichlet(np.ones(m)) if run >= m else 0.9 * np.eye(m)[run] + 0.1 / m
        loss = (level + scale * np.exp(rates @ x)) * np.exp(noise * rng.standard_normal(m))
        start = level + scale * np.exp(rates @ np.full(m, 1 / m))
        for j in range(m):
            one = {"run_id": f"r{run:03d}", "model_params": 1e8, "eval_corpus": f"c{j}"}
            one |= {f"share_c{k}": share for k, share in enumerate(x)}
            rows.append(one | {"train_tokens": 0.0, "loss": start[j]})
            rows.append(one | {"train_tokens": TOKENS, "loss": loss[j]})
    return pd.DataFrame(rows)


def best_value(m: int, seed: int, guarded: list[int], low: np.ndarray) -> float:
    level, scale, rates = laws(m, seed)
    free = [j for j in range(m) if j not in guarded]

    def losses(x: np.ndarray) -> np.ndarray:
        return level + scale * np.exp(rates @ x)

    limit = 1.02 * losses(np.full(m, 1 / m))[guarded]
    constraints = [
        {"type": "eq", "fun": lambda x: x.sum() - 1},
        {"type": "ineq", "fun": lambda x: limit - losses(x)[guarded]},
    ]
    found = minimize(
        lambda x: losses(x)[free].sum(),
        np.full(m, 1 / m),
        bounds=[(bottom, CAP) for bottom in low],
        constraints=constraints,
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert found.success, found.message
    return float(found.fun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=3)
    parser.add_argument("--noise", type=float, default=0.003)
    asked = parser.parse_args()
    print("| corpora | runs | fit s | plan s | regret, nats | truth keeps its limits |")
    print("| --- | --- | --- | --- | --- | --- |")
    for m, runs in ((3, 24), (5, 40), (7, 60)):
        found = [one_world(m, runs, seed, asked.noise) for seed in range(asked.worlds)]
        fit_s, plan_s, regret, kept = (np.array(column) for column in zip(*found, strict=True))
        print(
            f"| {m} | {runs} | {fit_s.max():.1f} | {plan_s.max():.1f} | "
            f"{', '.join(f'{value:+.4f}' for value in regret)} | {int(kept.sum())} of {len(kept)} |",
            flush=True,
        )


def one_world(m: int, runs: int, seed: int, noise: float) -> tuple[float, float, float, bool]:
    level, scale, rates = laws(m, seed)
    guarded = list(range(m // 2))
    log = simulated(m, runs, seed, noise)
    began = time.perf_counter()
    fit = cp.fit_mixture(log)
    fitted = time.perf_counter()
    plan = cp.plan_mixture(
        fit,
        train_tokens=TOKENS,
        protected={f"c{j}": "2%" for j in guarded},
        available={f"c{j}": CAP * TOKENS for j in range(m)},
    )
    ended = time.perf_counter()
    shares = np.array([plan.shares[f"c{j}"] for j in range(m)])
    true = level + scale * np.exp(rates @ shares)
    start = level + scale * np.exp(rates @ np.full(m, 1 / m))
    low = log[[f"share_c{j}" for j in range(m)]].min().to_numpy()
    regret = true[m // 2 :].sum() - best_value(m, seed, guarded, low)
    return (
        fitted - began,
        ended - fitted,
        regret,
        bool(np.all(true[guarded] <= 1.02 * start[guarded])),
    )


if __name__ == "__main__":
    main()
