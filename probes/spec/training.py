"""The spec says here how the bases and probes of a sweep are trained."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from probes.spec.fields import Flag, Fraction, Natural, NotNegative, Positive, Spec, Tokens, Width


class NumericsSpec(Spec):
    """Precision and memory of all runs."""

    precision: Literal["fp64", "fp32", "bf16"] | None = None
    """Of activations; bf16 on a GPU and fp32 on a CPU when left out."""
    micro_batch_size: Width | None = None
    """Sequences in one forward and backward pass; the whole batch when left out."""
    gradient_checkpointing: Flag = False
    """Compute activations again in the backward pass, which saves memory and costs time."""
    compile: Flag = False
    """Send the models through ``torch.compile``."""
    cuda_graphs: Flag = False
    """Replay the steps of built-in decoders as recorded graphs; means nothing on a CPU."""


class TrainingSpec(Spec):
    """What base models and probes have in common: AdamW with a linear warm-up."""

    learning_rate: Positive
    warmup_steps: Natural
    weight_decay: NotNegative = 0.1
    """Applied to matrices, not to the gains of norms."""
    gradient_clip: Positive = 1.0
    """Largest norm of the gradient of all parameters together."""


class BaseSpec(TrainingSpec):
    """How one base model per size is pre-trained on the general corpus."""

    train_tokens: Tokens | None = None
    """Tokens of every base; or give ``tokens_per_param``."""
    tokens_per_param: Tokens | None = None
    """Tokens per non-embedding parameter, so that larger bases see more."""
    learning_rate: Positive = 2e-3
    warmup_steps: Natural = 40
    cooldown_share: Fraction = 0.0
    """Last share of the steps, over which the learning rate falls linearly to a tenth."""
    seed: Natural = 0

    @model_validator(mode="after")
    def _one_way_to_give_tokens(self) -> BaseSpec:
        if (self.train_tokens is None) == (self.tokens_per_param is None):
            raise ValueError("give either train_tokens or tokens_per_param")
        return self
