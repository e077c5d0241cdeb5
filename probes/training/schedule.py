"""When a run evaluates and what its learning rate is, in whole steps."""

from __future__ import annotations

import numpy as np

from cmrplan.errors import InputError

COOLDOWN_FLOOR = 0.1
"""Share of the learning rate that is left at the end of a cool-down."""


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
    step: int, *, steps: int, warmup_steps: int, cooldown_share: float = 0.0
) -> float:
    """Return what the peak learning rate is multiplied with in one step.

    Linear warm-up (``1 / warmup_steps`` in step 0), then constant; a cool-down, if there is one,
    falls linearly to a tenth over the last ``cooldown_share`` of the steps.

    Examples
    --------
    >>> [learning_rate_factor(step, steps=9, warmup_steps=4) for step in (0, 1, 3, 8)]
    [0.25, 0.5, 1.0, 1.0]
    """
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    cooldown_steps = cooldown_share * steps
    if step + 1 <= steps - cooldown_steps:
        return warm
    left = (steps - (step + 1)) / cooldown_steps
    return min(warm, COOLDOWN_FLOOR + (1 - COOLDOWN_FLOOR) * left)
