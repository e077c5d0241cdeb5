"""The sequences of a step are a pure function of seed and step, with no state to save.

Slot ``b`` of step ``t`` holds a domain or a general sequence, as its threshold says
(:mod:`probes.data.thresholds`), and which one follows from the slot's number (:mod:`probes.data.epochs`).
So runs that differ in their ratio hold the same sequence in the same slot wherever they agree on the
corpus, which cancels most of the noise in their difference. As long as a run is shorter than a corpus
has sequences, that holds in every slot; beyond, in most of them, since there every run goes
through the corpus in exact epochs: each sequence once before any is repeated, whatever the ratio.

To resume, a run needs its step alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np

from probes.data.epochs import RunOrder, permutation
from probes.data.thresholds import domain_sequences, domain_slots

__all__ = ["batch", "domain_epochs", "domain_sequences", "evaluation_indices"]


class Rows(Protocol):
    """What a batch is drawn from: an array of sequences, or :class:`probes.data.shards.Sequences`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sequences S, and their tokens T + 1."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Type of the tokens."""
        ...

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Return the sequences of these numbers."""
        ...


def batch(
    step: int,
    general: Rows,
    domain: Rows,
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
    general, domain : Rows, shape (S, T + 1)
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
    tokens = np.empty((batch_size, general.shape[1]), dtype=general.dtype)
    for name, corpus in (("general", general), ("domain", domain)):
        order = _run_order(
            corpus.shape[0], batch_size, domain_ratio, corpus=name, stage=stage, seed=seed
        )
        rows = order.rows(step)
        slots = rows >= 0
        if slots.any():
            tokens[slots] = corpus[rows[slots]]
    return tokens, int(domain_slots(step, batch_size, domain_ratio, seed=seed).sum())


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


@lru_cache(maxsize=256)
def _run_order(
    num_sequences: int, batch_size: int, domain_ratio: float, *, corpus: str, stage: str, seed: int
) -> RunOrder:
    return RunOrder(num_sequences, batch_size, domain_ratio, corpus=corpus, stage=stage, seed=seed)
