"""What a training step of a small model takes on a CPU, and where the time goes.

Tokens a second of one run of our own decoder: with one thread and two, with PyTorch's own matrix products, compiled, in
bf16, and in evaluations of several slices; then the shares of matrix products and attention in the time of a step, and
their rate beside that of one large product. Random tokens, 128 a sequence, 16 sequences a step; medians of several
rounds.

    python benchmarks/cpu_step.py --sizes 0.3M 1M 3M
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from unittest.mock import patch

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from batched import make_run
from torch.profiler import ProfilerActivity, profile

import probes.training.trainee as trainee_module
from probes.models import fused
from probes.models.build import build_model
from probes.models.decoder import Projection
from probes.run_settings import Numerics, RunSettings
from probes.training.repeatable import make_repeatable
from probes.training.trainee import Single

ROUNDS, ROUND_SECONDS = 3, 1.5
PROFILED_STEPS = 5
LARGE = 2048  # rows and columns of a product that is as fast as any
PRODUCTS = ("mkldnn::_linear_pointwise", "aten::mm")


def settings_of(size: str, numerics: Numerics) -> RunSettings:
    return replace(make_run(size, 16, 128), numerics=numerics)


def trainee_of(settings: RunSettings, threads: int = 1) -> Single:
    return Single(build_model(settings.model, seed=0), settings, lambda: threads)


def steps(trainee: Single, settings: RunSettings) -> Callable[[], object]:
    shape = (settings.batch_size, settings.sequence_length + 1)
    tokens = np.random.default_rng(0).integers(257, size=shape, dtype=np.uint16)
    return lambda: trainee.update([tokens], learning_rate=1e-3)


def rate(work: Callable[[], object], tokens: int) -> float:
    """Return the median of tokens a second over rounds, after two calls that are not counted."""
    work(), work()
    rates = []
    for _ in range(ROUNDS):
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < ROUND_SECONDS:
            work()
            done += tokens
        rates.append(done / (time.perf_counter() - began))
    return median(rates)


def report(size: str) -> None:
    halves = Numerics("fp32", micro_batch_size=8)
    settings = settings_of(size, halves)
    step_tokens = settings.step_tokens
    ways = {
        "1 thread": (halves, 1),
        "2 threads": (halves, 2),
        "1 thread, whole batch": (Numerics("fp32", micro_batch_size=16), 1),
        "1 thread, compiled": (Numerics("fp32", micro_batch_size=8, compile=True), 1),
        "1 thread, bf16": (Numerics("bf16", micro_batch_size=8), 1),
    }
    first = 0.0
    for name, (numerics, threads) in ways.items():
        asked = settings_of(size, numerics)
        speed = rate(steps(trainee_of(asked, threads), asked), step_tokens)
        first = first or speed
        print(f"| {size} | {name} | {speed:,.0f} | {speed / first:.2f} |", flush=True)
    with patch.object(fused, "has_onednn", lambda: False):
        speed = rate(steps(trainee_of(settings), settings), step_tokens)
    name = "1 thread, PyTorch's own products"
    print(f"| {size} | {name} | {speed:,.0f} | {speed / first:.2f} |", flush=True)
    sequences = np.random.default_rng(1).integers(257, size=(128, 129), dtype=np.uint16)
    trainee = trainee_of(settings)
    for slice_size in (32, 8):
        trainee_module.EVALUATION_BATCH = slice_size
        speed = rate(lambda: trainee.sequence_losses(sequences), 128 * 128)
        print(f"| {size} | evaluation, slices of {slice_size} | {speed:,.0f} | |", flush=True)
    print(f"| {size} | {shares(trainee, settings)} | | |", flush=True)


def shares(trainee: Single, settings: RunSettings) -> str:
    """Say what part of a step's time matrix products and attention take."""
    work = steps(trainee, settings)
    work()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(PROFILED_STEPS):
            work()
    events = profiled.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    products = [event for event in events if event.key in PRODUCTS]
    attention = [event for event in events if "scaled_dot_product_flash" in event.key]
    spent = sum(event.self_cpu_time_total for event in products)
    matrices = [w for w in trainee.model.modules() if isinstance(w, torch.nn.Linear)]
    multiplied = sum(layer.weight.numel() for layer in matrices)
    # Two for each weight and token, in the output and in both gradients.
    gflops = 6 * multiplied * settings.step_tokens * PROFILED_STEPS / spent / 1e3
    large, layer = torch.randn(LARGE, LARGE), Projection(LARGE, LARGE)
    with torch.no_grad():
        measured = rate(lambda: layer(large), 1) * 2 * LARGE**3 / 1e9
    part = sum(event.self_cpu_time_total for event in attention) / total
    return f"matrix products {spent / total:.0%} at {gflops:.0f} of {measured:.0f} GFLOP/s, attention {part:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=["0.3M", "1M", "3M"], default=["1M"])
    make_repeatable()
    print("| size | way | tokens/s | times 1 thread |\n| --- | --- | --- | --- |", flush=True)
    for size in parser.parse_args().sizes:
        report(size)


if __name__ == "__main__":
    main()
