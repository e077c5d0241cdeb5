"""The tokenizer of a checkpoint is read from its ``tokenizer.json``.

It is read with the ``tokenizers`` library and not with ``AutoTokenizer``, which takes half a second longer
and in version 5 replaces the pre-tokenizer of some checkpoints by that of their class
(huggingface/transformers#45488).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmrplan.errors import InputError
from cmrplan.files import fingerprint, read_text
from probes.data.tokens import token_dtype
from probes.models.checkpoint_files import checkpoint_folder, read_json_object
from probes.spec.sweep import SweepSpec


class CheckpointTokenizer:
    """A tokenizer that was made for a checkpoint.

    A document gets what the tokenizer puts around a text (often a begin token) and the end token. A
    document that spells a special token is text like any other.

    Parameters
    ----------
    definition : str
        The content of a ``tokenizer.json``.
    end_of_document : str
        The token that ends a document.

    Raises
    ------
    ValueError
        If the definition cannot be read, or has no such token.
    """

    def __init__(self, definition: str, end_of_document: str) -> None:
        from tokenizers import Tokenizer as Backend

        try:
            self._backend = Backend.from_str(definition)
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(str(error)) from None
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True
        self._end = self._backend.token_to_id(end_of_document)
        if self._end is None:
            raise ValueError(f"it has no token {end_of_document!r}")
        self.definition = definition
        self.vocab_size = 1 + max(self._backend.get_vocab(with_added_tokens=True).values())
        self.dtype = token_dtype(self.vocab_size)
        content = fingerprint([self._backend.to_str(), end_of_document])
        self.identity = f"checkpoint-{self.vocab_size}-{content}"

    def encode(self, document: str) -> np.ndarray:
        """Return the ids of a document, its end token included, shape ``(L,)``."""
        return self._ids(self._backend.encode(document).ids)

    def encode_batch(self, documents: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each document; the backend works on several at a time."""
        return [self._ids(encoding.ids) for encoding in self._backend.encode_batch(documents)]

    def decode(self, ids: np.ndarray) -> str:
        """Return the text of ids, special tokens left out."""
        return self._backend.decode(ids.tolist(), skip_special_tokens=True)

    def _ids(self, ids: list[int]) -> np.ndarray:
        if ids and ids[-1] == self._end:  # some tokenizers end a text themselves
            return np.array(ids, dtype=self.dtype)
        return np.array([*ids, self._end], dtype=self.dtype)


def read_tokenizer(folder: Path, *, end_of_document: str | None = None) -> CheckpointTokenizer:
    """Read the tokenizer of a checkpoint.

    Parameters
    ----------
    folder : Path
        The checkpoint.
    end_of_document : str, optional
        The token that ends a document; the end token in its tokenizer's configuration when left out.

    Raises
    ------
    InputError
        If there is none, or it has no such token.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        raise InputError(
            f"{folder} has no tokenizer.json; write one there with "
            "AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        )
    end = end_of_document or _end_token(folder)
    if end is None:
        raise InputError(
            f"{folder} names no end token in tokenizer_config.json; say in the spec which token ends a document: "
            "tokenizer: {kind: checkpoint, end_of_document: ...}"
        )
    try:
        return CheckpointTokenizer(read_text(path), end)
    except ValueError as error:
        raise InputError(
            f"{path}: {str(error).splitlines()[0]}; give a tokenizer of the tokenizers library and a token "
            "of it as tokenizer.end_of_document"
        ) from None


def sweep_tokenizer(spec: SweepSpec) -> CheckpointTokenizer:
    """Return the tokenizer that all checkpoints of a spec have.

    Raises
    ------
    InputError
        If one has none, or another one.
    """
    first, *others = [
        read_tokenizer(
            checkpoint_folder(size.checkpoint, size.revision),
            end_of_document=spec.tokenizer.end_of_document,
        )
        for size in spec.checkpoints
    ]
    for size, other in zip(spec.checkpoints[1:], others, strict=True):
        if other.identity != first.identity:
            raise InputError(
                f"sizes '{spec.checkpoints[0].name}' and '{size.name}' have different tokenizers "
                f"({first.identity} and {other.identity}), so their losses cannot be compared; give each its own sweep"
            )
    return first


def _end_token(folder: Path) -> str | None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        token: Any = read_json_object(folder / name).get("eos_token")
        if isinstance(token, dict):  # an added token with its options
            token = token.get("content")
        if isinstance(token, str) and token:
            return token
    return None
