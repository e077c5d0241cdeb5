"""The general loss at one size with what its rise is counted from."""

from __future__ import annotations

from dataclasses import dataclass

from cmrplan.errors import Finding
from cmrplan.fit.corpus_model import Prediction


@dataclass(frozen=True)
class GeneralLoss:
    """The general loss at one size, and the base loss that its rise is counted from.

    Parameters
    ----------
    prediction : Prediction
    base_loss : float
        Nats per token.
    findings : tuple of Finding
        On how they got there.
    """

    prediction: Prediction
    base_loss: float
    findings: tuple[Finding, ...]
