"""Whether answers beyond the only probed budget hold, in worlds in which no law of the library is true.

    python benchmarks/one_budget.py --worlds 10

Worlds are those of ``worlds.py``; of their logs the rows at the base and at the largest budget are kept. Where these
are fewer than eight runs, laws alone answer, and say that they do not know other budgets ("fewer"). Losses at five
ratios over the probed range, and a plan with a tolerance drawn as in ``decisions.py``, are asked for at the budget, at
twice and at four times it.

Held: share of nominal 90 % intervals that hold the true loss; width and error in nats, medians. Answers: plans that
recommend a ratio; broken: the share of these whose true general loss is above the limit; ratio held: by the two-sided
90 % interval of the best ratio; regret: the domain loss above that of the best feasible ratio, where the limit is kept.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from decisions import SAME_RATIO, draw_limit
from world_runs import CONFIDENCE, Result, Task, figure, print_table, report, share
from worlds import LOSSES, World

import cmrplan as cp

TIMES = (1, 2, 4)
NUM_RATIOS = 5
FINE = 1e-9  # a general loss this close to its limit keeps it


def losses_held(fit: cp.Fit, world: World, ratios: np.ndarray, tokens: float) -> dict[str, float]:
    """Return how many intervals of each loss hold, how wide they are, and what the estimate misses by."""
    size, row = float(world.sizes[-1]), {}
    for corpus in LOSSES:
        found = fit.predict(corpus, model_params=size, train_tokens=tokens, domain_ratio=ratios)
        low, high = found.interval(CONFIDENCE)
        true = world.loss(corpus, size, tokens, ratios)
        row[f"{corpus} held"] = float(np.mean((low <= true) & (true <= high)))
        row[f"{corpus} width"] = float(np.mean(high - low))
        row[f"{corpus} error"] = float(np.mean(np.abs(found.loss - true)))
    return row


def planned(
    fit: cp.Fit, world: World, question: tuple[float, float], tokens: float
) -> dict[str, Any]:
    """Return how good the plan at the limit of a question is."""
    size, (limit, best) = float(world.sizes[-1]), question
    rise = max(limit - float(world.loss("general", size, 0, 0)), 0.0)
    asked = {"model_params": size, "train_tokens": tokens}
    plan = cp.plan(fit, max_general_rise=f"{rise:.17g}nats", **asked)
    held = plan.ratio.low - SAME_RATIO <= best <= plan.ratio.high + SAME_RATIO
    row: dict[str, Any] = {"answers": np.isfinite(plan.domain_ratio), "ratio held": held}
    if row["answers"]:
        at = np.array([plan.domain_ratio, best])
        general, domain = (world.loss(corpus, size, tokens, at) for corpus in LOSSES)
        row |= {"broken": general[0] - limit > FINE, "regret": float(domain[0] - domain[1])}
    return row


def ask(task: Task, world: World, result: Result) -> None:
    """Add a row for each budget."""
    log = world.log[world.log["train_tokens"].isin([0.0, float(world.tokens[-1])])]
    probed = log[log["train_tokens"] > 0]
    own = probed.loc[probed["model_params"] == float(world.sizes[-1]), "domain_ratio"]
    try:
        fit = task.fit(log)
    except cp.CmrplanError as error:
        result.refused("fit", error)
        return
    has_residual = all(model.follows_rows for model in fit.models.values())
    for times in TIMES:
        tokens = times * float(world.tokens[-1])
        ratios = np.linspace(own.min(), own.max(), NUM_RATIOS)
        row = {"log": "8 runs or more" if has_residual else "fewer", "times": times}
        row |= losses_held(fit, world, ratios, tokens)
        rng = np.random.default_rng(world.seed)
        if (question := draw_limit(rng, replace(world, log=log), tokens)) is not None:
            row |= planned(fit, world, question, tokens)
        result.rows.append({"family": task.family, "seed": task.seed} | row)


def print_tables(table: pd.DataFrame) -> None:
    """Print the losses, and the plans."""
    lines, plans = [], []
    for (log, times), rows in table.groupby(["log", "times"]):
        losses = []
        for corpus in LOSSES:
            held, width, error = (rows[f"{corpus} {name}"] for name in ("held", "width", "error"))
            medians = [figure(values, np.median, 3) for values in (width, error)]
            losses += [share(held), f"{medians[0]}, {medians[1]}"]
        lines.append([str(log), f"{times} x", str(len(rows)), *losses])
        asked = rows.dropna(subset="answers")
        answers = asked[asked["answers"].astype(bool)]
        is_broken = answers["broken"].astype(bool)
        plans.append(
            [
                str(log), f"{times} x", str(len(asked)), share(asked["answers"]), share(is_broken),
                share(asked["ratio held"]), figure(answers["regret"][~is_broken], np.median),
            ]
        )  # fmt: skip
    told = [cell for corpus in LOSSES for cell in (f"{corpus} held", "width, error")]
    print_table(["log", "tokens", "worlds", *told], lines)
    head = ["log", "tokens", "worlds", "answers", "broken", "ratio held", "median regret"]
    print_table(head, plans)
    whole = table.groupby(["family", "times"])[["general held", "domain held", "broken"]]
    means = whole.mean(numeric_only=False).astype(float).unstack("times")
    cells = [[str(family), *(f"{v:.2f}" for v in row)] for family, row in means.iterrows()]
    print_table(["family", *(f"{name} at {times} x" for name, times in means.columns)], cells)


if __name__ == "__main__":
    report(__doc__, ask, "nats per token", print_tables)
