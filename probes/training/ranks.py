"""The processes that train one run together agree here on who writes, and on what to do next."""

from __future__ import annotations

from typing import Protocol


class Ranks(Protocol):
    """One process among those of a run."""

    is_main: bool
    """Whether this process writes the run's files."""

    steps_between_decisions: int
    """Steps after which the processes ask each other whether to stop or to save."""

    def agree(self, word: str) -> str:
        """Return what the main process said; every process must ask, and waits for it."""
        ...


class Alone:
    """The only process of its runs."""

    is_main = True
    steps_between_decisions = 1

    def agree(self, word: str) -> str:
        """Return ``word``."""
        return word
