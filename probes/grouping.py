"""Runs of a sweep are grouped for batched training, by device, size and memory.

Training them batched pays where the host that starts the kernels takes longer than the GPU that runs them: with
K members in one step, both the calls and the idle time are shared. Once one model fills the GPU there
is nothing to share, and on a CPU there never is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from cmrplan.errors import InputError
from cmrplan.numbers import GPU_FLOPS
from probes.models.source import ModelShape, count_params, flops_per_token
from probes.run_settings import RunSettings

Batching = Literal["auto", "always", "never"]
"""Whether runs are trained batched: where it pays, wherever they can be, or nowhere."""

SECONDS_PER_CALL = {"eager": 5.5e-6, "replayed": 2e-6}
"""Host time of one operation; replayed as a CUDA graph, the shortest time of a kernel."""

GPU_BYTES = 2.2e12
"""Bytes a second between an H100 and its memory."""

BYTES_PER_FEATURE = 360
"""Memory traffic of a token in training, per feature and layer."""

WORTHWHILE = 1.2
"""Host time over GPU time from which batched training is chosen."""

MEMORY_SHARE = 0.8
"""Part of the free memory that a group may take."""


ASSUMED_GPU_BYTES = 16 * 2**30
"""Free memory of a GPU that this process cannot ask."""


@dataclass(frozen=True)
class Grouping:
    """The runs of a sweep as they are trained.

    Parameters
    ----------
    groups : tuple of tuple of RunSettings
        Every run once; those in one tuple batched.
    reasons : tuple of str
        Why, one line a kind of run.
    """

    groups: tuple[tuple[RunSettings, ...], ...]
    reasons: tuple[str, ...]


def group_runs(
    runs: Sequence[RunSettings],
    *,
    batched: Batching = "auto",
    free_bytes: float,
    slots: int = 1,
) -> Grouping:
    """Return which runs are trained together, and why.

    Parameters
    ----------
    runs : sequence of RunSettings
        Bases and probes.
    batched : {"auto", "always", "never"}
        Batched where it pays, wherever they can be, or nowhere.
    free_bytes : float
        Memory of one device that a group may use.
    slots : int
        Workers at a time; runs that could be one group are at least so many groups.

    Raises
    ------
    InputError
        If batched training is asked for and a run cannot be trained so.
    """
    groups: list[tuple[RunSettings, ...]] = []
    reasons = []
    for alike in _alike(runs):
        largest, reason = _largest_group(alike, batched, free_bytes, slots)
        number = -(-len(alike) // largest)
        groups += [tuple(alike[start::number]) for start in range(number)]
        if len(alike) > 1:
            reasons.append(f"{alike[0].size}, {len(alike)} {alike[0].stage}s: {reason}")
    return Grouping(tuple(groups), tuple(dict.fromkeys(reasons)))


def group_bytes(run: RunSettings) -> float:
    """Return the memory that one member of a group takes: weights, optimizer and activations.

    Weights, gradients and two moments take four numbers a parameter. A block keeps about 16 values a
    feature of the residual stream and 5 a feature of the feed-forward layer for the backward pass, the
    loss 4 a logit. Within 20 % of what was measured with K = 3 and 9 at 0.3M to 3M parameters.
    """
    shape = run.model
    assert isinstance(shape, ModelShape), "only built-in decoders are trained batched"
    number_bytes = 8 if run.numerics.precision == "fp64" else 4
    block_values = 16 * shape.width + 5 * shape.feedforward
    values = shape.layers * block_values + 4 * shape.vocab_size
    tokens = run.numerics.micro_batch_size * run.sequence_length
    return number_bytes * (4 * count_params(shape).total + tokens * values)


def step_seconds(run: RunSettings) -> tuple[float, float]:
    """Return estimates of what one pass of a single model takes of its host and of an H100.

    A step in eager mode has 64 + 138 L operations (counted by the profiler); times are not measured.
    """
    shape = run.model
    kind = "replayed" if run.numerics.cuda_graphs else "eager"
    tokens = run.numerics.micro_batch_size * run.sequence_length
    flops = flops_per_token(shape, run.sequence_length)
    traffic = BYTES_PER_FEATURE * shape.width * shape.layers
    return (
        (64 + 138 * shape.layers) * SECONDS_PER_CALL[kind],
        tokens * (flops / GPU_FLOPS + traffic / GPU_BYTES),
    )


def free_memory(device: str) -> float:
    """Return the free bytes of a device's memory; an assumption for a GPU of another machine."""
    if device == "cuda":
        seen = torch.cuda.is_available()
        return float(torch.cuda.mem_get_info()[0] if seen else ASSUMED_GPU_BYTES)
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _alike(runs: Sequence[RunSettings]) -> list[list[RunSettings]]:
    """Return runs that differ in ratio and seed only together, in the order of their first."""
    alike: dict[RunSettings, list[RunSettings]] = {}
    for run in runs:
        alike.setdefault(replace(run, domain_ratio=0.0, seed=0), []).append(run)
    return list(alike.values())


def _largest_group(
    alike: Sequence[RunSettings], batched: Batching, free_bytes: float, slots: int
) -> tuple[int, str]:
    """Return how many such runs are trained at once, and why."""
    run = alike[0]
    if batched == "never":
        return 1, "separate, as asked"
    if obstacle := _obstacle(run):
        if batched == "always":
            raise InputError(f"batched 'always': {run.size} {obstacle}; take 'auto' or 'never'")
        return 1, f"separate: {obstacle}"
    fitting = max(1, int(MEMORY_SHARE * free_bytes / group_bytes(run)))
    largest = min(fitting, -(-len(alike) // slots))
    limit = f" (as many as fit {free_bytes / 2**30:.3g} GiB)" if largest == fitting else ""
    if batched == "always":
        return largest, f"batched by {largest}{limit}, as asked"
    if run.device == "cpu":
        return (
            1,
            "separate: on a CPU one model keeps a core busy, batched training was 0.94 times as fast",
        )
    host, gpu = step_seconds(run)
    times = f"a step takes about {1e3 * host:.2g} ms of the host and {1e3 * gpu:.2g} ms of the GPU"
    if host < WORTHWHILE * gpu:
        return 1, f"separate: {times}"
    return largest, f"batched by {largest}{limit}: {times}"


def _obstacle(run: RunSettings) -> str:
    """Say why a run cannot be trained batched, or ''."""
    if not isinstance(run.model, ModelShape):
        return "is no built-in decoder"
    if run.numerics.processes > 1:
        return f"takes {run.numerics.processes} processes a run"
    return ""
