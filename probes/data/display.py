"""The display tells a person at a terminal how the preparation of corpora goes."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class PreparationDisplay:
    """A bar for the corpus that is being read; shows nothing where standard error is no terminal.

    Parameters
    ----------
    show : bool
        Whether to show anything at all.
    """

    def __init__(self, show: bool) -> None:
        self._progress = Progress(
            TextColumn("corpora.{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not (show and sys.stderr.isatty()),
        )
        self._task = self._progress.add_task("", total=None, note="")
        self._documents = 0
        self._limit: float | None = None

    def __enter__(self) -> PreparationDisplay:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def reading(self, corpus: str, num_bytes: int, max_tokens: float | None) -> None:
        """Begin a corpus of a known size, or with a known number of tokens to read."""
        self._documents, self._limit = 0, max_tokens
        total = max_tokens or num_bytes or None
        self._progress.reset(self._task, description=corpus, total=total, note="")

    def read(self, documents: int, tokens: int, train_tokens: int) -> None:
        """Take note of more documents, and of all tokens so far."""
        self._documents += documents
        note = f"{self._documents:,} documents, {tokens:,} tokens"
        self._progress.update(self._task, note=note)
        if self._limit:
            self._progress.update(self._task, completed=train_tokens)

    def finished(self, num_bytes: int) -> None:
        """Take note of a file that was read to its end."""
        if not self._limit:
            self._progress.advance(self._task, num_bytes)

    def writing(self, corpus: str) -> None:
        """Take note that a corpus goes into its shards."""
        self._progress.update(self._task, description=corpus, note="writing shards")
