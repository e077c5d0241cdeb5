"""How often nominal 90 % intervals hold, in worlds in which no law of the library is true.

    python benchmarks/world_coverage.py --worlds 20

Worlds are those of ``worlds.py``, fitted by default settings. Questions, each for both losses:

- new rows: a probed size, budget and ratio, at a run outside the log;
- new ratio: an inner ratio that was hidden, at every size and budget;
- late budgets: the two largest, hidden, at every size and ratio;
- 4 x the budget: the largest size, at ratios over the probed range;
- hidden size: the largest of two or three, at every budget and ratio; its base rows are in the log. The general loss
  goes there as it does for a plan.

New rows, the new ratio and 4 x the budget are asked of one fit, to the log without the hidden ratio. Intervals of the
mean loss are compared with the true loss, those of a new run (``new_run=True``) with what a run outside the log
measures. A world counts by the share of its intervals that hold; mean widths in nats per token. Prints Markdown tables.
"""

from __future__ import annotations

import os

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
from worlds import LOSSES, World

import cmrplan as cp
from cmrplan.fit.corpus_model import central_interval
from cmrplan.fit.other_sizes import general_loss_at

QUESTIONS = ("new rows", "new ratio", "late budgets", "4 x the budget", "hidden size")
NUM_NEW = 8  # places of new rows
FAR = 4.0
KINDS = {"mean": "mean loss, against the true loss", "run": "a new run, against its measurement"}


def draws_of(fit: cp.Fit, corpus: str, size: float, tokens: float, ratio) -> dict[str, np.ndarray]:
    """Return resampled losses of the mean and of a new run at some ratios, as a plan takes them, each ``(B, n)``."""
    where = {"model_params": size, "train_tokens": tokens, "domain_ratio": ratio}
    plain = fit.predict(corpus, **where).draws
    noisy = fit.predict(corpus, **where, new_run=True).draws
    mean = general_loss_at(fit, **where).prediction.draws if corpus == "general" else plain
    return {"mean": mean, "run": mean * (noisy / plain)}


def places_of(world: World, question: str, rng, hidden: float) -> list[tuple[float, float, float]]:
    """Return sizes, tokens and ratios of a question."""
    sizes, tokens, ratios = world.sizes, world.tokens, world.ratios
    if question == "new rows":
        seen = ratios[ratios != hidden]
        return [(rng.choice(sizes), rng.choice(tokens), rng.choice(seen)) for _ in range(NUM_NEW)]
    if question == "new ratio":
        return [(size, budget, hidden) for size in sizes for budget in tokens]
    if question == "late budgets":
        return [(size, budget, r) for size in sizes for budget in tokens[-2:] for r in ratios]
    if question == "hidden size":
        return [(sizes[-1], budget, ratio) for budget in tokens for ratio in ratios]
    return [(sizes[-1], FAR * tokens[-1], r) for r in np.linspace(ratios[0], ratios[-1], NUM_NEW)]


def add_row(world: World, question: str, fit: cp.Fit, rng, hidden: float) -> list[dict]:
    """Return a row for each loss and kind of interval: the share that held, and the mean width."""
    places = places_of(world, question, rng, hidden)
    groups: dict[tuple[float, float], list[float]] = {}
    for size, tokens, ratio in places:
        groups.setdefault((float(size), float(tokens)), []).append(float(ratio))
    rows = []
    for corpus in LOSSES:
        held, width = {kind: [] for kind in KINDS}, {kind: [] for kind in KINDS}
        for (size, tokens), ratios in groups.items():
            draws = draws_of(fit, corpus, size, tokens, np.array(ratios))
            truth = {"mean": world.loss(corpus, size, tokens, ratios)}
            runs = [world.new_run(rng, corpus, size, np.array([tokens]), r) for r in ratios]
            truth["run"] = np.concatenate(runs)
            for kind in KINDS:
                low, high = central_interval(draws[kind], CONFIDENCE)
                held[kind] += list((low <= truth[kind]) & (truth[kind] <= high))
                width[kind] += list(high - low)
        shared = {"family": world.family, "seed": world.seed, "question": question}
        for kind in KINDS:
            figures = {"held": np.mean(held[kind]), "width": np.mean(width[kind])}
            rows.append(shared | {"corpus": corpus, "kind": kind} | figures)
    return rows


def cover_in(task: Task, world: World, result: Result) -> None:
    """Add the rows of every question of a world."""
    rng, log = world.rng, world.log
    hidden = float(rng.choice(world.ratios[1:-1]))
    is_late = log["train_tokens"] > world.tokens[-3]
    is_largest = (log["model_params"] == world.sizes[-1]) & (log["train_tokens"] > 0)
    parts = [
        (("new rows", "new ratio", "4 x the budget"), log[log["domain_ratio"] != hidden]),
        (("late budgets",), log[~is_late]),
    ]
    if len(world.sizes) > 1:
        parts.append((("hidden size",), log[~is_largest]))
    for questions, seen in parts:
        try:
            fit = task.fit(seen)
        except cp.CmrplanError as error:
            for question in questions:
                result.refused(question, error)
            continue
        for question in questions:
            try:
                result.rows += add_row(world, question, fit, rng, hidden)
            except cp.CmrplanError as error:
                result.refused(question, error)


def cells_of(rows: pd.DataFrame) -> list[str]:
    """Return the coverage and the mean width of each question."""
    parts = [rows[rows["question"] == question] for question in QUESTIONS]
    return [f"{share(part['held'])} ({figure(part['width'])})" for part in parts]


def print_tables(table: pd.DataFrame) -> None:
    """Print a table of each kind of interval: by family, and by loss."""
    for kind, name in KINDS.items():
        there = table[table["kind"] == kind]
        groups = [*there.groupby("family", sort=False), ("all", there)]
        groups += [(f"all, {corpus}", rows) for corpus, rows in there.groupby("corpus", sort=False)]
        lines = []
        for family, rows in groups:
            # the two losses of a world count as one in the standard error
            world = rows.groupby(["family", "seed", "question"], as_index=False)
            worlds = world[["held", "width"]].mean()
            lines.append([family, *cells_of(worlds)])
        print(f"\nIntervals of {name}: share that holds (mean width)")
        print_table(["family", *QUESTIONS], lines)


def main() -> None:
    report(__doc__, cover_in, f"nominal {CONFIDENCE:.0%} intervals; nats per token", print_tables)


if __name__ == "__main__":
    main()
