"""Runs as work to be done: what each costs, what waits for what, and how long it all takes."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from probes.models.source import flops_per_token
from probes.settings import RunSettings

EVALUATION_COST = 1 / 3
"""Cost of an evaluated token in trained tokens: a forward pass without a backward pass."""


ATTEMPTS = 2
"""How often a run is tried when its worker dies."""


@dataclass(frozen=True)
class Job:
    """One run to be trained.

    Parameters
    ----------
    settings : RunSettings
        The run.
    """

    settings: RunSettings

    @property
    def run_id(self) -> str:
        """Name of the run."""
        return self.settings.run_id

    @property
    def work_tokens(self) -> float:
        """Tokens trained, and evaluated tokens at a third."""
        one = 2 * self.settings.evaluation_sequences * self.settings.sequence_length
        evaluated = one * len(self.settings.evaluation_steps)
        return self.settings.trained_tokens + EVALUATION_COST * evaluated

    @property
    def flops(self) -> float:
        """FLOPs of training and evaluating."""
        return self.work_tokens * flops_per_token(
            self.settings.model, self.settings.sequence_length
        )


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Return bases before probes and, among each, the costliest first."""
    return sorted(jobs, key=lambda job: (job.settings.stage != "base", -job.flops))


class JobQueue:
    """Jobs that wait for a worker: bases first, costliest first, probes only after their base.

    Parameters
    ----------
    jobs : iterable of Job
        What is to be done. A base that is not among them counts as finished.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._waiting = in_order(jobs)
        self._open_bases = {job.run_id for job in self._waiting if job.settings.stage == "base"}
        self._deaths: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> Job | None:
        """Return the next job that can start now, or None."""
        for job in self._waiting:
            if job.settings.base not in self._open_bases:
                self._waiting.remove(job)
                return job
        return None

    def put_back(self, job: Job) -> bool:
        """Queue a job whose worker died once more; return False when it had all its attempts."""
        self._deaths[job.run_id] += 1
        if self._deaths[job.run_id] >= ATTEMPTS:
            return False
        self._waiting.insert(0, job)
        return True

    def finished(self, base: str) -> None:
        """Let the probes of a finished base start."""
        self._open_bases.discard(base)

    def drop_probes(self, base: str) -> list[Job]:
        """Take the probes of a base without a result out of the queue and return them."""
        dropped = [job for job in self._waiting if job.settings.base == base]
        self._waiting = [job for job in self._waiting if job.settings.base != base]
        return dropped


def makespan(jobs: Sequence[Job], workers: int, seconds: Callable[[Job], float]) -> float:
    """Return the wall time of all jobs on so many workers, in seconds.

    Each worker takes the next job in order whose base is done, as the executor does.
    """
    free = [0.0] * workers
    done_at: dict[str, float] = {}
    waiting = in_order(jobs)
    while waiting:
        now = heapq.heappop(free)
        ready = next((job for job in waiting if done_at.get(job.settings.base, 0.0) <= now), None)
        if ready is None:  # idle until the next base is done
            heapq.heappush(free, min(at for at in done_at.values() if at > now))
            continue
        waiting.remove(ready)
        done_at[ready.run_id] = now + seconds(ready)
        heapq.heappush(free, done_at[ready.run_id])
    return max(done_at.values(), default=0.0)
