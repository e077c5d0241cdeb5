"""Turn fitted laws of the mixture into one recommended mixture.

The question: how to split the tokens of a run over the training corpora so that the weighted sum of losses is lowest,
no protected corpus loses more than its tolerance, and no corpus is repeated too often? Steps, in the order below::

    fit + request -> bounds of the shares -> limits of the losses -> lowest objective on the simplex -> MixturePlan

All tolerances together hold with the asked confidence: the mixture keeps every limit in that part of the resamples,
which are paired over the corpora, and by the estimates. Shares stay within what was probed of each corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from cmrplan.arrays import Array
from cmrplan.fit.arguments import named_arguments
from cmrplan.fit.corpus_model import Interval
from cmrplan.mixture.bounds import BINDS, Box, binding_bounds, box_of, dearness
from cmrplan.mixture.loss_functions import (
    LossFunctions,
    asked_losses,
    run_of,
)
from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.mixture.mixture_plan import (
    AlternativeMixture,
    BindingConstraint,
    CorpusLoss,
    MixturePlan,
)
from cmrplan.mixture.plan_findings import apart_findings, few_resamples_findings, plan_findings
from cmrplan.mixture.request import (
    MixtureFitOrPath,
    MixturePlanRequest,
    MixtureRequestOptions,
    mixture_fit_of,
    mixture_request_of,
)
from cmrplan.mixture.search import (
    MixtureSolution,
    drawn_optima,
    fresh_violation,
    infeasible_text,
    search,
    without_dust,
)
from cmrplan.mixture.simplex import Prices


@named_arguments
def plan_mixture(
    fit: MixtureFitOrPath,
    request: MixturePlanRequest | None = None,
    **options: Unpack[MixtureRequestOptions],
) -> MixturePlan:
    """Recommend the mixture of a full-scale run.

    Parameters
    ----------
    fit : MixtureFit or path
        A fit of several corpora, or its file.
    request : MixturePlanRequest, optional
        The question: tokens, a size, weights and limits.
    **options
        The fields of :class:`~cmrplan.mixture.request.MixturePlanRequest` one by one; they stand above those of
        ``request``.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If the bounds leave no mixture, with the smallest change that would; or the fit lacks what is asked. Where no
        mixture keeps the tolerances the plan is an answer too: its ``is_feasible`` is false, and ``reason`` says why.
    """
    return mixture_plan_for(mixture_fit_of(fit), mixture_request_of(request, options))


def mixture_plan_for(fit: MixtureFit, asked: MixturePlanRequest) -> MixturePlan:
    """Return :func:`plan_mixture` for a request that was put together before."""
    asked.check_names(fit)
    box = box_of(fit, asked)
    functions, findings = asked_losses(fit, asked)
    solution = search(fit, asked, functions, box)
    price = solution.prices()
    shares = without_dust(solution.evaluated)
    reason = ""
    if not solution.best.is_feasible:
        reason = infeasible_text(fit, asked, functions, box, solution)
    drawn = drawn_optima(functions, asked, box, solution)
    objective, gain = _objective_and_gain(functions, solution, asked.confidence)
    binding = _binding(fit, asked, functions, box, price)
    findings += plan_findings(fit, asked, shares, binding)
    findings += apart_findings(functions, solution.by_draws)
    violation = functions.violation(shares)
    if functions.num_draws and solution.best.is_feasible:
        violation = fresh_violation(solution)
        findings += few_resamples_findings(asked, functions.num_draws, violation)
    return MixturePlan(
        evaluated_shares=_named(fit, shares),
        best_shares=_named(fit, _best_shares(solution, drawn, asked)),
        objective=objective,
        gain=gain,
        violation_probability=violation,
        binding=tuple(binding),
        losses=_losses(fit, asked, functions, shares),
        candidates=_alternatives(fit, functions, solution),
        epochs=_epochs(fit, asked, shares),
        optimality=price.residual if solution.best.is_feasible else float("nan"),
        model_params=asked.size(fit),
        train_tokens=asked.tokens,
        law=fit.law,
        num_resamples=fit.num_draws,
        num_infeasible=int(np.isnan(drawn).any(axis=1).sum()),
        asked=asked,
        reason=reason,
        warnings=(*fit.warnings, *findings),
        provenance=fit.provenance,
    )


def _objective_and_gain(
    functions: LossFunctions, solution: MixtureSolution, confidence: float
) -> tuple[Interval, Interval]:
    """Return the objective at the evaluated mixture, and how far it lies below that of the natural one."""
    pair = np.stack([solution.evaluated, solution.candidates["natural"]])
    at, objective = functions.objective_draws(pair), solution.problem.objective(pair)
    return (
        Interval.of_draws(float(objective[0]), at[:, 0], confidence),
        Interval.of_draws(float(objective[1] - objective[0]), at[:, 1] - at[:, 0], confidence),
    )


def _alternatives(
    fit: MixtureFit, functions: LossFunctions, solution: MixtureSolution
) -> dict[str, AlternativeMixture]:
    problem = solution.problem
    return {
        name: AlternativeMixture(
            _named(fit, without_dust(mixture)),
            problem.value(mixture),
            None if problem.excess is None else problem.worst(mixture),
            tuple(functions.broken_limits(mixture)),
            functions.violation(mixture),
        )
        for name, mixture in solution.candidates.items()
    }


def _epochs(fit: MixtureFit, asked: MixturePlanRequest, shares: Array) -> dict[str, float]:
    """Return the passes over each corpus whose tokens are known, as given or as the probes drew from."""
    unique = fit.probed_supplies | asked.unique_tokens
    return {
        name: float(share * asked.tokens / unique[name])
        for name, share in zip(fit.corpora, shares, strict=True)
        if name in unique
    }


def _best_shares(
    solution: MixtureSolution, drawn: Array, asked: MixturePlanRequest
) -> list[Interval]:
    """Return the best shares by the estimates, with the bounds of those of single resamples, ``(S, m)``."""
    best = solution.candidates.get("point", np.full(drawn.shape[1], np.nan))
    if not (asked.protected and len(drawn)):
        best = solution.best.shares
    best, sound = without_dust(best), without_dust(drawn[~np.isnan(drawn).any(axis=1)])
    return [
        Interval.of_draws(share, draws, asked.confidence)
        for share, draws in zip(best, sound.T, strict=True)
    ]


def _binding(
    fit: MixtureFit, asked: MixturePlanRequest, functions: LossFunctions, box: Box, price: Prices
) -> list[BindingConstraint]:
    """Return the limits with a price, the dearest tolerance first, then the dearest bound."""
    limits = [
        BindingConstraint("tolerance", corpus, functions.limits[p], float(price.limits[p]))
        for p, corpus in enumerate(asked.protected)
        if price.limits[p] > BINDS
    ]
    return [*sorted(limits, key=dearness), *binding_bounds(fit, box, price)]


def _losses(
    fit: MixtureFit, asked: MixturePlanRequest, functions: LossFunctions, shares: Array
) -> dict[str, CorpusLoss]:
    mixture = asked.reference_mixture
    here = _losses_at(fit, asked, functions, shares)
    there = None
    if mixture is not None:
        there = _losses_at(fit, asked, functions, fit.shares_of(mixture))
    limit = dict(zip(asked.protected, functions.limits, strict=True))
    losses = {}
    for corpus in sorted(here):
        loss, draws = here[corpus]
        reference: float | None = None
        from_draws: Array | float = np.nan
        if there is not None:
            reference, from_draws = there[corpus]
        elif corpus in functions.base:
            reference = from_draws = functions.base[corpus]
        rise = None
        if reference is not None:
            rise = Interval.of_draws(loss - reference, draws - from_draws, asked.confidence)
        losses[corpus] = CorpusLoss(
            loss=Interval.of_draws(loss, draws, asked.confidence),
            reference=reference,
            rise=rise,
            limit=limit.get(corpus),
        )
    return losses


def _losses_at(
    fit: MixtureFit, asked: MixturePlanRequest, functions: LossFunctions, shares: Array
) -> dict[str, tuple[float, Array]]:
    """Return the estimate and the resamples ``(B,)`` of every loss at one mixture, repeats counted."""
    plain = fit.predict(shares[None, :], model_params=asked.size(fit), train_tokens=asked.tokens)
    losses = {corpus: (float(one.loss[0]), one.draws[:, 0]) for corpus, one in plain.items()}
    carried = {corpus for corpus, far in fit.carried(asked.size(fit)).items() if far is not None}
    for corpus in functions.draws.keys() & {*run_of(fit, asked).supplies, *carried}:
        loss, draws = functions.loss(corpus, shares[None, :])
        losses[corpus] = float(loss[0]), draws[:, 0]
    return losses


def _named(fit: MixtureFit, values: Array | Sequence[Any]) -> dict[str, Any]:
    """Return values by corpus, in the order of the alphabet."""
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    return dict(sorted(zip(fit.corpora, plain, strict=True)))
