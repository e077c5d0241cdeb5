"""The recommended mixture, its losses and its reasons, as plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cmrplan.errors import Finding
from cmrplan.mixture.request import MixtureLimits

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
