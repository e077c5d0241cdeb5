"""Resampling whole runs, since the evaluations of one run share its noise.

Two ways, both seeded and independent of the number of workers:

- ``runs``: draw as many runs as there are, with replacement; a resample is a count per run. For logs of
  many runs.
- ``wild``: keep every run. What its evaluations share is drawn anew from the noise between runs, as
  :mod:`cmrplan.fit.noise` finds it; the rest of its residuals is kept or flipped as a whole, by one random sign.
  All of that is multiplied by one factor that widens the resamples as Student's t does with the degrees of
  freedom behind the noise, since so few residuals do not know their own size. For logs of few runs, where
  leaving out a run would leave out the only probe of its ratio.

The same resample serves the general and the domain loss, so their draws are paired.

References
----------
Efron 1979; Cameron, Gelbach & Miller 2008 (wild cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.corpus_model import RandomStream, student_scale
from cmrplan.fit.noise import Noise, Residuals, within_runs
from cmrplan.log import CORPORA

FEWEST_RUNS_TO_DRAW = 20

Method = Literal["runs", "wild"]


@dataclass(frozen=True)
class Resamples:
    """What each resample does to each run.

    Parameters
    ----------
    runs : tuple of R str
        Run identifiers.
    method : {"runs", "wild"}
    multiplier : array (B, R)
        Counts for ``runs``; signs for ``wild``.
    shift : array (B, K, R)
        Standard normal draws for ``wild``, by corpus.
    level : array (B, 1)
        Where the size of the noise lies among its possible ones, uniform on (0, 1).
    corpora : tuple of K str
        The validation corpora, in the order of ``shift``.
    """

    runs: tuple[str, ...]
    method: Method
    multiplier: Array
    shift: Array
    level: Array
    corpora: tuple[str, ...] = CORPORA

    @property
    def count(self) -> int:
        """Number of resamples B."""
        return len(self.multiplier)

    def select(self, which: NDArray[np.intp]) -> Resamples:
        """Return some of the resamples."""
        return replace(
            self,
            multiplier=self.multiplier[which],
            shift=self.shift[which],
            level=self.level[which],
        )

    def weights(self, row_runs: Sequence[str]) -> Array:
        """Return row weights, ``(B, n)`` or ``(1, n)``."""
        if self.method == "runs":
            return self.multiplier[:, self._position(row_runs)]
        return np.ones((1, len(row_runs)))

    def shifts(self, corpus: str, left: Residuals, noise: Noise) -> Array:
        """Return what each row's fitted value is moved by, in residual units, ``(B, n)`` or ``(1, n)``.

        Parameters
        ----------
        corpus : str
            One of ``corpora``.
        left : Residuals
            What the fit left of the rows; given back as it is for ``runs``.
        noise : Noise
            Used for ``wild``.
        """
        if self.method == "runs":
            return left.residual[None, :]
        where = self._position(left.runs)
        shared = noise.run * self.shift[:, self.corpora.index(corpus)][:, where]
        own = self.multiplier[:, where] * within_runs(left)
        return np.asarray((shared + own) * student_scale(self.level, noise.degrees_of_freedom))

    def _position(self, row_runs: Sequence[str]) -> NDArray[np.intp]:
        position = {run: k for k, run in enumerate(self.runs)}
        return np.array([position[run] for run in row_runs], dtype=np.intp)


def resample_runs(
    runs: Sequence[str],
    *,
    count: int,
    seed: int,
    method: Method | None = None,
    corpora: tuple[str, ...] = CORPORA,
) -> Resamples:
    """Draw resamples of whole runs.

    Parameters
    ----------
    runs : sequence of str
        Run identifiers; the numbers of each are drawn in the order of their first appearance.
    count : int
        Number of resamples B.
    seed : int
    method : {"runs", "wild"}, optional
        By default ``wild`` below 20 runs.
    corpora : tuple of str
        Validation corpora; the same resample serves them all.
    """
    names = tuple(dict.fromkeys(runs))
    if method is None:
        method = "runs" if len(names) >= FEWEST_RUNS_TO_DRAW else "wild"
    generator = RandomStream.RESAMPLES.generator(seed)
    if method == "runs":
        chances = np.full(len(names), 1 / len(names))
        multiplier = generator.multinomial(len(names), chances, size=count).astype(float)
    else:
        multiplier = generator.choice([-1.0, 1.0], size=(count, len(names)))
    shift = generator.standard_normal((count, len(corpora), len(names)))
    return Resamples(names, method, multiplier, shift, generator.random((count, 1)), corpora)
