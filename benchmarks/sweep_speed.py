"""The speed of a sweep, end to end, against a plain loop that trains one ratio after another.

Nine ratios from one base, once by ``cmrplan probe run`` with two workers and once by
``plain_loop.py``, called once a ratio. Both start from the same trained base and prepared corpora, train
equally many tokens and evaluate equally many; process starts, evaluations and checkpoints are in
the time. Both ways alternate, each is repeated, and ``--one-thread`` adds the plain loop with one
thread. Processor time stands beside the wall time, since other work on the machine moves it less. The
plain runs are alike, so ``--plain-ratios 3`` times three of them and counts them three times.

    python benchmarks/sweep_speed.py --sizes 0.3M 1M 3M --tokens 2e5 --repetitions 3
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
import yaml
from plain_loop import Config, Model

from probes.data.prepare import prepare_corpora
from probes.data.prepared import load_corpora
from probes.planned_runs import sweep_settings
from probes.runner import execute_runs
from probes.runs import SweepFolder
from probes.spec.file import parse_spec

RATIOS = [0, 0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1]
EVALUATIONS = 4
SEQUENCES = 64
SIZES = {
    "0.3M": {"width": 96, "layers": 3, "heads": 3, "feedforward": 256},
    "1M": {"width": 128, "layers": 5, "heads": 4, "feedforward": 336},
    "3M": {"width": 192, "layers": 7, "heads": 6, "feedforward": 512},
}
WAYS = ("sweep", "plain", "plain, 1 thread")


@dataclass(frozen=True)
class Took:
    """Seconds of wall time and of processor time, and the load of the machine before."""

    wall: float
    cpu: float
    load: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--tokens", type=float, default=2e5, help="training tokens of a ratio")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="compile in the sweep")
    parser.add_argument(
        "--one-thread", action="store_true", help="add the plain loop with 1 thread"
    )
    parser.add_argument(
        "--plain-ratios", type=int, default=len(RATIOS), help="time so many and scale up to nine"
    )
    parser.add_argument("--out", type=Path, help="file to append every time to, as JSON lines")
    options = parser.parse_args()
    ways = WAYS if options.one_thread else WAYS[:2]
    print(
        f"torch {torch.__version__}, {os.cpu_count()} cores, {len(RATIOS)} ratios x "
        f"{options.tokens:g} tokens, {EVALUATIONS} evaluations of {2 * SEQUENCES} sequences"
    )
    print("\n| size | way | wall s | tokens/s | CPU s | tokens per CPU s | load | times faster |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            report(measure(size, ways, Path(folder), options), size, options)


def measure(
    size: str, ways: tuple[str, ...], folder: Path, options: argparse.Namespace
) -> dict[str, list[Took]]:
    """Prepare base and corpora, then time the ways one after another, several times."""
    run = {
        "sweep": prepare_sweep(size, folder, options),
        "plain": prepare_plain(size, folder, options, threads=None),
        "plain, 1 thread": prepare_plain(size, folder, options, threads=1),
    }
    took: dict[str, list[Took]] = {way: [] for way in ways}
    for repetition in range(options.repetitions):
        for way in ways if repetition % 2 == 0 else ways[::-1]:
            part = options.plain_ratios / len(RATIOS) if way != "sweep" else 1.0
            one = timed(run[way], part)
            took[way].append(one)
            line = {"size": size, "way": way, "tokens": options.tokens} | asdict(one)
            print(json.dumps(line), file=sys.stderr, flush=True)
            if options.out:
                with open(options.out, "a") as stream:
                    print(json.dumps(line), file=stream)
    return took


def prepare_sweep(size: str, folder: Path, options: argparse.Namespace) -> Callable[[], None]:
    """Pack the corpora and train a short base; return what runs the nine probes from a copy."""
    values = {
        "name": "speed",
        "corpora": {
            "general": {"source": "embedded:english"},
            "domain": {"source": "embedded:python"},
        },
        "sequence_length": 128,
        "batch_size": 16,
        "evaluation_sequences": SEQUENCES,
        "sizes": [{"name": "model", **SIZES[size]}],
        "numerics": {"compile": options.compile},
        "base": {"train_tokens": 4 * 2048},
        "probes": {
            "train_tokens": options.tokens,
            "evaluations": EVALUATIONS,
            "schedule": "constant",
            "grid": {"domain_ratio": RATIOS},
        },
    }
    spec = parse_spec(values)
    (folder / "spec.yaml").write_text(yaml.safe_dump(values))
    ready = SweepFolder(folder / "ready")
    corpora = prepare_corpora(spec, ready.corpora)
    (base,) = sweep_settings(spec, corpora.identity)[0].values()
    execute_runs(ready, [ready.plan(base).path])
    write_plain_inputs(ready, SIZES[size], folder / "plain")

    def run() -> None:
        shutil.copytree(ready.path, folder / "runs")
        call("-c", "from cmrplan.cli import main; main()", "probe", "run",
             str(folder / "spec.yaml"), "--out", str(folder / "runs"),
             "--workers", str(options.workers))  # fmt: skip
        shutil.rmtree(folder / "runs")

    return run


def write_plain_inputs(ready: SweepFolder, sizes: dict[str, int], folder: Path) -> None:
    """Write the same tokens and a base of the same size in the plain loop's form."""
    folder.mkdir()
    corpora = load_corpora(ready.corpora)
    for name in ("general", "domain"):
        train = corpora.train[name]
        for part, rows in (
            ("train", train[np.arange(len(train))]),
            ("val", corpora.evaluation[name]),
        ):
            rows[:, :-1].astype(np.uint16).tofile(folder / f"{name}_{part}.bin")
    model = Model(Config("", "", 0.0, **sizes))
    torch.save({"model": model.state_dict()}, folder / "base.pt")


