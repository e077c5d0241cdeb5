"""A calibration measures what training takes on this machine, in a short real run.

The run has steps, evaluations and checkpoints.

As many processes measure at a time as a sweep has workers, so what they take from each other is in
the figures. Started as ``python -m probes.calibration`` a process reads the groups to measure from standard
input, says when it is ready, waits for a line, and answers with a pace for each, as JSON, as soon as it is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import mean

import numpy as np
import torch

import probes
from cmrplan.errors import CmrplanError
from probes.data.sampling import batch
from probes.executors.task import ENVIRONMENT, prepare_process
from probes.jobs import NUM_CORPORA, Job
from probes.run_settings import RunSettings
from probes.runner import make_trainee
from probes.runs import CHECKPOINT_SECONDS
from probes.training.checkpoint import Checkpoints, Position

MEASURED_SECONDS = 3.0
"""Least time of the steps, and of the evaluations, that a pace is measured in."""

LEAST_STEPS = 3
"""Steps measured at least; what is slower than that takes longer."""

EVALUATED_SEQUENCES = 64
"""Sequences of one measured evaluation, or as many as the sweep evaluates if fewer."""

SYNTHETIC_SEQUENCES = 4096
"""Sequences of random tokens that stand for a corpus."""


@dataclass(frozen=True)
class Pace:
    """What a worker takes for one kind of job.

    Parameters
    ----------
    train_tokens_per_second, evaluation_tokens_per_second : float
        Tokens of all members together; training includes making the batches.
    setup_seconds : float
        Building the models and their first step, each time a job starts.
    checkpoint_seconds : float
        Saving all members once.
    """

    train_tokens_per_second: float
    evaluation_tokens_per_second: float
    setup_seconds: float = 0.0
    checkpoint_seconds: float = 0.0

    def seconds(self, job: Job) -> float:
        """Return how long a job takes: set up, trained, evaluated, and saved now and then."""
        trained = sum(run.trained_tokens for run in job.runs) / self.train_tokens_per_second
        evaluated = sum(map(evaluation_tokens, job.runs)) / self.evaluation_tokens_per_second
        lead = job.runs[0]
        cooldowns = sum(segment.is_cooldown for segment in lead.segments)
        saves = trained / CHECKPOINT_SECONDS + cooldowns + (lead.stage == "base")
        return self.setup_seconds + trained + evaluated + saves * self.checkpoint_seconds


@dataclass(frozen=True)
class Calibration:
    """What a sweep's jobs take.

    Parameters
    ----------
    start_seconds : float
        From the start of the workers until they can take a job.
    paces : mapping of (str, int) to Pace
        By model size and number of runs that are trained together.
    """

    start_seconds: float
    paces: Mapping[tuple[str, int], Pace]

    def seconds(self, job: Job) -> float:
        """Return how long a job takes."""
        return self.paces[job.size, len(job.runs)].seconds(job)


def evaluation_tokens(run: RunSettings) -> int:
    """Return the tokens of all evaluations of a run."""
    one = NUM_CORPORA * run.evaluation_sequences * run.sequence_length
    return one * len(run.evaluation_steps)


def calibrate(
    jobs: Sequence[Job], *, workers: int, say: Callable[[str], None] = lambda line: None
) -> Calibration:
    """Measure the pace of every kind of job, with as many processes at a time as workers.

    A run of several processes is measured as one with its share of the batch, times their number:
    what they say to each other is left out.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs of a sweep.
    workers : int
        Processes at a time.
    say : callable
        Hears what is measured next.

    Raises
    ------
    CmrplanError
        If a process cannot measure; with its last words.
    """
    kinds = {(job.size, len(job.runs)): job for job in jobs}
    groups = [[run.as_dict() for run in job.runs] for job in kinds.values()]
    task = json.dumps({"groups": groups, "seconds": MEASURED_SECONDS})
    began = time.perf_counter()
    say("starting the processes that measure the speed")
    with tempfile.TemporaryDirectory() as folder:
        processes = [_start(number, Path(folder)) for number in range(min(workers, len(jobs)))]
        try:
            for process in processes:
                _send(process, task)
            for process in processes:
                _read_line(process, Path(folder))
            start_seconds = time.perf_counter() - began
            for process in processes:
                _send(process, "go")
            measured = []
            for number, (size, together) in enumerate(kinds, start=1):
                say(f"measuring size {size}, {together} at once ({number} of {len(kinds)})")
                lines = [_read_line(process, Path(folder)) for process in processes]
                measured.append([Pace(**json.loads(line)) for line in lines])
        finally:
            for process in processes:
                process.kill()
                process.communicate()
    paces = map(_mean_pace, measured)
    return Calibration(start_seconds, dict(zip(kinds, paces, strict=True)))


def measure(runs: Sequence[RunSettings], seconds: float = MEASURED_SECONDS) -> Pace:
    """Return the pace of runs that are trained together, measured in this process for so long."""
    lead, members = runs[0], len(runs)
    processes = lead.numerics.processes
    if processes > 1:
        alone = replace(lead.numerics, processes=1, sharding="none")
        size = max(1, lead.batch_size // processes)
        runs = [replace(run, numerics=alone, batch_size=size) for run in runs]
    for _ in range(2):  # what only the first job of a process does is not counted
        began = time.perf_counter()
        trainee = make_trainee(runs)
        batches = _batches(runs, 0)
        trainee.update(batches, learning_rate=1e-3)
        trainee.trouble()
        setup_seconds = time.perf_counter() - began
    sequences = batches[0][np.arange(EVALUATED_SEQUENCES) % len(batches[0])]
    sequences = sequences[: lead.evaluation_sequences]
    trainee.sequence_losses(sequences)

    def steps(number: int) -> None:
        trainee.update(_batches(runs, number), learning_rate=1e-3)
        if lead.device == "cpu":
            trainee.trouble()

    step_seconds = _seconds_each(steps, seconds, finish=trainee.trouble)
    evaluation_seconds = _seconds_each(lambda _: trainee.sequence_losses(sequences), seconds)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for member in range(members):
            Checkpoints(Path(folder), "").save(Position(0, member), trainee.state(member))
        checkpoint_seconds = time.perf_counter() - began
    return Pace(
        train_tokens_per_second=processes * members * runs[0].step_tokens / step_seconds,
        evaluation_tokens_per_second=processes
        * members
        * len(sequences)
        * lead.sequence_length
        / evaluation_seconds,
        setup_seconds=setup_seconds,
        checkpoint_seconds=checkpoint_seconds,
    )


def _seconds_each(
    work: Callable[[int], object],
    seconds: float,
    finish: Callable[[], object] = lambda: None,
) -> float:
    """Return the mean time of a piece of work, done for so long; ``finish`` waits for the device."""
    began = time.perf_counter()
    done = 0
    while done < LEAST_STEPS or time.perf_counter() - began < seconds:
        work(done)
        done += 1
        if done % 20 == 0:
            finish()
    finish()
    return (time.perf_counter() - began) / done


def _batches(runs: Sequence[RunSettings], step: int) -> list[np.ndarray]:
    corpus = _synthetic(runs[0].model.vocab_size, runs[0].sequence_length)
    return [
        batch(
            step,
            corpus,
            corpus,
            batch_size=run.batch_size,
            domain_ratio=run.domain_ratio,
            stage=run.stage,
            seed=run.seed,
        )[0]
        for run in runs
    ]


@lru_cache(maxsize=1)
def _synthetic(vocab_size: int, sequence_length: int) -> np.ndarray:
    shape = (SYNTHETIC_SEQUENCES, sequence_length + 1)
    return np.random.default_rng(0).integers(vocab_size, size=shape, dtype=np.uint32)


def _mean_pace(paces: Sequence[Pace]) -> Pace:
    """Return the pace of a worker of several: times are averaged, so rates harmonically."""
    return Pace(
        *(1 / mean(1 / getattr(pace, name) for pace in paces) for name in _RATES),
        *(mean(getattr(pace, name) for pace in paces) for name in _TIMES),
    )


_RATES = ("train_tokens_per_second", "evaluation_tokens_per_second")
_TIMES = ("setup_seconds", "checkpoint_seconds")


def _start(number: int, folder: Path) -> subprocess.Popen[str]:
    package = str(Path(probes.__file__).parent.parent)
    environment = os.environ | ENVIRONMENT
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [package, os.environ.get("PYTHONPATH")])
    )
    if gpus := torch.cuda.device_count():
        environment["CUDA_VISIBLE_DEVICES"] = str(number % gpus)
    with open(folder / f"{number}.log", "w") as errors:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "probes.calibration"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )


def _send(process: subprocess.Popen[str], line: str) -> None:
    with suppress(BrokenPipeError):  # it has ended: reading from it says why
        print(line, file=process.stdin, flush=True)


def _read_line(process: subprocess.Popen[str], folder: Path) -> str:
    assert process.stdout is not None  # a pipe
    line = process.stdout.readline()
    if not line.endswith("\n"):
        words = [path.read_text(errors="replace").strip() for path in sorted(folder.glob("*.log"))]
        last = next((text.splitlines()[-1] for text in words if text), "it ended without a word")
        raise CmrplanError(f"the speed could not be measured: {last}")
    return line


def main() -> None:
    """Measure what standard input asks for, in step with the other processes."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    prepare_process()
    task = json.loads(input())
    groups = [[RunSettings.from_dict(run) for run in group] for group in task["groups"]]
    print("ready", file=output, flush=True)
    input()
    for runs in groups:
        print(json.dumps(asdict(measure(runs, task["seconds"]))), file=output, flush=True)


if __name__ == "__main__":
    main()
