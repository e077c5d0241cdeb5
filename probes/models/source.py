"""Where a model comes from: random weights of a shape, or a checkpoint that somebody trained."""

from __future__ import annotations

from typing import Any

from torch import nn

from probes.models.decoder import Decoder, ModelShape, ParamCount
from probes.models.decoder import count_params as count_shape
from probes.models.decoder import flops_per_token as shape_flops

ModelSource = ModelShape
"""What the settings of a run say about its model."""


def build_model(source: ModelSource, *, seed: int = 0) -> nn.Module:
    """Return the model with the weights that its base starts from; logits of tokens when called.

    Parameters
    ----------
    source : ModelSource
        A shape gives random weights, a checkpoint its own.
    seed : int
        Seed of random weights.
    """
    return Decoder(source, seed=seed)


def count_params(source: ModelSource) -> ParamCount:
    """Return the number of parameters, without building the model."""
    return count_shape(source)


def flops_per_token(source: ModelSource, sequence_length: int) -> float:
    """Return training FLOPs (forward and backward) per token."""
    return shape_flops(source, sequence_length)


def source_from_dict(values: dict[str, Any]) -> ModelSource:
    """Return the source that ``dataclasses.asdict`` turned into ``values``."""
    return ModelShape(**values)
