"""A feed gives the batches of a group step by step.

On a GPU it draws those of the next step while the present one is trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from probes.data.prepared import PreparedCorpora
from probes.data.sampling import batch
from probes.run_settings import RunSettings


class Feed:
    """The batches that the members of a group train on.

    Parameters
    ----------
    settings : sequence of RunSettings
        The members.
    corpora : PreparedCorpora
        Where the sequences come from.
    is_ahead : bool
        Whether a thread makes the batches of the next step while this one is trained on; on a CPU it
        would only take time from the training.
    """

    def __init__(
        self, settings: Sequence[RunSettings], corpora: PreparedCorpora, *, is_ahead: bool
    ) -> None:
        self._settings = settings
        self._corpora = corpora
        self._thread = ThreadPoolExecutor(1) if is_ahead else None
        self._next: tuple[int, Future[list[np.ndarray]]] | None = None

    def batches(self, step: int) -> list[np.ndarray]:
        """Return the batch of every member in a step, each of shape ``(B, T + 1)``."""
        if self._thread is None:
            return self._draw(step)
        if self._next is None or self._next[0] != step:
            self._next = (step, self._thread.submit(self._draw, step))
        drawn = self._next[1].result()
        self._next = (step + 1, self._thread.submit(self._draw, step + 1))
        return drawn

    def _draw(self, step: int) -> list[np.ndarray]:
        train = self._corpora.train
        return [
            batch(
                step,
                train["general"],
                train["domain"],
                batch_size=one.batch_size,
                domain_ratio=one.domain_ratio,
                stage=one.stage,
                seed=one.seed,
            )[0]
            for one in self._settings
        ]
