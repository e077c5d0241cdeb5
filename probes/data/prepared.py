"""Prepare the corpora of a sweep once: read, split, tokenize, pack, store; later only load.

The folder holds one array of packed tokens per corpus and part, the tokenizer and a manifest,
which is written last: with it the folder is complete, without it the work is done again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmrplan.errors import InputError
from cmrplan.files import atomic_write, fingerprint, read_json, write_json, write_text
from probes.data.corpora import (
    EMBEDDED_PREFIX,
    data_fingerprint,
    read_documents,
    source_files,
    split_documents,
)
from probes.data.packing import pack_corpus
from probes.data.sampling import evaluation_indices
from probes.data.tokens import ByteTokenizer, Tokenizer, train_bpe
from probes.locks import locked
from probes.settings import DataIdentity
from probes.spec.corpora import CorpusSpec
from probes.spec.sweep import SweepSpec

CORPORA = ("general", "domain")
_FORMAT = 1
"""Raised when the stored form or the embedded corpora change."""


@dataclass(frozen=True)
class PreparedCorpora:
    """The packed sequences of both corpora and what they came from.

    Parameters
    ----------
    train : mapping of str to ndarray, shape (S, T + 1)
        Training sequences of ``general`` and ``domain``, uint16, mapped from disk.
    evaluation : mapping of str to ndarray, shape (E, T + 1)
        The fixed evaluation sequences of each corpus.
    manifest : dict
        Counts of documents and tokens, tokenizer and fingerprints.
    """

    train: Mapping[str, np.ndarray]
    evaluation: Mapping[str, np.ndarray]
    manifest: dict[str, Any]

    @property
    def identity(self) -> DataIdentity:
        """What the settings of runs say about the data."""
        return DataIdentity(
            *(self.manifest[key] for key in ("data_fingerprint", "tokenizer", "vocab_size"))
        )


def prepare_corpora(spec: SweepSpec, folder: Path) -> PreparedCorpora:
    """Prepare the corpora of a spec in ``folder``, or load them if they are there.

    Raises
    ------
    InputError
        If a source cannot be read, or the folder holds other corpora.
    CmrplanError
        If a corpus is too small.
    """
    key = _source_key(spec)
    with locked(folder):
        if not (folder / "manifest.json").exists():
            _prepare(spec, folder, key)
    corpora = load_corpora(folder)
    if corpora.manifest["source_key"] != key:
        raise InputError(
            f"{folder} was prepared from other sources or settings of corpora, tokenizer or "
            "sequences (or another Python version); choose another output folder"
        )
    return corpora


def load_corpora(folder: Path) -> PreparedCorpora:
    """Load prepared corpora; training tokens stay on disk until they are used."""
    manifest = read_json(folder / "manifest.json")
    return PreparedCorpora(
        train={
            name: np.load(folder / f"{name}-train.npy", mmap_mode="r", allow_pickle=False)
            for name in CORPORA
        },
        evaluation={
            name: np.load(folder / f"{name}-evaluation.npy", allow_pickle=False) for name in CORPORA
        },
        manifest=manifest,
    )


def _prepare(spec: SweepSpec, folder: Path, key: str) -> None:
    """Do the work of :func:`prepare_corpora`."""
    documents = {
        name: read_documents(corpus.source, text_field=corpus.text_field, glob=corpus.glob)
        for name, corpus in _corpora(spec)
    }
    splits = split_documents(documents, validation_share=spec.corpora.validation_share)
    tokenizer: Tokenizer = ByteTokenizer()
    if spec.tokenizer.kind == "bpe":
        train_documents = [text for split in splits.values() for text in split.train]
        bpe = train_bpe(train_documents, vocab_size=spec.tokenizer.vocab_size)
        write_text(folder / "tokenizer.json", bpe.definition)
        tokenizer = bpe

    counts: dict[str, Any] = {}
    for name, split in splits.items():
        train = pack_corpus(
            split.train,
            tokenizer,
            name=f"corpora.{name} (training part)",
            sequence_length=spec.sequence_length,
            needed=1,
        )
        validation = pack_corpus(
            split.validation,
            tokenizer,
            name=f"corpora.{name} (validation part)",
            sequence_length=spec.sequence_length,
            needed=spec.evaluation_sequences,
        )
        chosen = evaluation_indices(len(validation), spec.evaluation_sequences, corpus=name)
        _save(folder / f"{name}-train.npy", train)
        _save(folder / f"{name}-evaluation.npy", validation[chosen])
        counts[name] = {
            "train_documents": len(split.train),
            "validation_documents": len(split.validation),
            "duplicate_documents": split.duplicates,
            "train_tokens": len(train) * spec.sequence_length,
            "validation_tokens": len(validation) * spec.sequence_length,
        }
    write_json(
        folder / "manifest.json",
        {
            "source_key": key,
            "sources": {name: corpus.source for name, corpus in _corpora(spec)},
            "data_fingerprint": data_fingerprint(splits),
            "tokenizer": tokenizer.identity,
            "vocab_size": tokenizer.vocab_size,
            "sequence_length": spec.sequence_length,
            "corpora": counts,
        },
    )


def _corpora(spec: SweepSpec) -> list[tuple[str, CorpusSpec]]:
    return [(name, getattr(spec.corpora, name)) for name in CORPORA]


def _source_key(spec: SweepSpec) -> str:
    """Identify the sources without reading them: file sizes and times, or the Python version."""
    sources: list[Any] = []
    for _, corpus in _corpora(spec):
        if corpus.source.startswith(EMBEDDED_PREFIX):
            sources.append([corpus.source, sys.version])
        else:
            for path in source_files(corpus.source, glob=corpus.glob):
                status = path.stat()
                sources.append([str(path), status.st_size, status.st_mtime_ns, corpus.text_field])
    return fingerprint(
        {
            "format": _FORMAT,
            "sources": sources,
            "validation_share": spec.corpora.validation_share,
            "tokenizer": spec.tokenizer.model_dump(),
            "sequence_length": spec.sequence_length,
            "evaluation_sequences": spec.evaluation_sequences,
        }
    )


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_write(path) as temporary, open(temporary, "wb") as stream:
        np.save(stream, array, allow_pickle=False)
