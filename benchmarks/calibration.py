"""Whether plans keep what they promise, in simulated sweeps.

    python benchmarks/calibration.py --worlds 200 --law dcpt

Worlds, noise and sweeps are those of ``coverage.py``; the sweep is drawn at random. The plan is for the largest budget
of the sweep and for twice that, at confidence 0.9. The limit of the general loss is drawn so that the true critical
ratio is uniform on 0.2 to 0.9; worlds whose feasible ratios are not one interval are drawn again. The tolerance is
the limit less the lowest true general loss; it may be smaller than the noise, and then the plan may refuse to answer.
Beside the plan stand its point estimate, fixed ratios, and the largest probed ratio whose last measured general loss
is within the limit. All but the share of answers is counted over answers. Regret is the true domain loss above that
of the best feasible ratio, where the tolerance is kept; excess is the true general loss above its limit, where it is
not. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from coverage import DESIGNS, GRID, SIZE, TOKENS, simulate

import cmrplan as cp

CONFIDENCE = 0.9
LAST = float(np.round(TOKENS[-1]))
BUDGETS = {"the largest budget": LAST, "twice that": 2 * LAST}
RULES = (0.05, 0.1, 0.3, 0.5)
TOLERANCES = (0, 0.01, 0.02, 0.05, 1)  # edges of the bins, nats
FINE = 1e-9  # losses this close to the limit keep it


def draw_world(rng):
    """Return the sweep's name, the truth, the log, and limit and best ratio by budget."""
    design = list(DESIGNS)[rng.integers(len(DESIGNS))]
    while True:
        truth, log = simulate(rng, *DESIGNS[design])
        critical = rng.uniform(0.2, 0.9)
        limit = {d: float(truth["general"](d, critical)) for d in BUDGETS.values()}
        if all(_is_interval(truth["general"](d, GRID) <= limit[d], critical) for d in limit):
            break
    best = {}
    for d in limit:
        ratio = np.append(GRID[GRID <= critical], critical)
        loss = np.where(
            truth["general"](d, ratio) <= limit[d] + FINE, truth["domain"](d, ratio), np.inf
        )
        best[d] = float(ratio[np.argmin(loss)])
    return design, truth, log, limit, best


def _is_interval(feasible, end):
    """Tell whether the feasible ratios of the grid are one stretch that ends at ``end``."""
    inside = np.flatnonzero(feasible)
    is_whole = len(inside) > 0 and len(inside) == inside[-1] - inside[0] + 1
    return is_whole and GRID[inside[-1]] <= end <= GRID[min(inside[-1] + 1, len(GRID) - 1)]


def best_probed(log, limit):
    """Return the largest probed ratio whose mean last general loss is within the limit; NaN without one."""
    last = log[(log["eval_corpus"] == "general") & (log["train_tokens"] == LAST)]
    measured = last.groupby("domain_ratio")["loss"].mean()
    return float(measured.index[measured <= limit].max())


def strategies(fit, log, tokens, limit, lowest):
    """Return ratios by strategy, and the plan's interval; NaN where there is no answer."""
    chosen = {f"always {100 * rule:g} %": rule for rule in RULES}
    chosen["best probed ratio"] = best_probed(log, limit)
    where = {"model_params": SIZE, "train_tokens": tokens}
    asked = {"max_general_rise": f"{limit - lowest:.17g}nats", "base_loss": lowest}
    try:
        made = cp.plan(fit, **where, **asked, confidence=CONFIDENCE)
    except cp.CmrplanError:
        return {"plan": np.nan, "point estimate": np.nan} | chosen, (np.nan, np.nan)
    if not made.is_feasible:
        return {"plan": np.nan, "point estimate": np.nan} | chosen, (np.nan, np.nan)
    mine = {"plan": made.domain_ratio, "point estimate": made.ratio.estimate}
    return mine | chosen, (made.domain_ratio_low, made.domain_ratio_high)


def one_world(task):
    law, number = task
    design, truth, log, limits, best = draw_world(np.random.default_rng(number))
    fit = cp.fit(log, law)
    rows = []
    for name, tokens in BUDGETS.items():
        limit = limits[tokens]
        lowest = float(truth["general"](tokens, GRID).min())  # only the limit matters
        chosen, (low, high) = strategies(fit, log, tokens, limit, lowest)
        for strategy, ratio in chosen.items():
            excess = truth["general"](tokens, ratio) - limit
            regret = truth["domain"](tokens, ratio) - truth["domain"](tokens, best[tokens])
            row = {
                "world": number,
                "design": design,
                "budget": name,
                "strategy": strategy,
                "ratio": ratio,
                "best": best[tokens],
                "tolerance": limit - lowest,
                "low": low,
                "high": high,
                "excess": excess,
                "regret": regret,
            }
            rows.append(row)
    return rows


def share(hits):
    """Return a share with its binomial standard error, as a cell."""
    if not len(hits):
        return "-"
    mean = float(np.mean(hits))
    return f"{mean:.3f} ± {np.sqrt(mean * (1 - mean) / len(hits)):.3f}"


def figures(rows):
    """Return the cells of one strategy: answered, broken, regret, excess."""
    answered = rows[np.isfinite(rows["ratio"])]
    broken = answered["excess"] > FINE
    regret, excess = answered["regret"][~broken], answered["excess"][broken]
    return [
        share(np.isfinite(rows["ratio"])),
        share(broken),
        f"{regret.median():.4f}" if len(regret) else "-",
        f"{regret.mean():.4f}" if len(regret) else "-",
        f"{excess.mean():.4f}" if len(excess) else "-",
    ]


def covered(rows):
    """Return which of the plan's intervals hold the best ratio."""
    plans = rows[(rows["strategy"] == "plan") & np.isfinite(rows["ratio"])]
    # the planner finds a crossing on a grid 0.001 wide, the truth is exact
    return (plans["low"] - 1e-6 <= plans["best"]) & (plans["best"] <= plans["high"] + 1e-6)


def print_table(header, lines):
    print("\n| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    for cells in lines:
        print("| " + " | ".join(cells) + " |")


def print_tables(table):
    """Print every strategy at each budget; the plans by sweep and by tolerance."""
    header = ["budget", "strategy", "answers", "tolerance broken", "interval holds the best ratio"]
    header += ["median regret", "mean regret", "mean excess"]
    lines = []
    for (budget, strategy), rows in table.groupby(["budget", "strategy"], sort=False):
        cells = figures(rows)
        hits = share(covered(rows)) if strategy == "plan" else ""
        lines.append([budget, strategy, *cells[:2], hits, *cells[2:]])
    print_table(header, lines)
    plans = table[table["strategy"] == "plan"]
    sizes = pd.cut(plans["tolerance"], TOLERANCES).astype(str) + " nats"
    header = ["plans, both budgets", "number", *header[2:6]]
    lines = []
    for groups in (np.full(len(plans), "all"), plans["design"], sizes):
        for name, rows in plans.groupby(groups):
            answers, broken, median, *_ = figures(rows)
            lines.append([name, str(len(rows)), answers, broken, share(covered(rows)), median])
    print_table(header, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--law", default="dcpt")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", help="also write every world's rows to this CSV")
    asked = parser.parse_args()
    tasks = [(asked.law, number) for number in range(asked.worlds)]
    with ProcessPoolExecutor(asked.workers) as pool:
        table = pd.DataFrame([row for rows in pool.map(one_world, tasks) for row in rows])
    if asked.out:
        table.to_csv(asked.out, index=False)
    print(f"{asked.worlds} worlds, law {asked.law}, confidence {CONFIDENCE:g}")
    print_tables(table)


if __name__ == "__main__":
    main()
