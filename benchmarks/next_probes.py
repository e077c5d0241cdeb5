"""What planned probes are worth beside other designs, in worlds in which no law of the library is true.

    python benchmarks/next_probes.py --worlds 50
    python benchmarks/next_probes.py --worlds 50 --larger
    python benchmarks/next_probes.py --worlds 200 --widths

Worlds are those of ``worlds.py``, one family after the other. The question is the ratio of a run of the world's largest
size at its largest budget; the tolerance over the base loss is drawn as in ``decisions.py``, with probed ratios from 0
to 1. A run is evaluated at the world's steps and counts as one, whatever its size and length, and has its own noise.

- ``next``: 4 runs of the full size and length at even ratios, then batches of 4 from ``cmrplan.next_probes``, whose
  budget is 4 full runs in tokens, with a fit after each batch, up to 16 runs;
- ``uniform``: even ratios from 0 to 1; also a quarter, half, 2 and 3 times as many runs, for the tokens it takes to be
  as near;
- ``random``: both ends, and ratios drawn uniformly between them;
- ``D-optimal``: the design for a cubic in the ratio, its four points (0, 0.276, 0.724, 1) in equal parts (Fedorov
  1972).

Error: of the best estimate of the ratio. Regret of the plan: true domain loss above that of the best feasible ratio,
where the limit is kept; broken: the share of plans whose true general loss is above it. "as near": the tokens of
``next`` over those that uniform takes to an error as small, summed over the worlds; who does not get there is counted
with all that it may spend.

With ``--larger`` the full size is known by its base losses alone; probes have a third, a tenth and a thirtieth of it.
``next`` begins with 4 even ratios of each at an eighth of the budget; each batch may spend half of what was spent.
``uniform`` is a grid of the three sizes and of 3 to 15 even ratios at the full budget, ``short uniform`` the same at
an eighth of it. A way ends where it is as near as the last error asks. Tokens are those of the first answer that is so
near, and those of the largest grid where there is none.

With ``--widths`` each world's own log is asked what probes of a quarter, one and four full
runs would bring, and it is counted how often the expected interval is wider than that now, or than that of a smaller
budget.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from decisions import draw_limit
from world_runs import figure, print_table, share
from worlds import FAMILIES, LOSSES, World, draw_world, measured

import cmrplan as cp

RUNS, PILOT, BATCH = 16, 4, 4
CUBIC = np.array([0.0, 0.5 - np.sqrt(0.05), 0.5 + np.sqrt(0.05), 1.0])
NEAR = (0.1, 0.05, 0.03)
PARTS_OF_SIZE = (1 / 30, 1 / 10, 1 / 3)  # of the full one, where that is not probed
SHORT = 1 / 8  # of the budget
GRIDS = (3, 4, 6, 8, 12, 15)  # ratios
MOST_TOKENS = GRIDS[-1] * len(PARTS_OF_SIZE)  # runs of the full budget
GROWTH = 0.5  # of the tokens spent, the budget of the next batch
BUDGETS = (0.25, 1.0, 4.0)  # of full runs, for --widths
FINE = 1e-9


class Site:
    """A world with its question, and where runs are made."""

    def __init__(self, world: World, way: int) -> None:
        self.world, self.rng = world, np.random.default_rng([world.seed, way])
        self.size, self.tokens = float(world.sizes[-1]), float(world.tokens[-1])
        whole = replace(world, log=pd.DataFrame({"domain_ratio": [0.0, 1.0]}))
        self.question = draw_limit(np.random.default_rng(world.seed), whole, self.tokens)
        self.number = 0

    @property
    def asked(self) -> dict[str, float | str]:
        """The question, as a plan takes it."""
        base = float(self.world.loss("general", self.size, 0, 0))
        rise = max(self.question[0] - base, 0.0)
        limit = {"max_general_rise": f"{rise:.17g}nats"}
        return {"model_params": self.size, "train_tokens": self.tokens, **limit}

    def run(self, ratio: float, size: float, length: float) -> pd.DataFrame:
        """Return the log of one run."""
        world, parts = self.world, []
        levels = world.tokens * length / self.tokens
        self.number += 1
        for corpus in LOSSES:
            step_noise = world.noise.variates(self.rng, len(levels))
            losses = measured(
                self.rng, world.truth, world.noise, corpus, size, levels, ratio, step_noise
            )
            base = float(world.loss(corpus, size, 0, ratio))
            parts.append(
                pd.DataFrame(
                    {
                        "run_id": f"run{self.number}",
                        "model_params": size,
                        "train_tokens": [0.0, *levels],
                        "domain_ratio": ratio,
                        "eval_corpus": corpus,
                        "loss": [base, *losses],
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)

    def runs(self, ratios) -> pd.DataFrame:
        """Return the log of full runs."""
        return pd.concat([self.run(float(r), self.size, self.tokens) for r in ratios])

    def judged(self, log: pd.DataFrame) -> tuple[cp.Fit, dict[str, float]]:
        """Return the fit of a log, and how near and how good its answer is."""
        fit = cp.fit(log.reset_index(drop=True))
        limit, best = self.question
        spent = log.groupby("run_id")["train_tokens"].max().sum() / self.tokens
        row = {"tokens": float(spent), "runs": log["run_id"].nunique()}
        try:
            plan = cp.plan(fit, **self.asked)
        except cp.CmrplanError:
            return fit, row | dict.fromkeys(("error", "regret", "excess", "width"), np.nan)
        general, domain = (
            self.world.loss(c, self.size, self.tokens, np.array([plan.domain_ratio, best]))
            for c in ("general", "domain")
        )
        return fit, row | {
            "error": abs(plan.ratio.estimate - best),
            "regret": float(domain[0] - domain[1]),
            "excess": float(general[0] - limit),
            "width": plan.ratio.high - plan.ratio.low,
        }


class LargerSite(Site):
    """A site where the full size is known by its base losses alone."""

    def grid(self, number: int, length: float) -> pd.DataFrame:
        """Return the log of a grid of even ratios at all sizes that are probed, at a part of the budget."""
        ratios, sizes = np.linspace(0, 1, number), self.size * np.array(PARTS_OF_SIZE)
        runs = [self.run(r, size, length * self.tokens) for size in sizes for r in ratios]
        return pd.concat(runs)

    def judged(self, log: pd.DataFrame) -> tuple[cp.Fit, dict[str, float]]:
        """Return the fit of a log with the base losses of the full size, which cost nothing, and its answer."""
        base = pd.DataFrame(
            {
                "run_id": "base",
                "model_params": self.size,
                "train_tokens": 0.0,
                "domain_ratio": 0.0,
                "eval_corpus": list(LOSSES),
                "loss": [float(self.world.loss(corpus, self.size, 0, 0)) for corpus in LOSSES],
            }
        )
        return super().judged(pd.concat([log, base]))


def larger_by_next(site: LargerSite) -> Iterator[dict[str, float]]:
    """Yield the answers after a short pilot and after each batch."""
    log = site.grid(PILOT, SHORT)
    fit, row = site.judged(log)
    yield row
    while row["tokens"] < MOST_TOKENS:
        budget = f"{GROWTH * row['tokens'] * site.tokens:.0f}tokens"
        asked = {"budget": budget, "resolution": 0, "least_narrowing": 0}
        found = cp.next_probes(fit, **asked, **site.asked)
        if not found.probes:
            return
        runs = [site.run(p.domain_ratio, p.model_params, p.train_tokens) for p in found.probes]
        log = pd.concat([log, *runs])
        fit, row = site.judged(log)
        yield row


def larger_world(task: tuple[str, int]) -> list[dict[str, object]]:
    """Return the rows of a world whose full size is not probed: the answers of each way until it is near."""
    rows: list[dict[str, object]] = []
    for number, (way, length) in enumerate(LARGER_WAYS.items()):
        site = LargerSite(draw_world(*task), number)
        if site.question is None:
            return []
        grids = (site.judged(site.grid(ratios, length))[1] for ratios in GRIDS)
        for answer in larger_by_next(site) if way == "next" else grids:
            rows.append({"family": task[0], "seed": task[1], "way": way, **answer})
            if answer["error"] <= NEAR[-1]:
                break
    return rows


def by_next(site: Site) -> Iterator[dict[str, float]]:
    """Yield the answers after the pilot and after each batch."""
    log = site.runs(np.linspace(0, 1, PILOT))
    fit, row = site.judged(log)
    yield row
    while row["runs"] < RUNS:
        most = min(BATCH, RUNS - int(row["runs"]))
        found = cp.next_probes(
            fit, budget=f"{most * site.tokens:.0f}tokens", most_probes=most,
            resolution=0, least_narrowing=0, **site.asked,
        )  # fmt: skip
        if not found.probes:
            return
        runs = [site.run(p.domain_ratio, p.model_params, p.train_tokens) for p in found.probes]
        log = pd.concat([log, *runs])
        fit, row = site.judged(log)
        yield row | {"width_before": found.width, "expected": found.expected_width}


def designs_of(site: Site, name: str) -> Iterator[dict[str, float]]:
    """Yield the answers of one way of spending runs."""
    if name == "next":
        yield from by_next(site)
    elif name == "uniform":
        for times in (0.25, 0.5, 1, 2, 3):
            yield site.judged(site.runs(np.linspace(0, 1, int(times * RUNS))))[1]
    elif name == "random":
        ratios = np.round(site.rng.uniform(0, 1, RUNS - 2), 3)
        yield site.judged(site.runs([0, *ratios, 1]))[1]
    else:
        yield site.judged(site.runs(np.repeat(np.round(CUBIC, 3), RUNS // 4)))[1]


WAYS = ("next", "uniform", "random", "D-optimal")
LARGER_WAYS = {"next": SHORT, "uniform": 1.0, "short uniform": SHORT}


def one_world(task: tuple[str, int]) -> list[dict[str, object]]:
    """Return the rows of a world: an answer of each way at each number of runs."""
    rows: list[dict[str, object]] = []
    for number, way in enumerate(WAYS):
        site = Site(draw_world(*task), number)
        if site.question is None:
            return []
        named = {"family": task[0], "seed": task[1], "way": way}
        rows += [named | answer for answer in designs_of(site, way)]
    return rows


def one_width(task: tuple[str, int]) -> list[dict[str, object]]:
    """Return what a world's own log expects of probes, a row for each budget."""
    world = draw_world(*task)
    site = Site(world, 0)
    if site.question is None:
        return []
    fit, rows = cp.fit(world.log), []
    for times in BUDGETS:
        found = cp.next_probes(fit, budget=f"{times * site.tokens:.0f}tokens", **site.asked)
        rows.append({"seed": str(task), "now": found.width, "expected": found.expected_width})
    return rows


