"""The objective and the limits of a plan as functions of the mixture, for the estimates and for every resample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Finding
from cmrplan.fit.probed import base_loss_at
from cmrplan.mixture.batched_laws import (
    BatchedLaws,
    CorpusSupply,
    MixtureRun,
    batches_of,
    join,
)
from cmrplan.mixture.fit import MixtureFit
from cmrplan.mixture.request import MixturePlanRequest
from cmrplan.numbers import ROUNDING

Values = Callable[[Array], Array]


def needed_draws(num_draws: int, confidence: float) -> int:
    """Return in how many resamples the limits must hold; 1 of the estimate alone.

    Examples
    --------
    >>> needed_draws(200, 0.9), needed_draws(7, 0.9), needed_draws(0, 0.9)
    (180, 7, 1)
    """
    return max(int(np.ceil(confidence * num_draws - 1e-9)), 1)


@dataclass(frozen=True)
class LossFunctions:
    """Losses of a fit at one size and budget, under one question.

    Parameters
    ----------
    fit : MixtureFit
    asked : MixturePlanRequest
    weights : dict of str to float
        Of the objective.
    base : dict of str to float
        Base loss of the protected corpora, and of others where it is known; empty with a reference mixture.
    reference : array (1, m) or None
    limits : tuple of P float
        Highest loss that each tolerance allows, for the estimates.
    laws : BatchedLaws
        Every averaged law of every corpus that is weighed, protected, or may repeat.
    parts : dict of str to array (S,)
        What each of them counts for in the estimate of a corpus.
    draws : dict of str to BatchedLaws
        The resamples of those corpora.
    ceilings : tuple of P array (B, 1)
        Highest loss that each tolerance allows, for the resamples.
    """

    fit: MixtureFit
    asked: MixturePlanRequest
    weights: dict[str, float]
    base: dict[str, float]
    reference: Array | None
    limits: tuple[float, ...]
    laws: BatchedLaws
    parts: dict[str, Array]
    draws: dict[str, BatchedLaws]
    ceilings: tuple[Array, ...]

    @property
    def num_draws(self) -> int:
        """Number of resamples B."""
        return self.fit.num_draws

    def objective(self, shares: Array) -> Array:
        """Return the weighted sum of the estimated losses, ``(G,)``."""
        total = sum(weight * self.parts[corpus] for corpus, weight in self.weights.items())
        return np.asarray(total @ self.laws(shares))

    def objective_draws(self, shares: Array) -> Array:
        """Return the weighted sum of the losses for every resample, ``(B, G)``."""
        total = np.zeros((self.num_draws, len(shares)))
        for corpus, weight in self.weights.items():
            total += weight * self.draws[corpus](shares)
        return total

    def loss(self, corpus: str, shares: Array) -> tuple[Array, Array]:
        """Return the estimate ``(G,)`` and the resamples ``(B, G)`` of the loss of one of their corpora."""
        return np.asarray(self.parts[corpus] @ self.laws(shares)), self.draws[corpus](shares)

    def protected(self, shares: Array) -> list[Array]:
        """Return the losses of the protected corpora, each ``(B, G)``, or ``(1, G)`` without resamples."""
        if self.num_draws:
            return [self.draws[corpus](shares) for corpus in self.asked.protected]
        losses = self.laws(shares)
        return [(self.parts[corpus] @ losses)[None, :] for corpus in self.asked.protected]

    def estimated_excess(self, shares: Array) -> Array:
        """Return how far the estimates lie above their limits, ``(P, 1, G)``, nats."""
        losses = self.laws(shares)
        over = [
            self.parts[corpus] @ losses - limit
            for corpus, limit in zip(self.asked.protected, self.limits, strict=True)
        ]
        return np.stack(over)[:, None, :] - ROUNDING

    def excess(self, shares: Array) -> Array:
        """Return how far each resample lies above its limits, ``(P, B, G)``, nats; the estimates without resamples."""
        if not self.num_draws:
            return self.estimated_excess(shares)
        losses = self.protected(shares)
        over = np.stack([a - b for a, b in zip(losses, self.ceilings, strict=True)])
        return np.asarray(over - ROUNDING)

    def rises(self, shares: Array) -> list[Array]:
        """Return how far each protected corpus rises in the unit of its tolerance, each ``(B or 1, G)``."""
        losses = self.protected(shares)
        if self.reference is None:
            bases = [np.array(self.base[corpus]) for corpus in self.asked.protected]
        else:
            bases = self.protected(self.reference)
        return [
            self.asked.tolerance(corpus).rise(loss, base)
            for corpus, loss, base in zip(self.asked.protected, losses, bases, strict=True)
        ]

    def violation(self, shares: Array) -> float | None:
        """Return the part of the resamples that break a tolerance; None without resamples or tolerances."""
        if not (self.num_draws and self.asked.protected):
            return None
        return float(np.mean((self.excess(shares[None, :]) > 0).any(axis=0)))

    def of_draw(self, which: int) -> tuple[Values, Values | None]:
        """Return objective and excess of one resample; no excess where nothing is protected."""
        at = np.array([which])
        chosen = [corpus for corpus in self.draws if corpus in self.weights]
        weighed = join([self.draws[corpus].take(at) for corpus in chosen])
        weights = np.array([self.weights[corpus] for corpus in chosen])

        def objective(shares: Array) -> Array:
            return np.asarray(weights @ weighed(shares))

        if not self.asked.protected:
            return objective, None
        guarded = join([self.draws[corpus].take(at) for corpus in self.asked.protected])
        ceiling = np.array([limit[which, 0] for limit in self.ceilings])

        def excess(shares: Array) -> Array:
            over = guarded(shares) - ceiling[:, None]
            return np.asarray(over[:, None, :] - ROUNDING)

        return objective, excess


def run_of(fit: MixtureFit, asked: MixturePlanRequest) -> MixtureRun:
    """Return the run that is asked for, with what its corpora hold where they may be passed over more than once."""
    unique = {corpus: tokens / asked.tokens for corpus, tokens in asked.unique_tokens.items()}
    supplies = {
        corpus: CorpusSupply(position, unique[corpus])
        for position, corpus in enumerate(fit.corpora)
        if unique.get(corpus, 1.0) < 1 and corpus in fit.models and asked.epochs(corpus) > 1
    }
    return MixtureRun(asked.size(fit), asked.tokens, supplies)


def loss_functions_of(
    fit: MixtureFit,
    asked: MixturePlanRequest,
    base: dict[str, float],
) -> LossFunctions:
    """Return the losses of a fit under a question, with the limit of each protected corpus."""
    mixture = asked.reference_mixture
    reference = None if mixture is None else fit.shares_of(mixture)[None, :]
    weights = asked.weights(fit)
    # The order is that of the fit, so that names do not change a sum.
    run = run_of(fit, asked)
    wanted = {*weights, *asked.protected, *run.supplies}
    names = [corpus for corpus in fit.models if corpus in wanted]
    batches = {c: batches_of(fit.models[c], fit.corpora, run) for c in names}
    laws = join([estimate for estimate, _ in batches.values()])
    corpus_of_law = np.repeat(names, [len(fit.models[corpus].components) for corpus in names])
    weight = np.concatenate([fit.models[corpus].component_weights for corpus in names])
    parts = {corpus: np.where(corpus_of_law == corpus, weight, 0.0) for corpus in names}
    limits, ceilings = [], []
    for corpus in asked.protected:
        tolerance = asked.tolerance(corpus)
        if reference is None:
            limits.append(tolerance.limit(base[corpus]))
            ceilings.append(np.full((fit.num_draws, 1), limits[-1]))
            continue
        limits.append(tolerance.limit(float((parts[corpus] @ laws(reference))[0])))
        there = batches[corpus][1](reference)[:, 0]
        ceilings.append(np.array([[tolerance.limit(float(loss))] for loss in there]))
    return LossFunctions(
        fit=fit,
        asked=asked,
        weights={corpus: weights[corpus] for corpus in names if corpus in weights},
        base=base,
        reference=reference,
        limits=tuple(limits),
        laws=laws,
        parts=parts,
        draws={corpus: draws for corpus, (_, draws) in batches.items()},
        ceilings=tuple(ceilings),
    )


def references(
    fit: MixtureFit, asked: MixturePlanRequest
) -> tuple[dict[str, float], list[Finding]]:
    """Return the base loss of each protected corpus, and remarks on where it comes from.

    Raises
    ------
    CmrplanError
        If one is not known.
    """
    base, findings = {}, []
    for corpus in asked.protected:
        if corpus in asked.base_loss:
            base[corpus] = float(asked.base_loss[corpus])
            continue
        if not fit.base_loss.get(corpus):
            raise CmrplanError(
                f"the base loss on {corpus} is not known: the log has no row with train_tokens = 0 for it; add one, "
                "give base_loss, or a reference mixture to count the rise from"
            )
        base[corpus], remarks = base_loss_at(fit.base_loss[corpus], asked.size(fit))
        findings += remarks
    return base, findings
