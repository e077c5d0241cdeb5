"""The training speed of K runs: batched, one after another, and as several processes side by side.

Prints a Markdown table of tokens a second summed over the runs. The ways take turns within each
round, every cell is the median over the rounds, and the last column of a row compares it with one
run after another in eager mode. On a CPU the seconds are those of the process, so that others on the
machine matter little.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier

import click
import numpy as np
import torch

from probes.models.source import ModelShape, count_params
from probes.run_settings import Numerics, RunSettings
from probes.runner import make_trainee
from probes.training.schedule import Schedule
from probes.training.trainee import Trainee

SHAPES = {
    "toy": (16, 1, 2, 24),
    "0.3M": (96, 3, 3, 256),
    "1M": (128, 5, 4, 336),
    "3M": (192, 7, 6, 512),
    "10M": (320, 8, 5, 864),
    "30M": (512, 9, 8, 1376),
    "100M": (768, 14, 12, 2048),
}
"""Width, layers, heads and feed-forward width of each size."""

WARMUP_STEPS = 4
"""Steps before the clock starts: compilation, capture, memory."""

MODES = {"eager": {}, "compile": {"compile": True}, "graph": {"cuda_graphs": True}}


def make_run(
    size: str,
    batch_size: int,
    sequence_length: int,
    *,
    precision: str = "fp32",
    tied_embeddings: bool = True,
    device: str = "cpu",
) -> RunSettings:
    """Return a probe of a size."""
    width, layers, heads, feedforward = SHAPES[size]
    return RunSettings(
        stage="probe",
        size=size,
        model=ModelShape(width, layers, heads, feedforward, tied_embeddings, 257),
        domain_ratio=0.0,
        seed=0,
        evaluation_steps=(1000,),
        schedule=Schedule("constant", 1e-3, warmup_steps=10),
        inherits_optimizer=False,
        weight_decay=0.1,
        gradient_clip=1.0,
        batch_size=batch_size,
        sequence_length=sequence_length,
        evaluation_sequences=1,
        data_fingerprint="",
        tokenizer="bytes",
        base="",
        device=device,
        numerics=Numerics(precision, micro_batch_size=batch_size),
    )


@dataclass(frozen=True)
class Way:
    """One way to train the runs.

    Parameters
    ----------
    name : str
        ``separate``, ``batched`` or ``processes``.
    mode : str
        A key of ``MODES``.
    """

    name: str
    mode: str


@click.command()
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--size", "sizes", type=click.Choice(list(SHAPES)), multiple=True, default=["toy"])
@click.option("--members", type=int, multiple=True, default=[3, 9], show_default=True)
@click.option("--batch-size", type=int, default=4, show_default=True)
@click.option("--sequence-length", type=int, default=16, show_default=True)
@click.option("--mode", "modes", type=click.Choice(list(MODES)), multiple=True, default=["eager"])
@click.option("--steps", type=int, default=20, show_default=True, help="Timed steps a cell.")
@click.option("--rounds", type=int, default=3, show_default=True)
@click.option("--processes", is_flag=True, help="Also K processes at once.")
def main(
    device: str,
    sizes: tuple[str, ...],
    members: tuple[int, ...],
    batch_size: int,
    sequence_length: int,
    modes: tuple[str, ...],
    steps: int,
    rounds: int,
    processes: bool,
) -> None:
    """Measure tokens a second, summed over the runs."""
    if processes and device == "cpu":
        raise click.UsageError("--processes is for a GPU; on a CPU each core has its process")
    where = torch.cuda.get_device_name() if device == "cuda" else "one CPU thread, CPU seconds"
    print(f"{where}, torch {torch.__version__}, {batch_size} x {sequence_length} tokens a step\n")
    print("| size | N | K | way | mode | tokens/s | spread | times separate |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    ways = [Way(name, mode) for mode in modes for name in ("separate", "batched")]
    ways += [Way("processes", mode) for mode in modes if processes]
    for size in sizes:
        precision = "bf16" if device == "cuda" else "fp32"
        run = make_run(size, batch_size, sequence_length, precision=precision, device=device)
        params = count_params(run.model).non_embedding
        for count in members:
            speeds = _speeds(ways, run, count, steps, rounds)
            reference = statistics.median(speeds[ways[0]])
            for way, its_speeds in speeds.items():
                median = statistics.median(its_speeds)
                spread = (max(its_speeds) - min(its_speeds)) / median
                print(
                    f"| {size} | {params:.3g} | {count} | {way.name} | {way.mode} | {median:,.0f} | "
                    f"{spread:.0%} | {median / reference:.2f} |",
                    flush=True,
                )


def _speeds(
    ways: list[Way], run: RunSettings, count: int, steps: int, rounds: int
) -> dict[Way, list[float]]:
    """Return the tokens a second of every way in every round; within a round they take turns."""
    tokens = count * steps * run.step_tokens
    timers = {way: _timer(way, run, count, steps) for way in ways}
    speeds: dict[Way, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, timer in timers.items():
            speeds[way].append(tokens / timer())
    return speeds


def _timer(way: Way, run: RunSettings, count: int, steps: int) -> Callable[[], float]:
    """Return a function that trains all runs for so many steps and returns the seconds."""
    numerics = replace(run.numerics, **MODES[way.mode])
    run = replace(run, numerics=numerics)
    if way.name == "processes":
        return lambda: _together(run, count, steps)
    groups = [[run] * count] if way.name == "batched" else [[run]] * count
    trainees = [make_trainee(group) for group in groups]
    for trainee in trainees:
        _train(trainee, run, WARMUP_STEPS)
    return lambda: sum(_train(trainee, run, steps) for trainee in trainees)


def _train(trainee: Trainee, run: RunSettings, steps: int) -> float:
    """Do so many steps on random tokens and return the seconds, the last look included."""
    shape = (trainee.num_members, run.batch_size, run.sequence_length + 1)
    tokens = list(np.random.default_rng(0).integers(run.model.vocab_size, size=shape))
    clock = time.process_time if run.device == "cpu" else time.perf_counter
    began = clock()
    for _ in range(steps):
        trainee.update(tokens, learning_rate=1e-4)
    trainee.trouble()
    return clock() - began


def _together(run: RunSettings, count: int, steps: int) -> float:
    """Return the seconds that so many processes, each with a run, take side by side."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count + 1)
    workers = [context.Process(target=_work, args=(run, steps, barrier)) for _ in range(count)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.join()
    return seconds


def _work(run: RunSettings, steps: int, barrier: Barrier) -> None:
    torch.set_num_threads(1)
    trainee = make_trainee([run])
    _train(trainee, run, WARMUP_STEPS)
    barrier.wait()
    _train(trainee, run, steps)
    barrier.wait()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    main()
