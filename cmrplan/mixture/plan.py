"""Turn fitted laws of the mixture into one recommended mixture.

The question: how to split the tokens of a run over the training corpora so that the weighted sum of losses is lowest,
no protected corpus loses more than its tolerance, and no corpus is repeated too often? Steps, in the order below::

    fit + budget -> bounds of the shares -> limits of the losses -> lowest objective on the simplex -> MixturePlan

All tolerances together hold with the asked confidence: the mixture keeps every limit in that part of the resamples,
which are paired over the corpora. Shares stay within what was probed of each corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Finding
from cmrplan.mixture.fit import MixtureFit
from cmrplan.mixture.loss_functions import LossFunctions, loss_functions_of, needed_draws
from cmrplan.mixture.plan_findings import plan_findings
from cmrplan.mixture.request import Box, MixtureLimits, box_of, probed_box, references
from cmrplan.mixture.simplex import Optimum, Prices, Problem, prices, solve
from cmrplan.numbers import require_positive

NUM_DRAWN = 100  # resamples whose own best mixture is sought, for the intervals of the shares
BINDS = 1e-5  # nats for each unit of share, or for each nat: a price above it holds the answer
NUM_PROBED_STARTS = 2
# How much wider than the rises at the nearest mixture the tolerances are that an infeasible question is told, in turn.
WIDENINGS = (1.0, 1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 4.0, 8.0)


Kind = Literal["tolerance", "available", "ceiling", "floor", "probed_high", "probed_low"]


@dataclass(frozen=True)
class Binding:
    """A limit that holds the mixture.

    Parameters
    ----------
    kind : {"tolerance", "available", "ceiling", "floor", "probed_high", "probed_low"}
    corpus : str
    setting : float
        The bound of the share; for a tolerance the limit of the loss, nats per token (best estimate).
    price : float
        Fall of the objective for each nat of tolerance, or for each unit of share, that it gives way.
    """

    kind: Kind
    corpus: str
    setting: float
    price: float


@dataclass(frozen=True)
class CorpusLoss:
    """What a validation corpus's loss will be, nats per token; intervals are None without resamples.

    ``reference`` is what the rise counts from: the base loss, or the loss at the reference mixture; None where
    neither is known. ``limit`` is the highest loss its tolerance allows; None where it is not protected.
    """

    loss: float
    loss_low: float | None
    loss_high: float | None
    reference: float | None
    rise: float | None
    rise_low: float | None
    rise_high: float | None
    limit: float | None


@dataclass(frozen=True)
class Candidate:
    """A mixture beside the recommended one, and the objective there."""

    shares: dict[str, float]
    objective: float
    worst_excess: float | None


@dataclass(frozen=True)
class MixturePlan:
    """The recommended mixture and its reasons. Losses in nats per token, shares fractions of training tokens.

    ``shares`` keeps all tolerances together with probability ``confidence`` (where there are resamples);
    ``shares_low`` and ``shares_high`` bound the best feasible mixtures of single resamples at that level, corpus by
    corpus. ``objective`` is the weighted sum of the losses there. ``gain`` is how far it lies below that of the
    natural mixture (in proportion to the available tokens; equal shares where these are not known), over paired
    resamples. ``violation_probability`` is the part of the resamples in which a tolerance breaks. ``candidates``
    holds other mixtures: ``point`` (tolerances on the best estimates), ``unconstrained`` (no limit but the probed
    shares), ``natural``, and ``best_probed``. ``epochs`` are the passes over each corpus whose tokens are known.
    """

    shares: dict[str, float]
    shares_low: dict[str, float | None]
    shares_high: dict[str, float | None]
    objective: float
    objective_low: float | None
    objective_high: float | None
    gain: float
    gain_low: float | None
    gain_high: float | None
    violation_probability: float | None
    binding: tuple[Binding, ...]
    losses: dict[str, CorpusLoss]
    candidates: dict[str, Candidate]
    epochs: dict[str, float]
    confidence: float
    optimality: float
    model_params: float
    train_tokens: float
    law: str
    num_resamples: int
    num_infeasible: int
    asked: MixtureLimits
    warnings: tuple[Finding, ...]
    provenance: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return every field by name as plain values, numbers unrounded."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return fields | {
            "binding": [vars(b) for b in self.binding],
            "losses": {corpus: vars(loss) for corpus, loss in self.losses.items()},
            "candidates": {name: vars(c) for name, c in self.candidates.items()},
            "asked": self.asked.as_dict(),
            "warnings": [finding.as_dict() for finding in self.warnings],
        }


def plan_mixture(
    fit: MixtureFit,
    *,
    train_tokens: float,
    model_params: float | None = None,
    **limits: Any,
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
    asked.check_names(fit)
    size = float(fit.log["model_params"].max()) if model_params is None else float(model_params)
    require_positive("model_params", size)
    require_positive("train_tokens", train_tokens)
    box = box_of(fit, asked, train_tokens)
    base: dict[str, float] = {}
    findings: list[Finding] = []
    if asked.reference is None:
        base, findings = references(fit, asked, size)
    functions = loss_functions_of(
        fit, asked, base, model_params=size, train_tokens=float(train_tokens)
    )
    found = _search(fit, asked, functions, box, train_tokens)
    shares, problem = found.best.shares, found.problem
    price = prices(problem, shares)
    drawn = _drawn(functions, asked, box, found)
    low, high = _interval(drawn, asked.confidence)
    at = functions.objective_draws(np.stack([shares, found.candidates["natural"]]))
    objective = found.problem.objective(np.stack([shares, found.candidates["natural"]]))
    tail = (1 - asked.confidence) / 2
    bounds = _quantiles(at[:, 0], tail)
    gains = _quantiles(at[:, 1] - at[:, 0], tail)
    binding = _binding(fit, asked, functions, box, price)
    findings += plan_findings(fit, asked, shares, binding, size, float(train_tokens))
    return MixturePlan(
        shares=_named(fit, shares),
        shares_low=_named(fit, low),
        shares_high=_named(fit, high),
        objective=float(objective[0]),
        objective_low=bounds[0],
        objective_high=bounds[1],
        gain=float(objective[1] - objective[0]),
        gain_low=gains[0],
        gain_high=gains[1],
        violation_probability=functions.violation(shares),
        binding=tuple(binding),
        losses=_losses(fit, asked, functions, shares, size),
        candidates={
            name: Candidate(
                _named(fit, mixture),
                problem.value(mixture),
                None if problem.excess is None else problem.worst(mixture),
            )
            for name, mixture in found.candidates.items()
        },
        epochs={
            name: float(share * train_tokens / asked.available[name])
            for name, share in zip(fit.corpora, shares, strict=True)
            if name in asked.available
        },
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


@dataclass(frozen=True)
class _Found:
    problem: Problem
    best: Optimum
    candidates: dict[str, Array]


def _search(
    fit: MixtureFit, asked: MixtureLimits, functions: LossFunctions, box: Box, train_tokens: float
) -> _Found:
    """Return the best mixture under all limits, and those beside it.

    Raises
    ------
    CmrplanError
        If no mixture keeps the tolerances.
    """
    solution = _solved(fit, asked, functions, box)
    if not solution.best.is_feasible:
        raise CmrplanError(_infeasible(fit, asked, functions, box, solution, train_tokens))
    return solution


def _solved(fit: MixtureFit, asked: MixtureLimits, functions: LossFunctions, box: Box) -> _Found:
    """Return the best mixture, feasible or as near to it as the search comes, and those beside it."""
    excess = functions.excess if asked.protected else None
    needed = needed_draws(fit.num_draws, asked.confidence)
    problem = Problem(functions.objective, box.low, box.high, excess, needed)
    natural = _natural(fit, asked)
    probed = fit.mixtures()
    value = functions.objective(probed)
    near = probed[np.argsort(value, kind="stable")[:NUM_PROBED_STARTS]]
    starts = [np.full(len(fit.corpora), 1 / len(fit.corpora)), natural, *near]
    starts.append(0.5 * near[0] + 0.5 / len(fit.corpora))
    if asked.reference is not None:
        starts.append(fit.shares_of(asked.reference))
    wide = probed_box(fit)
    free = solve(Problem(functions.objective, wide.low, wide.high), starts)
    starts.append(free.shares)
    point = None
    if asked.protected and fit.num_draws:
        estimates = Problem(functions.objective, box.low, box.high, functions.estimated_excess, 1)
        point = solve(estimates, starts)
        starts.append(point.shares)
    best = solve(problem, starts)
    candidates = {"unconstrained": free.shares, "natural": natural, "best_probed": near[0]}
    if point is not None and point.is_feasible:
        candidates = {"point": point.shares, **candidates}
    return _Found(problem, best, candidates)


def _natural(fit: MixtureFit, asked: MixtureLimits) -> Array:
    """Return shares in proportion to the tokens at hand; equal ones where a corpus's are not known."""
    if all(name in asked.available for name in fit.corpora):
        tokens = np.array([asked.available[name] for name in fit.corpora])
        return np.asarray(tokens / tokens.sum())
    return np.full(len(fit.corpora), 1 / len(fit.corpora))


