"""The objective and the limits of a plan as functions of the mixture, for the estimates and for every resample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Finding
from cmrplan.fit.probed import base_loss_at, is_among, require_plausible_base
from cmrplan.mixture.batched_laws import (
    BatchedLaws,
    CorpusSupply,
    MixtureRun,
    batches_of,
    join,
)
from cmrplan.mixture.differentiable import (
    ExcessByBoth,
    ExcessOfLimits,
    MixtureLosses,
    WeightedSum,
)
from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.mixture.request import MixturePlanRequest
from cmrplan.mixture.run_residual import RunResidual, run_residuals
from cmrplan.mixture.simplex import Values
from cmrplan.numbers import ROUNDING


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
    above : dict of str to (RunResidual, RunResidual)
        What stands above the laws of a corpus, for the estimate and for the resamples, where something does.
    ceilings : array (P, B)
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
    above: dict[str, tuple[RunResidual, RunResidual]]
    ceilings: Array

    @property
    def num_draws(self) -> int:
        """Number of resamples B."""
        return self.fit.num_draws

    @cached_property
    def objective(self) -> WeightedSum:
        """The weighted sum of the estimated losses."""
        return WeightedSum(self._estimates(self.weights), np.array(list(self.weights.values())))

    def objective_draws(self, shares: Array) -> Array:
        """Return the weighted sum of the losses for every resample, ``(B, G)``."""
        total = np.zeros((self.num_draws, len(shares)))
        for corpus, weight in self.weights.items():
            total += weight * self._drawn([corpus])(shares)
        return total

    def loss(self, corpus: str, shares: Array) -> tuple[Array, Array]:
        """Return the estimate ``(G,)`` and the resamples ``(B, G)`` of the loss of one of their corpora."""
        return self._estimates([corpus])(shares)[0], self._drawn([corpus])(shares)

    @cached_property
    def estimated_excess(self) -> ExcessOfLimits:
        """How far the estimates lie above their limits, ``(P, 1, G)``, nats."""
        limits = np.array(self.limits)[:, None]
        return ExcessOfLimits(self._estimates(self.asked.protected), limits + ROUNDING)

    @cached_property
    def excess(self) -> ExcessOfLimits:
        """How far each resample lies above its limits, ``(P, B, G)``, nats; the estimates without resamples."""
        if not self.num_draws:
            return self.estimated_excess
        return ExcessOfLimits(self._drawn(self.asked.protected), self.ceilings + ROUNDING)

    @property
    def excess_by_both(self) -> ExcessByBoth:
        """How far the estimates, and behind them the resamples, lie above their limits, ``(P, 1 + B, G)``, nats."""
        return ExcessByBoth(self.estimated_excess, self.excess)

    def breaking_estimates(self, shares: Array) -> list[str]:
        """Return the protected corpora whose estimated loss breaks its limit at one mixture."""
        if not self.asked.protected:
            return []
        over = self.estimated_excess(shares[None, :])[:, 0, 0]
        return [c for c, excess in zip(self.asked.protected, over, strict=True) if excess > 0]

    def broken_limits(self, shares: Array) -> list[str]:
        """Return the protected corpora whose limit one mixture breaks by the estimate, or in too many resamples."""
        broken = self.breaking_estimates(shares)
        if not (self.num_draws and self.asked.protected):
            return broken
        kept = np.count_nonzero(self.excess(shares[None, :])[:, :, 0] <= 0, axis=1)
        needed = needed_draws(self.num_draws, self.asked.confidence)
        pairs = zip(self.asked.protected, kept, strict=True)
        return [corpus for corpus, count in pairs if corpus in broken or count < needed]

    def rises(self, shares: Array, *, by_estimate: bool = False) -> list[Array]:
        """Return how far each protected corpus rises in the unit of its tolerance, each ``(B or 1, G)``."""
        losses = self._protected(shares, by_estimate)
        if self.reference is None:
            bases = [np.array(self.base[corpus]) for corpus in self.asked.protected]
        else:
            bases = list(self._protected(self.reference, by_estimate))
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
        weights = np.array([self.weights[corpus] for corpus in chosen])
        objective = WeightedSum(self._drawn(chosen, at), weights)
        if not self.asked.protected:
            return objective, None
        guarded = self._drawn(self.asked.protected, at)
        return objective, ExcessOfLimits(guarded, self.ceilings[:, at] + ROUNDING)

    def _protected(self, shares: Array, by_estimate: bool) -> Array:
        """Return the losses of the protected corpora, ``(P, B, G)``, or ``(P, 1, G)`` without resamples."""
        corpora = self.asked.protected
        is_drawn = self.num_draws and not by_estimate
        losses = self._drawn(corpora) if is_drawn else self._estimates(corpora)
        return losses(shares).reshape(len(corpora), -1, len(shares))

    def _estimates(self, corpora: Iterable[str]) -> MixtureLosses:
        """Return the estimates of some losses, a row each."""
        names = list(corpora)
        averaged = AveragedLaws(self.laws, np.stack([self.parts[corpus] for corpus in names]))
        above = [
            (slice(row, row + 1), self.above[corpus][0])
            for row, corpus in enumerate(names)
            if corpus in self.above
        ]
        return MixtureLosses(averaged, tuple(above))

    def _drawn(
        self, corpora: Iterable[str], which: NDArray[np.intp] | None = None
    ) -> MixtureLosses:
        """Return the resamples of some losses, all or some of them of one corpus after the other."""
        names = list(corpora)
        chosen = np.arange(self.num_draws) if which is None else which
        above = [
            (slice(row * len(chosen), (row + 1) * len(chosen)), self.above[corpus][1].take(chosen))
            for row, corpus in enumerate(names)
            if corpus in self.above
        ]
        return MixtureLosses(
            join([self.draws[corpus].take(chosen) for corpus in names]), tuple(above)
        )


@dataclass(frozen=True)
class AveragedLaws:
    """Averages of laws, ``(C, G)``.

    Parameters
    ----------
    laws : BatchedLaws
        ``S`` laws.
    parts : array (C, S)
    """

    laws: BatchedLaws
    parts: Array

    def __call__(self, shares: Array) -> Array:
        """Return the averages at mixtures ``(G, m)``."""
        return np.asarray(self.parts @ self.laws(shares))


def run_of(fit: MixtureFit, asked: MixturePlanRequest) -> MixtureRun:
    """Return the run that is asked for, with what its corpora hold where they may be passed over more than once."""
    held = fit.probed_supplies | asked.unique_tokens
    supplies = {}
    for position, corpus in enumerate(fit.corpora):
        unique = held.get(corpus, np.inf) / asked.tokens
        # What the probes drew from is no bound of a plan that was not given any.
        may_repeat = corpus not in asked.unique_tokens or asked.epochs(corpus) > 1
        if unique < 1 and corpus in fit.models and may_repeat:
            supplies[corpus] = CorpusSupply(position, unique, fit.repeat_scale(corpus))
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
    carried = fit.carried(run.model_params, asked.base_losses, asked.protected)
    batches, runs = {}, {}
    for corpus in names:
        far = carried[corpus]
        runs[corpus] = run if far is None else replace(run, model_params=far.model_params)
        estimate, drawn = batches_of(fit.models[corpus], fit.corpora, runs[corpus])
        both = estimate, drawn.times(fit.forecast(corpus, run.train_tokens))
        batches[corpus] = both if far is None else far.laws(*both)
    laws = join([estimate for estimate, _ in batches.values()])
    corpus_of_law = np.repeat(names, [len(fit.models[corpus].components) for corpus in names])
    weight = np.concatenate([fit.models[corpus].component_weights for corpus in names])
    pairs = {c: run_residuals(fit.models[c], fit.corpora, runs[c]) for c in names}
    functions = LossFunctions(
        fit=fit,
        asked=asked,
        weights={corpus: weights[corpus] for corpus in names if corpus in weights},
        base=base,
        reference=reference,
        limits=(),
        laws=laws,
        parts={corpus: np.where(corpus_of_law == corpus, weight, 0.0) for corpus in names},
        draws={corpus: draws for corpus, (_, draws) in batches.items()},
        above={corpus: pair for corpus, pair in pairs.items() if pair is not None},
        ceilings=np.empty((0, fit.num_draws)),
    )
    return _with_limits(functions)


def _with_limits(functions: LossFunctions) -> LossFunctions:
    """Return the losses of a question with the limits of its protected corpora."""
    asked, reference, count = functions.asked, functions.reference, functions.num_draws
    if not asked.protected:
        return functions
    limits, ceilings = [], []
    for corpus in asked.protected:
        tolerance = asked.tolerance(corpus)
        if reference is None:
            limits.append(tolerance.limit(functions.base[corpus]))
            ceilings.append(np.full(count, limits[-1]))
            continue
        loss, there = functions.loss(corpus, reference)
        limits.append(tolerance.limit(float(loss[0])))
        ceilings.append(np.array([tolerance.limit(float(drawn)) for drawn in there[:, 0]]))
    return replace(functions, limits=tuple(limits), ceilings=np.stack(ceilings))


def references(
    fit: MixtureFit, asked: MixturePlanRequest
) -> tuple[dict[str, float], list[Finding]]:
    """Return the base loss of each protected corpus, and of others where it is known, and remarks on the protected.

    Raises
    ------
    CmrplanError
        If one of a protected corpus is not known.
    """
    size, base, findings = asked.size(fit), {}, []
    for corpus in dict.fromkeys([*asked.protected, *sorted(fit.models)]):
        measured = fit.base_loss.get(corpus, {})
        if corpus in asked.base_loss:
            base[corpus] = float(asked.base_loss[corpus])
            require_plausible_base(f"base_loss of {corpus}", base[corpus], measured, size)
        elif corpus not in asked.protected:
            if is_among(np.array(list(measured)), size):
                base[corpus] = base_loss_at(measured, size)[0]
        elif not measured:
            raise CmrplanError(
                f"the base loss on {corpus} is not known: the log has no row with train_tokens = 0 for it; add one, "
                "give base_loss, or a reference mixture to count the rise from"
            )
        else:
            base[corpus], remarks = base_loss_at(measured, size)
            findings += remarks
    return base, findings


def asked_losses(fit: MixtureFit, asked: MixturePlanRequest) -> tuple[LossFunctions, list[Finding]]:
    """Return the losses under a question, with the limits of protected corpora, and what is worth a remark.

    Raises
    ------
    CmrplanError
        If a base loss that limits count from is not known.
    """
    base: dict[str, float] = {}
    findings: list[Finding] = []
    if asked.reference is None:
        base, findings = references(fit, asked)
    return loss_functions_of(fit, asked, base), findings
