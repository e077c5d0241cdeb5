"""What keeps two runs with common random numbers from having common noise, at a constant rate.

    python benchmarks/decoupling.py RUNS [--ratio 0.3] [--seeds 8]

Takes the base of ``schedules.py``. Each seed trains a run at the ratio and others from the same base that depart from
it in one thing, over the same steps:

- ``next ratio``: 2 of 16 slots more are domain, as in a probe of a ratio 0.125 higher;
- ``other texts``: as many slots hold another sequence of the *same* corpus;
- ``nudged``: the data are the same and every weight of the base is off by a thousandth of itself.

The variance over seeds of the difference to the run, over twice the variance of the runs of different seeds, is how
much of independent noise is left. If each sequence added its own noise and nothing else, the first two would leave an
eighth. What the nudge leaves is what training itself makes of a small difference. Each is read at the end of the trunk
and from the mean of its last weights. Killed, it goes on.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from safetensors.torch import load_file
from schedules import Trajectory, batches_of, sweep
from torch import Tensor

from probes.data.prepare import prepare_corpora
from probes.data.prepared import PreparedCorpora
from probes.data.thresholds import thresholds
from probes.planned_runs import sweep_settings
from probes.run_settings import RunSettings
from probes.spec.file import parse_spec
from probes.training.metrics import append_row, read_rows

SLOTS = 2 / 16
"""Share of the slots that differ."""

NUDGE = 1e-3
OTHER_SEED = 1000
KINDS = ("run", "next ratio", "other texts", "nudged")


def batches(kind: str, settings: RunSettings, corpora: PreparedCorpora) -> list[np.ndarray]:
    """Return the batches of all steps of a run of a kind."""
    if kind == "next ratio":
        higher = replace(settings, domain_ratio=settings.domain_ratio + SLOTS)
        return batches_of("common", higher, corpora)
    own = batches_of("common", settings, corpora)
    if kind == "other texts":
        generator = np.random.default_rng(settings.seed + OTHER_SEED)
        for step, tokens in enumerate(own):
            low = thresholds(step, settings.batch_size, seed=settings.seed)
            chosen = np.flatnonzero((low >= 0.5) & (low < 0.5 + SLOTS))  # general slots
            rows = corpora.train["general"]
            tokens[chosen] = rows[generator.integers(len(rows), size=len(chosen))]
    return own


def start_of(kind: str, base: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return the weights that a run of a kind starts from."""
    if kind != "nudged":
        return base
    generator = torch.Generator().manual_seed(seed)
    return {
        name: value * (1 + NUDGE * torch.randn(value.shape, generator=generator))
        if name.startswith("model.")
        else value
        for name, value in base.items()
    }


def train_missing(folder: Path, ratio: float, seeds: int, steps: int) -> list[dict]:
    """Train what ``decoupling.jsonl`` lacks and return its rows."""
    spec = parse_spec(sweep([ratio], seeds, steps))
    corpora = prepare_corpora(spec, folder / "corpora")
    base = load_file(folder / "base.safetensors")
    path = folder / "decoupling.jsonl"
    done = {(row["kind"], row["seed"]) for row in read_rows(path)}
    probes = [one for one in sweep_settings(spec, corpora.identity)[1] if one.domain_ratio == ratio]
    for settings in probes:
        for kind in KINDS:
            if (kind, settings.seed) not in done:
                start = start_of(kind, base, settings.seed)
                own = batches(kind, settings, corpora)
                ends, _ = Trajectory(settings, corpora, start, own).ends_of_trunk()
                append_row(path, {"kind": kind, "seed": settings.seed} | ends)
                print(json.dumps({"kind": kind, "seed": settings.seed} | ends), flush=True)
    return read_rows(path)


def report(rows: list[dict], seeds: int) -> None:
    """Print what is left of independent noise, by loss, end and what differs."""
    print("| loss | end | differs | deviation of the difference | part of independent variance |")
    print("| --- | --- | --- | --- | --- |")
    values = {(row["kind"], row["seed"]): row for row in rows}
    for corpus in ("general", "domain"):
        for end in ("constant", "average"):
            losses = {
                kind: np.array([values[kind, seed][end][corpus] for seed in range(seeds)])
                for kind in KINDS
            }
            independent = 2 * losses["run"].var(ddof=1)
            for kind in KINDS[1:]:
                left = (losses[kind] - losses["run"]).var(ddof=1)
                print(f"| {corpus} | {end} | {kind} | {left**0.5:.4f} | {left / independent:.2f} |")


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder of schedules.py")
    parser.add_argument("--ratio", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100, help="of a run, 2048 tokens each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = train_missing(options.runs, options.ratio, options.seeds, options.steps)
    report(rows, options.seeds)


if __name__ == "__main__":
    main()
