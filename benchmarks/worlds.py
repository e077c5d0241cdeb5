"""Simulated worlds in which no law of the library is true: true losses and a probe log made from them.

    python benchmarks/worlds.py --family humped --seed 3 > log.csv

``draw_world(family, seed)`` is deterministic and uses nothing of the library. A sweep has one to three sizes, 4 to 12
runs (one size) or 4 to 8 runs a size, at unevenly placed ratios that mostly begin at 0, some with two seeds, and 4 to
10 evaluations a run, evenly or geometrically spaced; every run starts with a row of its base. Families:

- ``exponential``, ``rising``, ``u_shaped``, ``humped``, ``exponents``: the rise of that name in ``world_surfaces.py``,
  and the gain of that name where there is one, else the plain gain; normal noise;
- ``heavy_tails``, ``unequal_noise``: plain rise and gain with that noise, see :class:`RunNoise`;
- ``dip``: plain rise, the gain with an inner optimum;
- ``mixed``: rise, gain and noise each drawn from all.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
from world_surfaces import GAINS, RISES, TrueLosses, Values, draw_losses

LOSSES = ("general", "domain")
NOISES = ("normal", "heavy_tails", "unequal_noise")
FAMILIES = {
    "exponential": ("exponential", "exponential", "normal"),
    "rising": ("rising", "plain", "normal"),
    "u_shaped": ("u_shaped", "plain", "normal"),
    "humped": ("humped", "plain", "normal"),
    "exponents": ("exponents", "exponents", "normal"),
    "heavy_tails": ("plain", "plain", "heavy_tails"),
    "unequal_noise": ("plain", "plain", "unequal_noise"),
    "dip": ("plain", "dip", "normal"),
    "mixed": (None, None, None),
}
HEAVY_SCALE = 0.7  # a t variate times this has about the quartiles of a normal one
FEWEST_RATIOS = 4


@dataclass(frozen=True)
class RunNoise:
    """Noise of measured losses, nats per token; the two losses are independent.

    A run adds ``run (sqrt(w) z + sqrt(1 - w) a)``, with z the same all along the run and a a first-order autoregression
    over its evaluations. An evaluation adds ``evaluation (sqrt(1 - s) e + sqrt(s) f)``, with f shared by all ratios of
    a size at that step. Ranges:

    - normal: run in 0.001 to 0.006, evaluation in 0.001 to 0.004, w in 0.3 to 0.9, correlation of a in 0.5 to 0.95,
      s in 0 to 0.7;
    - heavy tails: the same, but z, the steps of a, e and f are Student t of 2 to 3 degrees of freedom, times 0.7;
    - unequal: run in 0.0007 to 0.002, evaluation in 0.0005 to 0.0015, all times ``(1 + a r) (x + 0.05)^-b u^-c``, a in
      1 to 4, b in 0.2 to 0.5, c in -0.3 to 0.3.
    """

    run: float
    evaluation: float
    constant: float
    correlation: float
    shared: float
    degrees: float
    unequal: tuple[float, float, float]

    @classmethod
    def drawn(cls, rng: np.random.Generator, kind: str) -> RunNoise:
        """Draw the noise of a world."""
        low, high = (0.001, 0.001), (0.006, 0.004)
        if kind == "unequal_noise":
            low, high = (0.0007, 0.0005), (0.002, 0.0015)
        run, evaluation = rng.uniform(low, high)
        constant, correlation, shared = rng.uniform((0.3, 0.5, 0), (0.9, 0.95, 0.7))
        degrees = rng.uniform(2, 3) if kind == "heavy_tails" else np.inf
        unequal = rng.uniform((1, 0.2, -0.3), (4, 0.5, 0.3)) * (kind == "unequal_noise")
        return cls(run, evaluation, constant, correlation, shared, degrees, tuple(unequal))

    def variates(self, rng: np.random.Generator, count: int) -> Values:
        """Return independent variates of unit scale."""
        if np.isfinite(self.degrees):
            return HEAVY_SCALE * rng.standard_t(self.degrees, count)
        return rng.standard_normal(count)

    def of_run(self, rng: np.random.Generator, step_noise: Values) -> Values:
        """Return the noise of one run's evaluations, before the factor of :meth:`factor`."""
        count = len(step_noise)
        steps, drift = self.variates(rng, count), np.zeros(count)
        for k in range(count):
            fresh = np.sqrt(1 - self.correlation**2) * steps[k]
            drift[k] = self.correlation * drift[k - 1] + fresh if k else steps[k]
        constant = np.sqrt(self.constant) * self.variates(rng, 1)
        own = np.sqrt(1 - self.shared) * self.variates(rng, count)
        run = self.run * (constant + np.sqrt(1 - self.constant) * drift)
        return run + self.evaluation * (own + np.sqrt(self.shared) * step_noise)

    def factor(self, u: float, x: Values, r: float) -> Values:
        """Return how much larger the noise is there."""
        a, b, c = self.unequal
        return (1 + a * r) * (x + 0.05) ** -b * u**-c


