"""What a sweep would take, before anything starts: runs, tokens, FLOPs, time and disk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from cmrplan.errors import InputError
from probes.jobs import Job, disk_bytes, makespan
from probes.models.checks import check_checkpoints, spec_vocab_size
from probes.models.source import count_params
from probes.runner import make_trainee
from probes.settings import DataIdentity, RunSettings, sweep_settings
from probes.spec.sweep import SweepSpec
from probes.sweep import default_device, default_workers

CALIBRATION_STEPS = 3
"""Timed steps per size, after one that is not timed; the fastest counts."""


@dataclass(frozen=True)
class SizeDesign:
    """What one model size takes.

    Parameters
    ----------
    name : str
        Its name in the spec.
    params_non_embedding, params_total : int
        Parameters without and with input embedding and output head.
    num_probes : int
        Probes of this size.
    base_tokens, probe_tokens : int
        Training tokens of the base, and of all probes together.
    flops : float
        FLOPs of base and probes, evaluations included.
    tokens_per_second : float
        Training speed of one worker.
    """

    name: str
    params_non_embedding: int
    params_total: int
    num_probes: int
    base_tokens: int
    probe_tokens: int
    flops: float
    tokens_per_second: float


@dataclass(frozen=True)
class SweepDesign:
    """What a sweep takes as a whole.

    Parameters
    ----------
    name : str
        Name of the spec.
    device : str
        ``"cpu"`` or ``"cuda"``.
    workers : int
        Runs at a time.
    num_bases, num_probes : int
        Runs, controls at ratio 0 and 1 included.
    base_tokens, probe_tokens : int
        Training tokens of all bases, and of all probes.
    evaluation_tokens : int
        Tokens of all evaluations.
    evaluation_train_tokens : tuple of int
        Token counts at which each probe evaluates, after 0.
    flops : float
        FLOPs of training and evaluating.
    seconds : float
        Estimated wall time of training and evaluating, preparing the corpora not included.
    disk_bytes : int
        Estimated size of checkpoints and losses, packed corpora not included.
    sizes : tuple of SizeDesign
        The same by model size.
    """

    name: str
    device: str
    workers: int
    num_bases: int
    num_probes: int
    base_tokens: int
    probe_tokens: int
    evaluation_tokens: int
    evaluation_train_tokens: tuple[int, ...]
    flops: float
    seconds: float
    disk_bytes: int
    sizes: tuple[SizeDesign, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the design as JSON-able values."""
        return asdict(self)


def design_sweep(
    spec: SweepSpec,
    *,
    tokens_per_second: Mapping[str, float] | None = None,
    workers: int | None = None,
    device: str | None = None,
) -> SweepDesign:
    """Work out what a sweep would take, without starting it.

    Parameters
    ----------
    spec : SweepSpec
        The sweep.
    tokens_per_second : mapping of str to float, optional
        Training speed of one worker by size; measured in a few steps when left out.
    workers, device : optional
        As in :func:`probes.sweep.run_sweep`.

    Returns
    -------
    SweepDesign

    Raises
    ------
    InputError
        If the evaluations do not fit in the steps, or a size has no given speed.
    """
    device = device or default_device()
    workers = workers or default_workers(device)
    check_checkpoints(spec)
    data = DataIdentity("", spec.tokenizer.kind, spec_vocab_size(spec))
    bases, probes = sweep_settings(spec, data, device=device)
    runs = [*bases.values(), *probes]
    jobs = [Job((run,)) for run in runs]
    if tokens_per_second is None:
        tokens_per_second = {name: measure_speed(base) for name, base in bases.items()}
    if missing := bases.keys() - tokens_per_second.keys():
        raise InputError(f"tokens_per_second has no size '{min(missing)}'")
    speed = dict(tokens_per_second)
    evaluated = 2 * spec.evaluation_sequences * spec.sequence_length
    return SweepDesign(
        name=spec.name,
        device=device,
        workers=workers,
        num_bases=len(bases),
        num_probes=len(probes),
        base_tokens=sum(base.trained_tokens for base in bases.values()),
        probe_tokens=sum(probe.trained_tokens for probe in probes),
        evaluation_tokens=sum(len(run.evaluation_steps) for run in runs) * evaluated,
        evaluation_train_tokens=tuple(
            step * spec.step_tokens for step in probes[0].evaluation_steps
        ),
        flops=sum(job.flops for job in jobs),
        seconds=makespan(jobs, workers, lambda job: job.work_tokens / speed[job.size]),
        disk_bytes=sum(map(disk_bytes, runs)),
        sizes=tuple(_size_design(name, jobs, speed[name]) for name in bases),
    )


def measure_speed(settings: RunSettings) -> float:
    """Return the training tokens per second of one worker, from a few steps on random tokens."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainee = make_trainee([settings])
        shape = (settings.batch_size, settings.sequence_length + 1)
        tokens = np.random.default_rng(0).integers(settings.model.vocab_size, size=shape)
        seconds = []
        for _ in range(1 + CALIBRATION_STEPS):
            began = time.perf_counter()
            trainee.update([tokens], learning_rate=1e-3)
            trainee.trouble()
            seconds.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return settings.step_tokens / min(seconds[1:])


def _size_design(name: str, jobs: list[Job], speed: float) -> SizeDesign:
    mine = [job for job in jobs if job.size == name]
    runs = [run for job in mine for run in job.runs]
    params = count_params(runs[0].model)
    tokens = {"base": 0, "probe": 0}
    for run in runs:
        tokens[run.stage] += run.trained_tokens
    return SizeDesign(
        name=name,
        params_non_embedding=params.non_embedding,
        params_total=params.total,
        num_probes=sum(run.stage == "probe" for run in runs),
        base_tokens=tokens["base"],
        probe_tokens=tokens["probe"],
        flops=sum(job.flops for job in mine),
        tokens_per_second=speed,
    )
