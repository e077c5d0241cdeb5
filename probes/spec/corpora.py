"""The corpora and the tokenizer of a sweep spec are described here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from probes.spec.fields import Count, OpenFraction, Positive, Spec, Text, Tokens

SMALLEST_BPE_VOCABULARY = 257
"""256 bytes and the end-of-document token."""

EMBEDDED_PREFIX = "embedded:"
DATASETS_PREFIX = "datasets:"


class CorpusSpec(Spec):
    """Where the documents of one corpus come from; see :func:`probes.data.sources.open_source`."""

    source: Text
    """A file, a folder or glob of files, ``datasets:NAME``, ``embedded:english`` or ``embedded:python``."""
    text_field: Text = "text"
    """JSONL field, Parquet or Arrow column, or field of a dataset, with the text."""
    glob: Text | None = None
    """Which files of a folder; those of a known suffix when left out."""
    separator: Text | None = None
    """What stands between the documents of a plain text file; each file is one when left out."""
    config: Text | None = None
    """Configuration of a ``datasets:`` source."""
    split: Text | None = None
    """Split of a ``datasets:`` source (``train`` when left out) or of a saved dataset."""
    max_tokens: Tokens | None = None
    """Training tokens to use; reading stops when there are as many, and enough to evaluate on."""
    max_epochs: Positive | None = None
    """Passes over the training tokens that a run may make; any number when left out."""


class CorporaSpec(Spec):
    """The two corpora and how they are split."""

    general: CorpusSpec
    domain: CorpusSpec
    validation_share: OpenFraction = 0.08
    """Expected share of documents that are held out for validation."""
    unique_domain_tokens: Tokens | None = None
    """Training tokens of the domain corpus that runs see, so that probes repeat as the full run will."""
    near_duplicates: Literal["report", "drop", "ignore"] = "report"
    """What becomes of training documents that are nearly a validation document of their corpus."""


class TokenizerSpec(Spec):
    """Bytes, a byte-pair encoding trained on the training documents, or that of the checkpoints.

    ``checkpoint`` is the default where every size has a checkpoint.
    """

    kind: Literal["bytes", "bpe", "checkpoint"] = "bytes"
    vocab_size: Count | None = None
    """Token ids of a BPE, end-of-document token included."""
    end_of_document: Text | None = None
    """Token that ends a document; the end token of the checkpoint's tokenizer when left out."""

    @model_validator(mode="after")
    def _vocabulary_goes_with_bpe(self) -> TokenizerSpec:
        if self.kind != "checkpoint" and self.end_of_document is not None:
            raise ValueError("end_of_document belongs to kind checkpoint")
        if self.kind == "checkpoint" and self.vocab_size is not None:
            raise ValueError("vocab_size belongs to kind bpe; a checkpoint has its own vocabulary")
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


def absolute_source(source: str, folder: Path) -> str:
    """Return a source whose relative path, if it has one, starts at ``folder``."""
    if source.startswith(EMBEDDED_PREFIX):
        return source
    if source.startswith(DATASETS_PREFIX):  # the name of a dataset, unless there is such a folder
        local = folder / source.removeprefix(DATASETS_PREFIX)
        return DATASETS_PREFIX + str(local) if local.exists() else source
    return str(folder / source)
