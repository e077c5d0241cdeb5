"""Each slot of a run has a sequence so that its epochs are exact, and the same as in most other runs.

Slot ``n`` of a stream belongs to step ``n // batch_size``; a run uses the slots of the corpus that its
``domain_ratio`` gives it. Two things are wanted of the sequences in them:

- *exact epochs*: of the sequences that one run uses, in their order, each block of ``num_sequences``
  has every sequence of the corpus once. A run repeats nothing before it has seen everything.
- *common random numbers*: two runs have the same sequence in a slot that both use.

The first ``num_sequences`` slots are one random order of the corpus: no run can repeat anything
there, and all runs agree. After that a run that uses a part of the slots has sequences left over, others
than a run with another ratio. So each further block of slots has an order that is *preferred* by all
runs, and a run departs from it where it has used the preferred sequence already in its present epoch,
for the next unused one of a second order.

Preferred orders are drawn so that few departures are needed. A sequence has a phase, the threshold
``u`` of its slot in the first block. In block j it is preferred for a slot with a threshold near
``(phase + c_j) mod 1``, c_j being van der Corput's sequence 0, 1/2, 1/4, 3/4, ...: a run of ratio 1/4,
which uses the slots with ``u < 1/4``, then has other sequences in each of four blocks and needs no departure.
Near means in the same 64th, at random within it. Two runs agree in about four of five slots that both use, against
two of three with preferred orders at random and none if each run drew from an order of its own.

Nothing is stored: how far a run is in its epoch follows from the step (:func:`domain_sequences`), and the
work to begin at any step is that of the blocks since its present epoch began.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

import numpy as np

from probes.data.thresholds import domain_sequences, domain_slots, draws, thresholds

BANDS = 64
"""Parts of [0, 1) in which a sequence's phase and its slot's threshold agree."""


@lru_cache(maxsize=8)
def permutation(count: int, *key: object) -> np.ndarray:
    """Return a random order of ``range(count)`` that depends on ``key`` alone (read-only)."""
    order = np.argsort(draws(count, *key), kind="stable")
    order.setflags(write=False)
    return order


@lru_cache(maxsize=4)
def block_thresholds(block: int, size: int, batch_size: int, seed: int) -> np.ndarray:
    """Return the thresholds of the slots ``block * size`` to ``(block + 1) * size``, ``(size,)``."""
    first = block * size
    steps = range(first // batch_size, (first + size - 1) // batch_size + 1)
    values = np.concatenate([thresholds(step, batch_size, seed=seed) for step in steps])
    start = first % batch_size
    return values[start : start + size]


@lru_cache(maxsize=8)
def preferred_order(
    block: int, num_sequences: int, batch_size: int, *, stream: str, seed: int
) -> np.ndarray:
    """Return the sequence that all runs prefer in each slot of a block, shape ``(num_sequences,)``."""
    first = permutation(num_sequences, "order", stream, seed, 0)
    if block == 0:
        return first
    phase = np.empty(num_sequences)
    phase[first] = block_thresholds(0, num_sequences, batch_size, seed)
    phase = (phase + van_der_corput(block)) % 1.0
    random = draws(2 * num_sequences, "bands", stream, seed, block) / 2.0**64
    slots = _by_band(block_thresholds(block, num_sequences, batch_size, seed), random[::2])
    order = np.empty(num_sequences, dtype=np.int64)
    order[slots] = _by_band(phase, random[1::2])
    order.setflags(write=False)
    return order


def van_der_corput(number: int) -> float:
    """Return the binary digits of a number mirrored at the point.

    Examples
    --------
    >>> [van_der_corput(number) for number in range(5)]
    [0.0, 0.5, 0.25, 0.75, 0.125]
    """
    return int(f"{number:b}"[::-1], 2) / 2 ** number.bit_length() if number else 0.0


class RunOrder:
    """The sequences of one corpus in the slots of one run; see the module's docstring.

    A pure function of its arguments: what it keeps is the block that was asked for last, so that
    going on from step to step costs little.

    Parameters
    ----------
    num_sequences : int
        Sequences of the corpus.
    batch_size : int
        Slots of a step.
    domain_ratio : float
        Share of slots that hold domain sequences.
    corpus : {"general", "domain"}
        Which slots of the run it is about.
    stage : str
        ``"base"`` or ``"probe"``; a probe does not repeat the order of its base.
    seed : int
        Data seed.
    """

    def __init__(
        self,
        num_sequences: int,
        batch_size: int,
        domain_ratio: float,
        *,
        corpus: str,
        stage: str,
        seed: int,
    ) -> None:
        self._size = num_sequences
        self._batch_size = batch_size
        self._ratio = domain_ratio
        self._is_domain = corpus == "domain"
        self._stream = f"{stage}/{corpus}"
        self._seed = seed
        self._lock = Lock()
        self._block = -1
        self._order = self._used = np.empty(0)  # allocated when a second block is needed
        self._num_used = 0

    def rows(self, step: int) -> np.ndarray:
        """Return the sequence of every slot of a step that the run uses; -1 in its other slots."""
        numbers = step * self._batch_size + np.arange(self._batch_size)
        used = domain_slots(step, self._batch_size, self._ratio, seed=self._seed) == self._is_domain
        rows = np.full(self._batch_size, -1, dtype=np.int64)
        blocks, in_block = np.divmod(numbers, self._size)
        for block in np.unique(blocks[used]):
            here = used & (blocks == block)
            rows[here] = self._in_block(int(block))[in_block[here]]
        return rows

    def _in_block(self, block: int) -> np.ndarray:
        if block == 0:  # no run repeats anything in the first block
            return self._preferred(0)
        with self._lock:
            if block != self._block:
                if block < self._block or self._block < 0 or block > self._block + 1:
                    self._start_at(block)
                while self._block < block:
                    self._advance()
            return self._order

    def _start_at(self, block: int) -> None:
        """Go to the block where the epoch began that the run is in when ``block`` begins."""
        before = self._draws_before_block(block)
        began = before - before % self._size
        low, high = 0, block  # the last block that begins at or before draw number ``began``
        while low < high:
            middle = (low + high + 1) // 2
            if self._draws_before_block(middle) <= began:
                low = middle
            else:
                high = middle - 1
        self._block = low - 1
        # What was used before ``began`` in that block belongs to the epoch before and is not asked for.
        self._used = np.zeros(self._size, dtype=bool)
        self._num_used = self._draws_before_block(low) - began + self._size

    def _advance(self) -> None:
        """Go to the next block: give each slot of the run its sequence."""
        self._block += 1
        self._order = np.full(self._size, -1, dtype=np.int64)
        values = block_thresholds(self._block, self._size, self._batch_size, self._seed)
        slots = np.flatnonzero((values < self._ratio) == self._is_domain)
        left = self._size - self._num_used  # draws until the run's present epoch ends
        self._fill(slots[:left])
        if len(slots) >= left:
            self._used[:] = False
            self._num_used = 0
            self._fill(slots[left:])

    def _fill(self, slots: np.ndarray) -> None:
        """Give slots of one epoch their sequences: preferred ones first, then what is unused."""
        wanted = self._preferred(self._block)[slots]
        free = ~self._used[wanted]
        self._take(slots[free], wanted[free])
        others = permutation(self._size, "instead", self._stream, self._seed, self._block)
        left = slots[~free]
        self._take(left, others[~self._used[others]][: len(left)])
        self._num_used += len(slots)

    def _preferred(self, block: int) -> np.ndarray:
        return preferred_order(
            block, self._size, self._batch_size, stream=self._stream, seed=self._seed
        )

    def _take(self, slots: np.ndarray, sequences: np.ndarray) -> None:
        self._order[slots] = sequences
        self._used[sequences] = True

    def _draws_before_block(self, block: int) -> int:
        step, slots = divmod(block * self._size, self._batch_size)
        count = domain_sequences(step, self._batch_size, self._ratio, seed=self._seed)
        is_domain = domain_slots(step, self._batch_size, self._ratio, seed=self._seed)[:slots]
        count += int(is_domain.sum())
        return count if self._is_domain else block * self._size - count


def _by_band(values: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Return the order of values in [0, 1) by their band, at random within a band."""
    return np.argsort(np.floor(BANDS * values) + random, kind="stable")
