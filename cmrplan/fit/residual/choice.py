"""Which mean functions a corpus gets, and how much each counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.fit.corpus_model import CorpusModel, RandomStream, law_inputs
from cmrplan.fit.law_model import LawModel, component_of_draws
from cmrplan.fit.residual.hyper import Hyper
from cmrplan.fit.residual.hyper_posterior import (
    Mode,
    NearMode,
    hyper_samples,
    mode_of,
    near_mode,
    surveyed,
)
from cmrplan.fit.residual.kriged_model import (
    CORPUS_STREAM,
    KrigedModel,
    MeanChoice,
    Member,
    problem_of,
)
from cmrplan.fit.residual.kriging import one_thread
from cmrplan.fit.residual.mean_functions import OWN_LAWS
from cmrplan.fit.residual.observations import Observations, observations
from cmrplan.laws.repetition import REPEAT_SCALE, REPEAT_SCALE_SD

EVIDENCE_POWER = 0.2  # see docs/decisions.md
EVIDENCE_DIGITS = 6  # of a weight, so that rounding does not tell which of equals comes first
SMALLEST_SHARE_KEPT = 0.02  # a mean function with less weight is left out
HOPELESS = (
    60.0  # less log posterior than the best: twice what the hyperparameters could make up for
)
# Less log evidence near the mode than the best: the weight there is too small, which a search to the end can change by
# far less than one.
WITHOUT_WEIGHT = 1.0 - np.log(SMALLEST_SHARE_KEPT) / EVIDENCE_POWER
FEW = 160  # observations that a search among many goes to first
MOST_LAWS = 2  # of the fitted laws, the top-weighted, that are tried alone
# Between two probed ratios a law may leave the range of its values at them by this part of what it spans over all.
LARGEST_HOOK = 0.1
BETWEEN = np.geomspace(1e-4, 1.0, 33)[:-1]  # parts of the way between two ratios, from either end
NUM_SETS = 16  # samples of the hyperparameters that the draws are spread over
# What R* of repeated domain tokens may be. Its logarithm has a normal prior around the published value, which is that
# of training from scratch on one source; inside mixtures scarce data is reported to stand more.
_STEPS = (-2, -1, 0, 1, 2)
REPEAT_SCALES = tuple(float(REPEAT_SCALE * np.exp(REPEAT_SCALE_SD * step)) for step in _STEPS)
REPEAT_PRIOR = -0.5 * np.square(_STEPS, dtype=float)


# Takes a choice and hyperparameters to start from, and returns those near its most probable ones.
Search = Callable[[MeanChoice, Array | None], NearMode]


def choices(laws: CorpusModel, observed: Observations, *, is_auto: bool) -> list[MeanChoice]:
    """Return what is averaged: this project's laws with a residual and the fitted laws alone, or a named law with one.

    Of the fitted laws those of log losses count, and for the average those without a hook.
    """
    fitted = [law for law in laws.components if law.fit.law.link == "log"]
    if not is_auto:
        return [MeanChoice(law.law, True) for law in fitted]
    own = [MeanChoice(name, True) for name in OWN_LAWS]
    alone = [law.law for law in fitted[:MOST_LAWS] if not _has_hook(law, observed)]
    return [*own, *(MeanChoice(name, False) for name in alone)]


def _has_hook(law: LawModel, observed: Observations) -> bool:
    """Tell whether a law turns away between two probed ratios, at the most tokens, and comes back at the next.

    A term such as ``B r^eta`` with eta near 0 is 0 at a share of 0 and nearly B right beside it: it meets the probe
    without any of the target corpus and is far off between that and its neighbor.
    """
    tokens = observed.points.columns["train_tokens"]
    ratio = np.unique(observed.points.columns["domain_ratio"])
    last = observed.points.select(np.array([int(np.argmax(tokens))]))

    def loss_at(ratios: Array) -> Array:
        columns = {name: np.repeat(value, len(ratios)) for name, value in last.columns.items()}
        return law.fit.predict(law_inputs(law.corpus, columns | {"domain_ratio": ratios}))

    ends = loss_at(ratio)
    span = float(np.ptp(ends))
    for low, high, *values in zip(ratio, ratio[1:], ends, ends[1:], strict=False):
        way = (high - low) * BETWEEN
        between = loss_at(np.concatenate([low + way, high - way]))
        outside = max(np.max(between) - max(values), min(values) - np.min(between))
        if outside > LARGEST_HOOK * span:
            return True
    return False


def with_residual(
    laws: CorpusModel,
    rows: pd.DataFrame,
    base_loss: Mapping[float, float],
    *,
    is_auto: bool,
    seed: int,
) -> KrigedModel:
    """Return the model of a corpus with residuals, without draws.

    Parameters
    ----------
    laws : CorpusModel
        Fitted to the rows.
    rows : DataFrame
        Rows of the corpus after the base checkpoint.
    base_loss : mapping of float to float
        By size.
    is_auto : bool
        Whether mean functions are to be chosen; the fitted law is the only one otherwise.
    seed : int
    """
    observed = observations(laws.corpus, rows, base_loss, by_rates=is_auto)
    few = None
    if len(observed.log_loss) > 2 * FEW:
        few = observations(laws.corpus, rows, base_loss, by_rates=is_auto, most=FEW)

    def near(choice: MeanChoice, start: Array | None) -> NearMode:
        if few is not None:
            start = near_mode(problem_of(choice, laws, few), start).hyper
        return near_mode(problem_of(choice, laws, observed), start)

    generator = RandomStream.HYPERPARAMETERS.generator(seed, CORPUS_STREAM[laws.corpus])
    candidates = choices(laws, observed, is_auto=is_auto)
    with one_thread():
        if laws.reads_repetition:
            tried, weights = _over_repeat_scales(candidates, near, generator)
        else:
            tried = _modes(candidates, near, generator)
            weights = evidence_weights(np.array([mode.log_evidence for _, mode in tried]))
    order = [int(k) for k in np.argsort(-weights, kind="stable") if weights[k] > 0]
    sets = np.bincount(component_of_draws(weights[order], NUM_SETS), minlength=len(order))
    members = []
    for k, number in zip(order, np.maximum(sets, 1), strict=True):
        choice, mode = tried[k]
        samples = hyper_samples(mode, int(number), generator)
        hyper = mode.kriging.hyper
        members.append(Member(choice, float(weights[k]), hyper, samples))
    return KrigedModel(laws.corpus, laws, observed, base_loss, tuple(members), 0, seed)


def _over_repeat_scales(
    candidates: list[MeanChoice], search: Search, generator: np.random.Generator
) -> tuple[list[tuple[MeanChoice, Mode]], Array]:
    """Return the candidates at the most probable R* and the best of them at other R*, and their weights.

    R* is one of a few values around the published one; each has the evidence of the first candidate there.
    """
    first = candidates[0]
    near: list[NearMode] = []
    for scale in REPEAT_SCALES:
        start = near[-1].hyper if near else None
        near.append(search(replace(first, repeat_scale=scale), start))
    evidence = np.array([mode.log_posterior for mode in near]) + REPEAT_PRIOR / EVIDENCE_POWER
    share = evidence_weights(evidence)
    top = int(np.argmax(share))
    there = [replace(choice, repeat_scale=REPEAT_SCALES[top]) for choice in candidates]
    tried = _modes(there, search, generator)
    weights = share[top] * evidence_weights(np.array([mode.log_evidence for _, mode in tried]))
    best = tried[int(np.argmax(weights))][0]
    others = [k for k in range(len(share)) if share[k] > 0 and k != top]
    for k in others:
        choice = replace(best, repeat_scale=REPEAT_SCALES[k])
        nearby = search(choice, near[k].hyper[: len(Hyper)])
        tried.append((choice, mode_of(surveyed(nearby, generator))))
    return tried, np.append(weights, share[others])


def _modes(
    candidates: list[MeanChoice], search: Search, generator: np.random.Generator
) -> list[tuple[MeanChoice, Mode]]:
    """Return the candidates that can have a weight, with their most probable hyperparameters."""
    near: list[NearMode] = []
    for choice in candidates:
        start = near[0].hyper[: len(Hyper)] if near and choice.has_residual else None
        near.append(search(choice, start))
    most = max(mode.log_posterior for mode in near)
    about = [
        (choice, surveyed(mode, generator))
        for choice, mode in zip(candidates, near, strict=True)
        if mode.log_posterior > most - HOPELESS
    ]
    best = max(mode.log_evidence for _, mode in about)
    return [
        (choice, mode_of(mode))
        for choice, mode in about
        if mode.log_evidence > best - WITHOUT_WEIGHT
    ]


def evidence_weights(evidence: Array) -> Array:
    """Return weights that sum to one from log evidences, ``(K,)``.

    The evidence of a model is how well it predicts each row from those before it. It is taken to a power below one, as
    none of the models is exactly true and the rows of a log are fewer than they seem; see docs/decisions.md.

    References
    ----------
    Grünwald & van Ommen 2017, Inconsistency of Bayesian inference for misspecified linear models, and a proposal for
    repairing it.
    """
    relative = np.exp(EVIDENCE_POWER * (evidence - np.max(evidence)))
    share = np.round(relative / np.sum(relative), EVIDENCE_DIGITS)
    kept = np.where(share >= SMALLEST_SHARE_KEPT, share, 0.0)
    return np.asarray(kept / np.sum(kept))
