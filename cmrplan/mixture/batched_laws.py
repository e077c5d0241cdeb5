"""Many fitted mixture laws evaluated at once, at one size and budget.

A search over mixtures asks the same laws thousands of times, at a few mixtures each. Here their parameters stand in
arrays, so that a question costs a few array operations; values are those of the laws themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.corpus_model import CorpusModel
from cmrplan.fit.law_model import component_of_draws
from cmrplan.laws.law import scaled_inputs, to_theta
from cmrplan.laws.mixtures import ExponentialOfSum, InverseSum
from cmrplan.laws.registry import FitKind, averaged_names
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.solve.law_fit import LawFit


@dataclass(frozen=True)
class BatchedLaws:
    """``S`` laws of ``m`` shares: ``level + scale exp(sum_j rate_j x_j) / sum_j weight_j x_j^power_j``.

    Parameters
    ----------
    level, scale : array (S,)
        Level holds all that does not depend on the mixture.
    rates : array (S, m)
    weights, powers : array (S, m)
        Weights are 0 in every corpus where the law has no such sum, and its divisor is then 1.
    """

    level: Array
    scale: Array
    rates: Array
    weights: Array
    powers: Array

    def __call__(self, shares: Array) -> Array:
        """Return the value of each law at ``G`` mixtures ``(G, m)``: ``(S, G)``."""
        values = np.exp(self.rates @ shares.T)
        divided = np.flatnonzero(self.weights.any(axis=1))
        if len(divided):
            with np.errstate(divide="ignore"):
                logs = np.log(shares)
            # 0 ** power is 0 for these powers, all above 0
            parts = np.exp(self.powers[divided][:, None, :] * logs[None, :, :])
            with np.errstate(divide="ignore"):  # no corpus that matters at all
                values[divided] /= np.einsum("sm,sgm->sg", self.weights[divided], parts)
        return np.asarray(self.level[:, None] + self.scale[:, None] * values)

    def take(self, which: NDArray[np.intp]) -> BatchedLaws:
        """Return some of the laws."""
        return BatchedLaws(
            self.level[which],
            self.scale[which],
            self.rates[which],
            self.weights[which],
            self.powers[which],
        )


def join(batches: Sequence[BatchedLaws]) -> BatchedLaws:
    """Return all the laws of several batches, in their order."""
    return BatchedLaws(
        *(
            np.concatenate([getattr(batch, name) for batch in batches])
            for name in BatchedLaws.__dataclass_fields__
        )
    )


def batch_of(
    fit: LawFit,
    search: Array,
    coefficients: Array,
    corpora: Sequence[str],
    model_params: float,
    train_tokens: float,
) -> BatchedLaws:
    """Return ``S`` parameter sets of one fitted law.

    Parameters
    ----------
    fit : LawFit
        Of a law with one mixture term, which other terms may multiply.
    search, coefficients : array (S, q), (S, p)
    corpora : sequence of m str
        The training corpora, in the order of the shares; those that the law does not read change nothing.
    model_params, train_tokens : float
    """
    law, theta = fit.law, to_theta(fit.law, search)
    named = law.columns(theta)
    at = scaled_inputs(
        {"model_params": np.array([model_params]), "train_tokens": np.array([train_tokens])},
        fit.scales,
    )
    level, scale = np.zeros(len(theta)), np.zeros(len(theta))
    shape = (len(theta), len(corpora))
    rates, weights, powers = np.zeros(shape), np.zeros(shape), np.ones(shape)
    position = {SHARE_PREFIX + name: j for j, name in enumerate(corpora)}
    for term, coefficient in zip(law.terms, coefficients.T, strict=True):
        value, total = coefficient.copy(), level
        for factor in term.factors:
            where = [position[name] for name in factor.variables if name in position]
            if isinstance(factor, ExponentialOfSum):
                rates[:, where] = np.hstack([named[name] for name in factor.rates])
                total = scale
            elif isinstance(factor, InverseSum):
                powers[:, where] = np.hstack([named[name] for name in factor.powers])
                weights[:, where] = np.hstack(
                    [np.ones((len(theta), 1)), *(named[name] for name in factor.weights)]
                )
                total = scale
            else:
                value *= factor(at, named)[0][:, 0]
        total += value
    return BatchedLaws(level, scale, rates, weights, powers)


def batches_of(
    model: CorpusModel, corpora: Sequence[str], model_params: float, train_tokens: float
) -> tuple[BatchedLaws, BatchedLaws]:
    """Return the laws that are averaged, and every resample in its order, for many questions at one size and budget.

    Raises
    ------
    CmrplanError
        If a law is not one that a search over mixtures can ask.
    """
    searched = averaged_names(FitKind.CORPORA)
    estimates, draws = [], []
    for law in model.components:
        if law.law not in searched:
            raise CmrplanError(
                f"a best mixture cannot be sought by the law {law.law}; fit with --law auto, or one of "
                f"{', '.join(searched)}"
            )
        at_optimum = law.fit.search[None, :], law.fit.coefficients[None, :]
        estimates.append(batch_of(law.fit, *at_optimum, corpora, model_params, train_tokens))
        resamples = law.search, law.coefficients
        draws.append(batch_of(law.fit, *resamples, corpora, model_params, train_tokens))
    component = component_of_draws(model.component_weights, model.num_draws)
    order = np.argsort(np.argsort(component, kind="stable"))
    return join(estimates), join(draws).take(order)
