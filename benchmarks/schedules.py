"""What a probe tells about the ratio per FLOP: constant rate, weight averaging, cooldown branches, cosine.

    python benchmarks/schedules.py RUNS [--ratios 0.2 0.4 0.6] [--seeds 8]

Trains one base of 0.1M parameters on the embedded corpora and, from it, probes of a few ratios with several data
seeds, with our batches (*common*) and with independent ones (*interleaved*), as ``common_random_numbers.py`` does. Each
trajectory has one trunk at a constant rate and ends in four ways at the same step:

- ``constant``: the trunk goes on;
- ``average``: the mean of its weights over the last fifth of the steps, a stand-in for a cooldown;
- ``branches``: the last fifth anew with a rate that falls to a tenth;
- ``cosine``: a run of its own with a cosine.

For neighboring ratios *paired* is the standard deviation over seeds of the difference of two common runs, *independent*
that of two interleaved ones, and the cut how often smaller the variance is. The error of the ratio is the paired
deviation over the mean difference, times the distance of the ratios: how far one pair of probes puts a limit of the
loss off. Its inverse square is the information; per FLOP it counts the steps that six budgets, each twice the last,
take. Killed, it goes on. Prints Markdown tables; intervals come from seeds drawn again, 5th to 95th percentile.
"""

from __future__ import annotations

import argparse
import json
import os
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from common_random_numbers import WAYS, Interleaved, common
from safetensors.torch import load_file, save_file
from torch import Tensor

from probes.data.prepare import prepare_corpora
from probes.data.prepared import PreparedCorpora
from probes.models.build import build_model
from probes.planned_runs import sweep_settings
from probes.run_settings import RunSettings
from probes.spec.file import parse_spec
from probes.training.metrics import append_row, read_rows
from probes.training.schedule import Schedule, segments, trained_steps
from probes.training.trainee import Single

ENDS = ("constant", "average", "branches", "cosine")
DECAY_SHARE = 0.2
PEAK = 1e-3
WARMUP_STEPS = 10
RESAMPLES = 2000
BUDGETS = [8, 16, 32, 64, 128, 256]  # steps; for the cost of six budgets


def sweep(ratios: list[float], seeds: int, steps: int) -> dict[str, object]:
    """Return the values of the spec that the runs' settings come from."""
    return {
        "name": "schedules",
        "corpora": {
            "general": {"source": "embedded:english"},
            "domain": {"source": "embedded:python"},
        },
        "sequence_length": 128,
        "batch_size": 16,
        "evaluation_sequences": 256,
        "sizes": [{"name": "0.1M", "width": 64, "layers": 2, "heads": 2, "feedforward": 176}],
        "base": {"train_tokens": 600 * 2048, "learning_rate": 2e-3, "cooldown_share": 0.2},
        "probes": {
            "train_tokens": steps * 2048,
            "evaluations": 1,
            "first_evaluation_tokens": steps * 2048,
            "learning_rate": PEAK,
            "warmup_steps": WARMUP_STEPS,
            "schedule": "constant",
            "grid": {"domain_ratio": ratios, "seed": list(range(seeds))},
        },
    }


