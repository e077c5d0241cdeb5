"""Tokenizers make token ids of text: bytes, or a byte-pair encoding trained on the two corpora.

A tokenizer is anything with the members of :class:`Tokenizer`; ids are stored in the smallest type
that holds them all, uint16 up to 65536 ids and uint32 above.

Every document ends with one end-of-document token, so a model never reads two documents as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from cmrplan.files import fingerprint

END_OF_DOCUMENT = "<|endofdocument|>"


class Tokenizer(Protocol):
    """What packing and the model need to know of a tokenizer."""

    identity: str
    """Name for provenance; equal names mean equal tokens."""
    vocab_size: int
    """Number of token ids, the end-of-document token included."""

    @property
    def dtype(self) -> np.dtype:
        """Type of the ids; see :func:`token_dtype`."""
        ...

    def encode(self, document: str) -> np.ndarray:
        """Return the ids of a document, its end token included, shape ``(L,)``."""
        ...

    def encode_batch(self, documents: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each document, as :meth:`encode` does."""
        ...

    def decode(self, ids: np.ndarray) -> str:
        """Return the text of ids, end tokens left out."""
        ...


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the type that token ids are stored in.

    Examples
    --------
    >>> token_dtype(65536), token_dtype(65537)
    (dtype('uint16'), dtype('uint32'))
    """
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


class ByteTokenizer:
    """The 256 bytes of UTF-8, and id 256 for the end of a document."""

    identity = "bytes"
    vocab_size = 257
    dtype = token_dtype(vocab_size)

    def encode(self, document: str) -> np.ndarray:
        """Return the ids of a document, its end token included, shape ``(L,)``, uint16."""
        ids = np.frombuffer(document.encode(), dtype=np.uint8).astype(np.uint16)
        return np.append(ids, np.uint16(256))

    def encode_batch(self, documents: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each document."""
        return [self.encode(document) for document in documents]

    def decode(self, ids: np.ndarray) -> str:
        """Return the text of ids, end tokens left out."""
        return ids[ids < 256].astype(np.uint8).tobytes().decode(errors="replace")


class BpeTokenizer:
    """A byte-level BPE of the ``tokenizers`` library, from its JSON definition."""

    def __init__(self, definition: str) -> None:
        from tokenizers import Tokenizer as Backend

        self.definition = definition
        self._backend = Backend.from_str(definition)
        # A document that spells the end token is text like any other.
        self._backend.encode_special_tokens = True
        self._end = self._backend.token_to_id(END_OF_DOCUMENT)
        self.vocab_size = self._backend.get_vocab_size()
        self.dtype = token_dtype(self.vocab_size)
        self.identity = f"bpe-{self.vocab_size}-{fingerprint(definition.encode())}"

    def encode(self, document: str) -> np.ndarray:
        """Return the ids of a document, its end token included, shape ``(L,)``, uint16."""
        return self._ids(self._backend.encode(document).ids)

    def encode_batch(self, documents: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each document; the backend works on several at a time."""
        return [self._ids(encoding.ids) for encoding in self._backend.encode_batch(documents)]

    def decode(self, ids: np.ndarray) -> str:
        """Return the text of ids, end tokens left out."""
        return self._backend.decode([int(i) for i in ids if i != self._end])

    def _ids(self, ids: list[int]) -> np.ndarray:
        return np.array([*ids, self._end], dtype=self.dtype)


def train_bpe(documents: Iterable[str], *, vocab_size: int) -> BpeTokenizer:
    """Train a byte-level BPE; the same documents, in any order, give the same tokenizer.

    Parameters
    ----------
    documents : iterable of str
        Training documents of both corpora (never validation text).
    vocab_size : int
        Token ids wanted, from 257 to 65536; fewer when the text has too few pairs to merge.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, trainers

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(documents, trainer)
    return BpeTokenizer(backend.to_str())
