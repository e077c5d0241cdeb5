"""What processes add to the laws of a mixture, for one run, as functions of the mixture that know their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.corpus_model import CorpusModel
from cmrplan.fit.residual.share_roots import root_of_share, slope_of_root
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.mixture.batched_laws import MixtureRun

if TYPE_CHECKING:
    from cmrplan.fit.residual.mixture_process import ProcessCurves


@dataclass(frozen=True)
class RunResidual:
    """What stands above the laws of one corpus, at the size and tokens of one run.

    Parameters
    ----------
    curves : ProcessCurves
        Of the logarithm of the loss, over ``q`` coordinates.
    which : array (p,) of int
        The shares that are coordinates, the first ones.
    spread : array (p,)
        What their roots are divided by.
    rest : array (q - p,)
        The other coordinates, of tokens and size.
    """

    curves: ProcessCurves
    which: NDArray[np.intp]
    spread: Array
    rest: Array

    def factors(self, shares: Array) -> Array:
        """Return by what ``S`` losses are multiplied at ``G`` mixtures ``(G, m)``: ``(S, G)``."""
        return np.asarray(np.exp(self.curves(self._at(shares))))

    def log_gradient(self, shares: Array) -> Array:
        """Return the derivatives of their logarithms at one mixture ``(m,)`` by each share, ``(S, m)``."""
        by_coordinate = self.curves.slopes(self._at(shares[None, :])[0])[:, : len(self.which)]
        slopes = np.zeros((len(by_coordinate), len(shares)))
        slopes[:, self.which] = by_coordinate * slope_of_root(shares[self.which]) / self.spread
        return slopes

    def take(self, which: NDArray[np.intp]) -> RunResidual:
        """Return some of the curves."""
        return replace(self, curves=self.curves.take(which))

    def _at(self, shares: Array) -> Array:
        roots = root_of_share(shares[:, self.which]) / self.spread
        return np.hstack([roots, np.tile(self.rest, (len(shares), 1))])


def run_residuals(
    model: CorpusModel, corpora: Sequence[str], run: MixtureRun
) -> tuple[RunResidual, RunResidual] | None:
    """Return what stands above the laws of a model, for the estimate and for the resamples; None where nothing does."""
    if not model.follows_rows:
        return None
    from cmrplan.fit.residual.mixture_model import KrigedMixture  # few plans need it

    assert isinstance(model, KrigedMixture)
    coordinates = model.rows.coordinates
    names = [SHARE_PREFIX + name for name in corpora]
    which = [names.index(name) for name in coordinates.names if name in names]
    # Shares stand first, so any mixture does for what comes behind them.
    levels = {"train_tokens": run.train_tokens, "model_params": run.model_params}
    one = {name: np.array([levels.get(name, 0.0)]) for name in coordinates.names}
    whole = RunResidual(
        model.curves,
        np.array(which, dtype=np.intp),
        coordinates.spread[: len(which)],
        coordinates.at(one)[0, len(which) :],
    )
    return whole.take(np.zeros(1, dtype=np.intp)), whole.take(np.arange(1, len(model.curves.level)))