def report(table: pd.DataFrame) -> None:
    """Print the table of designs at the same number of runs, and the tokens to be as near."""
    print(f"{table.groupby(['family', 'seed']).ngroups} worlds, {RUNS} runs; losses in nats\n")
    whole = table[(table["runs"] == RUNS) | (table["way"] == "uniform") & (table["runs"] > RUNS)]
    lines = []
    for (runs, way), rows in whole.groupby(["runs", "way"]):
        is_broken, answered = rows["excess"] > FINE, rows["error"].notna()
        lines.append(
            [
                str(runs), way, figure(rows["tokens"], digits=1), share(~answered),
                figure(rows["error"][answered], digits=3),
                share(is_broken[answered]),
                figure(rows["regret"][answered & ~is_broken], np.median, digits=5),
                figure(rows["regret"][answered & ~is_broken], digits=5),
            ]
        )  # fmt: skip
    head = ["runs", "way", "tokens", "refused", "error", "broken", "median regret", "mean regret"]
    print_table(head, lines)
    lines = []
    for near in NEAR:
        spent = {
            way: [reached(rows, near) for _, rows in part.groupby(["family", "seed"])]
            for way, part in table[table["way"].isin(WAYS[:2])].groupby("way")
        }
        sums = {way: sum(tokens for tokens, _ in ends) for way, ends in spent.items()}
        missed = {way: sum(not is_near for _, is_near in ends) for way, ends in spent.items()}
        lines.append(
            [
                f"{near:g}",
                f"{sums['next'] / sums['uniform']:.2f}",
                str(missed["next"]),
                str(missed["uniform"]),
            ]
        )
    print_table(["error", "as near", "next does not get there", "uniform does not"], lines)
    found = table[table["expected"].notna()] if "expected" in table else table[:0]
    after = figure((found["width"] / found["width_before"]).dropna(), np.median, 2)
    promised = figure(found["expected"] / found["width_before"], np.median, 2)
    wider = int((found["expected"] > found["width_before"] + FINE).sum())
    print(
        f"\n{len(found)} batches; the interval's width after one, of that before: expected {promised}, found {after} "
        f"(medians); expected wider than before: {wider}"
    )


