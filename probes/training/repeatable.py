"""A process is set up here so that its arithmetic gives the same bits every time."""

from __future__ import annotations

import torch


def make_repeatable() -> None:
    """Have PyTorch use one thread and kernels whose results can be repeated.

    What ``torch.compile`` makes is repeatable too once :func:`make_compiler_repeatable` was called.
    """
    torch.set_num_threads(1)
    # This does what use_deterministic_algorithms does, which imports the compiler: 0.4 s of every worker.
    torch.set_deterministic_debug_mode("error")
    # Torch then also fills memory that is about to be written over, which takes 1 to 2 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def make_compiler_repeatable() -> None:
    """Have ``torch.compile`` choose kernels whose results can be repeated, if this process does."""
    if torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(True)
