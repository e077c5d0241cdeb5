"""Whether the intervals of a mixture's losses hold the truth in worlds in which no law of mixtures is true.

    python benchmarks/mixture_coverage.py --worlds 20
    python benchmarks/mixture_coverage.py --worlds 20 --noise 0.001
    python benchmarks/mixture_coverage.py --worlds 10 --runs 24 40 --plans

A world has three to five corpora, each with a loss of its own, at one size and one budget; a log has runs at random
mixtures (uniform on the simplex) with noise of a share of each loss. Asked are the losses at 40 other mixtures drawn
alike. The families: ``power`` and ``saturating`` fall with what corpora are worth to each other as a power and as a
fraction; ``pairs`` is a data mixing law whose corpora help more together than alone; ``hinge`` falls until a corpus has
enough; ``tails`` is ``power`` with noise of Student's t with 3 degrees of freedom; ``law`` is a data mixing law, which
is fitted too. Printed by family and number of runs: the share of the 90 % intervals that hold the true loss, with its
standard error over worlds; the same by the worst corpus of each world; half the mean width and the mean absolute error
in nats.

With ``--plans`` a mixture is planned that lowers the losses of half the corpora, while those of the others may rise by
3 % over equal shares with 90 % confidence. Printed are how often the true losses break a limit, by how much at most as
a share of the loss; the chance that the plan says, and how often 1,000 other resamples break one; and the regret: the
sum of the true losses that are to be low, less that of the best of 100,000 random mixtures that keep the limits.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from world_runs import CONFIDENCE, figure, print_table, share

import cmrplan as cp
from cmrplan.mixture.loss_functions import asked_losses

FAMILIES = ("power", "saturating", "pairs", "hinge", "tails", "law")
ASKED = 40
TOKENS, SIZE = 1e9, 1e8
ALLOWED = 0.03  # rise of a protected loss
SEARCHED = 100_000  # mixtures


class MixtureWorld:
    """True losses of ``m`` corpora over their shares, nats per token."""

    def __init__(self, family: str, seed: int) -> None:
        self.family = family
        self.rng = np.random.default_rng([FAMILIES.index(family), seed])
        m = self.m = int(self.rng.integers(3, 6))
        self.floor, self.scale = self.rng.uniform(1.2, 2.5, m), self.rng.uniform(0.5, 1.5, m)
        worth = self.rng.uniform(0.0, 0.3, (m, m))
        worth[np.arange(m), np.arange(m)] = 1.0
        self.worth = worth
        self.steepness = self.rng.uniform(0.15, 0.5, m)
        self.rate = self.rng.uniform(1.5, 4.0, m)
        self.start = self.rng.uniform(0.02, 0.1, m)
        self.pair = self.rng.uniform(0.0, 1.0, (m, m))

    def losses(self, shares: np.ndarray) -> np.ndarray:
        """Return the losses at mixtures ``(g, m)``, ``(g, m)``."""
        seen = shares @ self.worth.T
        if self.family in ("power", "tails"):
            reduced = ((seen + self.start) / (1 + self.start)) ** -self.steepness
            return self.floor + 0.3 * self.scale * reduced
        if self.family == "saturating":
            return self.floor + self.scale / (1 + self.rate * seen)
        if self.family == "hinge":
            enough = 0.2 + 0.6 * (self.steepness - 0.15) / 0.35
            lacking = 0.1 * np.logaddexp(0, (enough - seen) / 0.1)
            return self.floor + self.scale * lacking
        exponent = self.rate * seen
        if self.family == "pairs":
            both = shares[:, :, None] * shares[:, None, :]
            exponent = exponent + 2 * np.einsum("gij,ij->gi", both, self.pair)
        return self.floor + self.scale * np.exp(-exponent)

    def log(self, num_runs: int, noise: float) -> pd.DataFrame:
        """Return a log of runs at random mixtures, with noise of a share of each loss."""
        shares = self.rng.dirichlet(np.ones(self.m), num_runs)
        size = (num_runs, self.m)
        normal = self.rng.standard_normal(size)
        if self.family == "tails":
            normal = self.rng.standard_t(3, size) / np.sqrt(3)
        losses = self.losses(shares) * np.exp(noise * normal)
        rows = [
            {"run_id": f"r{run:03d}", "eval_corpus": f"c{j}", "loss": losses[run, j]}
            | {f"share_c{k}": one for k, one in enumerate(shares[run])}
            for run in range(num_runs)
            for j in range(self.m)
        ]
        return pd.DataFrame(rows).assign(model_params=SIZE, train_tokens=TOKENS)


def one_world(task: tuple[str, int, int, float, dict[str, object]]) -> list[dict[str, object]]:
    """Return a row for each corpus of a world: how its intervals did."""
    family, seed, num_runs, noise, options = task
    world = MixtureWorld(family, seed)
    fit = cp.fit_mixture(world.log(num_runs, noise), **options)
    shares = world.rng.dirichlet(np.ones(world.m), ASKED)
    truth, rows = world.losses(shares), []
    table = pd.DataFrame(shares, columns=[f"c{k}" for k in range(world.m)])
    predicted = fit.predict(table, model_params=SIZE, train_tokens=TOKENS)
    for j, name in enumerate(table.columns):
        found = predicted[name]
        low, high = found.interval(CONFIDENCE)
        true = truth[:, j]
        rows.append(
            {
                "family": family, "seed": seed, "runs": num_runs, "corpus": name,
                "law": fit.models[name].law,
                "held": float(np.mean((low <= true) & (true <= high))),
                "half": float(np.mean(high - low) / 2),
                "error": float(np.mean(np.abs(found.loss - true))),
            }
        )  # fmt: skip
    return rows


def one_plan(task: tuple[str, int, int, float, dict[str, object]]) -> list[dict[str, object]]:
    """Return how the plan of a world did, in a row."""
    family, seed, num_runs, noise, options = task
    world = MixtureWorld(family, seed)
    names = [f"c{j}" for j in range(world.m)]
    equal = np.full((1, world.m), 1 / world.m)
    start = world.losses(equal)[0]
    shares = {f"share_{name}": 1 / world.m for name in names}
    base = pd.DataFrame({"eval_corpus": names, "loss": start, "run_id": "base"} | shares)
    base = base.assign(model_params=SIZE, train_tokens=0.0)
    log = pd.concat([world.log(num_runs, noise), base])
    fit = cp.fit_mixture(log, **options)
    guarded = np.arange(world.m) < world.m // 2
    protected = {
        name: f"{ALLOWED:%}" for name, is_guarded in zip(names, guarded, strict=True) if is_guarded
    }
    plan = cp.plan_mixture(fit, train_tokens=TOKENS, protected=protected)
    if not plan.is_feasible:
        raise SystemExit(f"{family} {seed}, {num_runs} runs: {plan.reason}")
    others, _ = asked_losses(cp.fit_mixture(log, bootstrap=1000, seed=1, **options), plan.asked)
    at_plan = world.losses(np.array([[plan.shares[name] for name in names]]))[0]
    limit = (1 + ALLOWED) * start[guarded]
    losses = world.losses(world.rng.dirichlet(np.ones(world.m), SEARCHED))
    kept = losses[(losses[:, guarded] <= limit).all(axis=1)]
    excess = float(np.max(at_plan[guarded] / start[guarded] - 1 - ALLOWED))
    return [
        {
            "family": family, "seed": seed, "runs": num_runs,
            "broken": excess > 0, "excess": max(excess, 0.0),
            "said": plan.violation_probability, "fresh": others.violation(fit.shares_of(plan.shares)),
            "regret": float(at_plan[~guarded].sum() - kept[:, ~guarded].sum(axis=1).min()),
        }
    ]  # fmt: skip


def report_plans(table: pd.DataFrame) -> None:
    """Print how often limits were broken, and the regret."""
    lines = [
        [
            str(runs), family, share(part["broken"]), figure(part["excess"], np.max),
            figure(part["said"]), figure(part["fresh"]), figure(part["regret"], np.median), figure(part["regret"]),
        ]
        for (runs, family), part in parts_of(table)
    ]  # fmt: skip
    columns = ["runs", "family", "broken", "by at most", "said", "by other resamples"]
    print_table([*columns, "median regret", "mean regret"], lines)


def report_intervals(table: pd.DataFrame) -> None:
    """Print how the intervals did."""
    lines = []
    for (runs, family), part in parts_of(table):
        by_world = part.groupby(["family", "seed"])["held"]
        lines.append(
            [
                str(runs), family, share(by_world.mean()), figure(by_world.min(), digits=2),
                figure(part["half"]), figure(part["error"]),
            ]
        )  # fmt: skip
    print_table(["runs", "family", "held", "worst corpus", "half width", "error"], lines)


def parts_of(table: pd.DataFrame) -> list[tuple[tuple[int, str], pd.DataFrame]]:
    """Return the rows by number of runs and family, and of all families."""
    by_family = [*table.groupby(["runs", "family"], sort=False)]
    return by_family + [((runs, "all"), part) for runs, part in table.groupby("runs")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=20, help="of each family")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--runs", nargs="+", type=int, default=[12, 15, 24, 40])
    parser.add_argument("--noise", type=float, default=0.003, help="of a run, as a share of a loss")
    parser.add_argument("--law", default="auto")
    parser.add_argument("--residual", default="auto")
    parser.add_argument("--plans", action="store_true", help="how plans did, instead of intervals")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", help="also write every row to this CSV")
    asked = parser.parse_args()
    options = {"law": asked.law, "residual": asked.residual}
    tasks = [
        (family, seed, runs, asked.noise, options)
        for runs in asked.runs
        for family in asked.families
        for seed in range(asked.worlds)
    ]
    one = one_plan if asked.plans else one_world
    with ProcessPoolExecutor(asked.workers) as pool:
        table = pd.DataFrame([row for rows in pool.map(one, tasks) for row in rows])
    if asked.out:
        table.to_csv(asked.out, index=False)
    print(f"{asked.worlds} worlds a family; noise {asked.noise:g}; confidence 90 %; nats per token")
    report_plans(table) if asked.plans else report_intervals(table)


if __name__ == "__main__":
    main()
