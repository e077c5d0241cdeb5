"""Turn fitted laws of the mixture into one recommended mixture.

The question: how to split the tokens of a run over the training corpora so that the weighted sum of losses is lowest,
no protected corpus loses more than its tolerance, and no corpus is repeated too often? Steps, in the order below::

    fit + budget -> bounds of the shares -> limits of the losses -> lowest objective on the simplex -> MixturePlan

All tolerances together hold with the asked confidence: the mixture keeps every limit in that part of the resamples,
which are paired over the corpora. Shares stay within what was probed of each corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import Finding
from cmrplan.fit.corpus_model import Interval, central_interval
from cmrplan.mixture.fit import MixtureFit
from cmrplan.mixture.loss_functions import LossFunctions, loss_functions_of
from cmrplan.mixture.mixture_plan import Binding, Candidate, CorpusLoss, Kind, MixturePlan
from cmrplan.mixture.plan_findings import plan_findings
from cmrplan.mixture.request import Box, MixtureLimits, box_of, references
from cmrplan.mixture.search import FoundMixture, drawn_optima, search
from cmrplan.mixture.simplex import Prices, prices
from cmrplan.numbers import require_positive

BINDS = 1e-5  # nats for each unit of share, or for each nat: a price above it holds the answer


def plan_mixture(
    fit: MixtureFit, *, train_tokens: float, model_params: float | None = None, **limits: Any
) -> MixturePlan:
    """Recommend the mixture of a full-scale run.

    Parameters
    ----------
    fit : MixtureFit
    train_tokens : float
        Budget in tokens, all corpora together.
    model_params : float, optional
        Size of the model, counted as in the log; by default the largest one fitted.
    **limits
        The fields of :class:`~cmrplan.mixture.request.MixtureLimits`: ``objective``, ``protected``, ``available``,
        ``max_epochs``, ``floors``, ``ceilings``, ``base_loss``, ``reference``, ``confidence``.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If no mixture is feasible, with the smallest change that would be; or the fit lacks what is asked.
    """
    asked = MixtureLimits(**limits)
    size = _checked_size(fit, asked, model_params, train_tokens)
    box = box_of(fit, asked, train_tokens)
    functions, findings = _functions(fit, asked, size, float(train_tokens))
    solution = search(fit, asked, functions, box, train_tokens)
    shares, price = solution.best.shares, prices(solution.problem, solution.best.shares)
    drawn = drawn_optima(functions, asked, box, solution)
    low, high = _share_bounds(drawn, asked.confidence)
    objective, gain = _objective_and_gain(functions, solution, asked.confidence)
    binding = _binding(fit, asked, functions, box, price)
    findings += plan_findings(fit, asked, shares, binding, size, float(train_tokens))
    return MixturePlan(
        shares=_named(fit, shares),
        shares_low=_named(fit, low),
        shares_high=_named(fit, high),
        objective=objective.estimate,
        objective_low=objective.low,
        objective_high=objective.high,
        gain=gain.estimate,
        gain_low=gain.low,
        gain_high=gain.high,
        violation_probability=functions.violation(shares),
        binding=tuple(binding),
        losses=_losses(fit, asked, functions, shares, size),
        candidates=_candidates(fit, solution),
        epochs=_epochs(fit, asked, shares, train_tokens),
        confidence=asked.confidence,
        optimality=price.residual,
        model_params=size,
        train_tokens=float(train_tokens),
        law=fit.law,
        num_resamples=fit.num_draws,
        num_infeasible=int(np.isnan(drawn).any(axis=1).sum()),
        asked=asked,
        warnings=(*fit.warnings, *findings),
        provenance=fit.provenance,
    )


def _checked_size(
    fit: MixtureFit, asked: MixtureLimits, model_params: float | None, train_tokens: float
) -> float:
    """Return the size of the model, the largest one fitted by default, after a look at the arguments."""
    asked.check_names(fit)
    size = float(fit.log["model_params"].max()) if model_params is None else float(model_params)
    require_positive("model_params", size)
    require_positive("train_tokens", train_tokens)
    return size


def _functions(
    fit: MixtureFit, asked: MixtureLimits, size: float, tokens: float
) -> tuple[LossFunctions, list[Finding]]:
    """Return the losses under the question, with the limits of protected corpora, and what is worth a remark."""
    base: dict[str, float] = {}
    findings: list[Finding] = []
    if asked.reference is None:
        base, findings = references(fit, asked, size)
    functions = loss_functions_of(fit, asked, base, model_params=size, train_tokens=tokens)
    return functions, findings


def _objective_and_gain(
    functions: LossFunctions, solution: FoundMixture, confidence: float
) -> tuple[Interval, Interval]:
    """Return the objective at the best mixture, and how far it lies below that of the natural one."""
    pair = np.stack([solution.best.shares, solution.candidates["natural"]])
    at, objective = functions.objective_draws(pair), solution.problem.objective(pair)
    return (
        Interval.of_draws(float(objective[0]), at[:, 0], confidence),
        Interval.of_draws(float(objective[1] - objective[0]), at[:, 1] - at[:, 0], confidence),
    )


def _candidates(fit: MixtureFit, solution: FoundMixture) -> dict[str, Candidate]:
    problem = solution.problem
    return {
        name: Candidate(
            _named(fit, mixture),
            problem.value(mixture),
            None if problem.excess is None else problem.worst(mixture),
        )
        for name, mixture in solution.candidates.items()
    }


def _epochs(
    fit: MixtureFit, asked: MixtureLimits, shares: Array, train_tokens: float
) -> dict[str, float]:
    """Return the passes over each corpus whose tokens are known."""
    return {
        name: float(share * train_tokens / asked.available[name])
        for name, share in zip(fit.corpora, shares, strict=True)
        if name in asked.available
    }


def _share_bounds(
    drawn: Array, confidence: float
) -> tuple[Sequence[float | None], Sequence[float | None]]:
    sound = drawn[~np.isnan(drawn).any(axis=1)]
    if not len(sound):
        missing: list[float | None] = [None] * drawn.shape[1]
        return missing, missing
    low, high = central_interval(sound, confidence)
    return low.tolist(), high.tolist()


def _binding(
    fit: MixtureFit, asked: MixtureLimits, functions: LossFunctions, box: Box, price: Prices
) -> list[Binding]:
    """Return the limits with a price, the dearest tolerance first, then the dearest bound."""
    bounds = []
    kind: Kind
    for j, name in enumerate(fit.corpora):
        if price.high[j] > BINDS:
            kind = "probed_high" if (edge := box.high_edge[j]) == "probed" else edge
            bounds.append(Binding(kind, name, float(box.high[j]), float(price.high[j])))
        if price.low[j] > BINDS and box.low[j] > 0:
            kind = "probed_low" if (edge := box.low_edge[j]) == "probed" else edge
            bounds.append(Binding(kind, name, float(box.low[j]), float(price.low[j])))
    limits = [
        Binding("tolerance", corpus, functions.limits[p], float(price.limits[p]))
        for p, corpus in enumerate(asked.protected)
        if price.limits[p] > BINDS
    ]
    return [*sorted(limits, key=lambda b: -b.price), *sorted(bounds, key=lambda b: -b.price)]


def _losses(
    fit: MixtureFit, asked: MixtureLimits, functions: LossFunctions, shares: Array, size: float
) -> dict[str, CorpusLoss]:
    at = {"model_params": size, "train_tokens": functions.train_tokens}
    here = fit.predict(shares[None, :], **at)
    there = None
    if asked.reference is not None:
        there = fit.predict(asked.reference, **at)
    limit = dict(zip(asked.protected, functions.limits, strict=True))
    losses = {}
    for corpus in sorted(here):
        loss, draws = float(here[corpus].loss[0]), here[corpus].draws[:, 0]
        reference: float | None = None
        from_draws: Array | float = np.nan
        if there is not None:
            reference, from_draws = float(there[corpus].loss[0]), there[corpus].draws[:, 0]
        elif corpus in functions.base:
            reference = from_draws = functions.base[corpus]
        ahead = Interval.of_draws(loss, draws, asked.confidence)
        rise = None
        if reference is not None:
            rise = Interval.of_draws(loss - reference, draws - from_draws, asked.confidence)
        losses[corpus] = CorpusLoss(
            loss=loss,
            loss_low=ahead.low,
            loss_high=ahead.high,
            reference=reference,
            rise=None if rise is None else rise.estimate,
            rise_low=None if rise is None else rise.low,
            rise_high=None if rise is None else rise.high,
            limit=limit.get(corpus),
        )
    return losses


def _named(fit: MixtureFit, values: Array | Sequence[Any]) -> dict[str, Any]:
    """Return values by corpus, in the order of the alphabet."""
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    return dict(sorted(zip(fit.corpora, plain, strict=True)))
