"""Tokens per second of nine ratios on one device, four ways; and the share of its matrix-product rate.

The plain loop (``benchmarks/plain_loop.py``) trains one ratio after another, eager and compiled; batched training does
nine members in one step, eager and as a CUDA graph; several processes share the device. Steady speed
of steps on random tokens, after a warm-up; a step has 4,096 tokens of each member. Then one model of
about 150M parameters alone, as a share of the device's measured matrix products.

    python benchmarks/gpu/speed.py --out speed.jsonl            # on a GPU, under 8 minutes
    python benchmarks/gpu/speed.py --toy --device cpu           # the same code in a minute on a CPU
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from plain_loop import Config, Model

from probes.calibration import calibrate
from probes.data.prepared import DataIdentity
from probes.executors.task import ENVIRONMENT
from probes.jobs import Job
from probes.models.source import count_params, flops_per_token
from probes.planned_runs import sweep_settings
from probes.run_settings import RunSettings
from probes.runner import make_trainee
from probes.spec.file import parse_spec

RATIOS = [0, 0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1]
VOCABULARY = 257


@dataclass(frozen=True)
class Case:
    """A model and a batch: its size in the spec's words, sequences in a step, and their length."""

    name: str
    size: dict[str, int]
    batch_size: int = 16
    sequence_length: int = 256


SMALL = [
    Case("1M", {"width": 128, "layers": 5, "heads": 4, "feedforward": 336}),
    Case("10M", {"width": 320, "layers": 8, "heads": 5, "feedforward": 864}),
]
LARGE = Case("150M", {"width": 1024, "layers": 12, "heads": 16, "feedforward": 2752}, 16, 1024)
TOY_SMALL = [Case("toy", {"width": 32, "layers": 2, "heads": 2, "feedforward": 48}, 4, 32)]
TOY_LARGE = Case("toy, large", {"width": 64, "layers": 2, "heads": 2, "feedforward": 176}, 4, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--toy", action="store_true", help="tiny models and short measurements")
    parser.add_argument("--processes", type=int, nargs="+", default=[3, 9])
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled ways out")
    parser.add_argument("--out", type=Path, help="file to append every figure to, as JSON lines")
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)  # as in the workers of a sweep
    if options.device == "cuda":
        torch.set_float32_matmul_precision("high")
    else:
        torch.set_num_threads(1)
    seconds = 0.5 if options.toy else 5.0
    print(f"torch {torch.__version__}, {device_name(options.device)}\n")
    print("| size | way | tokens/s | times the eager loop |\n| --- | --- | --- | --- |", flush=True)
    for case in TOY_SMALL if options.toy else SMALL:
        eager = None
        for way, speed in small_ways(case, options, seconds):
            eager = eager or speed
            print(f"| {case.name} | {way} | {speed:,.0f} | {speed / eager:.2f} |", flush=True)
            record(options, case=case.name, way=way, tokens_per_second=speed)
    report_large(TOY_LARGE if options.toy else LARGE, options, seconds)


def small_ways(
    case: Case, options: argparse.Namespace, seconds: float
) -> Iterator[tuple[str, float]]:
    """Yield each way's name and tokens a second, of all members together."""
    for compiled in [False] if options.no_compile else [False, True]:
        kind = "compiled" if compiled else "eager"
        yield f"plain loop, {kind}", plain_speed(case, options, seconds, compiled=compiled)
    members = run_settings(case, options.device)
    for name, graphs, compiled in (
        ("eager", False, False),
        ("CUDA graph", True, False),
        ("compiled, CUDA graph", True, True),
    ):
        if (graphs and options.device != "cuda") or (compiled and options.no_compile):
            continue
        runs = [with_numerics(run, cuda_graphs=graphs, compile=compiled) for run in members]
        yield f"batched by {len(runs)}, {name}", trainee_speed(runs, seconds)
    for processes in options.processes:
        jobs = [Job((run,)) for run in members[:processes]]
        paces = calibrate(jobs, workers=processes).paces
        pace = paces[case.name.replace(", ", "-"), 1]
        yield f"{processes} processes, eager", processes * pace.train_tokens_per_second


