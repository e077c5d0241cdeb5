"""Corpora and tokenizer of a sweep spec."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from probes.data.tokens import SMALLEST_BPE_VOCABULARY
from probes.spec.fields import Count, OpenFraction, Spec, Text


class CorpusSpec(Spec):
    """Where the documents of one corpus come from; see :func:`probes.data.corpora.read_documents`."""

    source: Text
    """``embedded:english``, ``embedded:python``, a folder, a ``.jsonl`` or ``.parquet`` file."""
    text_field: Text = "text"
    """JSONL field or Parquet column with the text."""
    glob: Text = "**/*.txt"
    """Which files of a folder are documents."""


class CorporaSpec(Spec):
    """The two corpora and how they are split."""

    general: CorpusSpec
    domain: CorpusSpec
    validation_share: OpenFraction = 0.08
    """Expected share of documents that are held out for validation."""


class TokenizerSpec(Spec):
    """Bytes, or a byte-pair encoding trained on the training documents of both corpora."""

    kind: Literal["bytes", "bpe"] = "bytes"
    vocab_size: Count | None = None
    """Token ids of a BPE, end-of-document token included."""

    @model_validator(mode="after")
    def _vocabulary_goes_with_bpe(self) -> TokenizerSpec:
        if self.kind == "bytes" and self.vocab_size is not None:
            raise ValueError("vocab_size belongs to kind bpe; the bytes tokenizer has 257 ids")
        if self.kind == "bpe":
            if self.vocab_size is None:
                raise ValueError("kind bpe needs vocab_size")
            if not SMALLEST_BPE_VOCABULARY <= self.vocab_size <= 2**16:
                raise ValueError(
                    f"vocab_size must be {SMALLEST_BPE_VOCABULARY} to 65536, got {self.vocab_size}"
                )
        return self
