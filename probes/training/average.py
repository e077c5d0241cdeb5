"""The weights of a run are averaged over the last steps of a budget, and the sum goes into its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

WEIGHT_PREFIX = "model."
SUM_PREFIX = "average."
SUM_COUNT = "average_count"


class Average:
    """The sum of a run's weights over some steps, and of how many."""

    def __init__(self) -> None:
        self._sum: dict[str, Tensor] = {}
        self._count = 0

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Average:
        """Return what :meth:`state` added to the state of a run; nothing where that was not added."""
        average = cls()
        average._sum = {
            name.removeprefix(SUM_PREFIX): value
            for name, value in state.items()
            if name.startswith(SUM_PREFIX)
        }
        average._count = int(state[SUM_COUNT]) if SUM_COUNT in state else 0
        return average

    def add(self, state: Mapping[str, Tensor], before: int) -> None:
        """Add the weights of a state; before the first of the steps, 0 of them, what was there is forgotten."""
        if not before:
            self._sum, self._count = {}, 0
        for name, value in state.items():
            if name.startswith(WEIGHT_PREFIX):
                known = self._sum.get(name)
                self._sum[name] = (
                    value.detach().clone() if known is None else known.to(value.device) + value
                )
        self._count += 1

    def mean(self) -> dict[str, Tensor]:
        """Return the mean weights by the names of a state."""
        return {name: value / self._count for name, value in self._sum.items()}

    def state(self) -> dict[str, Tensor]:
        """Return the sum as tensors to keep beside the state of a run."""
        kept = {f"{SUM_PREFIX}{name}": value for name, value in self._sum.items()}
        return kept | {SUM_COUNT: torch.tensor(self._count)}


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state that later steps do not change."""
    return {name: value.detach().clone() for name, value in state.items()}
