"""Jobs are runs as work to be done: what each costs, what it waits for, and how long all take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from probes.models.source import count_params, flops_per_token
from probes.run_settings import RunSettings
from probes.training.threads import speedup

EVALUATION_COST = 1 / 3
"""Cost of an evaluated token in trained tokens: a forward pass without a backward pass."""

BYTES_PER_PARAM = 12
"""A checkpoint's fp32 weight and two fp32 moments."""

AVERAGE_BYTES = 4
"""The sum of weights that are averaged, for a parameter of a checkpoint."""

NUM_CORPORA = 2
"""Validation corpora: general and domain."""


@dataclass(frozen=True)
class Job:
    """What one worker does at a time: one run, or several that are trained together.

    Parameters
    ----------
    runs : tuple of RunSettings
        The runs: of one stage and size, and of one base.
    """

    runs: tuple[RunSettings, ...]

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Names of the runs."""
        return tuple(run.run_id for run in self.runs)

    @property
    def name(self) -> str:
        """Name of the first run, and how many more there are."""
        more = f" and {len(self.runs) - 1} more" if len(self.runs) > 1 else ""
        return self.runs[0].run_id + more

    @property
    def stage(self) -> Literal["base", "probe"]:
        """Whether these are bases or probes."""
        return self.runs[0].stage

    @property
    def size(self) -> str:
        """Name of the model size."""
        return self.runs[0].size

    @property
    def base(self) -> str:
        """Id of the base that the runs continue; empty for bases."""
        return self.runs[0].base

    @property
    def work_tokens(self) -> float:
        """Tokens trained, and evaluated tokens at a third."""
        return sum(map(work_tokens, self.runs))

    def speedup(self, threads: int) -> float:
        """Return how many times as fast the job is with so many threads as with one."""
        return speedup(self.runs[0], threads) if threads > 1 and len(self.runs) == 1 else 1.0

    @property
    def flops(self) -> float:
        """FLOPs of training and evaluating."""
        return sum(map(run_flops, self.runs))


def work_tokens(run: RunSettings) -> float:
    """Return the tokens a run trains on, and its evaluated tokens at a third."""
    one = NUM_CORPORA * run.evaluation_sequences * run.sequence_length
    return run.trained_tokens + EVALUATION_COST * one * len(run.evaluation_steps)


def run_flops(run: RunSettings) -> float:
    """Return the FLOPs of training and evaluating a run."""
    return work_tokens(run) * flops_per_token(run.model, run.sequence_length)


def disk_bytes(run: RunSettings) -> int:
    """Return the bytes a finished run leaves on the disk: its losses, and a base its checkpoint."""
    evaluations = len(run.evaluation_steps) + (run.stage == "probe")
    losses = evaluations * NUM_CORPORA * run.evaluation_sequences * 4
    return losses + (_checkpoint_bytes(run) if run.stage == "base" else 0)


def working_bytes(run: RunSettings) -> int:
    """Return the bytes of the checkpoints of a run in work.

    The newest two, with cooldown branches two more of the trunk, and the one that is being written.
    """
    return (5 if any(segment.is_cooldown for segment in run.segments) else 3) * _checkpoint_bytes(
        run
    )


def peak_disk_bytes(runs: Sequence[RunSettings], workers: int) -> int:
    """Return the bytes on the disk at most: what runs leave, and the largest in work at a time."""
    in_work = sorted(map(working_bytes, runs), reverse=True)[:workers]
    return sum(map(disk_bytes, runs)) + sum(in_work)


def _checkpoint_bytes(run: RunSettings) -> int:
    is_only_evaluated = run.trained_tokens == 0
    each = BYTES_PER_PARAM + AVERAGE_BYTES * any(segment.averages for segment in run.segments)
    return 0 if is_only_evaluated else each * count_params(run.model).total


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Return bases before probes and, among each, the costliest first."""
    return sorted(jobs, key=lambda job: (job.stage != "base", -job.flops))


class JobQueue:
    """Jobs that wait for a worker: bases first, costliest first, probes only after their base.

    Parameters
    ----------
    jobs : iterable of Job
        What is to be done. A base that is not among them counts as finished.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._waiting = in_order(jobs)
        self._open_bases = {
            run_id for job in self._waiting if job.stage == "base" for run_id in job.run_ids
        }

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, is_free: Callable[[Job], bool] = lambda job: True) -> Job | None:
        """Return the next job that can start now, or None.

        Parameters
        ----------
        is_free : callable
            Says of a job whether nothing else works on it.
        """
        for job in self._waiting:
            if job.base not in self._open_bases and is_free(job):
                self._waiting.remove(job)
                return job
        return None

    def put_back(self, job: Job) -> None:
        """Queue a job again, before all others."""
        self._waiting.insert(0, job)

    def finished(self, base: str) -> None:
        """Let the probes of a finished base start."""
        self._open_bases.discard(base)

    def drop_probes(self, base: str) -> list[Job]:
        """Take the probes of a base without a result out of the queue and return them."""
        dropped = [job for job in self._waiting if job.base == base]
        self._waiting = [job for job in self._waiting if job.base != base]
        return dropped


def makespan(jobs: Sequence[Job], workers: int, seconds: Callable[[Job], float]) -> float:
    """Return the wall time of all jobs on so many workers, in seconds.

    Each worker takes the next job in order whose base is done, as the scheduler does, and jobs on a CPU
    share the threads of idle workers, as with the local executor.

    Parameters
    ----------
    jobs : sequence of Job
        What is to be done.
    workers : int
        Jobs at a time.
    seconds : callable
        Returns the time of a job with one thread.
    """
    queue = JobQueue(jobs)
    in_work: list[tuple[Job, float]] = []  # with the seconds left for one thread
    now = 0.0
    while in_work or queue:
        while len(in_work) < workers and (job := queue.take()):
            in_work.append((job, seconds(job)))
        threads = workers // len(in_work)
        speeds = [job.speedup(threads) for job, _ in in_work]
        ends = [left / speed for (_, left), speed in zip(in_work, speeds, strict=True)]
        first = ends.index(min(ends))
        now += ends[first]
        in_work = [
            (job, left - ends[first] * speed)
            for (job, left), speed in zip(in_work, speeds, strict=True)
        ]
        for run_id in in_work.pop(first)[0].run_ids:
            queue.finished(run_id)
    return now
