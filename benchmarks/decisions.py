"""Whether plans keep what they promise in worlds in which no law of the library is true.

    python benchmarks/decisions.py --worlds 20

Worlds are those of ``worlds.py``. Each is fitted by default settings and planned at confidence 0.9 for its largest
size, at the largest probed budget and at twice it. The tolerance over the base loss is drawn so that it is reached at a
ratio that is uniform on the inner 80 % of the probed range, and drawn again until it is at or above 0 and the truly
best feasible ratio lies inside the probed ones. Beside the plan stand the best of the probed ratios whose measured mean
general loss at the largest budget is within the limit (lowest measured domain loss), and the same on straight lines
between the probed ratios; both know the largest budget only.

"broken", "holds", regret and excess are counted over answers. Broken: the true general loss is above its limit. Holds:
the 90 % interval of the ratio holds the truly best feasible one. Refused: no answer although a probed ratio is truly
feasible, of all questions with one. Regret: true domain loss above that of the best feasible ratio, where the limit is
kept; excess: true general loss above its limit, where it is not. Prints Markdown tables.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from world_runs import (
    CONFIDENCE,
    Result,
    Task,
    figure,
    print_table,
    report,
    share,
)
from worlds import World

import cmrplan as cp

BUDGETS = {"the largest budget": 1, "twice it": 2}
STRATEGIES = ("plan", "best probed ratio", "straight lines")
NUM_GRID = 2001
MOST_DRAWS = 500  # of a tolerance, before a world counts as one without a question
FINE = 1e-9  # losses this close to the limit keep it
SAME_RATIO = 1e-3  # the planner's grid is this fine, the truth's is half of it


def feasible_best(ratio, general, domain, limit) -> float:
    """Return the ratio with the lowest domain loss among those within the limit; NaN without one."""
    loss = np.where(general <= limit + FINE, domain, np.inf)
    return float(ratio[np.argmin(loss)]) if np.isfinite(loss).any() else np.nan


def draw_limit(rng, world: World, tokens: float) -> tuple[float, float] | None:
    """Return a limit of the general loss and the truly best feasible ratio; None where there is no such question."""
    size, low, high = world.sizes[-1], world.ratios[0], world.ratios[-1]
    base = float(world.loss("general", size, 0, 0))
    for _ in range(MOST_DRAWS):
        reached = low + (high - low) * rng.uniform(0.1, 0.9)
        limit = float(world.loss("general", size, tokens, reached))
        if limit < base:
            continue
        ratio = np.sort([*np.linspace(low, high, NUM_GRID), reached])
        losses = (world.loss(corpus, size, tokens, ratio) for corpus in ("general", "domain"))
        best = feasible_best(ratio, *losses, limit)
        if low < best < high:
            return limit, best
    return None


def simple_answers(world: World, limit: float) -> dict[str, float]:
    """Return the ratios of the strategies that need no fit."""
    rows = world.log[world.log["model_params"] == world.sizes[-1]]
    rows = rows[rows["train_tokens"] == rows["train_tokens"].max()]
    mean = rows.groupby(["domain_ratio", "eval_corpus"])["loss"].mean().unstack()
    probed, general, domain = mean.index.to_numpy(), mean["general"], mean["domain"]
    fine = np.linspace(probed[0], probed[-1], NUM_GRID)
    lines = [np.interp(fine, probed, losses.to_numpy()) for losses in (general, domain)]
    return {
        "best probed ratio": feasible_best(probed, general, domain, limit),
        "straight lines": feasible_best(fine, *lines, limit),
    }


def decide_in(task: Task, world: World, result: Result) -> None:
    """Add a row for each budget and strategy."""
    start, fit = time.process_time(), None
    try:
        fit = task.fit(world.log)
    except cp.CmrplanError as error:
        result.refused("fit", error)
    fit_seconds, rng, size = time.process_time() - start, world.rng, float(world.sizes[-1])
    for budget, times in BUDGETS.items():
        tokens = float(times * world.tokens[-1])
        question = draw_limit(rng, world, tokens)
        if question is None:
            continue
        limit, best = question
        answers, interval, start = (
            simple_answers(world, limit),
            (np.nan, np.nan),
            time.process_time(),
        )
        answers["plan"], remarks = np.nan, ""
        rise = max(limit - float(world.loss("general", size, 0, 0)), 0.0)
        if fit is not None:
            where = {"model_params": size, "train_tokens": tokens}
            try:
                plan = cp.plan(
                    fit, **where, max_general_rise=f"{rise:.17g}nats", confidence=CONFIDENCE
                )
                remarks = " ".join(str(finding.code) for finding in plan.warnings)
                if plan.is_feasible:
                    answers["plan"] = plan.domain_ratio
                    interval = plan.ratio.low, plan.ratio.high
                else:
                    result.refused(budget, cp.CmrplanError(plan.reason))
            except cp.CmrplanError as error:
                result.refused(budget, error)
        seconds = {"fit_seconds": fit_seconds, "plan_seconds": time.process_time() - start}
        at_probed = world.loss("general", size, tokens, world.ratios)
        shared = {
            **{"family": task.family, "seed": task.seed, "budget": budget, "tolerance": rise},
            **{"best": best, "low": interval[0], "high": interval[1], **seconds},
            **{"sizes": len(world.sizes), "remarks": remarks},
            "has_feasible_probe": bool(np.any(at_probed <= limit + FINE)),
        }
        for strategy in STRATEGIES:
            ratio = answers[strategy]
            domain = world.loss("domain", size, tokens, np.array([ratio, best]))
            row = {
                **{"strategy": strategy, "ratio": ratio, "regret": domain[0] - domain[1]},
                "excess": float(world.loss("general", size, tokens, ratio)) - limit,
            }
            result.rows.append(shared | row)


def cells_of(rows: pd.DataFrame, strategy: str) -> list[str]:
    """Return the cells of one strategy in some worlds."""
    rows = rows[rows["strategy"] == strategy]
    is_answered = np.isfinite(rows["ratio"])
    answered = rows[is_answered]
    is_broken = answered["excess"] > FINE
    is_held = (answered["low"] - SAME_RATIO <= answered["best"]) & (
        answered["best"] <= answered["high"] + SAME_RATIO
    )
    kept, width = answered[~is_broken], answered["high"] - answered["low"]
    is_plan = strategy == "plan"
    return [
        share(is_answered),
        share(is_broken),
        f"{share(is_held)} ({figure(width, digits=2)})" if is_plan else "",
        share(~is_answered[rows["has_feasible_probe"]]),
        figure(kept["regret"], np.median),
        figure(kept["regret"]),
        figure(answered["excess"][is_broken]),
    ]


def print_tables(table: pd.DataFrame) -> None:
    """Print each budget by strategy and family, and the times."""
    header = ["family", "questions", "strategy", "answers", "broken", "holds (mean width)"]
    header += ["refused", "median regret", "mean regret", "mean excess"]
    for budget, there in table.groupby("budget", sort=False):
        lines, number_of_sizes = [], there["sizes"].map("sizes: {}".format)
        groups = [*there.groupby("family", sort=False), *there.groupby(number_of_sizes)]
        for family, rows in (*groups, ("all", there)):
            number = str(len(rows) // len(STRATEGIES))
            lines += [[family, number, name, *cells_of(rows, name)] for name in STRATEGIES]
        print(f"\nAt {budget}")
        print_table(header, lines)
    plans = table[table["strategy"] == "plan"]
    fits = plans.drop_duplicates(["family", "seed"])["fit_seconds"]
    print(f"\nProcessor time of a fit {fits.mean():.2f} s (at most {fits.max():.2f}), ", end="")
    print(f"of a plan {plans['plan_seconds'].mean():.3f} s.")


def main() -> None:
    report(__doc__, decide_in, f"confidence {CONFIDENCE:g}; losses in nats per token", print_tables)


if __name__ == "__main__":
    main()
