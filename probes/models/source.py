"""Where a model comes from: random weights of a shape, or a checkpoint that somebody trained."""

from __future__ import annotations

from typing import Any

from torch import nn

from probes.models.decoder import Decoder, ModelShape, ParamCount
from probes.models.decoder import count_params as count_shape
from probes.models.pretrained import Pretrained, load_pretrained

ModelSource = ModelShape | Pretrained
"""What the settings of a run say about its model."""


def build_model(
    source: ModelSource, *, seed: int = 0, gradient_checkpointing: bool = False
) -> nn.Module:
    """Return the model with the weights that its base starts from; logits of tokens when called.

    Parameters
    ----------
    source : ModelSource
        A shape gives random weights, a checkpoint its own.
    seed : int
        Seed of random weights.
    gradient_checkpointing : bool
        Whether blocks compute their activations again in the backward pass.

    Raises
    ------
    InputError
        If a checkpoint is gone, changed or incomplete.
    """
    if isinstance(source, Pretrained):
        return load_pretrained(source, gradient_checkpointing=gradient_checkpointing)
    return Decoder(source, seed=seed, gradient_checkpointing=gradient_checkpointing)


def count_params(source: ModelSource) -> ParamCount:
    """Return the number of parameters, without building the model."""
    return source.params if isinstance(source, Pretrained) else count_shape(source)


def flops_per_token(source: ModelSource, sequence_length: int) -> float:
    """Return training FLOPs (forward and backward) per token.

    ``6 * N + 6 * layers * width * T``: two FLOPs a parameter forward and four backward, with N all
    matrix parameters a token passes (the output head included, the embedding look-up not), and
    causal attention, which reads ``T / 2`` positions on average, twice. A forward pass alone, as
    in an evaluation, takes a third. Of a mixture of experts, which passes a part of its parameters,
    this is an upper bound.
    """
    params = count_params(source).non_embedding + source.vocab_size * source.width
    return 6.0 * params + 6.0 * source.layers * source.width * sequence_length


def source_from_dict(values: dict[str, Any]) -> ModelSource:
    """Return the source that ``dataclasses.asdict`` turned into ``values``."""
    if "checkpoint" in values:
        return Pretrained(**(values | {"params": ParamCount(**values["params"])}))
    return ModelShape(**values)
