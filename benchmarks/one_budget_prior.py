"""How losses of real sweeps go on beyond a budget, as multiples of what they have moved until there.

    python benchmarks/one_budget_prior.py data/probes/log.csv data/sweep2/log.csv data/sweep2/french.csv

Of each log, size and loss whose base loss is known, each pair of budgets 1.7 to 4.5 times apart is a case; the earlier
one is no shorter than a sixteenth of the longest. ``b0 + b1 (s - 1/2)`` is the straight line through the log losses
over the base at the earlier budget, s the target share, and ``c0 + c1 (s - 1/2)`` that through their slopes by ln D
from there to the later one; ``bent`` is what the second line misses. All are over the root mean square of the log
losses over the base, means over the cases of a size. Behind them: c0 over b0 and c1 over b1 by least squares over the
rows, and what c0, c1 and the line miss by, root mean squares. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from world_runs import print_table

import cmrplan as cp
from cmrplan.log import CORPORA
from cmrplan.log.files import base_losses

APART = (1.7, 4.5)
SHORTEST = 1 / 16  # of the longest budget
FEWEST_RATIOS = 4
FIGURES = ("b0", "b1", "c0", "c1", "bent")


def cases(moved: pd.DataFrame, corpus: str) -> list[dict[str, float]]:
    """Return the figures of each pair of budgets of one size; ``moved`` has a row a ratio and a column a budget."""
    ratio = moved.index.to_numpy(dtype=float)
    share = ratio if corpus == "domain" else 1 - ratio
    budgets, found = moved.columns.to_numpy(dtype=float), []
    for i, early in enumerate(budgets):
        for j in range(i + 1, len(budgets)):
            times = budgets[j] / early
            both = moved.iloc[:, [i, j]].to_numpy(dtype=float)
            is_known = ~np.isnan(both).any(axis=1)
            is_case = APART[0] < times < APART[1] and early >= SHORTEST * budgets[-1]
            if not is_case or is_known.sum() < FEWEST_RATIOS:
                continue
            before, after = both[is_known].T
            straight = np.stack([np.ones(len(before)), share[is_known] - 0.5], axis=1)
            slope = (after - before) / np.log(times)
            b, c = (np.linalg.lstsq(straight, v, rcond=None)[0] for v in (before, slope))
            bent = np.sqrt(np.mean((slope - straight @ c) ** 2))
            values = np.array([*b, *c, bent]) / np.sqrt(np.mean(before**2))
            found.append(dict(zip(FIGURES, values, strict=True)))
    return found


def rows_of(path: Path) -> list[dict[str, object]]:
    """Return the means over the cases of each size and loss of a log."""
    log, rows = cp.read_log(path), []
    for corpus in CORPORA:
        base = base_losses(log, corpus)
        own = log[(log["eval_corpus"] == corpus) & (log["train_tokens"] > 0)]
        for size, part in own.groupby("model_params"):
            if size not in base:
                continue
            table = part.pivot_table(index="domain_ratio", columns="train_tokens", values="loss")
            found = cases(np.log(table / base[size]), corpus)
            if found:
                mean = pd.DataFrame(found).mean().to_dict()
                rows.append({"corpus": corpus, "log": path.name, "size": size, **mean})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="+", type=Path)
    table = pd.DataFrame([row for path in parser.parse_args().logs for row in rows_of(path)])
    lines, sums = [], []
    for corpus, rows in table.groupby("corpus"):
        for row in rows.to_dict("records"):
            cells = [str(corpus), str(row["log"]), f"{row['size'] / 1e6:.2f}M"]
            lines.append([*cells, *(f"{row[name]:.3f}" for name in FIGURES)])
        parts, missed = [], []
        for b, c in (("b0", "c0"), ("b1", "c1")):
            parts.append(float(rows[c] @ rows[b] / (rows[b] @ rows[b])))
            missed.append(float(np.sqrt(np.mean((rows[c] - parts[-1] * rows[b]) ** 2))))
        bent = float(np.sqrt(np.mean(rows["bent"] ** 2)))
        sums.append([str(corpus), *(f"{value:.2f}" for value in (*parts, *missed, bent))])
    print_table(["loss", "log", "size", *FIGURES], lines)
    head = ["loss", "c0 over b0", "c1 over b1", "c0 missed", "c1 missed", "the line missed"]
    print_table(head, sums)


if __name__ == "__main__":
    main()
