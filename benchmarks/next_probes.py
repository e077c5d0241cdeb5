"""What planned probes cost beside a uniform grid, for the same interval of the ratio.

    python benchmarks/next_probes.py --worlds 50 [--sweep "one size"] [--short]

Worlds are D-CPT laws drawn at random, with the noise of coverage.py: 0.003 shared by a run, 0.0022 along it. Probes
have up to 16e6 tokens. The question is the recommended ratio at 16e6 tokens, in worlds where that is the critical
ratio: the domain loss falls by at least 2 % per unit of ratio everywhere, and the general loss crosses its limit once
and rises there by at least 5 %. Two sweeps: three sizes (10, 30 and 100 million parameters) for a model of 300 million,
and one size for itself. Ways to spend tokens:

- ``next``: a pilot of a few ratios at 4e6 tokens and each size, then batches from ``cmrplan.next_probes``, each with
  a third of what was spent before as its budget in tokens, refitting after each; all tokens count;
- ``uniform``: a grid of n ratios from 0 to 1 and all sizes, at 16e6 tokens, n growing by about a quarter. Each is drawn
  anew, and only its own tokens count: the user knows n beforehand;
- ``short uniform``, with ``--short``: the same at 4e6 tokens, which shows what comes of shorter runs alone.

Tokens are counted at the first interval that is as narrow as asked and holds the true ratio, so that narrow but wrong
does not count. A way that does not get there is counted with all it spent. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from coverage import GRID, TOKENS, draw_law, run_noise

import cmrplan as cp

FULL, SHORT = TOKENS[-1], TOKENS[-1] / 4
RISE = 0.05  # nats that the general loss may rise; the base loss is set so that the limit is the world's
WAYS = ("next", "uniform", "short uniform")
LEAST_RISE, LEAST_FALL = 0.05, 0.02  # of the logarithm of the general and the domain loss


@dataclass(frozen=True)
class Sweep:
    """Sizes of the probes and of the question, ratios of the pilot and of the grids, and intervals to reach."""

    sizes: tuple[float, ...]
    target: float
    pilot: int
    uniform: tuple[int, ...]
    short: tuple[int, ...]
    widths: tuple[float, ...]


NUMBERS = (4, 5, 6, 8, 10, 12, 15, 19, 24, 30, 38, 48, 60, 75)
SWEEPS = {
    "three sizes": Sweep((1e7, 3e7, 1e8), 3e8, 4, NUMBERS[:10], NUMBERS[:12], (0.2, 0.15, 0.1)),
    "one size": Sweep((1e8,), 1e8, 5, NUMBERS[1:12], NUMBERS[1:], (0.1, 0.06)),
}


def slope(loss):
    return np.gradient(np.log(loss), GRID)


def draw_sized_law(rng):
    """Return a D-CPT loss of (size, tokens, share); at 1e8 parameters as coverage.py draws it."""
    law, a, alpha = draw_law(rng), rng.uniform(0.1, 0.4), rng.uniform(0.2, 0.5)
    return lambda n, d, r: law(d, r) + a * ((n / 1e8) ** -alpha - 1)


class World:
    """True laws of both losses, the limit of the general loss, and runs with noise."""

    def __init__(self, number: int, sweep: Sweep) -> None:
        self.sweep = sweep
        rng = np.random.default_rng(number)
        general, domain = draw_sized_law(rng), draw_sized_law(rng)
        while np.max(slope(domain(sweep.target, FULL, GRID))) > -LEAST_FALL:
            domain = draw_sized_law(rng)
        self.truth = {"general": lambda n, d, r: general(n, d, 1 - r), "domain": domain}
        self.ratio = rng.uniform(0.3, 0.8)
        self.limit = self.truth["general"](sweep.target, FULL, self.ratio)

    def is_clear(self) -> bool:
        """Tell whether the limit is crossed once, and not too flatly to be found."""
        loss = self.truth["general"](self.sweep.target, FULL, GRID)
        crossings = np.flatnonzero(np.diff(loss > self.limit))
        return len(crossings) == 1 and slope(loss)[np.searchsorted(GRID, self.ratio)] >= LEAST_RISE

    def run(self, rng, name, size, ratio, tokens):
        """Return the log of one run."""
        levels = np.geomspace(TOKENS[0], tokens, len(TOKENS))
        rows = []
        for corpus, law in self.truth.items():
            losses = law(size, levels, ratio) * np.exp(run_noise(rng))
            rows += [
                (name, size, d, ratio, corpus, loss) for d, loss in zip(levels, losses, strict=True)
            ]
        names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
        return pd.DataFrame(rows, columns=names)

    def grid(self, rng, ratios, tokens):
        """Return the log of all ratios at all sizes."""
        return pd.concat(
            [
                self.run(rng, f"n{size:g}-r{ratio:g}", size, ratio, tokens)
                for size in self.sweep.sizes
                for ratio in ratios
            ]
        )


def look(world, log, budget="1tokens"):
    """Return the next probes, and (tokens, FLOPs, width, holds, error) of the answer now."""
    found = cp.next_probes(
        cp.fit(log, "dcpt", bootstrap=100),
        budget=budget,
        least_narrowing=0,
        resolution=0,
        model_params=world.sweep.target,
        train_tokens=FULL,
        max_general_rise=RISE,
        base_loss=world.limit - RISE,
    )
    tokens, flops = spent(log)
    holds = found.domain_ratio_low <= world.ratio <= found.domain_ratio_high
    error = abs(np.nan_to_num(found.domain_ratio) - world.ratio)
    return found, (tokens, flops, found.width, holds, error)


def spent(log):
    """Return the tokens and FLOPs of all runs."""
    runs = log.groupby("run_id")[["train_tokens", "model_params"]].max()
    return runs["train_tokens"].sum(), 6 * (runs["train_tokens"] * runs["model_params"]).sum()


def is_done(world, steps):
    return any(width <= min(world.sweep.widths) and holds for *_, width, holds, _ in steps)


def by_next(world, rng):
    log = world.grid(rng, np.linspace(0, 1, world.sweep.pilot), SHORT)
    most = len(world.sweep.sizes) * world.sweep.uniform[-1] * FULL
    steps, expected = [], []
    for batch in count():
        found, seen = look(world, log, f"{spent(log)[0] / 3:.0f}tokens")
        steps.append(seen)
        if is_done(world, steps) or seen[0] > most:
            return steps, expected
        runs = [
            world.run(
                rng, f"{batch}-{k}", probe.model_params, probe.domain_ratio, probe.train_tokens
            )
            for k, probe in enumerate(found.probes)
        ]
        expected.append(found.expected_width / found.width)
        log = pd.concat([log, *runs])


def by_grid(world, rng, numbers, tokens):
    steps = []
    for number in numbers:
        steps.append(look(world, world.grid(rng, np.linspace(0, 1, number), tokens))[1])
        if is_done(world, steps):
            break
    return steps


def one_world(number, sweep, with_short):
    world = World(number, sweep)
    rng = [np.random.default_rng([number, way]) for way in range(len(WAYS))]
    steps, expected = by_next(world, rng[0])
    shrunk = [
        (share, after[2] / before[2])
        for share, before, after in zip(expected, steps, steps[1:], strict=False)
    ]
    found = [steps, by_grid(world, rng[1], sweep.uniform, FULL)]
    if with_short:
        found.append(by_grid(world, rng[2], sweep.short, SHORT))
    return found, shrunk


def reached(steps, width):
    """Return the first step that is narrow and right, or the last, and whether it is."""
    for step in steps:
        if step[2] <= width and step[3]:
            return step, True
    return steps[-1], False


def is_wrong(steps, width):
    """Tell whether the first interval as narrow as asked misses the true ratio."""
    return next((not holds for *_, now, holds, _ in steps if now <= width), False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sweep", choices=list(SWEEPS), default="three sizes")
    parser.add_argument("--short", action="store_true", help="short uniform grids too")
    asked = parser.parse_args()
    sweep = SWEEPS[asked.sweep]
    clear = (number for number in count() if World(number, sweep).is_clear())
    numbers = [next(clear) for _ in range(asked.worlds)]
    with ProcessPoolExecutor(asked.workers) as pool:
        results = list(pool.map(partial(one_world, sweep=sweep, with_short=asked.short), numbers))
    report(results, sweep)


def report(results, sweep) -> None:
    print(
        f"until the 90 % interval of the ratio is as narrow as asked and right, {len(results)} worlds;"
    )
    print("median (quartiles); tokens in runs of the full budget; in all: summed over the worlds\n")
    print(
        "| width | way | tokens | of uniform's tokens | in all | of uniform's FLOPs | mean error | not reached | "
        "wrong first |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for width in sweep.widths:
        ends = [[reached(steps, width) for steps in found] for found, _ in results]
        cost = np.array([[end[0][:2] for end in world] for world in ends])  # (world, way, unit)
        for way, name in enumerate(WAYS[: cost.shape[1]]):
            share = cost[:, way] / cost[:, 1]
            cells = [
                quartiles(cost[:, way, 0] / FULL, 1),
                quartiles(share[:, 0], 2),
                f"{cost[:, way, 0].sum() / cost[:, 1, 0].sum():.2f}",
                quartiles(share[:, 1], 2),
                f"{np.mean([world[way][0][4] for world in ends]):.3f}",
                f"{sum(not world[way][1] for world in ends)}",
                f"{sum(is_wrong(found[way], width) for found, _ in results)}",
            ]
            print(f"| {width:g} | {name} | " + " | ".join(cells) + " |")
    shrunk = np.array([pair for _, pairs in results for pair in pairs])
    print(
        f"\n{len(shrunk)} batches; the interval's width after one, of that before: expected "
        f"{quartiles(shrunk[:, 0], 2)}, found {quartiles(shrunk[:, 1], 2)}"
    )


def quartiles(values, digits) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
