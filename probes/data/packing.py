"""Tokenize and pack each corpus before anything is mixed.

The documents of one part of one corpus become one stream of tokens, cut into sequences of
``sequence_length + 1`` tokens that overlap by one: ``sequence_length`` predictions each, and every
token but the first is predicted once. All sequences have the same length, so a share of
sequences is a share of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cmrplan.errors import CmrplanError
from probes.data.tokens import Tokenizer


def token_stream(documents: Iterable[str], tokenizer: Tokenizer) -> np.ndarray:
    """Return all tokens of the documents, one after the other, shape ``(L,)``, uint16."""
    return np.concatenate([tokenizer.encode(document) for document in documents])


def pack(stream_L: np.ndarray, *, sequence_length: int) -> np.ndarray:
    """Cut a stream into sequences that overlap by one token; the rest is dropped.

    Parameters
    ----------
    stream_L : ndarray, shape (L,)
        Token ids.
    sequence_length : int
        Predictions T in a sequence.

    Returns
    -------
    ndarray, shape (S, T + 1)
        ``S = (L - 1) // T``; a read-only view of the stream.

    Examples
    --------
    >>> pack(np.arange(8), sequence_length=3).tolist()
    [[0, 1, 2, 3], [3, 4, 5, 6]]
    """
    windows = np.lib.stride_tricks.sliding_window_view(stream_L, sequence_length + 1)
    return windows[::sequence_length]


def pack_corpus(
    documents: Iterable[str], tokenizer: Tokenizer, *, name: str, sequence_length: int, needed: int
) -> np.ndarray:
    """Tokenize and pack the documents of one part of a corpus.

    Raises
    ------
    CmrplanError
        If there are fewer than ``needed`` sequences; says how many tokens there are.
    """
    stream = token_stream(documents, tokenizer)
    num_sequences = max(0, (len(stream) - 1) // sequence_length)
    if num_sequences < needed:
        raise CmrplanError(
            f"{name} has {len(stream)} tokens, {num_sequences} sequences of {sequence_length}; "
            f"{needed} are needed ({needed * sequence_length + 1} tokens): give more text, or "
            "lower sequence_length or evaluation_sequences"
        )
    return pack(stream, sequence_length=sequence_length)
