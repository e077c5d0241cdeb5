"""The losses of a run whose domain data repeat, or come from a smaller corpus than the probes'."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import Prediction
from cmrplan.fit.fit import Fit
from cmrplan.fit.general_loss import GeneralLoss
from cmrplan.fit.supply import (
    ASSUMED_REPEATS,
    FIFTHS,
    MANY_MORE,
    ONE_PASS,
    Supply,
    discounted_tokens,
    most_unique_tokens,
    spread_over,
    tokens_of_same_worth,
)
from cmrplan.laws.repetition import REPEAT_SCALE
from cmrplan.numbers import compact
from cmrplan.plan.request import PlanRequest

# The power with which the general loss's rise over pure replay grows as domain data get scarce: per square of
# ratio^2 times the logarithm of the passes, and per logarithm of how much smaller the corpus is than the probes'
# (data/sweep2/lessons.py repetition).
RISE_BY_PASSES = np.maximum(0.06 + 0.05 * FIFTHS[[1, 3, 0, 4, 2]], 0.0)
RISE_BY_NARROWING = np.maximum(0.05 + 0.04 * FIFTHS[[0, 3, 4, 2, 1]], 0.0)


def log_passes(train_tokens: float | Array, ratio: Array, unique_tokens: float) -> Array:
    """Return the logarithm of the passes over the domain data, 0 up to one."""
    return np.log(np.maximum(train_tokens * ratio / unique_tokens, 1.0))


def general_of_repeats(
    fit: Fit,
    request: PlanRequest,
    train_tokens: float | Array,
    ratio: Array,
    fresh: Callable[[Array], GeneralLoss],
) -> GeneralLoss:
    """Return the general loss at each ratio ``(G,)`` where domain data are scarcer than in the probes.

    Passes over the same domain data, and a narrower corpus, pull the model further from the general text: what grows is
    the rise over the loss of the smallest probed ratio, which is most often pure replay; where domain data lower the
    general loss, repeats do not lower it further. Up to one pass a smaller
    corpus changes nothing, since a part drawn at random is hardly narrower; from there on its narrowness comes in, to
    the full at 1.25 passes. A fit by a law of repeats is taken at its word: its probes repeat as the run does.

    Parameters
    ----------
    fit : Fit
    request : PlanRequest
    train_tokens : float or array (G,)
    ratio : array (G,)
    fresh : callable
        Takes ratios ``(G,)`` and returns the general loss of data as scarce as those of the probes.
    """
    general, supply, asked = fresh(ratio), fit.probed.supply, request.unique_tokens
    if asked is None or (request.max_epochs <= 1 and supply is None):
        return general
    if "domain" in fit.models and fit.model_of("domain").reads_repetition:
        return general
    probed = np.inf if supply is None else supply.unique_tokens
    passes = [ratio**2 * log_passes(train_tokens, ratio, unique) for unique in (asked, probed)]
    # A run that repeats less than the probes did earns nothing by it.
    repeated = np.maximum(passes[0] ** 2 - passes[1] ** 2, 0.0)
    narrowing = np.log(max((most_unique_tokens(fit.log) or 0.0) / asked, 1.0)) * np.minimum(
        log_passes(train_tokens, ratio, asked) / np.log(MANY_MORE), 1.0
    )
    if not narrowing.any() and not repeated.any():
        return general
    low = np.full_like(ratio, fit.probed.ratio_range[0])
    own, replay = general.prediction, fresh(low).prediction
    powers = RISE_BY_PASSES[:, None] * repeated
    powers += RISE_BY_NARROWING[:, None] * np.where(ratio > low, narrowing, 0.0)
    scarce = [
        replace(
            own,
            loss=own.loss + np.expm1(power) * np.maximum(own.loss - replay.loss, 0.0),
            draws=own.draws + np.expm1(power) * np.maximum(own.draws - replay.draws, 0.0),
        )
        for power in (np.mean(powers, axis=0), *powers)
    ]
    return replace(general, prediction=spread_over(scarce))


def losses_with_repeats(fit: Fit, request: PlanRequest, ratio: Array) -> dict[str, Prediction]:
    """Return each fitted loss of a run at ratios ``(G,)``, with what its domain data do to it as in a plan.

    Parameters
    ----------
    fit : Fit
    request : PlanRequest
        With ``domain_tokens``, and passes over them allowed.
    ratio : array (G,)
    """
    tokens, losses = request.tokens, {}
    if "general" in fit.models:
        model = fit.model_of("general")
        reads = model.reads_repetition or "unique_domain_tokens" in model.more_columns

        def fresh(ratios: Array) -> GeneralLoss:
            prediction = fit.predict(
                "general",
                model_params=request.size,
                train_tokens=tokens,
                domain_ratio=ratios,
                unique_domain_tokens=request.unique_tokens if reads else None,
            )
            return GeneralLoss(prediction, np.nan, ())

        scarce = fresh(ratio) if reads else general_of_repeats(fit, request, tokens, ratio, fresh)
        losses["general"] = scarce.prediction
    if "domain" in fit.models:
        losses["domain"] = domain_of_repeats(fit, request, tokens, ratio)[0]
    return losses


def supply_in(fit: Fit, supply: Supply, request: PlanRequest) -> float | None:
    """Return the domain tokens of probes that repeat them where a plan counts these repeats; None where it does not."""
    if request.unique_tokens is not None or "domain" not in fit.models:
        return None
    return supply.unique_tokens if fit.model_of("domain").reads_repetition else None


def domain_of_repeats(
    fit: Fit, request: PlanRequest, train_tokens: float | Array, ratio: Array
) -> tuple[Prediction, list[Finding]]:
    """Return the domain loss at each ratio ``(G,)`` where data may repeat, with what repetition costs counted once.

    Losses of probes that repeat their data contain it for their own supply, which a run has too unless another is
    given.
    """
    model, supply, asked = fit.model_of("domain"), fit.probed.supply, request.unique_tokens
    repeats = asked is not None and request.max_epochs > 1

    def predicted(
        tokens: float | Array, unique: float | None = None, at: Array = ratio
    ) -> Prediction:
        return fit.predict(
            "domain",
            model_params=request.size,
            train_tokens=tokens,
            domain_ratio=at,
            unique_domain_tokens=unique,
        )

    if model.reads_repetition:
        return predicted(train_tokens, asked), []
    if model.holds_per_budget:
        return predicted(train_tokens), _uncounted() if repeats else []
    if asked is not None and supply is not None and supply.is_one:
        same = tokens_of_same_worth(train_tokens, ratio, asked, supply.unique_tokens)
        return predicted(same), []
    if asked is None or not repeats or supply is not None:
        return predicted(train_tokens), []
    squared = log_passes(train_tokens, ratio, asked) ** 2
    scales, harms = zip(*ASSUMED_REPEATS, strict=True)
    repeated = []
    for worth, harm in zip(
        _discounted(predicted, train_tokens, ratio, asked, scales), harms, strict=True
    ):
        factor = np.exp(harm * squared)
        repeated.append(replace(worth, loss=worth.loss * factor, draws=worth.draws * factor))
    return spread_over(repeated), []


def _discounted(
    predicted: Callable[..., Prediction],
    train_tokens: float | Array,
    ratio: Array,
    unique_tokens: float,
    scales: tuple[float, ...],
) -> Iterator[Prediction]:
    """Yield the domain loss at each ratio ``(G,)`` with repeats discounted by each scale.

    A long curve is one of fresh data up to one pass, and drawn through nodes beyond.
    """
    # Only a plan that repeats data waits for this module.
    from cmrplan.fit.residual.kriging import MOST_POINTS, between_nodes, ratio_nodes

    if np.ndim(train_tokens) or len(ratio) <= MOST_POINTS:
        for scale in scales:
            yield predicted(discounted_tokens(train_tokens, ratio, unique_tokens, scale))
        return
    fresh = predicted(train_tokens)
    low, high = max(unique_tokens / float(train_tokens), float(ratio.min())), float(ratio.max())
    repeats = ratio > low
    nodes = ratio_nodes(low, high)
    for scale in scales:
        if not repeats.any():
            yield fresh
            continue
        worth = predicted(discounted_tokens(train_tokens, nodes, unique_tokens, scale), at=nodes)
        loss, draws = fresh.loss.copy(), fresh.draws.copy()
        loss[repeats] = between_nodes(nodes, worth.loss, ratio[repeats])
        draws[:, repeats] = between_nodes(nodes, worth.draws, ratio[repeats])
        yield replace(fresh, loss=loss, draws=draws)


def _fitted_repetition_findings(
    request: PlanRequest, domain_ratio: float, supply: Supply | None
) -> list[Finding]:
    """Return a finding where a law that was fitted to repeats is asked for another supply, or for many more passes."""
    if supply is None:
        return []
    unique = request.unique_tokens or supply.unique_tokens
    passes = request.tokens * domain_ratio / unique
    text = ""
    if supply.is_one and unique != supply.unique_tokens:
        text = (
            f"the run draws from {unique:.4g} unique domain tokens and the probes drew from "
            f"{supply.unique_tokens:.4g}; its loss is carried between them by what the probes say of repeats"
        )
    elif passes > MANY_MORE * supply.most_passes:
        text = (
            f"the domain data are passed over {passes:.3g} times and the probes did so at most "
            f"{supply.most_passes:.3g} times; what further passes cost is carried on from there"
        )
    if not text:
        return []
    return [Finding(Code.REPETITION_ASSUMED, f"{text}; probe at as many passes to be sure")]


def repetition_findings(fit: Fit, request: PlanRequest, domain_ratio: float) -> list[Finding]:
    """Return a finding where the recommended ratio repeats the domain data otherwise than the probes did."""
    supply = fit.probed.supply
    if "domain" in fit.models and fit.model_of("domain").reads_repetition:
        return _fitted_repetition_findings(request, domain_ratio, supply)
    if request.unique_tokens is None or (
        supply is not None and request.unique_tokens == supply.unique_tokens
    ):
        return []
    if supply is not None and supply.is_one:
        return [
            Finding(
                Code.REPETITION_ASSUMED,
                f"the run draws from {request.unique_tokens:.4g} unique domain tokens and the probes drew from "
                f"{supply.unique_tokens:.4g}; its length was carried to their supply by the published discount for "
                f"repeated tokens (R* = {REPEAT_SCALE:.2f}, from scratch on one source); probe as many passes",
            )
        ]
    epochs = request.tokens * domain_ratio / request.unique_tokens
    if epochs > ONE_PASS:
        text = (
            f"the domain data are passed over {epochs:.3g} times, as no probe did; a repeat counts by the published "
            f"discount (R* = {REPEAT_SCALE:.2f}, from scratch on one source), and harms both losses "
            "as it did in one small sweep (data/sweep2); probe at that many passes"
        )
    elif (most := most_unique_tokens(fit.log) or 0.0) > MANY_MORE * request.unique_tokens:
        text = (
            f"the run draws from {request.unique_tokens:.4g} unique domain tokens and the probes drew from {most:.4g}; "
            "in one small sweep (data/sweep2) narrower corpora raised the general loss 1.0 to 1.4 times as far; probe "
            "on the corpus of the run"
        )
    else:
        return []
    return [Finding(Code.REPETITION_ASSUMED, text)]


def turning_domain_loss(fit: Fit, request: PlanRequest, ratio: float) -> Finding:
    """Return a finding on a fitted domain loss that itself keeps the ratio from the largest probed one."""
    supply, why = (
        fit.probed.supply,
        "more domain data should not hurt the domain loss, so look at the fit",
    )
    if supply is not None:
        passes = request.tokens * ratio / (request.unique_tokens or supply.unique_tokens)
        why = f"the probes repeat their domain data, as this run does ({passes:.3g} passes there)"
        if passes <= ONE_PASS:
            why = (
                f"the probes repeat their domain data and this run does not ({passes:.3g} passes there), so whether "
                "fresh data turn it is not known; probe with as much domain data as the run has"
            )
    return Finding(
        Code.DOMAIN_LOSS_TURNS,
        f"the fitted domain loss has its lowest value at {ratio:.3g} and rises beyond; {why}",
    )


def other_supply_text(fit: Fit, unique_tokens: float, passes: float) -> str:
    """Return what the domain data of the probes were where a run's differ from them; empty where they do not.

    Parameters
    ----------
    fit : Fit
    unique_tokens : float
        Unique tokens of the run's domain corpus.
    passes : float
        The most passes over them that the run makes.
    """
    supply = fit.probed.supply
    if supply is None:
        return "one pass or less" if passes > ONE_PASS else ""
    if abs(unique_tokens / supply.unique_tokens - 1) <= SAME_SIZE:
        return ""
    return f"U = {compact(supply.unique_tokens)} domain tokens"


def _uncounted() -> list[Finding]:
    return [
        Finding(
            Code.REPETITION_NOT_COUNTED,
            "the CMR laws hold per run, so passes over the domain data beyond the first count as fresh data; fit with "
            "--law dcpt to discount them",
        )
    ]
