"""Corpora are built: they are read once, rid of duplicates, split, tokenized and written to shards.

Documents are tokenized in the order of reading into a spool on disk, and go from there into the
shards in the order of their hashes: so the sequences depend on the documents, not on how they
are spread over files. In memory are a batch of documents and 24 bytes for each document read.

The domain corpus is read first. A text that is in both corpora stays in the domain only (as far as
``max_tokens`` let it be read), so that the domain is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cmrplan.errors import InputError
from cmrplan.files import fingerprint
from cmrplan.log import CORPORA
from probes.data.checkpoint_tokenizer import sweep_tokenizer
from probes.data.corpus_size import (
    PartSize,
    check_corpus_size,
    training_limits,
    training_sequences,
)
from probes.data.display import PreparationDisplay
from probes.data.documents import DocumentSet, TextDigest, document_key, is_validation
from probes.data.near_duplicates import (
    MOST_TRAINING_DOCUMENTS,
    NearDuplicates,
    NearDuplicateSearch,
    can_search,
)
from probes.data.sampling import evaluation_indices
from probes.data.shards import TokenSpool, num_sequences, read_shards, write_shards
from probes.data.sources import Part, changed_while_read, open_source, read_documents
from probes.data.tokens import ByteTokenizer, Tokenizer, train_bpe
from probes.spec.corpora import CorpusSpec
from probes.spec.sweep import SweepSpec

PARTS = ("training", "validation")

BATCH_DOCUMENTS = 256
BATCH_CHARACTERS = 2**20
"""Documents are tokenized so many at a time, or so many characters."""

BPE_CHARACTERS = 2**30
"""A byte-pair encoding is trained on the first so many characters of each corpus."""


@dataclass
class CorpusReading:
    """What reading one corpus gave.

    Parameters
    ----------
    spools, digests : tuple of TokenSpool, tuple of TextDigest
        Tokens and texts of the training and of the validation part.
    duplicates : int
        Documents that were dropped because their text had been seen before.
    search, near_duplicates : optional
        What looks for near-duplicates between training and validation, and what it came to.
    parts : list of dict
        Name, stamp, number of documents and their digest for every file that was read, and whether
        it was read to its end.
    """

    spools: tuple[TokenSpool, TokenSpool]
    digests: tuple[TextDigest, TextDigest] = field(
        default_factory=lambda: (TextDigest(), TextDigest())
    )
    duplicates: int = 0
    search: NearDuplicateSearch | None = None
    near_duplicates: NearDuplicates | None = None
    parts: list[dict[str, Any]] = field(default_factory=list)


def corpora_of(spec: SweepSpec) -> dict[str, CorpusSpec]:
    """Return the corpora of a spec by name."""
    return {name: getattr(spec.corpora, name) for name in CORPORA}


def open_sources(spec: SweepSpec) -> dict[str, list[Part]]:
    """Return the parts of every corpus by its name; no document is read yet.

    Raises
    ------
    InputError
        If a source is not there; names the corpus.
    """
    sources = {}
    for name, corpus in corpora_of(spec).items():
        try:
            sources[name] = open_source(corpus)
        except InputError as error:
            raise InputError(f"corpora.{name}.source: {error}") from None
    return sources


def make_tokenizer(spec: SweepSpec, *, most_characters: int = BPE_CHARACTERS) -> Tokenizer:
    """Return the tokenizer of a spec; a byte-pair encoding is trained on its training documents.

    Parameters
    ----------
    spec : SweepSpec
        Tokenizer and corpora.
    most_characters : int
        How much of each corpus it is trained on.
    """
    if spec.tokenizer.kind == "bpe" and spec.tokenizer.vocab_size:
        documents = _training_documents(spec, most_characters)
        return train_bpe(documents, vocab_size=spec.tokenizer.vocab_size)
    if spec.tokenizer.kind == "checkpoint":
        return sweep_tokenizer(spec)
    return ByteTokenizer()


def build_corpora(
    spec: SweepSpec, folder: Path, tokenizer: Tokenizer, display: PreparationDisplay
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the shards and evaluation sequences of all corpora to ``folder``.

    Parameters
    ----------
    spec : SweepSpec
        Corpora, split and sequence length.
    folder : Path
        An empty folder.
    tokenizer : Tokenizer
        What makes tokens of documents.
    display : PreparationDisplay
        Is told of the progress.

    Returns
    -------
    contents : dict
        Fingerprint, counts and file names: what the manifest says of the data.
    parts : dict
        The parts of each corpus, to recognize them later.

    Raises
    ------
    InputError
        If a source cannot be read.
    CmrplanError
        If a corpus is too small.
    OSError
        If ``folder`` cannot be written to.
    """
    sources = open_sources(spec)
    for name in CORPORA:
        training_limits(spec, name)  # refused before hours of reading
    seen = DocumentSet()
    readings, counts = {}, {}
    with ExitStack() as open_files:
        for name in reversed(CORPORA):
            train, validation = (
                open_files.enter_context(
                    closing(TokenSpool(folder / f"{name}-{part}.spool", tokenizer.dtype))
                )
                for part in PARTS
            )
            search = _search(spec, folder, name)
            if search:
                open_files.enter_context(closing(search))
            readings[name] = CorpusReading((train, validation), search=search)
            _read_corpus(spec, name, sources[name], readings[name], tokenizer, seen, display)
        for name in CORPORA:
            display.writing(name)
            counts[name] = _write_corpus(spec, name, readings[name], tokenizer, folder)
    identity = {name: _identity(spec, readings[name], counts[name]) for name in CORPORA}
    contents = {"data_fingerprint": fingerprint(identity), "corpora": counts}
    return contents, {name: readings[name].parts for name in CORPORA}


