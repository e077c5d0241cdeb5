"""Several threads do the passes of a step, or the slices of an evaluation, side by side on a CPU.

A step sums the gradients of its passes in their order, whoever computes them, so the numbers do not
depend on how many threads there are, and that may change from step to step. Each thread does whole
passes with one core: two are 1.8 times as fast as one, where PyTorch's own two threads, which share every
operation, are 1.5 to 1.7 times as fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

from probes.models.source import ModelShape
from probes.run_settings import RunSettings

EFFICIENCY = 0.9
"""Speed of several threads beside as many times the speed of one; benchmarks/cpu_step.py."""

Threads = Callable[[], int]
"""How many threads a run may have now; asked at every step."""

T = TypeVar("T")
R = TypeVar("R")


def most_threads(run: RunSettings) -> int:
    """Return how many threads a run can use.

    One each for the passes of a built-in decoder on a CPU. Models of a checkpoint may draw random
    numbers, whose order would not be certain, and compiled ones are not made for threads.
    """
    numerics = run.numerics
    is_ours = run.device == "cpu" and isinstance(run.model, ModelShape)
    return run.passes if is_ours and not numerics.compile and numerics.processes == 1 else 1


def speedup(run: RunSettings, threads: int) -> float:
    """Return how many times as fast a run is with so many threads as with one.

    Examples
    --------
    Three passes keep two threads busy as long as four would.

    >>> rounds = math.ceil(3 / 2)
    >>> round(3 / rounds * EFFICIENCY, 2)
    1.35
    """
    threads = min(threads, most_threads(run))
    return EFFICIENCY * run.passes / math.ceil(run.passes / threads) if threads > 1 else 1.0


def side_by_side(work: Callable[[T], R], parts: Iterable[T], threads: int) -> Iterator[R]:
    """Yield the results of all parts in their order, computed by so many threads."""
    return _pool(threads).map(work, parts) if threads > 1 else map(work, parts)


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    import torch  # who only asks how many threads a run can use does not wait for it

    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
