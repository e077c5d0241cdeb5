"""The schedule of a run says when it evaluates and what its learning rate is, in whole steps.

There are four, each with a linear warm-up (the re-warming of a finished checkpoint):

- ``constant``: the peak rate after the warm-up. Every evaluation is a budget of its own.
- ``averaged``: the same, and what is evaluated is the mean of the weights over the last steps of each budget: a
  cooldown without steps of its own (arXiv:2405.18392).
- ``branches``: the same trunk, and for each budget a short cooldown branch that leaves it and decays.
  One run yields every budget as if it had been trained for it alone, since the branch sees the data
  that the trunk would have seen and the trunk goes on from where the branch left.
- ``cosine``: one decay over the whole run, which therefore yields one budget only.

A run is a sequence of segments; see :func:`segments`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cmrplan.errors import InputError

DECAY_FLOOR = 0.1
"""Share of the learning rate that is left at the end of a decay."""

SCHEDULES = ("constant", "averaged", "branches", "cosine")


@dataclass(frozen=True)
class Schedule:
    """The learning rate of a run.

    Parameters
    ----------
    kind : {"constant", "averaged", "branches", "cosine"}
        See the head of this module.
    learning_rate : float
        The peak.
    warmup_steps : int
        Steps of the linear warm-up.
    decay_share : float
        Share of a budget's steps over which a cooldown branch decays linearly to a tenth, or weights are averaged.
    """

    kind: Literal["constant", "averaged", "branches", "cosine"]
    learning_rate: float
    warmup_steps: int
    decay_share: float = 0.0

    def rate(self, step: int, segment: Segment) -> float:
        """Return the learning rate of step number ``step``, which is in ``segment``."""
        return self.learning_rate * learning_rate_factor(
            step,
            warmup_steps=self.warmup_steps,
            decay_start=segment.decay_start,
            decay_end=segment.decay_end,
            is_cosine=self.kind == "cosine",
        )


@dataclass(frozen=True)
class Segment:
    """A stretch of training without an evaluation inside.

    Parameters
    ----------
    start, stop : int
        Steps done before and after it.
    decay_start, decay_end : int or None
        Steps between which the learning rate falls; None where it does not.
    is_cooldown : bool
        Whether it is a cooldown branch: training goes on from ``start`` afterwards, not from ``stop``.
    evaluates : bool
        Whether the run evaluates at ``stop``.
    averages : bool
        Whether it evaluates the mean of the weights after each of its steps.
    """

    start: int
    stop: int
    decay_start: int | None = None
    decay_end: int | None = None
    is_cooldown: bool = False
    evaluates: bool = True
    averages: bool = False


def segments(schedule: Schedule, evaluation_steps: Sequence[int]) -> tuple[Segment, ...]:
    """Return the segments of a run in the order in which they are trained.

    Examples
    --------
    A trunk of 8 steps with cooldown branches of 2 and 4 that end at 10 and 20 steps, then of 8 more:

    >>> branches = Schedule("branches", 1e-3, warmup_steps=0, decay_share=0.2)
    >>> [(segment.start, segment.stop, segment.is_cooldown) for segment in segments(branches, (10, 20))]
    [(0, 8, False), (8, 10, True), (8, 16, False), (16, 20, True)]
    """
    if schedule.kind == "branches":
        return _trunk_and_branches(schedule.decay_share, evaluation_steps)
    if schedule.kind == "averaged":
        return _with_averages(schedule.decay_share, evaluation_steps)
    starts = (0, *evaluation_steps[:-1])
    decay = (0, evaluation_steps[-1]) if schedule.kind == "cosine" else (None, None)
    return tuple(
        Segment(start, stop, *decay) for start, stop in zip(starts, evaluation_steps, strict=True)
    )


def trained_steps(schedule: Schedule, evaluation_steps: Sequence[int]) -> int:
    """Return how many steps a run does, cooldown branches included."""
    return sum(segment.stop - segment.start for segment in segments(schedule, evaluation_steps))


def whole_steps(tokens: float, step_tokens: int) -> int:
    """Return the number of steps nearest to a token count, at least one.

    Examples
    --------
    >>> whole_steps(1e6, 2048)
    488
    """
    return max(1, round(tokens / step_tokens))


def evaluation_steps(
    train_tokens: float, step_tokens: int, *, evaluations: int, first_tokens: float | None = None
) -> tuple[int, ...]:
    """Return log-spaced steps from ``first_tokens`` to ``train_tokens``, both included.

    Parameters
    ----------
    train_tokens, first_tokens : float
        Tokens at the last and at the first evaluation; the first defaults to a sixteenth.
    step_tokens : int
        Tokens of a step.
    evaluations : int
        How many; one alone is at the end.

    Raises
    ------
    InputError
        If two of them would be at the same step.

    Examples
    --------
    >>> evaluation_steps(1600, 1, evaluations=5)
    (100, 200, 400, 800, 1600)
    """
    import numpy as np  # who only reads a sweep's files does not wait for it

    last = whole_steps(train_tokens, step_tokens)
    first = train_tokens / 16 if first_tokens is None else first_tokens
    tokens = np.geomspace(train_tokens, first, evaluations)[::-1]
    steps = sorted({whole_steps(count, step_tokens) for count in tokens[:-1]} | {last})
    if len(steps) < evaluations:
        raise InputError(
            f"probes.evaluations {evaluations} do not fit in {last} steps of {step_tokens} tokens; "
            "take fewer, more train_tokens or a later first_evaluation_tokens"
        )
    return tuple(steps)


def learning_rate_factor(
    step: int,
    *,
    warmup_steps: int,
    decay_start: int | None = None,
    decay_end: int | None = None,
    is_cosine: bool = False,
) -> float:
    """Return what the peak learning rate is multiplied with in one step.

    Linear warm-up (``1 / warmup_steps`` in step 0), then constant; between ``decay_start`` and
    ``decay_end`` it falls to a tenth, linearly or along half a cosine.

    Examples
    --------
    >>> [learning_rate_factor(step, warmup_steps=4) for step in (0, 1, 3, 8)]
    [0.25, 0.5, 1.0, 1.0]
    """
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    if decay_start is None or decay_end is None or step < decay_start:
        return warm
    left = (decay_end - (step + 1)) / (decay_end - decay_start)
    if is_cosine:
        left = (1 - math.cos(math.pi * left)) / 2
    return min(warm, DECAY_FLOOR + (1 - DECAY_FLOOR) * left)


def _trunk_and_branches(decay_share: float, evaluation_steps: Sequence[int]) -> tuple[Segment, ...]:
    parts: list[Segment] = []
    trunk = 0
    for end in evaluation_steps:
        start = end - max(1, round(decay_share * end))
        if start > trunk:
            parts.append(Segment(trunk, start, evaluates=False))
        parts.append(Segment(start, end, start, end, is_cooldown=True))
        trunk = start
    return tuple(parts)


def _with_averages(decay_share: float, evaluation_steps: Sequence[int]) -> tuple[Segment, ...]:
    """Return one trunk; the last steps of each budget are averaged, from the budget before at most."""
    parts: list[Segment] = []
    before = 0
    for end in evaluation_steps:
        start = max(before, end - max(1, round(decay_share * end)))
        if start > before:
            parts.append(Segment(before, start, evaluates=False))
        parts.append(Segment(start, end, averages=True))
        before = end
    return tuple(parts)
