"""What ``decisions.py`` and ``world_coverage.py`` share: arguments, a pool over worlds, shares as cells, tables."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from worlds import FAMILIES, World, draw_world

import cmrplan as cp
from cmrplan.fit.settings import RESIDUAL_MODELS

CONFIDENCE = 0.9
REASON_LENGTH = 60  # a refusal is tallied by so many of its first characters, numbers left out


@dataclass(frozen=True)
class Task:
    """A world to go through, and how it is fitted."""

    family: str
    seed: int
    law: str
    options: dict[str, Any]

    def fit(self, log) -> cp.Fit:
        """Fit a log of the world."""
        return cp.fit(log.reset_index(drop=True), self.law, **self.options)


@dataclass
class Result:
    """Rows of the tables that a world gave, refusals by question, and the trace of another exception."""

    task: Task
    rows: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    crash: str = ""

    def refused(self, question: str, error: cp.CmrplanError) -> None:
        """Note a refusal."""
        self.refusals.append((question, reason(error)))


Question = Callable[[Task, World, Result], None]


def reason(error: cp.CmrplanError) -> str:
    """Return the first clause of a message with its numbers left out, so that like ones count together."""
    words = str(error).split("; ")[0].split()
    kept = ["#" if any(letter.isdigit() for letter in word) else word for word in words]
    return " ".join(kept)[:REASON_LENGTH]


def parsed(description: str, argv: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments of a command over worlds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--worlds", type=int, default=20, help="of each family")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--seed", type=int, default=0, help="of the first world of each family")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--law", default="auto")
    parser.add_argument("--residual", choices=RESIDUAL_MODELS, help="as for cmrplan fit")
    parser.add_argument("--bootstrap", type=int, help="resamples; those of cp.fit by default")
    parser.add_argument("--out", help="also write every world's rows to this CSV")
    return parser.parse_args(argv)


def tasks_of(asked: argparse.Namespace) -> list[Task]:
    """Return the worlds that are asked for."""
    given = {name: getattr(asked, name) for name in ("residual", "bootstrap")}
    options = {name: value for name, value in given.items() if value is not None}
    seeds = range(asked.seed, asked.seed + asked.worlds)
    return [Task(family, seed, asked.law, options) for seed in seeds for family in asked.families]


def go_through(question: Question, task: Task) -> Result:
    """Return what one world gives; an exception that is no refusal is kept with it."""
    result = Result(task)
    try:
        question(task, draw_world(task.family, task.seed), result)
    except Exception:  # a benchmark of many worlds goes on, and says which one failed
        result.crash = traceback.format_exc()
    return result


def results_of(question: Question, asked: argparse.Namespace) -> Iterator[Result]:
    """Yield the results in the order of the tasks, with progress on standard error."""
    tasks, start = tasks_of(asked), time.perf_counter()
    with ProcessPoolExecutor(asked.workers) as pool:
        futures = [pool.submit(go_through, question, task) for task in tasks]
        for number, done in enumerate(as_completed(futures), 1):
            crash = done.result().crash
            if crash or number % 10 == 0 or number == len(tasks):
                passed = time.perf_counter() - start
                print(f"{number} of {len(tasks)} worlds, {passed:.0f} s", file=sys.stderr)
            if crash:
                task = done.result().task
                print(f"{task.family} world {task.seed} failed:\n{crash}", file=sys.stderr)
    yield from (future.result() for future in futures)


def share(hits) -> str:
    """Return a share with its standard error over worlds, as a cell; hits may be shares themselves."""
    hits = np.asarray(hits, dtype=float)
    if not len(hits):
        return "-"
    return f"{hits.mean():.2f} ± {hits.std() / np.sqrt(len(hits)):.2f}"


def figure(values, summarize=np.mean, digits: int = 4) -> str:
    """Return the mean, or another summary, as a cell."""
    return f"{summarize(values):.{digits}f}" if len(values) else "-"


def print_table(header: list[str], lines: list[list[str]]) -> None:
    """Print a Markdown table."""
    print("\n| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    for cells in lines:
        print("| " + " | ".join(cells) + " |")


def print_troubles(results: list[Result]) -> None:
    """Print the refusals by question and reason, and the worlds that failed otherwise."""
    tally = Counter(refusal for result in results for refusal in result.refusals)
    if tally:
        lines = [[*refusal, str(count)] for refusal, count in tally.most_common()]
        print_table(["refused", "reason", "times"], lines)
    for result in results:
        if result.crash:
            task = result.task
            print(f"\n{task.family} world {task.seed} failed: {result.crash.splitlines()[-1]}")


def report(
    description: str,
    question: Question,
    unit: str,
    print_tables: Callable[[pd.DataFrame], None],
) -> None:
    """Put a question to the worlds that the command line asks for, and print its tables and what went wrong.

    Parameters
    ----------
    description : str
        Its first line says what the command does.
    question : callable
        Takes a task and returns its result.
    unit : str
        What the figures of the tables are counted in.
    print_tables : callable
        Takes the rows of all worlds.
    """
    asked = parsed(description.splitlines()[0])
    results = list(results_of(question, asked))
    table = pd.DataFrame([row for result in results for row in result.rows])
    if asked.out:
        table.to_csv(asked.out, index=False)
    worlds = f"{asked.worlds} worlds a family from seed {asked.seed}"
    fitted = f"law {asked.law}, residual {asked.residual or 'as by default'}"
    print(f"{worlds}, {fitted}, {unit}")
    if len(table):
        print_tables(table)
    print_troubles(results)
