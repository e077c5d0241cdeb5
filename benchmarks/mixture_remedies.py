"""Whether the runs that ``mix plan`` names where no mixture keeps its tolerances make one keep them.

    python benchmarks/mixture_remedies.py --worlds 10

The worlds are those of ``mixture_coverage.py``, with 24 runs. Every loss is protected, over the one at equal shares by
0.1, 0.2 and 0.4 %, so equal shares keep every limit in truth and what is missing is evidence. The planned run has 64
times the tokens of the probes, which laws of one budget do not read. Printed by family: questions without an answer,
and for how many of them runs are named; of these the shares in which a mixture holds after runs that measure what the
fit expected, in which one holds after runs with their own noise, and in which the named mixture is right in truth.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from mixture_coverage import FAMILIES, SIZE, TOKENS, MixtureWorld
from world_runs import print_table, share

import cmrplan as cp
from cmrplan.mixture.remedies import mixture_remedy
from cmrplan.numbers import parse_tolerance

ALLOWED_RISES = ("0.1%", "0.2%", "0.4%")
NOISE = 0.003
NUM_RUNS = 24
PLANNED_TOKENS = 64 * TOKENS


def rows_of(losses: np.ndarray, mixtures: np.ndarray, name: str, tokens: float) -> pd.DataFrame:
    """Return runs ``(r, m)`` of losses ``(r, m)`` as rows of a log."""
    rows = [
        {"run_id": f"{name}{run}", "eval_corpus": f"c{j}", "loss": loss}
        | {f"share_c{k}": one for k, one in enumerate(mixtures[run])}
        for run, of_run in enumerate(losses)
        for j, loss in enumerate(of_run)
    ]
    return pd.DataFrame(rows).assign(model_params=SIZE, train_tokens=tokens)


def one_world(task: tuple[str, int]) -> list[dict[str, object]]:
    """Return a row for each tolerance of a world that no mixture keeps."""
    family, seed = task
    world = MixtureWorld(family, seed)
    names, equal = [f"c{j}" for j in range(world.m)], np.full((1, world.m), 1 / world.m)
    start = world.losses(equal)
    log = pd.concat([world.log(NUM_RUNS, NOISE), rows_of(start, equal, "base", 0.0)])
    fit, answers = cp.fit_mixture(log), []
    for rise in ALLOWED_RISES:
        asked = {"train_tokens": PLANNED_TOKENS, "protected": dict.fromkeys(names, rise)}
        plan = cp.plan_mixture(fit, **asked)
        if plan.is_feasible:
            continue
        answer: dict[str, object] = {"family": family, "named": False}
        answers.append(answer)
        if (remedy := mixture_remedy(fit, plan)) is None:
            continue
        shares = np.array([remedy.shares[name] for name in names])
        at = fit.predict(remedy.shares, model_params=SIZE, train_tokens=TOKENS)
        expected = np.array([at[name].loss[0] for name in names])
        truth = world.losses(shares[None, :])[0]
        limits = [parse_tolerance(rise).limit(float(loss)) for loss in start[0]]
        scatter = NOISE * world.rng.standard_normal((remedy.num_runs, world.m))
        answer |= {"named": True, "in_truth": bool((truth <= limits).all())}
        mixtures = np.tile(shares, (remedy.num_runs, 1))
        for key, losses in {
            "expected": np.tile(expected, (remedy.num_runs, 1)),
            "measured": truth * np.exp(scatter),
        }.items():
            more = pd.concat([log, rows_of(losses, mixtures, "new", TOKENS)])
            answer[key] = cp.plan_mixture(cp.fit_mixture(more), **asked).is_feasible
    return answers


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=10, help="of each family")
    arguments = parser.parse_args()
    tasks = [(family, seed) for family in FAMILIES for seed in range(arguments.worlds)]
    with ProcessPoolExecutor() as pool:
        table = pd.DataFrame([row for rows in pool.map(one_world, tasks) for row in rows])
    lines = []
    for family, part in [*table.groupby("family", sort=False), ("all", table)]:
        named = part[part["named"].astype(bool)]
        held = [share(named[key].astype(bool)) for key in ("expected", "measured", "in_truth")]
        lines.append([family, str(len(part)), str(len(named)), *held])
    columns = ["family", "refused", "runs named", "holds as expected", "holds as measured"]
    print_table([*columns, "keeps the limits in truth"], lines)


if __name__ == "__main__":
    main()
