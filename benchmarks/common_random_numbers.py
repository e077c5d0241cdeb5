"""By how much common random numbers cut the noise of a difference between two ratios.

    python benchmarks/common_random_numbers.py RUNS [--ratios 0.2 0.3 0.4 0.5] [--schedule cosine]

Trains one base of 0.36M parameters and, from it, probes of a few ratios with 8 data seeds each on the embedded
corpora, in two ways:

- ``common``: our batches. Runs of one seed hold the same sequence in the same slot of the same step wherever they agree
  on the corpus, and the share of a step is met exactly; runs of two seeds share neither.
- ``interleaved``: every run draws for itself, as with ``datasets.interleave_datasets`` over two shuffled corpora: each
  slot takes the next domain sequence with a probability of the ratio, else the next general one.

For two ratios a and b, *paired* is the variance over seeds of ``loss(a, seed) - loss(b, seed)`` of common runs. It
stands beside ``var(loss(a)) + var(loss(b))``, the variance of that difference between independent runs, of the
interleaved runs and of common runs with different seeds (which keep the exact shares, and lose the pairing).
The cut is the latter sum over pairs over the former. Intervals: seeds drawn again with replacement, 5th to 95th
percentile. *All pairs* and *all neighbors* sum the variances over pairs. Killed, it goes on.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from probes.data.prepare import prepare_corpora
from probes.data.prepared import PreparedCorpora, load_corpora
from probes.data.sampling import batch
from probes.executors.local import usable_cores
from probes.models.build import build_model
from probes.planned_runs import sweep_settings
from probes.run_settings import RunSettings
from probes.spec.file import parse_spec
from probes.training.metrics import append_row, read_rows
from probes.training.trainee import Single

WAYS = ("common", "interleaved")
RESAMPLES = 10_000


def sweep(ratios: list[float], seeds: int, steps: int, schedule: str) -> dict[str, object]:
    """Return the values of the spec that the runs' settings come from."""
    return {
        "name": "common-random-numbers",
        "corpora": {
            "general": {"source": "embedded:english"},
            "domain": {"source": "embedded:python"},
        },
        "sequence_length": 128,
        "batch_size": 16,
        "evaluation_sequences": 512,
        "sizes": [{"name": "0.3M", "width": 96, "layers": 3, "heads": 3, "feedforward": 256}],
        "base": {"train_tokens": 600 * 2048, "learning_rate": 2e-3},
        "probes": {
            "train_tokens": steps * 2048,
            "evaluations": 1,
            "first_evaluation_tokens": steps * 2048,
            "learning_rate": 1e-3,
            "schedule": schedule,
            "grid": {"domain_ratio": ratios, "seed": list(range(seeds))},
        },
    }


class Interleaved:
    """Batches of a run that draws its corpora and sequences for itself."""

    def __init__(self, settings: RunSettings, corpora: PreparedCorpora) -> None:
        key = [settings.seed, round(1000 * settings.domain_ratio)]
        self._generator = np.random.default_rng(key)
        self._left = {
            name: iter(self._generator.permutation(len(sequences)))
            for name, sequences in corpora.train.items()
        }
        self._settings, self._corpora = settings, corpora

    def __call__(self, step: int) -> np.ndarray:
        """Return the batch of the next step."""
        is_domain = self._generator.random(self._settings.batch_size) < self._settings.domain_ratio
        names = np.where(is_domain, "domain", "general")
        return np.concatenate(
            [self._corpora.train[name][np.array([next(self._left[name])])] for name in names]
        )


def common(settings: RunSettings, corpora: PreparedCorpora, step: int) -> np.ndarray:
    """Return our batch of a step."""
    tokens, _ = batch(
        step,
        corpora.train["general"],
        corpora.train["domain"],
        batch_size=settings.batch_size,
        domain_ratio=settings.domain_ratio,
        stage=settings.stage,
        seed=settings.seed,
    )
    return tokens


def trained(settings: RunSettings, corpora: PreparedCorpora, way: str, start=None) -> Single:
    """Train a run and return it."""
    trainee = Single(build_model(settings.model, seed=settings.seed), settings)
    if start is not None:
        trainee.restore(0, start, moments=False)
    interleaved = Interleaved(settings, corpora)
    (segment,) = settings.segments
    for step in range(settings.steps):
        tokens = interleaved(step) if way == "interleaved" else common(settings, corpora, step)
        trainee.update([tokens], learning_rate=settings.schedule.rate(step, segment))
    return trainee