def _search(spec: SweepSpec, folder: Path, name: str) -> NearDuplicateSearch | None:
    """Return what looks for the near-duplicates of a corpus, or None where nothing is to.

    Raises
    ------
    InputError
        If they are to be left out and the library for it is not installed.
    """
    wanted = spec.corpora.near_duplicates
    if wanted == "ignore":
        return None
    if not can_search():
        if wanted == "drop":
            raise InputError(
                "corpora.near_duplicates: drop needs datasketch: pip install 'cmrplan[probes]'"
            )
        return None
    return NearDuplicateSearch(
        folder / f"{name}.signatures", most_training=MOST_TRAINING_DOCUMENTS[wanted]
    )


def _identity(spec: SweepSpec, reading: CorpusReading, counts: dict[str, Any]) -> list[Any]:
    """Return what tells the data of a corpus from others; dropped documents stand in it where there are any."""
    identity = [*map(str, reading.digests), counts["cut_to_tokens"]]
    if spec.corpora.near_duplicates == "drop" and reading.near_duplicates:
        if keys := sorted(reading.near_duplicates.keys):
            identity.append(fingerprint(keys))
    return identity


def batches(documents: Iterator[str]) -> Iterator[list[str]]:
    """Yield the documents in lists of a few, by number and by characters."""
    batch: list[str] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document)
        if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _read_corpus(
    spec: SweepSpec,
    name: str,
    parts: list[Part],
    reading: CorpusReading,
    tokenizer: Tokenizer,
    seen: DocumentSet,
    display: PreparationDisplay,
) -> None:
    """Read a corpus to its end, or until it has its ``max_tokens`` and enough to evaluate on."""
    limit = corpora_of(spec)[name].max_tokens
    display.reading(name, sum(part.num_bytes for part in parts), limit)
    train, validation = reading.spools
    held_out = spec.evaluation_sequences * spec.sequence_length
    for part in parts:
        digest, documents, complete = TextDigest(), 0, True
        for batch in batches(part.read()):
            documents += len(batch)
            for document in batch:
                digest.add(document)
            _take_in(batch, reading, tokenizer, seen, spec.corpora.validation_share)
            display.read(len(batch), train.num_tokens + validation.num_tokens, train.num_tokens)
            if limit and train.num_tokens > limit and validation.num_tokens > held_out:
                complete = False
                break
        if changed_while_read(part):
            raise InputError(f"{part.name} changed while it was read; start again when it is whole")
        reading.parts.append(_record(part, documents, digest, complete))
        display.finished(part.num_bytes)
        if not complete:
            return


