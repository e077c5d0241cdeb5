"""Losses at a size that was not probed: those of the nearest probed size, carried there with the base loss.

One or two sizes do not settle how the level of a loss goes with size. What training does over the base is carried
better, so a loss is, with the base losses ``B`` of both sizes, ::

    L(N) = B(N) [1 + (1 + k) (L(N*) / B(N*) - 1)]

with ``k`` 0 for the estimate, and for a resample normal with :data:`EFFECT_WALK` a root of ln N. Where B(N) was not
measured it is drawn through those of the log, and resamples of a loss without a limit differ by :data:`LEVEL_WALK`
more; a limit is counted from the same B(N), so that its level does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import Prediction, RandomStream
from cmrplan.fit.probed import base_loss_at, is_among, nearest_size
from cmrplan.log.cells import listed
from cmrplan.mixture.batched_laws import BatchedLaws

EFFECT_WALK = 0.25  # of what training does over the base: what that of two corpora is taken to walk, decision 66
LEVEL_WALK = 0.02  # of a log loss


@dataclass(frozen=True)
class CarriedLoss:
    """How the loss on one corpus is carried from a probed size.

    Parameters
    ----------
    model_params : float
        The probed size.
    scale : float
        What the estimate is multiplied by.
    times, plus : array (B,)
        What each resample is multiplied by, and what is added then.
    """

    model_params: float
    scale: float
    times: Array
    plus: Array

    def prediction(self, near: Prediction) -> Prediction:
        """Return a prediction at the probed size carried."""
        draws = self.times[:, None] * near.draws + self.plus[:, None]
        return replace(near, loss=self.scale * near.loss, draws=draws)

    def laws(self, estimate: BatchedLaws, draws: BatchedLaws) -> tuple[BatchedLaws, BatchedLaws]:
        """Return laws at the probed size carried: those of the estimate, and one a resample."""
        times, plus = self.times[:, None], self.plus[:, None]
        return (
            replace(estimate, level=self.scale * estimate.level, scale=self.scale * estimate.scale),
            replace(draws, level=times * draws.level + plus, scale=times * draws.scale),
        )


def carried_loss(
    measured: Mapping[float, float],
    sizes: Array,
    model_params: float,
    normal: Array,
    base_loss: float | None = None,
    *,
    keeps_level: bool = False,
) -> CarriedLoss | None:
    """Return how the loss on a corpus is carried to a size; None where it was probed, or no base loss is known.

    Parameters
    ----------
    measured : mapping of float to float
        Base losses by size.
    sizes : array (S,)
        The probed ones.
    model_params : float
    normal : array (2, B)
        Standard normal.
    base_loss : float, optional
        Of that size; the log's, or drawn through those of the log, by default.
    keeps_level : bool
        Whether a limit is counted from the base loss.
    """
    nearest = nearest_size(sizes, model_params)
    if is_among(sizes, model_params) or not is_among(np.array(list(measured)), nearest):
        return None
    known, _ = base_loss_at(dict(measured), nearest)
    base = base_loss_at(dict(measured), model_params)[0] if base_loss is None else base_loss
    root = np.sqrt(abs(np.log(model_params / nearest)))
    effect, level = EFFECT_WALK * root * normal[0], LEVEL_WALK * root * normal[1]
    if keeps_level or base_loss is not None or is_among(np.array(list(measured)), model_params):
        level = np.zeros_like(level)
    drawn = base * np.exp(level)
    return CarriedLoss(nearest, base / known, (1 + effect) * drawn / known, -effect * drawn)


def carried_normal(seed: int, position: int, count: int) -> Array:
    """Return what the resamples of one corpus draw, ``(2, B)``."""
    return RandomStream.SIZE_WALK.generator(seed, 2 + position).standard_normal((2, count))


def other_size_findings(
    model_params: float, sizes: Array, carried: Mapping[str, CarriedLoss | None]
) -> list[Finding]:
    """Return findings on the losses at a size that was not probed."""
    if is_among(sizes, model_params):
        return []
    findings, nearest = [], nearest_size(sizes, model_params)
    by_law = sorted(corpus for corpus, one in carried.items() if one is None)
    if len(by_law) < len(carried):
        findings.append(
            Finding(
                Code.RISE_CARRIED,
                f"the losses at {model_params:.4g} parameters are those at {nearest:.4g}, carried with the base loss "
                "of each corpus, and the intervals have room for a change with size; probe a size nearer to narrow "
                "them",
            )
        )
    if by_law:
        findings.append(
            Finding(
                Code.LEVEL_BY_LAW,
                f"the loss on {listed(by_law)} at {model_params:.4g} parameters is the laws', whose level few sizes do "
                f"not settle, and its interval holds too rarely; add rows with train_tokens = 0 at {nearest:.4g}",
            )
        )
    return findings
