"""A model comes from a shape, with random weights, or from a checkpoint; settings say from which.

Sizes and costs follow from these alone; no model is built for them, and torch is not imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelShape:
    """The sizes that define a model.

    Parameters
    ----------
    width : int
        Features C of the residual stream.
    layers, heads : int
        Blocks, and attention heads of a block; ``width / heads`` must be an even integer.
    feedforward : int
        Features F inside the SwiGLU.
    tied_embeddings : bool
        Whether the output head is the input embedding.
    vocab_size : int
        Token ids V.
    """

    width: int
    layers: int
    heads: int
    feedforward: int
    tied_embeddings: bool
    vocab_size: int


@dataclass(frozen=True)
class ParamCount:
    """Parameters of a model, each counted once.

    Parameters
    ----------
    total : int
        All trained numbers; a tied head counts once.
    non_embedding : int
        ``total`` without the input embedding and without the output head (tied or not): the N of
        Kaplan et al. (arXiv:2001.08361).
    """

    total: int
    non_embedding: int


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint, and what the cost of training it depends on.

    Parameters
    ----------
    checkpoint : str
        Absolute path of its folder, or its id on the hub.
    revision : str
        The commit on the hub; empty for a folder.
    fingerprint : str
        Identity of its configuration and weights.
    model_type : str
        Name of its architecture.
    params : ParamCount
        Its parameters; those of tables of positions count as embeddings.
    vocab_size : int
        Rows of the input embedding, often more than the tokenizer has ids.
    width, layers : int
        Features of the residual stream, and blocks.
    """

    checkpoint: str
    revision: str
    fingerprint: str
    model_type: str
    params: ParamCount
    vocab_size: int
    width: int
    layers: int

    @property
    def label(self) -> str:
        """Name for people, with the fingerprint: what the probe log calls the base."""
        path = Path(self.checkpoint)
        name = path.name if path.is_absolute() else self.checkpoint
        return f"{name}@{self.fingerprint}"


ModelSource = ModelShape | Pretrained
"""What the settings of a run say about its model."""


def count_params(source: ModelSource) -> ParamCount:
    """Return the number of parameters, without building the model.

    Examples
    --------
    >>> count_params(ModelShape(96, 3, 3, 256, True, 257))
    ParamCount(total=357120, non_embedding=332448)
    """
    if isinstance(source, Pretrained):
        return source.params
    width = source.width
    block = 4 * width**2 + 3 * width * source.feedforward + 2 * width
    non_embedding = source.layers * block + width
    tables = 1 if source.tied_embeddings else 2
    return ParamCount(non_embedding + tables * source.vocab_size * width, non_embedding)


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
