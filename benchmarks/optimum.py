"""Is our optimum the optimum? Our objective against the best of many L-BFGS-B starts, split by split.

    python benchmarks/optimum.py data/probes/log.csv ../logs --starts 2000

For each log (a file, or whatever ``held_out.py`` finds in a folder), corpus and law, on all rows and on the training
part of each split, with the Huber delta that our fit takes from the noise. Logs over ratios are fitted with D-CPT laws,
logs of one corpus over sizes with the Chinchilla law, logs of many corpora with the data mixing law. Of the starts
the lowest twentieth is carried on to tight tolerance. Prints a Markdown table; ``excess`` is how far our objective lies
above the best that L-BFGS-B found, negative where ours is lower.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from held_out import logs_in, size_splits
from held_out_mixtures import folds
from lbfgs import best_of_starts

import cmrplan as cp
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.hold_outs import holdouts
from cmrplan.fit.law_fitting import fit_law_model
from cmrplan.fit.law_model import row_inputs
from cmrplan.laws.chinchilla import chinchilla_law
from cmrplan.laws.law import Inputs
from cmrplan.laws.mixtures import data_mixing_law
from cmrplan.laws.registry import plain_ratio_laws
from cmrplan.log.columns import share_columns
from cmrplan.solve.law_fit import LawFit, fit_law


@dataclass(frozen=True)
class Task:
    """Rows of one corpus to fit a law to, and where they come from."""

    log: str
    corpus: str
    law: str
    split: str
    rows: pd.DataFrame
    starts: int


def ratio_parts(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "all rows", rows
    seen = set()
    for h in holdouts(rows):
        if h.kind == "ratio" and "ratio" in seen:
            continue  # one ratio stands for the others
        seen.add(h.kind)
        yield f"{h.kind} {h.name} hidden", rows[~h.hidden].reset_index(drop=True)


def size_parts(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "all rows", rows
    for k, hidden in enumerate(size_splits(rows), start=1):
        name = f"{hidden.column}, draw {k}" if "random" in hidden.column else hidden.column
        yield f"{name} hidden", rows[~hidden.rows].reset_index(drop=True)


def share_parts(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    smallest = rows["model_params"].min()
    rows = rows[rows["model_params"] == smallest].reset_index(drop=True)
    yield "all rows", rows
    for k, hidden in enumerate(folds(len(rows)), start=1):
        yield f"fifth {k} hidden", rows[~hidden].reset_index(drop=True)


def tasks_of(name: str, kind: str, log: pd.DataFrame, asked: argparse.Namespace) -> Iterator[Task]:
    if kind == "shares":
        for corpus in asked.corpora:
            for split, part in share_parts(log[log["eval_corpus"] == corpus]):
                yield Task(name, corpus, "data_mixing", split, part, asked.starts)
        return
    laws, parts = (["chinchilla"], size_parts) if kind == "size" else (asked.laws, ratio_parts)
    for corpus in log["eval_corpus"].unique():
        rows = fitted_rows(log, corpus, 0.0)
        for law in laws:
            for split, part in parts(rows):
                yield Task(name, corpus, law, split, part, asked.starts)


def fitted(task: Task) -> tuple[LawFit, Inputs]:
    rows, loss = task.rows, task.rows["loss"].to_numpy(dtype=float)
    if task.law == "data_mixing":
        names = share_columns(rows)
        inputs = {name: rows[name].to_numpy(dtype=float) for name in names}
        law = data_mixing_law(corpora=[name.removeprefix("share_") for name in names])
        return fit_law(law, inputs, loss), inputs
    inputs = row_inputs(task.corpus, rows)
    if task.law == "chinchilla":
        return fit_law(chinchilla_law(), inputs, loss), inputs
    return fit_law_model(rows, task.corpus, None, law_name=task.law).fit, inputs


def measure(task: Task) -> str:
    began = time.perf_counter()
    fit, inputs = fitted(task)
    ours = time.perf_counter() - began
    scaled = {name: values / fit.scales.get(name, 1.0) for name, values in inputs.items()}
    began = time.perf_counter()
    loss = task.rows["loss"].to_numpy(dtype=float)
    carried = max(task.starts // 20, 10)
    ends = best_of_starts(fit.law, scaled, loss, fit.delta, starts=task.starts, carried=carried)
    theirs = time.perf_counter() - began
    best = float(ends.min())
    near = float(np.mean(ends <= best * 1.0001))
    return (
        f"| {task.log} | {task.corpus} | {task.law} | {task.split} | {fit.objective:.6e} | {best:.6e} | "
        f"{100 * (fit.objective / best - 1):+.4f} % | {100 * near:.1f} % | {ours:.2f} | {theirs:.0f} | {fit.status} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("--starts", type=int, default=2000)
    parser.add_argument("--laws", nargs="+", default=plain_ratio_laws(), help="of logs over ratios")
    parser.add_argument("--corpora", nargs="+", default=["pile_cc"], help="of logs of many corpora")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    tasks: list[Task] = []
    for path in asked.logs:
        if path.is_dir():
            for name, kind, log in logs_in(path):
                tasks += tasks_of(name, kind, log, asked)
        else:
            name = "/".join(path.parts[-2:])
            tasks += tasks_of(name, "mixture", cp.read_log(path), asked)
    print(f"{asked.starts} L-BFGS-B starts each; seconds on one core\n")
    names = (
        "log|loss|law|rows|ours|best of L-BFGS-B|excess|of those at the best|ours s|theirs s|status"
    )
    print("| " + names.replace("|", " | ") + " |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with ProcessPoolExecutor(asked.workers) as pool:
        for line in pool.map(measure, tasks):
            print(line, flush=True)


if __name__ == "__main__":
    main()