def prepare_plain(
    size: str, folder: Path, options: argparse.Namespace, *, threads: int | None
) -> Callable[[], None]:
    """Return what calls the plain loop once a ratio."""
    script = Path(__file__).parent / "plain_loop.py"
    steps = round(options.tokens / 2048)
    values = {
        "data": str(folder / "plain"),
        "out": str(folder / "plain-out"),
        "steps": steps,
        "eval_steps": [
            round(steps / 16 ** (1 - i / (EVALUATIONS - 1))) for i in range(EVALUATIONS)
        ],
        "eval_batches": SEQUENCES // 16,
        **SIZES[size],
    }

    def run() -> None:
        for ratio in RATIOS[: options.plain_ratios]:
            call(str(script), json.dumps(values | {"domain_ratio": ratio}), threads=threads)
        shutil.rmtree(folder / "plain-out")

    return run


def call(*arguments: str, threads: int | None = None) -> None:
    """Run Python with PyTorch's own number of threads, or the given one."""
    environment = {key: value for key, value in os.environ.items() if "NUM_THREADS" not in key}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def timed(run: Callable[[], None], part: float) -> Took:
    """Run a part of something and return wall time and processor time of all its processes, of the whole."""
    load = os.getloadavg()[0]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run()
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(round(wall / part, 1), round(cpu / part, 1), round(load, 1))


def report(took: dict[str, list[Took]], size: str, options: argparse.Namespace) -> None:
    """Print a row a way: medians, and how many times faster the sweep was in each repetition."""
    tokens = len(RATIOS) * round(options.tokens / 2048) * 2048
    for way, times in took.items():
        wall, cpu = median(one.wall for one in times), median(one.cpu for one in times)
        loads = sorted(one.load for one in times)
        faster = sorted(
            other.wall / own.wall for other, own in zip(times, took["sweep"], strict=True)
        )
        shown = f"{median(faster):.2f} ({faster[0]:.2f} to {faster[-1]:.2f})"
        print(
            f"| {size} | {way} | {wall:.0f} | {tokens / wall:,.0f} | {cpu:.0f} | {tokens / cpu:,.0f} "
            f"| {loads[0]:.0f} to {loads[-1]:.0f} | {'' if way == 'sweep' else shown} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
