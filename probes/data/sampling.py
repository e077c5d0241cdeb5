"""Which sequence stands in which place: a pure function of seed and step, with no state to save.

Slot ``b`` of step ``t`` (number ``n = t * batch_size + b``) can hold two sequences: number ``n`` of
the general stream or number ``n`` of the domain stream. A threshold ``u[t, b]`` in [0, 1), the same
for every run of a seed, decides: domain where ``u < domain_ratio``. So runs that differ in their
ratio hold the same sequence in the same slot wherever they agree on the corpus, which cancels most
of the noise in their difference, and a larger ratio only ever turns general slots into domain ones.

The thresholds of a step are stratified (one in each interval of width ``1 / batch_size``) and
their common offset follows the golden-ratio sequence from step to step, so the realized share
stays within a few sequences of ``domain_ratio`` after any number of steps. Ratio 0 has no domain
sequence and ratio 1 no general one, exactly.

Each stream visits its corpus in a new random order every epoch of ``num_sequences`` slots. A run
uses a stream's sequence only in the slots of that corpus: a run of ratio r sees a fraction r of
the domain sequences once in the first epoch of the stream, and in the second epoch some of them
again. "Epochs of domain data" (:func:`domain_epochs`) therefore counts tokens, not first visits.

All draws come from Philox counters, whose bit stream NumPy keeps stable between versions.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

_STEPS_AT_ONCE = 4096

_GOLDEN = 2654435769
"""2**32 divided by the golden ratio: steps of this size fill the 32-bit circle most evenly."""


def draws(count: int, *key: object) -> np.ndarray:
    """Return ``count`` 64-bit random integers that depend on ``key`` alone, shape ``(count,)``."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    philox = np.random.Philox(key=np.frombuffer(digest[:16], dtype=np.uint64))
    return philox.random_raw(count)


@lru_cache(maxsize=8)
def permutation(count: int, *key: object) -> np.ndarray:
    """Return a random order of ``range(count)`` that depends on ``key`` alone (read-only)."""
    order = np.argsort(draws(count, *key), kind="stable")
    order.setflags(write=False)
    return order


def thresholds(step: int, batch_size: int, *, seed: int) -> np.ndarray:
    """Return ``u[t, b]`` of one step, in [0, 1), shape ``(batch_size,)``.

    One threshold lies in each interval ``[k, k + 1) / batch_size``; which slot gets which interval
    is drawn anew for each step.
    """
    start = int(draws(1, "offset", seed)[0])
    offset = ((start + step * _GOLDEN) % 2**32) / 2**32
    strata = np.argsort(draws(batch_size, "strata", seed, step), kind="stable")
    # offset has 32 bits, so the sum and the quotient stay exactly below batch_size and 1
    return (strata + offset) / batch_size


def domain_slots(step: int, batch_size: int, domain_ratio: float, *, seed: int) -> np.ndarray:
    """Tell which slots of a step hold domain sequences, bool, shape ``(batch_size,)``."""
    return thresholds(step, batch_size, seed=seed) < domain_ratio


def domain_sequences(steps: int, batch_size: int, domain_ratio: float, *, seed: int) -> int:
    """Return how many domain sequences the first steps hold."""
    start = int(draws(1, "offset", seed)[0])
    strata = np.arange(batch_size)
    counted = 0
    for first in range(0, steps, _STEPS_AT_ONCE):
        numbers = np.arange(first, min(first + _STEPS_AT_ONCE, steps), dtype=np.uint64)
        offsets = (np.uint64(start % 2**32) + numbers * np.uint64(_GOLDEN)) % np.uint64(2**32)
        ordered = (strata + (offsets / 2**32)[:, None]) / batch_size
        counted += int((ordered < domain_ratio).sum())
    return counted


def sequence_indices(
    step: int, batch_size: int, num_sequences: int, *, stream: str, seed: int
) -> np.ndarray:
    """Return which sequence of a corpus belongs to each slot of a step, shape ``(batch_size,)``.

    Parameters
    ----------
    step : int
        Step t, from 0.
    batch_size : int
        Slots in a step.
    num_sequences : int
        Sequences of the corpus; an epoch has as many slots.
    stream : str
        Name of the stream, such as ``"probe/domain"``; other names give other orders.
    seed : int
        Data seed of the run.
    """
    numbers = step * batch_size + np.arange(batch_size)
    epochs, places = np.divmod(numbers, num_sequences)
    indices = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        order = permutation(num_sequences, "order", stream, seed, int(epoch))
        indices[epochs == epoch] = order[places[epochs == epoch]]
    return indices


def batch(
    step: int,
    general: np.ndarray,
    domain: np.ndarray,
    *,
    batch_size: int,
    domain_ratio: float,
    stage: str,
    seed: int,
) -> tuple[np.ndarray, int]:
    """Return the sequences of one step and how many of them are domain sequences.

    Parameters
    ----------
    step : int
        Step t, from 0.
    general, domain : ndarray, shape (S, T + 1)
        Packed training sequences of the two corpora.
    batch_size : int
        Sequences B in a step.
    domain_ratio : float
        Share of domain tokens, 0 to 1.
    stage : str
        ``"base"`` or ``"probe"``; a probe does not repeat the order of its base.
    seed : int
        Data seed of the run.

    Returns
    -------
    tokens : ndarray, shape (B, T + 1)
    num_domain : int
    """
    is_domain = domain_slots(step, batch_size, domain_ratio, seed=seed)
    tokens = np.empty((batch_size, general.shape[1]), dtype=general.dtype)
    for corpus, name, slots in ((general, "general", ~is_domain), (domain, "domain", is_domain)):
        if slots.any():
            rows = sequence_indices(
                step, batch_size, len(corpus), stream=f"{stage}/{name}", seed=seed
            )
            tokens[slots] = corpus[rows[slots]]
    return tokens, int(is_domain.sum())


def domain_epochs(train_tokens: float, domain_ratio: float, unique_domain_tokens: float) -> float:
    """Return how often the domain tokens a run trains on go through the domain corpus.

    Examples
    --------
    >>> domain_epochs(1_000_000, 0.25, 500_000)
    0.5
    """
    return train_tokens * domain_ratio / unique_domain_tokens


def evaluation_indices(num_sequences: int, count: int, *, corpus: str) -> np.ndarray:
    """Return the fixed choice of evaluation sequences of a corpus, sorted, shape ``(count,)``."""
    return np.sort(permutation(num_sequences, "evaluation", corpus)[:count])