def report_larger(table: pd.DataFrame) -> None:
    """Print the tokens of each way to be as near at a size that is not probed."""
    worlds = table.groupby(["family", "seed"])
    print(
        f"{worlds.ngroups} worlds, a size that is not probed; tokens in runs of the full budget\n"
    )
    ends = {
        (way, near): [reached(rows, near) for _, rows in part.groupby(["family", "seed"])]
        for way, part in table.groupby("way")
        for near in NEAR
    }
    ends = {
        key: [(tokens if is_near else float(MOST_TOKENS), is_near) for tokens, is_near in pairs]
        for key, pairs in ends.items()
    }
    lines = []
    for near in NEAR:
        whole = sum(tokens for tokens, _ in ends["uniform", near])
        for way in LARGER_WAYS:
            tokens = np.array([spent for spent, _ in ends[way, near]])
            missed = sum(not is_near for _, is_near in ends[way, near])
            cells = [
                f"{np.median(tokens):.1f}",
                f"{tokens.sum():.0f}",
                f"{tokens.sum() / whole:.2f}",
            ]
            lines.append([f"{near:g}", way, *cells, str(missed)])
    print_table(["error", "way", "median tokens", "all", "of uniform", "does not get there"], lines)


def reached(rows: pd.DataFrame, near: float) -> tuple[float, bool]:
    """Return the tokens of the first answer that is as near, or all, and whether it is."""
    for tokens, error in zip(rows["tokens"], rows["error"], strict=True):
        if error <= near:
            return float(tokens), True
    return float(rows["tokens"].max()), False


