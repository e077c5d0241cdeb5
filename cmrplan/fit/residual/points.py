"""Where losses are asked for, in the coordinates of the covariance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.law_model import law_inputs

SHARE_SHIFT = 0.05  # shares below it are near each other


@dataclass(frozen=True)
class Points:
    """``n`` points of one corpus.

    Parameters
    ----------
    size : array (n,)
        Logarithm of the model parameters over their reference.
    tokens : array (n,)
        Logarithm of the train tokens over their reference.
    share : array (n,)
        The target share: that of the corpus whose loss is predicted.
    inputs : mapping of str to array (n,)
        What a law reads there.
    """

    size: Array
    tokens: Array
    share: Array
    inputs: Mapping[str, Array]

    @property
    def log_share(self) -> Array:
        """The share on the scale on which the residual is smooth, ``(n,)``."""
        return np.log(self.share + SHARE_SHIFT)

    def select(self, index: NDArray[np.intp]) -> Points:
        """Return some of the points."""
        inputs = {name: values[index] for name, values in self.inputs.items()}
        return Points(self.size[index], self.tokens[index], self.share[index], inputs)

    def distinct(self) -> tuple[Points, NDArray[np.intp]]:
        """Return each point once, ``m`` of them, and which of them each point is, ``(n,)``."""
        table = np.stack([self.size, self.tokens, self.share, *self.inputs.values()], axis=1)
        _, first, which = np.unique(table, axis=0, return_index=True, return_inverse=True)
        return self.select(first), which.reshape(-1)


@dataclass(frozen=True)
class Frame:
    """The references of the coordinates: geometric means of the sizes and of the tokens of a log."""

    corpus: str
    model_params: float
    train_tokens: float

    def points(self, columns: Mapping[str, Array]) -> Points:
        """Return the points of columns as in a log."""
        inputs = law_inputs(self.corpus, columns)
        return Points(
            np.log(inputs["model_params"] / self.model_params),
            np.log(inputs["train_tokens"] / self.train_tokens),
            inputs["share"],
            inputs,
        )