def train_missing(
    folder: Path, ratios: list[float], *, seeds: int, steps: int, schedule: str, workers: int
) -> list[dict]:
    """Train what ``losses.jsonl`` lacks and return its rows."""
    spec = parse_spec(sweep(ratios, seeds, steps, schedule))
    corpora = prepare_corpora(spec, folder / "corpora")
    bases, probes = sweep_settings(spec, corpora.identity)
    if not (folder / "base.safetensors").exists():
        state = trained(bases["0.3M"], corpora, "common").state()
        save_file({name: value.contiguous() for name, value in state.items()}, folder / "new")
        (folder / "new").rename(folder / "base.safetensors")
    start = load_file(folder / "base.safetensors")
    rows = read_rows(folder / "losses.jsonl")
    done = {(row["way"], row["domain_ratio"], row["seed"]) for row in rows}
    todo = [
        (way, settings)
        for settings in probes
        for way in WAYS
        if settings.domain_ratio in ratios  # controls are added to a grid
        and (way, settings.domain_ratio, settings.seed) not in done
    ]
    with ProcessPoolExecutor(workers) as pool:
        for row in pool.map(
            partial(measured, folder=folder, start=start), *zip(*todo, strict=True)
        ):
            append_row(folder / "losses.jsonl", row)
            print(json.dumps(row), flush=True)
    return read_rows(folder / "losses.jsonl")


def measured(way: str, settings: RunSettings, *, folder: Path, start: dict) -> dict:
    """Train a run and return its losses."""
    torch.set_num_threads(1)
    corpora = load_corpora(folder / "corpora")
    trainee = trained(settings, corpora, way, start)
    row = {"way": way, "domain_ratio": settings.domain_ratio, "seed": settings.seed}
    for name, sequences in corpora.evaluation.items():
        row[name] = float(trainee.sequence_losses(sequences).mean(dtype=np.float64))
    return row


def table_row(losses: dict[str, np.ndarray], pairs: list[tuple[int, int]]) -> str:
    """Return the three standard deviations of a difference, and both cuts with their intervals."""

    def variances(drawn: np.ndarray) -> np.ndarray:
        summed = np.zeros(3)
        for pair in pairs:
            chosen = {way: losses[way][np.ix_(drawn, pair)] for way in WAYS}
            single = [chosen[way].var(axis=0, ddof=1).sum() for way in reversed(WAYS)]
            summed += [*single, np.diff(chosen["common"], axis=1).var(ddof=1)]
        return summed / len(pairs)

    count = len(losses["common"])
    generator = np.random.default_rng(0)
    cuts = []
    while len(cuts) < RESAMPLES:
        drawn = generator.integers(count, size=count)
        if len(set(drawn.tolist())) > 2:  # two seeds or fewer say nothing of a variance
            estimates = variances(drawn)
            cuts.append(estimates[:2] / estimates[2])
    estimates = variances(np.arange(count))
    low, high = np.percentile(cuts, [5, 95], axis=0)
    cells = [f"{value**0.5:.4f}" for value in estimates]
    cells += [
        f"{estimates[n] / estimates[2]:.1f} ({low[n]:.1f} to {high[n]:.1f})" for n in range(2)
    ]
    return " | ".join(cells)


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "runs", type=Path, help="folder of one schedule for corpora, base and losses"
    )
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.25, 0.5, 0.75])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--workers", type=int, default=usable_cores())
    parser.add_argument("--steps", type=int, default=120, help="of a probe, 2048 tokens each")
    parser.add_argument("--schedule", choices=["constant", "cosine"], default="constant")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ratios = sorted(options.ratios)
    rows = train_missing(
        options.runs,
        ratios,
        seeds=options.seeds,
        steps=options.steps,
        schedule=options.schedule,
        workers=options.workers,
    )
    print(
        "| loss | ratios | std interleaved | std unpaired | std paired | cut of interleaved | cut of unpaired |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    for corpus in ("general", "domain"):
        estimates = {(row["way"], row["seed"], row["domain_ratio"]): row[corpus] for row in rows}
        losses = {
            way: np.array([[estimates[way, s, r] for r in ratios] for s in range(options.seeds)])
            for way in WAYS
        }
        neighbors = list(pairwise(range(len(ratios))))
        print(f"| {corpus} | all neighbors | {table_row(losses, neighbors)} |")
        pairs = list(combinations(range(len(ratios)), 2))
        print(f"| {corpus} | all pairs | {table_row(losses, pairs)} |")
        for pair in pairs:
            names = " and ".join(f"{ratios[number]:g}" for number in pair)
            print(f"| {corpus} | {names} | {table_row(losses, [pair])} |")


if __name__ == "__main__":
    main()
