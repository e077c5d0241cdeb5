"""The design of a sweep says what it would take before anything starts.

That is its runs, tokens, FLOPs, time, money and disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cmrplan.errors import InputError
from probes.calibration import Calibration, Pace, calibrate, evaluation_tokens
from probes.checkpoint_checks import check_checkpoints, spec_vocab_size
from probes.data.prepared import DataIdentity
from probes.grouping import Batching, free_memory, group_runs
from probes.jobs import EVALUATION_COST, Job, makespan, peak_disk_bytes
from probes.models.source import count_params
from probes.planned_runs import sweep_settings
from probes.run_settings import RunSettings
from probes.spec.sweep import SweepSpec
from probes.sweep import default_device, default_workers


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
    runs_together : int
        Probes that one worker trains batched, at most.
    tokens_per_second, evaluation_tokens_per_second : float
        Speed of one worker, of all runs that it trains together.
    """

    name: str
    params_non_embedding: int
    params_total: int
    num_probes: int
    base_tokens: int
    probe_tokens: int
    flops: float
    runs_together: int
    tokens_per_second: float
    evaluation_tokens_per_second: float


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
        Token counts at which probes evaluate, after 0; with a run for each budget, those of all of them.
    flops : float
        FLOPs of training and evaluating.
    seconds : float
        Estimated wall time from the start of the workers, preparing the corpora not included.
    gpu_hours : float
        Hours times GPUs that are held for that time; 0 on a CPU.
    price : float or None
        What that costs, where the price of an hour was given.
    disk_bytes : int
        Largest size of the folder: bases, losses, and the checkpoints of runs in work, which finished
        probes delete; packed corpora not included.
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
    gpu_hours: float
    price: float | None
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
    batched: Batching = "auto",
    price_per_hour: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> SweepDesign:
    """Work out what a sweep would take, without starting it.

    Parameters
    ----------
    spec : SweepSpec
        The sweep.
    tokens_per_second : mapping of str to float, optional
        Training speed of one worker by size, evaluation taken as three times as fast. When left
        out, both are measured together with starting and saving, in a short real run on ``device``; see
        :func:`probes.calibration.calibrate`.
    workers, device : optional
        As in :class:`probes.executors.base.ExecutorOptions`.
    batched : {"auto", "always", "never"}
        As in :func:`probes.sweep.run_sweep`.
    price_per_hour : float, optional
        Price of an hour of one GPU, or of the machine on a CPU, in any currency.
    say : callable
        Hears what is measured.

    Raises
    ------
    InputError
        If the evaluations do not fit in the steps, a size has no given speed, or no GPU is here.
    """
    device = device or default_device()
    workers = workers or default_workers(device)
    bases, probes = bases_and_probes(spec, device)
    runs = [*bases.values(), *probes]
    slots = min(workers, len(runs))
    jobs = _jobs(runs, device, slots, batched)
    calibration = _calibration(bases, jobs, slots, device, tokens_per_second, say)
    seconds = calibration.start_seconds + makespan(jobs, slots, calibration.seconds)
    gpus = _gpus(runs, slots) if device == "cuda" else 0
    return SweepDesign(
        name=spec.name,
        device=device,
        workers=slots,
        num_bases=len(bases),
        num_probes=len(probes),
        base_tokens=sum(base.trained_tokens for base in bases.values()),
        probe_tokens=sum(probe.trained_tokens for probe in probes),
        evaluation_tokens=sum(map(evaluation_tokens, runs)),
        evaluation_train_tokens=_evaluated_at(probes),
        flops=sum(job.flops for job in jobs),
        seconds=seconds,
        gpu_hours=gpus * seconds / 3600,
        price=None if price_per_hour is None else max(gpus, 1) * seconds / 3600 * price_per_hour,
        disk_bytes=peak_disk_bytes(runs, slots),
        sizes=tuple(_size_design(name, jobs, calibration) for name in bases),
    )


def _evaluated_at(probes: Sequence[RunSettings]) -> tuple[int, ...]:
    tokens = {step * probe.step_tokens for probe in probes for step in probe.evaluation_steps}
    return tuple(sorted(tokens))


def bases_and_probes(
    spec: SweepSpec, device: str
) -> tuple[dict[str, RunSettings], list[RunSettings]]:
    """Return the runs of a sweep, whose corpora need not be prepared."""
    check_checkpoints(spec)
    data = DataIdentity("", spec.tokenizer.kind, spec_vocab_size(spec))
    return sweep_settings(spec, data, device=device)


def _calibration(
    bases: Mapping[str, RunSettings],
    jobs: Sequence[Job],
    slots: int,
    device: str,
    tokens_per_second: Mapping[str, float] | None,
    say: Callable[[str], None],
) -> Calibration:
    """Return what the jobs take: from given training speeds, or as it is measured here."""
    if tokens_per_second is not None:
        return _given(bases, jobs, tokens_per_second)
    if device == "cuda" and default_device() != "cuda":
        raise InputError("device cuda: there is no GPU here to measure on; give tokens_per_second")
    return calibrate(jobs, workers=slots, say=say)


def _jobs(
    runs: Sequence[RunSettings], device: str, slots: int, batched: Batching
) -> tuple[Job, ...]:
    """Return the runs as jobs, grouped as the local executor would."""
    sharing = max(1, slots // default_workers(device)) if device == "cuda" else slots
    free_bytes = free_memory(device) / sharing
    grouping = group_runs(runs, batched=batched, free_bytes=free_bytes, slots=slots)
    return tuple(map(Job, grouping.groups))


def _given(
    bases: Mapping[str, RunSettings], jobs: Sequence[Job], tokens_per_second: Mapping[str, float]
) -> Calibration:
    """Return what follows from given training speeds."""
    if missing := bases.keys() - tokens_per_second.keys():
        raise InputError(f"tokens_per_second has no size '{min(missing)}'")
    paces = {
        name: Pace(speed, speed / EVALUATION_COST) for name, speed in tokens_per_second.items()
    }
    return Calibration(0.0, {(job.size, len(job.runs)): paces[job.size] for job in jobs})


def _gpus(runs: Sequence[RunSettings], slots: int) -> int:
    """Return how many GPUs are held: those of this machine that have work, or of its largest run."""
    wanted = max(run.numerics.processes for run in runs)
    return max(wanted, min(slots, default_workers("cuda")))


def _size_design(name: str, jobs: Sequence[Job], calibration: Calibration) -> SizeDesign:
    mine = [job for job in jobs if job.size == name]
    runs = [run for job in mine for run in job.runs]
    params = count_params(runs[0].model)
    tokens = {"base": 0, "probe": 0}
    for run in runs:
        tokens[run.stage] += run.trained_tokens
    together = max(len(job.runs) for job in mine)
    pace = calibration.paces[name, together]
    return SizeDesign(
        name=name,
        params_non_embedding=params.non_embedding,
        params_total=params.total,
        num_probes=sum(run.stage == "probe" for run in runs),
        base_tokens=tokens["base"],
        probe_tokens=tokens["probe"],
        flops=sum(job.flops for job in mine),
        runs_together=together,
        tokens_per_second=pace.train_tokens_per_second,
        evaluation_tokens_per_second=pace.evaluation_tokens_per_second,
    )
