"""A corpus must have the text that a spec asks of it: to train on, to evaluate on, and as many unique tokens.

Preparing a corpus refuses one that is too small; a survey says so before.
"""

from __future__ import annotations

from typing import NamedTuple

from cmrplan.errors import CmrplanError, InputError
from probes.data.shards import num_sequences
from probes.spec.sweep import SweepSpec


class PartSize(NamedTuple):
    """Documents and tokens of the training or of the validation part of a corpus."""

    documents: int = 0
    tokens: int = 0


def training_limits(spec: SweepSpec, name: str) -> dict[str, float]:
    """Return the limits of a corpus's training tokens by their keys in the spec.

    Raises
    ------
    InputError
        If a limit is less than a sequence.
    """
    limits = {f"corpora.{name}.max_tokens": getattr(spec.corpora, name).max_tokens}
    if name == "domain":
        limits["corpora.unique_domain_tokens"] = spec.corpora.unique_domain_tokens
    given = {key: limit for key, limit in limits.items() if limit is not None}
    for key, limit in given.items():
        if limit < spec.sequence_length:
            raise InputError(
                f"{key} is {limit:g}, less than one sequence of {spec.sequence_length} tokens; give more"
            )
    return given


def training_sequences(spec: SweepSpec, name: str, tokens: int) -> int:
    """Return how many sequences of a corpus with so many training tokens are trained on."""
    limits = training_limits(spec, name).values()
    available = num_sequences(tokens, spec.sequence_length)
    return min([available, *(int(limit // spec.sequence_length) for limit in limits)])


def check_corpus_size(spec: SweepSpec, name: str, training: PartSize, validation: PartSize) -> None:
    """Refuse a corpus that has too few documents or tokens for what the spec asks of it.

    Raises
    ------
    CmrplanError
        If a part is empty or too small, or the domain has fewer tokens than ``unique_domain_tokens``.
    """
    for part, size in (("training", training), ("validation", validation)):
        if not size.documents:
            documents = training.documents + validation.documents
            raise CmrplanError(
                f"corpora.{name} has {documents} distinct documents and none for {part} "
                f"at validation_share {spec.corpora.validation_share:g}; give more documents or another share"
            )
    length = spec.sequence_length
    _refuse_too_small(training, f"corpora.{name} (training part)", length, 1)
    needed = spec.evaluation_sequences
    _refuse_too_small(validation, f"corpora.{name} (validation part)", length, needed)
    unique = spec.corpora.unique_domain_tokens if name == "domain" else None
    available = num_sequences(training.tokens, length)
    if unique is not None and unique // length > available:
        raise CmrplanError(
            f"corpora.unique_domain_tokens is {unique:g}, but corpora.domain has "
            f"{available * length} training tokens; lower it or give more text"
        )


def _refuse_too_small(size: PartSize, name: str, sequence_length: int, needed: int) -> None:
    sequences = num_sequences(size.tokens, sequence_length)
    if sequences < needed:
        raise CmrplanError(
            f"{name} has {size.tokens} tokens, {sequences} sequences of {sequence_length}; "
            f"{needed} are needed ({needed * sequence_length + 1} tokens): give more text, or "
            "lower sequence_length or evaluation_sequences"
        )