class Trajectory:
    """One run over given batches, from a base to its ends."""

    def __init__(
        self,
        settings: RunSettings,
        corpora: PreparedCorpora,
        base: dict[str, Tensor],
        batches: list[np.ndarray],
    ) -> None:
        self._settings, self._corpora = settings, corpora
        self._base, self._batches = base, batches
        self._trainee = Single(build_model(settings.model, seed=0), settings)
        self._turn = settings.steps - round(DECAY_SHARE * settings.steps)

    def ends(self) -> dict[str, dict[str, float]]:
        """Return the losses of both corpora at each end."""
        losses, kept = self.ends_of_trunk()
        self._trainee.restore(0, kept)
        decay = Schedule("branches", PEAK, WARMUP_STEPS, DECAY_SHARE)
        self._train(decay, self._turn, self._settings.steps)
        losses["branches"] = self._losses()
        self._trainee.restore(0, self._base, moments=False)
        self._train(Schedule("cosine", PEAK, WARMUP_STEPS), 0, self._settings.steps)
        losses["cosine"] = self._losses()
        return losses

    def ends_of_trunk(self) -> tuple[dict[str, dict[str, float]], dict[str, Tensor]]:
        """Return the losses at a constant rate and of the mean of its last weights, and the state before these."""
        steps, turn = self._settings.steps, self._turn
        trunk = Schedule("constant", PEAK, WARMUP_STEPS)
        self._trainee.restore(0, self._base, moments=False)
        self._train(trunk, 0, turn)
        kept = {name: value.clone() for name, value in self._trainee.state().items()}
        summed: dict[str, Tensor] = {}
        for step in range(turn, steps):
            self._train(trunk, step, step + 1)
            for name, value in self._trainee.state().items():
                if name.startswith("model."):
                    summed[name] = summed.get(name, 0) + value / (steps - turn)
        losses = {"constant": self._losses()}
        self._trainee.restore(0, summed, moments=False)
        return losses | {"average": self._losses()}, kept

    def _train(self, schedule: Schedule, start: int, stop: int) -> None:
        segment = segments(schedule, [self._settings.steps])[-1]
        for step in range(start, stop):
            rate = schedule.rate(step, segment)
            self._trainee.update([self._batches[step]], learning_rate=rate)

    def _losses(self) -> dict[str, float]:
        return {
            name: float(self._trainee.sequence_losses(sequences).mean(dtype=np.float64))
            for name, sequences in self._corpora.evaluation.items()
        }


def batches_of(way: str, settings: RunSettings, corpora: PreparedCorpora) -> list[np.ndarray]:
    """Return the batches of all steps of a run."""
    if way == "interleaved":
        draw = Interleaved(settings, corpora)
        return [draw(step) for step in range(settings.steps)]
    return [common(settings, corpora, step) for step in range(settings.steps)]


def train_base(settings: RunSettings, corpora: PreparedCorpora) -> dict[str, Tensor]:
    """Train the base and return its state."""
    trainee = Single(build_model(settings.model, seed=settings.seed), settings)
    for segment in settings.segments:
        for step in range(segment.start, segment.stop):
            rate = settings.schedule.rate(step, segment)
            trainee.update([common(settings, corpora, step)], learning_rate=rate)
    return {name: value.contiguous() for name, value in trainee.state().items()}


def train_missing(folder: Path, ratios: list[float], seeds: int, steps: int) -> list[dict]:
    """Train what ``losses.jsonl`` lacks and return its rows."""
    spec = parse_spec(sweep(ratios, seeds, steps))
    corpora = prepare_corpora(spec, folder / "corpora")
    bases, probes = sweep_settings(spec, corpora.identity)
    path = folder / "base.safetensors"
    if not path.exists():
        save_file(train_base(bases["0.1M"], corpora), folder / "new")
        (folder / "new").rename(path)
    base = load_file(path)
    done = {(row["way"], row["domain_ratio"], row["seed"]) for row in read_rows(folder / "losses.jsonl")}  # fmt: skip
    for settings in sorted(probes, key=lambda one: one.seed):
        for way in WAYS:
            key = (way, settings.domain_ratio, settings.seed)
            if settings.domain_ratio in ratios and key not in done:
                batches = batches_of(way, settings, corpora)
                ends = Trajectory(settings, corpora, base, batches).ends()
                row = dict(zip(("way", "domain_ratio", "seed"), key, strict=True)) | ends
                append_row(folder / "losses.jsonl", row)
                print(json.dumps(row), flush=True)
    return read_rows(folder / "losses.jsonl")


def cost(end: str) -> float:
    """Return the steps that all budgets take, as a share of a run for each."""
    schedule = {
        "constant": Schedule("constant", PEAK, WARMUP_STEPS),
        "average": Schedule("constant", PEAK, WARMUP_STEPS),
        "branches": Schedule("branches", PEAK, WARMUP_STEPS, DECAY_SHARE),
    }.get(end)
    return trained_steps(schedule, BUDGETS) / sum(BUDGETS) if schedule else 1.0