def _take_in(
    batch: list[str],
    reading: CorpusReading,
    tokenizer: Tokenizer,
    seen: DocumentSet,
    validation_share: float,
) -> None:
    fresh = []
    for document in batch:
        if document.strip():
            if seen.add(key := document_key(document)):
                fresh.append((key, document))
            else:
                reading.duplicates += 1
    tokens = tokenizer.encode_batch([document for _, document in fresh])
    for (key, document), ids in zip(fresh, tokens, strict=True):
        part = is_validation(key, validation_share)
        reading.spools[part].add(key, ids)
        if reading.search:
            reading.search.add(key, document, in_validation=bool(part))
        reading.digests[part].add(document)


def _record(part: Part, documents: int, digest: TextDigest, complete: bool) -> dict[str, Any]:
    return {
        "name": part.name,
        "stamp": list(part.stamp),
        "documents": documents,
        "digest": str(digest),
        "complete": complete,
    }


def _write_corpus(
    spec: SweepSpec, name: str, reading: CorpusReading, tokenizer: Tokenizer, folder: Path
) -> dict[str, Any]:
    """Write one corpus in the order of its documents' hashes; return its entry of the manifest."""
    length = spec.sequence_length
    train, validation = reading.spools
    if reading.search:
        reading.near_duplicates = reading.search.near_duplicates()
        (folder / f"{name}.signatures").unlink()
        if spec.corpora.near_duplicates == "drop":
            train.leave_out(reading.near_duplicates.keys)
    parts = (PartSize(len(spool), spool.num_tokens) for spool in reading.spools)
    check_corpus_size(spec, name, *parts)
    available = num_sequences(train.num_tokens, length)
    sequences = training_sequences(spec, name, train.num_tokens)
    write = partial(write_shards, folder, sequence_length=length, dtype=tokenizer.dtype)
    names = write(f"{name}-train", train.in_order(), sequences=sequences)
    num_validation = num_sequences(validation.num_tokens, length)
    held_out = write(f"{name}-heldout", validation.in_order(), sequences=num_validation)
    chosen = evaluation_indices(num_validation, spec.evaluation_sequences, corpus=name)
    sequences_ET = read_shards(folder, held_out, sequence_length=length)[chosen]
    np.save(folder / f"{name}-evaluation.npy", sequences_ET, allow_pickle=False)
    for file in [*held_out, *(f"{name}-{part}.spool" for part in PARTS)]:
        (folder / file).unlink()
    return {
        "source": corpora_of(spec)[name].source,
        "train_documents": len(train),
        "validation_documents": len(validation),
        "duplicate_documents": reading.duplicates,
        "near_duplicates": reading.near_duplicates.as_dict() if reading.near_duplicates else None,
        "train_tokens": sequences * length,
        "available_train_tokens": available * length,
        "cut_to_tokens": sequences * length if sequences < available else None,
        "validation_tokens": num_validation * length,
        "train_sequences": sequences,
        "train_shards": names,
    }


def _training_documents(spec: SweepSpec, most_characters: int) -> Iterator[str]:
    """Yield the distinct training documents of all corpora, up to so many characters of each."""
    seen = DocumentSet()
    for corpus in reversed(corpora_of(spec).values()):
        characters = 0
        for document in read_documents(corpus):
            key = document_key(document)
            if not document.strip() or not seen.add(key):
                continue
            if not is_validation(key, spec.corpora.validation_share):
                characters += len(document)
                yield document
            if characters >= most_characters:
                break