def _infeasible(
    fit: MixtureFit,
    asked: MixtureLimits,
    functions: LossFunctions,
    box: Box,
    nearest: _Found,
    train_tokens: float,
) -> str:
    """Return why no mixture keeps the tolerances, and tolerances that one keeps."""
    over = "the base" if asked.reference is None else "the reference mixture"
    text = (
        f"no mixture keeps {', '.join(f'{c} within {asked.tolerance(c)}' for c in asked.protected)} of {over} with "
        f"confidence {asked.confidence:g} at train_tokens = {train_tokens:.4g}"
    )
    if allowed := _feasible_tolerances(fit, asked, functions, box, nearest):
        ways = ", ".join(f"{corpus} {tolerance}" for corpus, tolerance in allowed.items())
        text += f"; smallest feasible tolerance: {ways}"
    largest = sorted(zip(nearest.best.shares, fit.corpora, strict=True), reverse=True)[:3]
    text += f" (at shares {', '.join(f'{name} {share:.3g}' for share, name in largest)})"
    if "point" in nearest.candidates:
        text += "; the best estimates would allow it, but break about every other time"
    return text


def _feasible_tolerances(
    fit: MixtureFit, asked: MixtureLimits, functions: LossFunctions, box: Box, nearest: _Found
) -> dict[str, str]:
    """Return tolerances, as they are typed, under which this search gives a feasible mixture.

    The rises at the nearest mixture are allowed there, but a search that starts elsewhere may end before it comes
    there. So the question is asked again with them, and with wider ones until it has an answer.
    """
    kept = nearest.problem.kept(nearest.best.shares)
    rises = functions.rises(nearest.best.shares[None, :])
    largest = {c: float(r[kept, 0].max()) for c, r in zip(asked.protected, rises, strict=True)}
    for widening in WIDENINGS:
        allowed = {
            corpus: str(tolerance.least_above(rise * widening))
            for corpus, rise in largest.items()
            if rise > (tolerance := asked.tolerance(corpus)).largest_rise
        }
        wider = replace(asked, protected={**asked.protected, **allowed})
        losses = loss_functions_of(
            fit,
            wider,
            functions.base,
            model_params=functions.model_params,
            train_tokens=functions.train_tokens,
        )
        if _solved(fit, wider, losses, box).best.is_feasible:
            return allowed
    return {}


