"""The arithmetic of a process gives the same bits every time once it is made repeatable here."""

from __future__ import annotations

import torch


def make_repeatable() -> None:
    """Have PyTorch use one thread and kernels whose results can be repeated."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # on by default beside it: fills what is about to be written over, 1 to 2 % of a step
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