def report_widths(table: pd.DataFrame) -> None:
    """Print how often an expectation is wider than now, or than that of a smaller budget."""
    wider, less, shares = 0, 0, []
    for _, rows in table.groupby("seed"):
        expected = rows["expected"].to_numpy()
        wider += bool(np.any(expected > rows["now"] + FINE))
        less += bool(np.any(np.diff(expected) > FINE))
        shares.append(expected / np.maximum(rows["now"], FINE))
    middle = ", ".join(f"{value:.2f}" for value in np.median(shares, axis=0))
    print(
        f"{len(shares)} worlds: expected wider than now in {wider}, a larger budget promises less in {less}; "
        f"expected over present width, median at {BUDGETS} full runs: {middle}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first world")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--widths", action="store_true", help="only what logs expect of probes")
    parser.add_argument("--larger", action="store_true", help="ask for a size that is not probed")
    parser.add_argument("--out", help="also write every row to this CSV")
    asked = parser.parse_args()
    families = list(FAMILIES)
    tasks = [
        (families[k % len(families)], k // len(families))
        for k in range(asked.first, asked.first + asked.worlds)
    ]
    one, show = one_world, report
    if asked.widths or asked.larger:
        one, show = (one_width, report_widths) if asked.widths else (larger_world, report_larger)
    with ProcessPoolExecutor(asked.workers) as pool:
        found = list(pool.map(one, tasks))
    table = pd.DataFrame([row for rows in found for row in rows])
    if asked.out:
        table.to_csv(asked.out, index=False)
    show(table)


if __name__ == "__main__":
    main()