def _drawn(functions: LossFunctions, asked: MixtureLimits, box: Box, found: _Found) -> Array:
    """Return the best mixture of some resamples, ``(S, m)``; NaN where none is feasible."""
    count = functions.num_draws
    which = np.unique(np.linspace(0, count - 1, min(count, NUM_DRAWN)).round()).astype(int)
    starts = [found.best.shares]  # feasible in most resamples
    ends = np.full((len(which) if count else 0, len(box.low)), np.nan)
    for row, draw in enumerate(which if count else []):
        objective, excess = functions.of_draw(int(draw))
        problem = Problem(objective, box.low, box.high, excess, 1)
        end = solve(problem, starts)
        if end.is_feasible:
            ends[row] = end.shares
    return ends


def _interval(
    drawn: Array, confidence: float
) -> tuple[Sequence[float | None], Sequence[float | None]]:
    sound = drawn[~np.isnan(drawn).any(axis=1)]
    if not len(sound):
        missing: list[float | None] = [None] * drawn.shape[1]
        return missing, missing
    tail = (1 - confidence) / 2
    low, high = np.quantile(sound, [tail, 1 - tail], axis=0)
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
    tail = (1 - asked.confidence) / 2
    found = {}
    for corpus in sorted(here):
        loss, draws = float(here[corpus].loss[0]), here[corpus].draws[:, 0]
        reference: float | None = None
        from_draws: Array | float = np.nan
        if there is not None:
            reference, from_draws = float(there[corpus].loss[0]), there[corpus].draws[:, 0]
        elif corpus in functions.base:
            reference = from_draws = functions.base[corpus]
        low, high = _quantiles(draws, tail)
        rise_low, rise_high = (
            (None, None) if reference is None else _quantiles(draws - from_draws, tail)
        )
        found[corpus] = CorpusLoss(
            loss=loss,
            loss_low=low,
            loss_high=high,
            reference=reference,
            rise=None if reference is None else loss - reference,
            rise_low=rise_low,
            rise_high=rise_high,
            limit=limit.get(corpus),
        )
    return found


def _quantiles(draws: Array, tail: float) -> tuple[float | None, float | None]:
    if not len(draws):
        return None, None
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _named(fit: MixtureFit, values: Array | Sequence[Any]) -> dict[str, Any]:
    """Return values by corpus, in the order of the alphabet."""
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    return dict(sorted(zip(fit.corpora, plain, strict=True)))
