"""Is our optimum the optimum? Our objective against the best of many L-BFGS-B starts, split by split.

    python benchmarks/optimum.py data/probes/log.csv ../logs/other.csv --starts 2000

For each log, corpus and law, on all rows and on the training part of each split (largest budgets
hidden, one ratio hidden, largest model hidden), with the knee that our fit takes from the noise. Prints a
Markdown table; ``excess`` is how far our objective lies above the best that L-BFGS-B found, negative where ours
is lower.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from lbfgs import multi_start

import cmrplan as cp
from cmrplan.fits import fitted_rows
from cmrplan.fitting.surface import SURFACE_LAWS, fit_surface, row_inputs
from cmrplan.holdout import holdouts


def splits(rows):
    yield "all rows", rows
    seen = set()
    for h in holdouts(rows):
        if h.kind == "ratio" and "ratio" in seen:
            continue  # one ratio stands for the others
        seen.add(h.kind)
        yield f"{h.kind} {h.name} hidden", rows[~h.hidden].reset_index(drop=True)


def measure(task):
    path, corpus, law_name, split, rows, starts = task
    began = time.perf_counter()
    fit = fit_surface(rows, corpus, None, law_name=law_name).fit
    ours = time.perf_counter() - began
    inputs = row_inputs(corpus, rows)
    scaled = {name: values / fit.scales.get(name, 1.0) for name, values in inputs.items()}
    began = time.perf_counter()
    loss = rows["loss"].to_numpy(dtype=float)
    ends = multi_start(fit.law, scaled, loss, fit.delta, starts=starts)
    theirs = time.perf_counter() - began
    best = float(ends.min())
    near = float(np.mean(ends <= best * 1.0001))
    name = "/".join(Path(path).parts[-2:])
    return (
        f"| {name} | {corpus} | {law_name} | {split} | {fit.objective:.6e} | {best:.6e} | "
        f"{100 * (fit.objective / best - 1):+.4f} % | {100 * near:.1f} % | {ours:.2f} | {theirs:.0f} | {fit.status} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="+")
    parser.add_argument("--starts", type=int, default=2000)
    parser.add_argument("--laws", nargs="+", default=SURFACE_LAWS)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    tasks = []
    for path in asked.logs:
        log = cp.read_log(path)
        for corpus in ("general", "domain"):
            rows = fitted_rows(log, corpus, 0.0)
            for law_name in asked.laws:
                for split, part in splits(rows):
                    tasks.append((path, corpus, law_name, split, part, asked.starts))
    print(f"{asked.starts} L-BFGS-B starts each; seconds on one core\n")
    names = "log|loss|law|rows|ours|best of L-BFGS-B|excess|starts that got there|ours s|theirs s|status"
    print("| " + names.replace("|", " | ") + " |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with ProcessPoolExecutor(asked.workers) as pool:
        for line in pool.map(measure, tasks):
            print(line, flush=True)


if __name__ == "__main__":
    main()
