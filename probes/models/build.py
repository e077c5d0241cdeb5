"""The model of a source is built with random weights or loaded from its checkpoint."""

from __future__ import annotations

from torch import nn

from probes.models.decoder import Decoder
from probes.models.pretrained import load_pretrained
from probes.models.source import ModelSource, Pretrained


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
