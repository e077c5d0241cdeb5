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
from cmrplan.laws.registry import FitKind, averaged_names
from cmrplan.solve.law_fit import LawFit, user_parameters


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
        Of the law ``data_mixing`` or ``optimal_mixture``.
    search, coefficients : array (S, q), (S, p)
    corpora : sequence of m str
        The training corpora, in the order of the shares; those that the law does not read change nothing.
    model_params, train_tokens : float
    """
    law = fit.law
    values = user_parameters(law, fit.scales, search, coefficients)
    named = dict(zip(law.parameter_names, values.T, strict=True))
    zero, shape = np.zeros(len(values)), (len(values), len(corpora))
    level = named["c" if law.name == "data_mixing" else "E"].copy()
    for coefficient, exponent, amount in (
        ("A", "alpha", model_params),
        ("B", "beta", train_tokens),
    ):
        if coefficient in named:
            level += named[coefficient] * amount ** -named[exponent]
    rates, weights, powers = np.zeros(shape), np.zeros(shape), np.ones(shape)
    for j, name in enumerate(corpora):
        rates[:, j] = named.get(f"t_{name}", zero)
        if f"gamma_{name}" in named:
            powers[:, j] = named[f"gamma_{name}"]
            weights[:, j] = named.get(f"w_{name}", zero + 1)
    scale = named["k" if law.name == "data_mixing" else "C"]
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
