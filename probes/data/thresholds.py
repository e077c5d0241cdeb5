"""The slots of a step that hold domain sequences are a pure function of seed and step.

Every slot ``b`` of step ``t`` has a threshold ``u[t, b]`` in [0, 1), the same for every run of a seed; it
holds a domain sequence where ``u < domain_ratio``. So a larger ratio only ever turns general slots
into domain ones. The thresholds of a step are stratified (one in each interval of width ``1 /
batch_size``) and their common offset follows the golden-ratio sequence from step to step, so the
realized share stays within a few sequences of ``domain_ratio`` after any number of steps. Ratio 0 has
no domain sequence and ratio 1 no general one, exactly.

All draws come from Philox counters, whose bit stream NumPy keeps stable between versions.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

_GOLDEN = 2654435769
"""2**32 divided by the golden ratio: steps of this size fill the 32-bit circle most evenly."""


def draws(count: int, *key: object) -> np.ndarray:
    """Return ``count`` 64-bit random integers that depend on ``key`` alone, shape ``(count,)``."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    philox = np.random.Philox(key=np.frombuffer(digest[:16], dtype=np.uint64))
    return philox.random_raw(count)


@lru_cache(maxsize=256)
def thresholds(step: int, batch_size: int, *, seed: int) -> np.ndarray:
    """Return ``u[t, b]`` of one step, in [0, 1), shape ``(batch_size,)``, read-only.

    One threshold lies in each interval ``[k, k + 1) / batch_size``; which slot gets which interval
    is drawn anew for each step.
    """
    strata = np.argsort(draws(batch_size, "strata", seed, step), kind="stable")
    # An offset has 32 bits, so the sum and the quotient stay exactly below batch_size and 1.
    values: np.ndarray = (strata + _offsets(np.array(step), seed)) / batch_size
    values.setflags(write=False)
    return values


def domain_slots(step: int, batch_size: int, domain_ratio: float, *, seed: int) -> np.ndarray:
    """Tell which slots of a step hold domain sequences, bool, shape ``(batch_size,)``."""
    return thresholds(step, batch_size, seed=seed) < domain_ratio


def domain_sequences(steps: int, batch_size: int, domain_ratio: float, *, seed: int) -> int:
    """Return how many domain sequences the first steps hold.

    In a step with offset ``o`` they are as many as the whole numbers k from 0 to ``batch_size - 1`` with ``(k + o) /
    batch_size < domain_ratio``, so that no slot needs to be drawn to count them.
    """
    offsets = _offsets(np.arange(steps), seed)
    counts = np.clip(np.ceil(domain_ratio * batch_size - offsets), 0, batch_size)
    # The product may be rounded up or down by one unit; the comparison itself decides.
    counts -= (counts > 0) & ((counts - 1 + offsets) / batch_size >= domain_ratio)
    counts += (counts < batch_size) & ((counts + offsets) / batch_size < domain_ratio)
    return int(counts.sum())


def _offsets(steps: np.ndarray, seed: int) -> np.ndarray:
    """Return the common offset of the thresholds of each step, in [0, 1) with 32 bits."""
    start = draws(1, "offset", seed)[0] % np.uint64(2**32)
    offsets: np.ndarray = (start + steps.astype(np.uint64) * np.uint64(_GOLDEN)) % np.uint64(2**32)
    return offsets / 2**32