@dataclass(frozen=True)
class World:
    """True losses, the noise of runs, and the log of a sweep.

    Parameters
    ----------
    family : str
    seed : int
    truth : TrueLosses
    noise : RunNoise
    sizes, tokens : array
        Probed sizes and budgets, ascending.
    log : DataFrame
        A probe log.
    """

    family: str
    seed: int
    truth: TrueLosses
    noise: RunNoise
    sizes: Values
    tokens: Values
    log: pd.DataFrame

    @property
    def ratios(self) -> Values:
        """The probed ratios, ascending."""
        return np.unique(self.log["domain_ratio"].to_numpy(dtype=float))

    @property
    def rng(self) -> np.random.Generator:
        """A stream for what is drawn about the world after its log."""
        return np.random.default_rng([self.seed, list(FAMILIES).index(self.family), 1])

    def loss(self, corpus, size, tokens, ratio) -> Values:
        """Return the true loss of a corpus."""
        return self.truth.loss(corpus, size, tokens, ratio)

    def new_run(self, rng, corpus, size, tokens, ratio) -> Values:
        """Return what one run outside the log measures at one or more budgets."""
        step_noise = self.noise.variates(rng, len(tokens))
        return measured(rng, self.truth, self.noise, corpus, size, tokens, ratio, step_noise)


def measured(rng, truth, noise, corpus, size, tokens, ratio, step_noise) -> Values:
    """Return the measured losses of a run."""
    factor = noise.factor(size / truth.smallest, tokens / truth.largest_budget, ratio)
    return truth.loss(corpus, size, tokens, ratio) + factor * noise.of_run(rng, step_noise)


def draw_ratios(rng, num_runs: int) -> Values:
    """Return the ratio of each run of a size, ascending; at least four differ."""
    low = 0.0 if rng.random() < 0.85 else rng.uniform(0.02, 0.15)
    high = 1.0 if rng.random() < 0.6 else rng.uniform(0.7, 0.98)
    repeats = rng.integers(1, 4) if num_runs >= FEWEST_RATIOS + 3 and rng.random() < 0.4 else 0
    while True:
        inner = rng.uniform(low, high, num_runs - repeats - 2) ** rng.choice([1, 1.5])
        ratios = np.unique(np.round([low, *inner, high], 2))
        if len(ratios) == num_runs - repeats and np.min(np.diff(ratios)) >= 0.03:
            return np.sort([*ratios, *rng.choice(ratios, repeats, replace=False)])


def draw_steps(rng) -> Values:
    """Return the optimizer steps of the evaluations, ascending."""
    count, last = rng.integers(4, 11), rng.integers(200, 4001)
    is_even = rng.random() < 0.4
    first = 1 / count if is_even else rng.uniform(0.025, 0.125)
    space = np.linspace if is_even else np.geomspace
    return np.unique(np.round(space(first, 1, count) * last))


def make_log(rng, truth: TrueLosses, noise: RunNoise, sizes, steps, batch) -> pd.DataFrame:
    """Return the probe log of a sweep."""
    num_runs = rng.integers(4, 13 if len(sizes) == 1 else 9)
    ratios = draw_ratios(rng, num_runs)
    tokens, parts = steps * batch, []
    for size in sizes:
        step_noise = {corpus: noise.variates(rng, len(steps)) for corpus in LOSSES}
        for k, ratio in enumerate(ratios):
            seed = int(np.sum(ratios[:k] == ratio))
            for corpus in LOSSES:
                base = truth.loss(corpus, size, 0, ratio)
                losses = measured(
                    rng, truth, noise, corpus, size, tokens, ratio, step_noise[corpus]
                )
                part = {
                    "run_id": f"n{size:.0f}-r{ratio:g}-s{seed}",
                    "model_params": size,
                    "train_tokens": [0.0, *tokens],
                    "domain_ratio": ratio,
                    "eval_corpus": corpus,
                    "loss": [float(base), *losses],
                    "seed": seed,
                    "step": [0, *steps.astype(int)],
                }
                parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def draw_world(family: str, seed: int) -> World:
    """Return the world of a family and a seed, always the same."""
    rng = np.random.default_rng([seed, list(FAMILIES).index(family), 0])
    rise, gain, kind = FAMILIES[family]
    if family == "mixed":
        rise, gain, kind = (str(rng.choice(list(names))) for names in (RISES, GAINS, NOISES))
    smallest = np.round(10 ** rng.uniform(7, 8.7), -5)
    factors = np.cumprod([1.0, *rng.uniform(2, 4, rng.integers(0, 3))])
    sizes = np.round(smallest * factors)
    steps, batch = draw_steps(rng), 2.0 ** rng.integers(15, 23)
    scales = {"smallest": float(smallest), "largest_budget": float(steps[-1] * batch)}
    truth = draw_losses(rng, rise, gain, **scales)
    noise = RunNoise.drawn(rng, kind)
    log = make_log(rng, truth, noise, sizes, steps, batch)
    return World(family, seed, truth, noise, sizes, steps * batch, log)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=FAMILIES, required=True)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw_world(asked.family, asked.seed).log.to_csv(sys.stdout, index=False)


if __name__ == "__main__":
    main()