def report_large(case: Case, options: argparse.Namespace, seconds: float) -> None:
    """Print how much of the device's matrix products a large model alone reaches."""
    rate = matrix_rate(options.device, seconds, size=512 if options.toy else 8192)
    (run, *_) = run_settings(case, options.device)
    params = count_params(run.model)
    size = f"{case.name}: {params.total / 1e6:.3g}M parameters"
    print(f"\nmatrix products: {rate / 1e12:.3g} TFLOP/s; {size}\n")
    print("| way | tokens/s | share of the matrix products |\n| --- | --- | --- |", flush=True)
    for compiled in [False] if options.no_compile else [False, True]:
        speed = trainee_speed([with_numerics(run, compile=compiled)], seconds)
        share = speed * flops_per_token(run.model, run.sequence_length) / rate
        way = "compiled" if compiled else "eager"
        print(f"| {way} | {speed:,.0f} | {share:.1%} |", flush=True)
        record(options, case=case.name, way=way, tokens_per_second=speed, share=share, rate=rate)


def run_settings(case: Case, device: str) -> list[RunSettings]:
    """Return the settings of nine probes of a size, one a ratio."""
    spec = parse_spec(
        {
            "name": "speed",
            "corpora": {
                "general": {"source": "embedded:english"},
                "domain": {"source": "embedded:python"},
            },
            "sequence_length": case.sequence_length,
            "batch_size": case.batch_size,
            "evaluation_sequences": case.batch_size,
            "sizes": [{"name": case.name.replace(", ", "-"), **case.size}],
            "base": {"train_tokens": 1e6},
            "probes": {
                "train_tokens": 1e6,
                "evaluations": 1,
                "schedule": "constant",
                "grid": {"domain_ratio": RATIOS},
            },
        }
    )
    return sweep_settings(spec, DataIdentity("", "bytes", VOCABULARY), device=device)[1]


def with_numerics(run: RunSettings, **changes: bool) -> RunSettings:
    return replace(run, numerics=replace(run.numerics, **changes))


def trainee_speed(runs: list[RunSettings], seconds: float) -> float:
    """Return the tokens a second of our training step, of all members together."""
    trainee = make_trainee(runs)
    shape = (runs[0].batch_size, runs[0].sequence_length + 1)
    tokens = [
        np.random.default_rng(run).integers(VOCABULARY, size=shape) for run in range(len(runs))
    ]
    each = seconds_each(lambda: trainee.update(tokens, learning_rate=1e-3), seconds, runs[0].device)
    return len(runs) * runs[0].step_tokens / each


def plain_speed(
    case: Case, options: argparse.Namespace, seconds: float, *, compiled: bool
) -> float:
    """Return the tokens a second of the plain loop's step, which trains one ratio."""
    device = options.device
    config = Config("", "", 0.0, **case.size, block_size=case.sequence_length)
    raw = Model(config).to(device)
    model = torch.compile(raw) if compiled else raw
    optimizer = torch.optim.AdamW(raw.parameters(), lr=1e-3, fused=device == "cuda")
    shape = (case.batch_size, case.sequence_length + 1)
    tokens = torch.randint(VOCABULARY, shape)

    def step() -> None:
        batch = tokens.to(device, non_blocking=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            loss = model(batch[:, :-1].contiguous(), batch[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(raw.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return case.batch_size * case.sequence_length / seconds_each(step, seconds, device)


def matrix_rate(device: str, seconds: float, *, size: int) -> float:
    """Return the FLOPs a second of a square matrix product: bf16 on a GPU, fp32 on a CPU."""
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    one, other = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    return 2 * size**3 / seconds_each(lambda: one @ other, seconds, device)


def seconds_each(work: Callable[[], object], seconds: float, device: str) -> float:
    """Return the mean time of a piece of work, after some that are not timed."""

    def several(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    several(5)
    once = several(3) / 3
    count = max(3, round(seconds / once))
    return several(count) / count


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "CPU, one thread"


def record(options: argparse.Namespace, **figures: object) -> None:
    if options.out:
        line = {"torch": torch.__version__, "device": device_name(options.device)} | figures
        with open(options.out, "a") as stream:
            print(json.dumps(line), file=stream)


if __name__ == "__main__":
    main()
