"""Many fitted mixture laws evaluated at once, for one run.

A search over mixtures asks the same laws thousands of times, at a few mixtures each. Here their parameters stand in
arrays, so that a question costs a few array operations; values are those of the laws themselves. A loss counts the
tokens of its own corpus past one pass by the published discount, and by what repeats may harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.corpus_model import CorpusModel
from cmrplan.fit.law_model import component_of_draws
from cmrplan.fit.supply import ASSUMED_REPEATS, HARM, SPREAD_OF_SCALES
from cmrplan.laws.law import scaled_inputs, to_theta
from cmrplan.laws.mixtures import ExponentialOfSum, InverseSum
from cmrplan.laws.registry import FitKind, averaged_names
from cmrplan.laws.repetition import effective_tokens
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.solve.law_fit import LawFit

NODES = 65  # token counts at which a law is evaluated where its corpus may repeat; between them by straight lines


@dataclass(frozen=True)
class CorpusSupply:
    """How the loss on a corpus counts its own tokens past one pass.

    Parameters
    ----------
    position : int
        Of the corpus in the shares.
    unique : float
        Tokens that it holds, over those of the run.
    repeat_scale : float, optional
        R*, where the probes say it; else the published value with its spread, and what repeats may harm.
    """

    position: int
    unique: float
    repeat_scale: float | None = None

    @property
    def least_worth(self) -> float:
        """What a run of this corpus alone is worth, over its tokens, if repeats are worth the least."""
        scale = self.repeat_scale or float(np.min(SPREAD_OF_SCALES))
        return float(effective_tokens(1.0, self.unique, scale))


@dataclass(frozen=True)
class MixtureRun:
    """A run of some size and tokens.

    Parameters
    ----------
    model_params, train_tokens : float
    supplies : mapping of str to CorpusSupply
        Of the corpora that may repeat.
    """

    model_params: float
    train_tokens: float
    supplies: Mapping[str, CorpusSupply]

    @property
    def least_worth(self) -> float:
        """Logarithm of the fewest tokens that it is worth to any corpus, over its own."""
        return float(np.log(min((s.least_worth for s in self.supplies.values()), default=1.0)))

    @property
    def token_nodes(self) -> Array:
        """The token counts at which laws are evaluated, ascending."""
        count = NODES if self.supplies else 1
        return np.asarray(self.train_tokens * np.exp(np.linspace(self.least_worth, 0.0, count)))


@dataclass(frozen=True)
class BatchedLaws:
    """``S`` laws of ``m`` shares: ``level + scale exp(sum_j rate_j x_j) / sum_j weight_j x_j^power_j``.

    Parameters
    ----------
    level, scale : array (S, K)
        Level holds all that does not depend on the mixture. At ``K`` token counts, whose logarithms are even from
        ``low`` to 0 over those of the run; at those alone where nothing repeats.
    rates : array (S, m)
    weights, powers : array (S, m)
        Weights are 0 in every corpus where the law has no such sum, and its divisor is then 1.
    position, unique : array (S,)
        The corpus whose tokens repeat for this loss, and what it holds over the tokens of the run; infinite where none
        does.
    repeat_scale, harm : array (S,)
        R*, and what the logarithm of the loss rises by for each squared logarithm of the passes.
    low : array (S,)
        Logarithm of the fewest tokens that a run is worth, over its own; the same for all.
    """

    level: Array
    scale: Array
    rates: Array
    weights: Array
    powers: Array
    position: NDArray[np.intp]
    unique: Array
    repeat_scale: Array
    harm: Array
    low: Array

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
        if self.level.shape[1] == 1:
            return np.asarray(self.level + self.scale * values)
        share = shares[:, self.position].T
        passes = np.maximum(share / self.unique[:, None], 1.0)
        scale = self.repeat_scale[:, None]
        repeated = 1.0 - (1.0 - scale * np.expm1(-(passes - 1) / scale)) / passes
        level, factor = self._at(np.log1p(-share * repeated))
        return np.asarray(
            (level + factor * values) * np.exp(self.harm[:, None] * np.log(passes) ** 2)
        )

    def times(self, factors: Array) -> BatchedLaws:
        """Return laws each of which is multiplied by a factor of its own ``(S,)``."""
        each = factors[:, None]
        return replace(self, level=each * self.level, scale=each * self.scale)

    def _at(self, worth: Array) -> tuple[Array, Array]:
        """Return level and scale at logarithms of what runs are worth, over their tokens, ``(S, G)`` each."""
        last = self.level.shape[1] - 1
        at = np.clip(last * (1 - worth / self.low[:, None]), 0, last)
        node = np.minimum(at.astype(np.intp), last - 1)
        part = at - node
        level, scale = (
            (1 - part) * np.take_along_axis(values, node, axis=1)
            + part * np.take_along_axis(values, node + 1, axis=1)
            for values in (self.level, self.scale)
        )
        return level, scale

    def take(self, which: NDArray[np.intp]) -> BatchedLaws:
        """Return some of the laws."""
        return BatchedLaws(*(getattr(self, one.name)[which] for one in fields(self)))


def join(batches: Sequence[BatchedLaws]) -> BatchedLaws:
    """Return all the laws of several batches of as many token counts, in their order."""
    return BatchedLaws(
        *(
            np.concatenate([getattr(batch, one.name) for batch in batches])
            for one in fields(BatchedLaws)
        )
    )


def batch_of(
    fit: LawFit,
    search: Array,
    coefficients: Array,
    corpora: Sequence[str],
    run: MixtureRun,
    supply: CorpusSupply | None = None,
) -> BatchedLaws:
    """Return ``S`` parameter sets of one fitted law.

    Parameters
    ----------
    fit : LawFit
        Of a law with one mixture term, which other terms may multiply.
    search, coefficients : array (S, q), (S, p)
    corpora : sequence of m str
        The training corpora, in the order of the shares; those that the law does not read change nothing.
    run : MixtureRun
    supply : CorpusSupply, optional
        Of the corpus whose loss it is, where its tokens may repeat.
    """
    law, theta = fit.law, to_theta(fit.law, search)
    named = law.columns(theta)
    tokens = run.token_nodes
    at = scaled_inputs(
        {"model_params": np.full_like(tokens, run.model_params), "train_tokens": tokens}, fit.scales
    )
    level, scale = np.zeros((len(theta), len(tokens))), np.zeros((len(theta), len(tokens)))
    shape = (len(theta), len(corpora))
    rates, weights, powers = np.zeros(shape), np.zeros(shape), np.ones(shape)
    position = {SHARE_PREFIX + name: j for j, name in enumerate(corpora)}
    for term, coefficient in zip(law.terms, coefficients.T, strict=True):
        value, total = np.tile(coefficient[:, None], len(tokens)), level
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
                value *= factor(at, named)[0]
        total += value
    counted = supply if "train_tokens" in law.inputs else None
    return BatchedLaws(level, scale, rates, weights, powers, *_repeats(len(theta), run, counted))


def _repeats(
    count: int, run: MixtureRun, supply: CorpusSupply | None
) -> tuple[NDArray[np.intp], Array, Array, Array, Array]:
    """Return the fields of ``S`` laws on repeated tokens; the draws are dealt out over what repeats may do."""
    which = np.arange(count) % len(HARM)
    scale, harm = SPREAD_OF_SCALES[which], HARM[which]
    if count == 1:  # the estimate
        scale, harm = np.array(ASSUMED_REPEATS[:1]).T
    if supply is not None and supply.repeat_scale is not None:
        scale, harm = np.full(count, supply.repeat_scale), np.zeros(count)
    position = 0 if supply is None else supply.position
    unique = np.inf if supply is None else supply.unique
    least = np.full(count, run.least_worth)
    return np.full(count, position), np.full(count, unique), scale, harm, least


def batches_of(
    model: CorpusModel, corpora: Sequence[str], run: MixtureRun
) -> tuple[BatchedLaws, BatchedLaws]:
    """Return the laws that are averaged, and every resample in its order, for many questions on one run.

    Raises
    ------
    CmrplanError
        If a law is not one that a search over mixtures can ask.
    """
    searched, supply = averaged_names(FitKind.CORPORA), run.supplies.get(model.corpus)
    estimates, draws = [], []
    for law in model.components:
        if law.law not in searched:
            raise CmrplanError(
                f"a best mixture cannot be sought by the law {law.law}; fit with --law auto, or one of "
                f"{', '.join(searched)}"
            )
        at_optimum = law.fit.search[None, :], law.fit.coefficients[None, :]
        estimates.append(batch_of(law.fit, *at_optimum, corpora, run, supply))
        draws.append(batch_of(law.fit, law.search, law.coefficients, corpora, run, supply))
    component = component_of_draws(model.component_weights, model.num_draws)
    order = np.argsort(np.argsort(component, kind="stable"))
    return join(estimates), join(draws).take(order)
