"""What planned probes cost beside a uniform grid, for the same interval of the ratio.

    python benchmarks/next_probes.py --worlds 50

Worlds and noise are those of coverage.py: D-CPT laws drawn at random, one size. The question is the recommended ratio
at a budget of 16e6 tokens, in worlds where that is the critical one: the domain loss falls by at least 2 % per unit of
ratio everywhere, and the general loss crosses its limit once and rises there by at least 5 %. Ways to spend tokens:

- ``next``: a pilot of 5 ratios at 4.9e6 tokens, then batches from ``cmrplan.next_probes``,
  each with a third of what was spent before as its budget, refitting after each;
- ``uniform``: n ratios from 0 to 1, all at the full budget, n growing by about a quarter;
- ``uniform, two lengths``: the same, every other run at 4.9e6 tokens.

Tokens are counted at the first interval that is as narrow as asked and holds the true ratio, so that narrow but wrong
does not count. A way that does not get there is counted with all it spent. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import count

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from coverage import GRID, SIZE, TOKENS, draw_law, run_noise

import cmrplan as cp

FULL, SHORT = TOKENS[-1], TOKENS[4]
PILOT = np.linspace(0, 1, 5)
NUM_UNIFORM = (5, 7, 9, 12, 16, 21, 28, 37, 49)
RISE = 0.05  # nats that the general loss may rise; the base loss is set so that the limit is the world's
WIDTHS = (0.1, 0.06)
WAYS = ("next", "uniform", "uniform, two lengths")
LEAST_RISE, LEAST_FALL = 0.05, 0.02  # of the logarithm of the general and the domain loss


def slope(loss):
    return np.gradient(np.log(loss), GRID)


class World:
    """True laws of both losses, the limit of the general loss, and runs with noise."""

    def __init__(self, number: int) -> None:
        rng = np.random.default_rng(number)
        general, domain = draw_law(rng), draw_law(rng)
        while np.max(slope(domain(FULL, GRID))) > -LEAST_FALL:
            domain = draw_law(rng)
        self.truth = {"general": lambda d, r: general(d, 1 - r), "domain": domain}
        self.ratio = rng.uniform(0.3, 0.8)
        self.limit = self.truth["general"](FULL, self.ratio)

    def is_clear(self) -> bool:
        """Tell whether the limit is crossed once, and not too flatly to be found."""
        loss = self.truth["general"](FULL, GRID)
        crossings = np.flatnonzero(np.diff(loss > self.limit))
        return len(crossings) == 1 and slope(loss)[np.searchsorted(GRID, self.ratio)] >= LEAST_RISE

    def run(self, rng, name, ratio, tokens):
        """Return the log of one run; noise as in coverage.py."""
        levels = np.geomspace(TOKENS[0], tokens, len(TOKENS))
        rows = []
        for corpus, law in self.truth.items():
            losses = law(levels, ratio) * np.exp(run_noise(rng))
            rows += [
                (name, SIZE, d, ratio, corpus, loss) for d, loss in zip(levels, losses, strict=True)
            ]
        names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
        return pd.DataFrame(rows, columns=names)

    def log(self, rng, ratios, lengths):
        """Return the log of several runs."""
        runs = zip(ratios, np.broadcast_to(lengths, len(ratios)), strict=True)
        return pd.concat([self.run(rng, f"run{k}", *run) for k, run in enumerate(runs)])


def look(world, log):
    """Return the fit, the question, and (tokens, width, holds, error) of its answer."""
    fit = cp.fit(log, "dcpt", bootstrap=100)
    question = {
        "model_params": SIZE,
        "train_tokens": FULL,
        "max_general_rise": RISE,
        "base_loss": world.limit - RISE,
    }
    found = cp.next_probes(fit, budget="1tokens", **question)  # nothing affordable: the answer now
    low, high = found.domain_ratio_low, found.domain_ratio_high
    tokens = log.groupby("run_id")["train_tokens"].max().sum()
    error = abs(found.domain_ratio - world.ratio)
    return fit, question, (tokens, high - low, low <= world.ratio <= high, error)


def is_done(steps):
    return any(width <= min(WIDTHS) and holds for _, width, holds, _ in steps)


def by_next(world, rng):
    log, steps, expected = world.log(rng, PILOT, SHORT), [], []
    for batch in count():
        fit, question, seen = look(world, log)
        steps.append(seen)
        if is_done(steps) or seen[0] > NUM_UNIFORM[-1] * FULL:
            return steps, expected
        found = cp.next_probes(
            fit,
            budget=f"{seen[0] / 3:.0f}tokens",
            least_narrowing=0,
            resolution=0,
            **question,
        )
        runs = [
            world.run(rng, f"next{batch}-{k}", probe.domain_ratio, probe.train_tokens)
            for k, probe in enumerate(found.probes)
        ]
        expected.append((found.expected_width / found.width, len(steps)))
        log = pd.concat([log, *runs])


def by_grid(world, rng, lengths):
    steps = []
    for number in NUM_UNIFORM:
        log = world.log(rng, np.linspace(0, 1, number), np.resize(lengths, number))
        steps.append(look(world, log)[2])
        if is_done(steps):
            break
    return steps


def one_world(number):
    world = World(number)
    rng = [np.random.default_rng([number, way]) for way in range(len(WAYS))]
    steps, expected = by_next(world, rng[0])
    found = [steps, by_grid(world, rng[1], [FULL]), by_grid(world, rng[2], [FULL, SHORT])]
    shrunk = [(share, steps[k][1] / steps[k - 1][1]) for share, k in expected]
    return found, shrunk


def reached(steps, width):
    """Return tokens and error where the interval first was narrow and right, and whether it ever was."""
    for tokens, now, holds, error in steps:
        if now <= width and holds:
            return tokens, error, True
    return steps[-1][0], steps[-1][3], False


def wrong(steps, width):
    """Tell whether the first interval as narrow as asked misses the true ratio."""
    return next((not holds for _, now, holds, _ in steps if now <= width), False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    clear = (number for number in count() if World(number).is_clear())
    numbers = [next(clear) for _ in range(asked.worlds)]
    with ProcessPoolExecutor(asked.workers) as pool:
        results = list(pool.map(one_world, numbers))
    print(
        f"tokens until the 90 % interval of the critical ratio is narrow and right, {asked.worlds} worlds;"
    )
    print("in runs of the full budget, median (quartiles)\n")
    print(
        "| width | way | tokens | share of uniform | mean error | not reached | first narrow one wrong |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for width in WIDTHS:
        ends = [[reached(steps, width) for steps in found] for found, _ in results]
        tokens = np.array([[end[0] for end in world] for world in ends]) / FULL
        for way, name in enumerate(WAYS):
            cells = [
                quartiles(tokens[:, way], 1),
                quartiles(tokens[:, way] / tokens[:, 1], 2),
                f"{np.mean([world[way][1] for world in ends]):.3f}",
                f"{sum(not world[way][2] for world in ends)}",
                f"{sum(wrong(found[way], width) for found, _ in results)}",
            ]
            print(f"| {width:g} | {name} | " + " | ".join(cells) + " |")
    shrunk = np.array([pair for _, pairs in results for pair in pairs])
    print(
        f"\n{len(shrunk)} batches: expected width over width before, median {np.median(shrunk[:, 0]):.2f}; "
    )
    print(f"what came of it {quartiles(shrunk[:, 1], 2)}")


def quartiles(values, digits) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