def noise(losses: dict[str, np.ndarray]) -> np.ndarray:
    """Return the variances of a difference, independent and paired, and the squared mean difference.

    Means over neighboring ratios; ``losses`` has ``(seeds, ratios)`` by way.
    """
    independent, paired, effect = [], [], []
    for low, high in pairwise(range(losses["common"].shape[1])):
        difference = losses["common"][:, high] - losses["common"][:, low]
        independent.append(losses["interleaved"][:, [low, high]].var(axis=0, ddof=1).sum())
        paired.append(difference.var(ddof=1))
        effect.append(difference.mean() ** 2)
    return np.array([np.mean(independent), np.mean(paired), np.mean(effect)])


def report(rows: list[dict], ratios: list[float], seeds: int) -> None:
    """Print noise, cut and information of each end, and what each differs from the branches."""
    step = float(np.mean(np.diff(ratios)))
    titles = ["loss", "end", "independent", "paired", "cut", "error of the ratio", "steps"]
    titles.append("information per FLOP")
    print(f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}")
    values = {(row["way"], row["seed"], row["domain_ratio"]): row for row in rows}
    for corpus in ("general", "domain"):
        losses = {
            end: {
                way: np.array(
                    [[values[way, s, r][end][corpus] for r in ratios] for s in range(seeds)]
                )
                for way in WAYS
            }
            for end in ENDS
        }
        own = {end: noise(losses[end]) for end in ENDS}
        told = {end: own[end][2] / own[end][1] / cost(end) for end in ENDS}
        drawn = resampled(losses, seeds)
        for end in ENDS:
            independent, paired, effect = own[end]
            cuts = np.percentile(drawn[end][:, 0] / drawn[end][:, 1], [5, 95])
            ratio = drawn[end][:, 2] / drawn[end][:, 1] / cost(end)
            first = drawn["constant"][:, 2] / drawn["constant"][:, 1] / cost("constant")
            gains = np.percentile(ratio / first, [5, 95])
            print(
                f"| {corpus} | {end} | {independent**0.5:.4f} | {paired**0.5:.4f} "
                f"| {independent / paired:.1f} ({cuts[0]:.1f} to {cuts[1]:.1f}) "
                f"| {step * (paired / effect) ** 0.5:.3f} | {cost(end):.0%} "
                f"| {told[end] / told['constant']:.2f} ({gains[0]:.2f} to {gains[1]:.2f}) |"
            )
    print("\n| loss | end | minus branches, mean | standard deviation over ratios and seeds |")
    print("| --- | --- | --- | --- |")
    for corpus in ("general", "domain"):
        for end in ("constant", "average", "cosine"):
            apart = [row[end][corpus] - row["branches"][corpus] for row in rows]
            print(f"| {corpus} | {end} | {np.mean(apart):+.4f} | {np.std(apart, ddof=1):.4f} |")


def resampled(losses: dict[str, dict[str, np.ndarray]], seeds: int) -> dict[str, np.ndarray]:
    """Return what :func:`noise` says of seeds drawn again, the same for every end."""
    generator = np.random.default_rng(0)
    drawn: dict[str, list[np.ndarray]] = {end: [] for end in losses}
    while len(drawn["constant"]) < RESAMPLES:
        chosen = generator.integers(seeds, size=seeds)
        if len(set(chosen.tolist())) > 2:  # two seeds or fewer say nothing of a variance
            for end, own in losses.items():
                drawn[end].append(noise({way: table[chosen] for way, table in own.items()}))
    return {end: np.array(values) for end, values in drawn.items()}


def main() -> None:
    """Train what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder for corpora, base and losses")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.2, 0.4, 0.6])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100, help="of a probe, 2048 tokens each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ratios = sorted(options.ratios)
    report(train_missing(options.runs, ratios, options.seeds, options.steps), ratios, options.seeds)


if __name__ == "__main__":
    main()
