"""The checkpoints, tokenizer and sequence length of a sweep must fit together.

They are checked before anything is read or trained.
"""

from __future__ import annotations

from typing import Any

from cmrplan.errors import InputError
from probes.data.checkpoint_tokenizer import sweep_tokenizer
from probes.data.tokens import ByteTokenizer
from probes.models.checkpoint_files import checkpoint_folder, weight_files
from probes.models.pretrained import read_config
from probes.spec.sizes import CheckpointSpec
from probes.spec.sweep import SweepSpec


def check_checkpoints(spec: SweepSpec) -> None:
    """Refuse checkpoints that are not there, or do not fit the tokenizer or the sequence length.

    Raises
    ------
    InputError
        One line with the size, what was found and what would be right.
    """
    if not spec.checkpoints:
        return
    vocab_size = spec_vocab_size(spec)
    for size in spec.checkpoints:
        folder = checkpoint_folder(size.checkpoint, size.revision)
        weight_files(folder)
        text = read_config(folder).get_text_config()
        _check_vocabulary(spec, size, vocab_size, rows=text.vocab_size)
        _check_length(spec, size, getattr(text, "max_position_embeddings", None))


def check_prepared(spec: SweepSpec, tokenizer: str) -> None:
    """Refuse corpora that were prepared with another tokenizer than the checkpoints have now."""
    if spec.tokenizer.kind != "checkpoint":
        return
    now = sweep_tokenizer(spec).identity
    if now != tokenizer:
        raise InputError(
            f"the corpora were prepared with the tokenizer {tokenizer}, now {spec.checkpoints[0].checkpoint} "
            f"has {now}; choose another output folder"
        )


def spec_vocab_size(spec: SweepSpec) -> int:
    """Return how many token ids a spec asks for; a trained byte-pair encoding may get fewer."""
    if spec.tokenizer.kind == "checkpoint":
        return sweep_tokenizer(spec).vocab_size
    return spec.tokenizer.vocab_size or ByteTokenizer.vocab_size


def _check_vocabulary(spec: SweepSpec, size: CheckpointSpec, vocab_size: int, *, rows: int) -> None:
    kind = spec.tokenizer.kind
    if kind == "checkpoint" and vocab_size > rows:
        raise InputError(
            f"size '{size.name}': its tokenizer has {vocab_size} ids and the embedding of {size.checkpoint} "
            f"{rows} rows; give the tokenizer that the checkpoint was trained with, or resize its embedding"
        )
    if kind != "checkpoint" and vocab_size != rows:
        raise InputError(
            f"size '{size.name}': the {kind} tokenizer has {vocab_size} ids and the embedding of {size.checkpoint} "
            f"{rows} rows; set tokenizer: {{kind: checkpoint}}"
        )


def _check_length(spec: SweepSpec, size: CheckpointSpec, positions: Any) -> None:
    if isinstance(positions, int) and spec.sequence_length > positions:
        raise InputError(
            f"sequence_length {spec.sequence_length} is more than the {positions} positions of size "
            f"'{size.name}'; take {positions} or less"
        )
