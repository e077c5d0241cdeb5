"""The general loss at a size that was not probed: what is carried there, and how far that may be off.

The level of the loss is carried badly: with one or two probed sizes the exponent of size is unknown, and a base
checkpoint that was trained more or less than the others lies off any law. What transfers is the rise over the base.
So the loss at another size is its base loss, as measured, plus the rise at the probed sizes, which is joined in ln N
between two of them and kept beyond the outermost. Where the base loss is not known there, it is carried along the
law, so that law and base move together and their difference stays.

The rise itself does depend on size, in a way that no law here knows. It is taken to be a random walk in ln N whose
steps are those seen between neighboring probed sizes, and one more of a fixed size, which stands alone where only one
size was probed. Each resample walks by itself. The walk moves the loss at all ratios by one amount and more at large
ratios by another, so the rise over pure replay walks too, and less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.corpus_model import Prediction, RandomStream
from cmrplan.fit.fit import Fit
from cmrplan.fit.general_loss import GeneralLoss
from cmrplan.fit.probed import (
    base_loss_at,
    is_among,
    other_base,
    require_plausible_base,
)
from cmrplan.numbers import Reference

# Standard deviation of a step, nats per square root of ln N: the root mean square over four steps seen between sizes.
# 0.10 and 0.01 at a ratio of one half in data/probes, whose smallest base was far from converged; at most 0.015 in the
# CMR paper (the rise stays below 0.02 from 460M to 3.1B); 0.003 in the log of github.com/yegcjs/mixinglaws.
WALK_STEP = 0.05
OTHER_SIZE = (Code.RISE_CARRIED, Code.LEVEL_BY_LAW)  # findings on how the loss got there


def general_loss_at(
    fit: Fit,
    model_params: float,
    train_tokens: float | Array,
    domain_ratio: Array,
    base_loss: float | None = None,
    rise_over: Reference = "base",
) -> GeneralLoss:
    """Return the general loss at ``G`` ratios of one size, probed or not.

    Parameters
    ----------
    fit : Fit
    model_params : float
    train_tokens : float or array (G,)
    domain_ratio : array (G,)
    base_loss : float, optional
        General loss of the base checkpoint of that size, nats per token; from the log by default.
    rise_over : {"base", "replay"}
        What the rise will be counted from.

    Raises
    ------
    CmrplanError
        If a loss or the base loss is not known there.
    InputError
        If the base loss cannot be in nats per token.
    """
    from_base = fit.general_loss_from_base(model_params, train_tokens, domain_ratio, base_loss)
    return from_base or general_loss_by_laws(
        fit, model_params, train_tokens, domain_ratio, base_loss, rise_over
    )


def general_loss_by_laws(
    fit: Fit,
    model_params: float,
    train_tokens: float | Array,
    domain_ratio: Array,
    base_loss: float | None,
    rise_over: Reference,
) -> GeneralLoss:
    """Return the same where the model does not count the loss from the base loss of its size."""
    own = _predicted(fit, model_params, train_tokens, domain_ratio)
    measured = fit.base_loss.get("general", {})
    require_plausible_base("base_loss", base_loss, measured, model_params)
    sizes, with_base = fit.probed.losses["general"].sizes, np.array(sorted(measured))
    anchors = np.array([size for size in sizes if is_among(with_base, size)])
    has_base = base_loss is not None or is_among(with_base, model_params)
    is_probed = not len(sizes) or is_among(sizes, model_params)
    if is_probed and (has_base or rise_over == "replay" or not len(anchors)):
        base, findings = _base(base_loss, rise_over, measured, model_params)
        if is_among(with_base, model_params):
            known, _ = base_loss_at(measured, model_params)
            if other := other_base(base, known, model_params):
                level, findings = base - known, [*findings, *other]
                own = replace(own, loss=own.loss + level, draws=own.draws + level)
        return GeneralLoss(own, base, tuple(findings))
    if len(anchors):
        there = _carried_rise(fit, own, model_params, train_tokens, anchors)
        if has_base:
            base, findings = _base(base_loss, rise_over, measured, model_params)
        else:  # the laws add the term of size to the others, so the ratio does not matter here
            base = there.base_loss + float((own.loss - there.prediction.loss)[0])
            findings = [_base_loss_carried(base, model_params, there.sizes, len(sizes))]
        findings.append(_rise_carried(model_params, there.sizes, len(sizes)))
        level = base - there.base_loss
        carried = replace(
            own, loss=there.prediction.loss + level, draws=there.prediction.draws + level
        )
        walked = _with_size_walk(fit, carried, model_params, train_tokens, anchors)
        return GeneralLoss(walked, base, tuple(findings))
    base, findings = _base(base_loss, rise_over, measured, model_params)
    if len(sizes) == 1 and rise_over == "base":
        raise CmrplanError(
            f"the log has one model size, {sizes[0]:.4g}, and no base loss of it, so what a run does to the "
            f"loss of {model_params:.4g} parameters is not known; add a row with train_tokens = 0 at "
            f"{sizes[0]:.4g}, or probe a second size"
        )
    findings.append(_level_by_law(model_params, sizes))
    walked = _with_size_walk(fit, own, model_params, train_tokens, sizes)
    return GeneralLoss(walked, base, tuple(findings))


@dataclass(frozen=True)
class _ProbedLoss:
    """The general loss at the probed sizes, joined in ln N at another one, and the base loss joined alike."""

    prediction: Prediction
    base_loss: float
    sizes: Array  # those that count


def _carried_rise(
    fit: Fit, own: Prediction, model_params: float, train_tokens: float | Array, anchors: Array
) -> _ProbedLoss:
    measured = fit.base_loss["general"]
    weights = _weights(anchors, model_params)
    there = [_predicted(fit, size, train_tokens, own.domain_ratio) for size in anchors]
    loss = weights @ np.stack([prediction.loss for prediction in there])
    draws = np.einsum("a,abg->bg", weights, np.stack([prediction.draws for prediction in there]))
    base = float(weights @ [base_loss_at(measured, size)[0] for size in anchors])
    return _ProbedLoss(replace(own, loss=loss, draws=draws), base, anchors[weights > 0])


def _predicted(fit: Fit, size: float, train_tokens: float | Array, ratio: Array) -> Prediction:
    return fit.predict(
        "general", model_params=float(size), train_tokens=train_tokens, domain_ratio=ratio
    )


def _base(
    given: float | None, rise_over: Reference, measured: dict[float, float], model_params: float
) -> tuple[float, list[Finding]]:
    if given is not None:
        return float(given), []
    if not measured and rise_over == "replay":
        return math.nan, []  # nothing is counted from it
    return base_loss_at(measured, model_params)


def _base_loss_carried(base: float, model_params: float, sizes: Array, num_sizes: int) -> Finding:
    how = "that of" if num_sizes == 1 else "carried along the fitted law from"
    return Finding(
        Code.BASE_LOSS_CARRIED,
        f"the base loss {base:.4f} at {model_params:.4g} parameters is {how} {_listed(sizes)}, and the loss of the run "
        "goes with it; evaluate that checkpoint and give --base-loss, or a row with train_tokens = 0",
    )


def _rise_carried(model_params: float, sizes: Array, num_sizes: int) -> Finding:
    ground = (
        "nothing in the log shows how it changes with size"
        if num_sizes == 1
        else "as far as the rises of the probed sizes differ"
    )
    return Finding(
        Code.RISE_CARRIED,
        f"the rise of the general loss at {model_params:.4g} parameters is that of {_listed(sizes)}, and the interval "
        f"has room for a change with size ({ground}); probe a size nearer to narrow it",
    )


def _level_by_law(model_params: float, sizes: Array) -> Finding:
    return Finding(
        Code.LEVEL_BY_LAW,
        f"the level of the general loss at {model_params:.4g} parameters is the law's, and few sizes do not settle it; "
        f"no probed size has a base loss to count its rise from; add rows with train_tokens = 0 at {_listed(sizes)}",
    )


def _listed(sizes: Array) -> str:
    return " and ".join(f"{size:.4g}" for size in sizes)


def _weights(anchors: Array, model_params: float) -> Array:
    """Return how much each probed size counts, ``(A,)``: joined in ln N, the outermost alone beyond."""
    position = np.interp(np.log(model_params), np.log(anchors), np.arange(len(anchors)))
    return np.asarray(np.maximum(1 - np.abs(np.arange(len(anchors)) - position), 0.0))


def _with_size_walk(
    fit: Fit, general: Prediction, model_params: float, train_tokens: float | Array, sizes: Array
) -> Prediction:
    """Return the loss with the walk since the nearest sizes added to its resamples."""
    if not len(general.draws):
        return general
    ratio = general.domain_ratio
    tokens = float(np.exp(np.mean(np.log(train_tokens))))
    steps = [
        np.full(ratio.shape, WALK_STEP),
        WALK_STEP * ratio,
        *_seen_steps(fit, ratio, tokens, sizes),
    ]
    generator = RandomStream.SIZE_WALK.generator(fit.settings.seed)
    normal = generator.standard_normal((len(general.draws), len(steps)))
    num_terms = len(steps) - 1  # the first two are one step, in two parts
    walk = math.sqrt(_distance(sizes, model_params) / num_terms) * normal @ np.stack(steps)
    return replace(general, draws=general.draws + walk)


def _distance(sizes: Array, model_params: float) -> float:
    """Return ln N to the outermost size, or between two sizes what a walk that is held at both leaves open."""
    away = np.sort(np.abs(np.log(sizes / model_params)))
    if not sizes[0] < model_params < sizes[-1]:
        return float(away[0])
    below = math.log(model_params / sizes[sizes < model_params][-1])
    above = math.log(sizes[sizes > model_params][0] / model_params)
    return below * above / (below + above)


def _seen_steps(fit: Fit, ratio: Array, tokens: float, sizes: Array) -> list[Array]:
    """Return by how much the measured rise changes from each size to the next, per root of ln N, each ``(G,)``.

    Between the token counts that both sizes have it is joined in ln D, and kept beyond them; pairs without one are left
    out.
    """
    means = fit.probed.losses["general"].means
    steps = []
    for low, high in pairwise(sizes):
        common = np.intersect1d(list(means[low]), list(means[high]))
        if not len(common):
            continue
        position = np.interp(np.log(tokens), np.log(common), np.arange(len(common)))
        near = [int(np.floor(position)), int(np.ceil(position))]
        change = [
            _measured_rise(fit, high, common[k], ratio) - _measured_rise(fit, low, common[k], ratio)
            for k in near
        ]
        step = change[0] + (position - near[0]) * (change[1] - change[0])
        steps.append(step / math.sqrt(math.log(high / low)))
    return steps


def _measured_rise(fit: Fit, size: float, budget: float, ratio: Array) -> Array:
    """Return the measured rise of one size over its base, or over the law where no base was measured, ``(G,)``."""
    probed, mean = fit.probed.losses["general"].means[size][budget]
    reference: Array | float | None = fit.base_loss.get("general", {}).get(size)
    if reference is None:
        reference = _predicted(fit, size, budget, probed).loss
    return np.interp(ratio, probed, mean - reference)
