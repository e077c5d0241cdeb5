"""Predicted losses with their resamples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrplan.arrays import Array, central_interval


@dataclass(frozen=True)
class Prediction:
    """Losses of one validation corpus, nats per token.

    Parameters
    ----------
    inputs : mapping of str to array (...)
        Where they are predicted, in the columns of a log: ``model_params``, ``train_tokens``, and ``domain_ratio`` or
        ``share_<corpus>``.
    loss : array (...)
        The estimate.
    draws : array (B, ...)
        One curve per resample; B may be 0.
    """

    inputs: Mapping[str, Array]
    loss: Array
    draws: Array

    @property
    def domain_ratio(self) -> Array:
        """The domain ratios, ``(...)``."""
        return self.inputs["domain_ratio"]

    def interval(self, confidence: float = 0.9) -> tuple[Array, Array]:
        """Return the bounds that hold a resample with that probability; NaN without resamples."""
        if not len(self.draws):
            missing = np.full(self.loss.shape, np.nan)
            return missing, missing
        with np.errstate(all="ignore"):  # far outside the probes a draw may be infinite
            return central_interval(self.draws, confidence)

    def table(self, confidence: float = 0.9) -> pd.DataFrame:
        """Return one row a prediction: its inputs, ``loss``, ``loss_low`` and ``loss_high``."""
        low, high = self.interval(confidence)
        columns = {name: np.ravel(values) for name, values in self.inputs.items()}
        losses = {"loss": self.loss, "loss_low": low, "loss_high": high}
        return pd.DataFrame(columns | {name: np.ravel(values) for name, values in losses.items()})
