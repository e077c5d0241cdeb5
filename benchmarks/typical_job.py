"""The typical job: 7B parameters, 30B tokens, a rise of 3 %, probes at 410M and 1B, in worlds in which no law is true.

    python benchmarks/typical_job.py --worlds 10

True losses and noise are those of the families of ``worlds.py``. The probes of a world are a sweep at 410M and 1B whose
largest budget is 3 to 15 billion tokens (its logarithm uniform), with a base row at both sizes. It is fitted by default
settings and planned at confidence 0.9 for 7B parameters, 30B tokens and a rise of 3 % over the base, twice: as the log
is, and with ``base_loss``, the true loss of the 7B checkpoint before training. One evaluation gives that, and no run.

"answers": a ratio is recommended, of the worlds in which one is truly feasible. "broken": the true general loss is
above its limit there, of all answers. "covered": the 90 % interval of the general loss at the evaluated ratio holds the
true one. Regret: true domain loss above that of the best feasible ratio, where the limit is kept. Prints tables.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from decisions import FINE, NUM_GRID, feasible_best
from world_runs import CONFIDENCE, Result, Task, figure, print_table, report, share
from world_surfaces import draw_losses
from worlds import FAMILIES, GAINS, NOISES, RISES, RunNoise, World, draw_steps, make_log

import cmrplan as cp
from cmrplan.numbers import parse_tolerance

SIZES = np.array([410e6, 1e9])
JOB = {"model_params": 7e9, "train_tokens": 30e9, "max_general_rise": "3%"}
BUDGETS = (3e9, 15e9)
QUESTIONS = ("the log as it is", "base loss given")


def typical_world(family: str, seed: int) -> World:
    """Return a world of a family with the probes of the typical job, always the same for a seed."""
    rng = np.random.default_rng([seed, list(FAMILIES).index(family), 2])
    rise, gain, kind = FAMILIES[family]
    if family == "mixed":
        rise, gain, kind = (str(rng.choice(list(names))) for names in (RISES, GAINS, NOISES))
    steps = draw_steps(rng)
    batch = np.exp(rng.uniform(*np.log(BUDGETS))) / steps[-1]
    scales = {"smallest": float(SIZES[0]), "largest_budget": float(steps[-1] * batch)}
    truth, noise = draw_losses(rng, rise, gain, **scales), RunNoise.drawn(rng, kind)
    log = make_log(rng, truth, noise, SIZES, steps, batch)
    return World(family, seed, truth, noise, SIZES, steps * batch, log)


def answer_in(task: Task, drawn: World, result: Result) -> None:
    """Add a row for each of the two questions in the typical world of the same family and seed."""
    world = typical_world(drawn.family, drawn.seed)
    size, tokens = JOB["model_params"], JOB["train_tokens"]
    base = float(world.loss("general", size, 0, 0))
    limit = parse_tolerance(JOB["max_general_rise"]).limit(base)
    ratio = np.linspace(world.ratios[0], world.ratios[-1], NUM_GRID)
    losses = [world.loss(corpus, size, tokens, ratio) for corpus in ("general", "domain")]
    best = feasible_best(ratio, *losses, limit)
    fit = task.fit(world.log)
    for question in QUESTIONS:
        given = {} if question == QUESTIONS[0] else {"base_loss": base}
        plan = cp.plan(fit, **JOB, **given, confidence=CONFIDENCE)
        chosen, there = plan.domain_ratio, plan.general_loss
        truth = float(world.loss("general", size, tokens, plan.evaluated_ratio))
        domain = np.interp([chosen, best], ratio, losses[1])
        result.rows.append(
            {
                **{"family": task.family, "seed": task.seed, "question": question},
                **{"ratio": chosen, "best": best, "regret": domain[0] - domain[1]},
                "excess": float(world.loss("general", size, tokens, chosen)) - limit,
                "is_covered": there.low <= truth <= there.high,
            }
        )


def cells_of(rows: pd.DataFrame) -> list[str]:
    """Return the cells of one question in some worlds."""
    feasible = rows[np.isfinite(rows["best"])]
    answered = rows[np.isfinite(rows["ratio"])]
    is_broken = answered["excess"] > FINE
    kept = answered[~is_broken]
    return [
        str(len(feasible)),
        share(np.isfinite(feasible["ratio"])),
        share(is_broken),
        share(rows["is_covered"]),
        figure(kept["regret"], np.median),
        figure(answered["excess"][is_broken]),
    ]


def print_tables(table: pd.DataFrame) -> None:
    """Print each question by family."""
    header = ["family", "worlds", "with a feasible ratio", "answers", "broken"]
    header += ["covered", "median regret", "mean excess"]
    for question, there in table.groupby("question", sort=False):
        groups = [*there.groupby("family", sort=False), ("all", there)]
        lines = [[family, str(len(rows)), *cells_of(rows)] for family, rows in groups]
        print(f"\n{question}")
        print_table(header, lines)


def main() -> None:
    report(__doc__, answer_in, f"confidence {CONFIDENCE:g}; losses in nats per token", print_tables)


if __name__ == "__main__":
    main()
