"""Whether plans hold where the domain data repeat, in worlds in which no law of the library is true.

    python benchmarks/repetition.py --worlds 20

Worlds are those of ``worlds.py`` with a domain corpus of U tokens. A pass over it counts less than the one before: pass
k is worth ``e^(-(k - 1) / f)`` of the first, f in 4 to 40 (its logarithm uniform), and in every second world too many
passes harm: the domain loss rises by ``o ln(1 + (passes / p)^m)`` of its base, o in 0.002 to 0.02, p in 3 to 15, m in 1
to 2. U is 1/40 to 2 times half the largest budget (its logarithm uniform). In every third world half the sweep draws
from a quarter of U. The log says U; fits are by default settings.

Plans are asked for at the largest probed budget and at twice it, from U, and at the largest budget from 3 U. Tolerances
are drawn as in ``decisions.py``. Prints Markdown tables; their columns are those of ``decisions.py``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from decisions import SAME_RATIO, draw_limit
from world_runs import CONFIDENCE, Result, Task, figure, print_table, report, share
from world_surfaces import TrueLosses, Values
from worlds import FAMILIES, World, make_log

import cmrplan as cp

QUESTIONS = {
    "largest budget": (1, 1),
    "twice the budget": (2, 1),
    "three times the supply": (1, 3),
}
FINE = 1e-9  # a general loss this close to its limit keeps it


@dataclass(frozen=True)
class RepeatedLosses:
    """True losses of runs that draw from a domain corpus of ``unique`` tokens.

    Parameters
    ----------
    fresh : TrueLosses
        Of runs that never repeat.
    unique : float
    fade : float
        Passes after which a further one is worth 1/e.
    harm, patience, growth : float
        How the domain loss rises with the passes.
    """

    fresh: TrueLosses
    unique: float
    fade: float
    harm: float
    patience: float
    growth: float

    @property
    def smallest(self) -> float:
        """Parameters of the smallest probed size."""
        return self.fresh.smallest

    @property
    def largest_budget(self) -> float:
        """Tokens."""
        return self.fresh.largest_budget

    def loss(self, corpus, size, tokens, ratio) -> Values:
        """Return the true loss of a corpus."""
        if corpus == "general":
            return self.fresh.loss(corpus, size, tokens, ratio)
        drawn = np.asarray(tokens, dtype=float) * np.asarray(ratio, dtype=float)
        passes = drawn / self.unique
        worth = self.unique * worth_of_passes(passes, self.fade)
        loss = self.fresh.loss(corpus, size, tokens - drawn + worth, ratio)
        base = self.fresh.loss(corpus, size, 0, ratio)
        return loss + base * self.harm * np.log1p((passes / self.patience) ** self.growth)


def worth_of_passes(passes: Values, fade: float) -> Values:
    """Return the sum over passes, the last of which may be a part, of what each is worth of the first.

    Examples
    --------
    >>> [round(float(worth_of_passes(np.array(passes), 1.0)), 3) for passes in (0.5, 1.0, 2.5)]
    [0.5, 1.0, 1.436]
    """
    whole = np.floor(passes)
    decay = np.exp(-1 / fade)
    return (1 - decay**whole) / (1 - decay) + (passes - whole) * decay**whole


def repeated(world: World) -> tuple[World, RepeatedLosses]:
    """Return a world whose domain corpus repeats, and its true losses."""
    rng = np.random.default_rng([world.seed, list(FAMILIES).index(world.family), 2])
    unique = world.tokens[-1] / 2 * np.exp(rng.uniform(np.log(1 / 40), np.log(2)))
    fade = np.exp(rng.uniform(np.log(4), np.log(40)))
    harm, patience, growth = rng.uniform((0.002, 3, 1), (0.02, 15, 2))
    truth = RepeatedLosses(
        world.truth, float(unique), fade, harm * (world.seed % 2), patience, growth
    )
    sweep = rng, truth, world.noise, world.sizes, world.tokens, 1.0
    log = make_log(*sweep).assign(unique_domain_tokens=truth.unique)
    if world.seed % 3 == 2:
        scarce = replace(truth, unique=truth.unique / 4)
        other = make_log(rng, scarce, *sweep[2:]).assign(unique_domain_tokens=scarce.unique)
        log = pd.concat([log, other.assign(run_id=other["run_id"] + "-scarce")])
    return replace(world, truth=truth, log=log.reset_index(drop=True)), truth


def decide_in(task: Task, fresh: World, result: Result) -> None:
    """Add a row for each question."""
    world, truth = repeated(fresh)
    try:
        fit = task.fit(world.log)
    except cp.CmrplanError as error:
        result.refused("fit", error)
        return
    rng, size = world.rng, float(world.sizes[-1])
    for question, (budgets, supplies) in QUESTIONS.items():
        asked = replace(world, truth=replace(truth, unique=supplies * truth.unique))
        tokens = float(budgets * world.tokens[-1])
        drawn = draw_limit(rng, asked, tokens)
        if drawn is None:
            continue
        limit, best = drawn
        base = float(world.loss("general", size, 0, 0))
        try:
            plan = cp.plan(
                fit,
                model_params=size,
                train_tokens=tokens,
                max_general_rise=f"{limit - base:.9f}nats",
                domain_tokens=supplies * truth.unique,
                max_epochs=1e6,
                confidence=CONFIDENCE,
            )
        except cp.CmrplanError as error:
            result.refused(question, error)
            result.rows.append({"question": question, "ratio": np.nan, "harm": truth.harm > 0})
            continue
        domain = asked.loss("domain", size, tokens, np.array([plan.domain_ratio, best]))
        low, high = plan.domain_ratio_low, plan.domain_ratio_high
        general = float(asked.loss("general", size, tokens, plan.domain_ratio))
        holds = low - SAME_RATIO <= best <= high + SAME_RATIO
        expected = plan.domain_loss
        result.rows.append(
            {
                **{"family": task.family, "seed": task.seed, "question": question},
                **{"harm": truth.harm > 0, "supplies": log_supplies(world.log)},
                **{"passes": tokens * best / (supplies * truth.unique)},
                **{"ratio": plan.domain_ratio, "best": best, "holds": holds, "width": high - low},
                **{"regret": domain[0] - domain[1], "broken": general > limit + FINE},
                "covered": expected.low <= domain[0] <= expected.high,
                "loss_width": expected.high - expected.low,
            }
        )


def log_supplies(log: pd.DataFrame) -> int:
    """Return how many supplies a log tells of."""
    return int(log["unique_domain_tokens"].nunique())


def cells_of(rows: pd.DataFrame) -> list[str]:
    """Return the cells of one line."""
    answered = rows[np.isfinite(rows["ratio"])]
    kept = answered[~answered["broken"].astype(bool)]
    return [
        str(len(rows)),
        share(np.isfinite(rows["ratio"])),
        share(answered["broken"]),
        f"{share(answered['holds'])} ({figure(answered['width'], digits=2)})",
        figure(kept["regret"], np.median),
        figure(kept["regret"]),
        f"{share(answered['covered'])} ({figure(answered['loss_width'], digits=3)})",
    ]


def print_tables(table: pd.DataFrame) -> None:
    """Print each question, over all worlds and by what repetition does."""
    header = ["question", "worlds", "number", "answers", "broken", "holds (width)"]
    header += ["median regret", "mean regret", "domain loss covered (width)"]
    lines = []
    for question, rows in table.groupby("question", sort=False):
        many = rows["passes"] > 8
        parts = {
            "all": rows,
            "harmed": rows[rows["harm"].astype(bool)],
            "not harmed": rows[~rows["harm"].astype(bool)],
            "more than 8 passes at the best": rows[many],
            "two supplies": rows[rows["supplies"] == 2],
        }
        lines += [[question, name, *cells_of(part)] for name, part in parts.items()]
    print_table(header, lines)


def main() -> None:
    report(__doc__, decide_in, f"confidence {CONFIDENCE:g}; losses in nats per token", print_tables)


if __name__ == "__main__":
    main()
