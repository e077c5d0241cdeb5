"""From text to two clean corpora: read documents, drop duplicates, split by document.

A corpus is a list of documents (strings). Steps, in the order of the functions below::

    source -> read_documents -> split_documents -> Split(train, validation) per corpus

Which split a document belongs to depends on its own text alone, so adding documents never moves
one, and a text that is in both corpora falls on the same side of both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cmrplan.errors import CmrplanError, InputError
from cmrplan.files import fingerprint, read_text
from probes.data.embedded import EMBEDDED

EMBEDDED_PREFIX = "embedded:"


@dataclass(frozen=True)
class Split:
    """The documents of one corpus, each in one of two parts, sorted by the hash of their text.

    Parameters
    ----------
    train, validation : tuple of str
        Documents to train on and documents to evaluate on; no text is in both.
    duplicates : int
        Documents that were dropped because their text had been seen before.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    duplicates: int


def read_documents(source: str, *, text_field: str = "text", glob: str = "**/*.txt") -> list[str]:
    """Read the documents of one corpus.

    Parameters
    ----------
    source : str
        ``embedded:english``, ``embedded:python``, a folder of text files, or a ``.jsonl`` or
        ``.parquet`` file.
    text_field : str
        The JSONL field or Parquet column that holds the text.
    glob : str
        Which files of a folder are documents.

    Raises
    ------
    InputError
        If the source does not exist or a document cannot be read; names file, row and field.
    """
    if source.startswith(EMBEDDED_PREFIX):
        name = source.removeprefix(EMBEDDED_PREFIX)
        if name not in EMBEDDED:
            valid = ", ".join(EMBEDDED_PREFIX + known for known in EMBEDDED)
            raise InputError(f"unknown corpus '{source}'; embedded corpora: {valid}")
        return EMBEDDED[name]()
    return [
        document
        for path in source_files(source, glob=glob)
        for document in _read_file(path, text_field)
    ]


def source_files(source: str, *, glob: str = "**/*.txt") -> list[Path]:
    """Return the files of a source that is not embedded, in a fixed order.

    Raises
    ------
    InputError
        If there is nothing at ``source``, or nothing that can be read as a corpus.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.glob(glob) if file.is_file())
        if not files:
            raise InputError(
                f"{source}: no file matches glob '{glob}'; set glob to your text files"
            )
        return files
    if not path.exists():
        raise InputError(
            f"{source}: no such file or folder; give a folder of text files, a .jsonl or "
            "a .parquet file, embedded:english or embedded:python"
        )
    if path.suffix not in (".jsonl", ".parquet"):
        raise InputError(
            f"{source}: a corpus is a folder of text files, a .jsonl or a .parquet file, "
            f"not '{path.suffix or path.name}'"
        )
    return [path]


def split_documents(
    corpora: Mapping[str, list[str]], *, validation_share: float
) -> dict[str, Split]:
    """Drop duplicate and empty documents and split each corpus by document.

    Two documents are the same when their texts are equal up to white space. A document that
    several corpora have stays in the last of them only (the domain, which is then complete).

    Parameters
    ----------
    corpora : mapping of str to list of str
        Documents by corpus name.
    validation_share : float
        Expected share of documents that go to validation, in (0, 1).

    Raises
    ------
    CmrplanError
        If a corpus has no document left in one of its two parts.
    """
    taken: set[str] = set()
    splits: dict[str, Split] = {}
    for name in reversed(list(corpora)):
        unique: dict[str, str] = {}
        for document in corpora[name]:
            if document.strip():
                unique.setdefault(document_hash(document), document)
        fresh = sorted(key for key in unique if key not in taken)
        taken.update(fresh)
        parts: tuple[list[str], list[str]] = ([], [])
        for key in fresh:
            parts[is_validation(key, validation_share)].append(unique[key])
        num_texts = sum(bool(document.strip()) for document in corpora[name])
        splits[name] = Split(tuple(parts[0]), tuple(parts[1]), num_texts - len(fresh))
        for part, documents in zip(("training", "validation"), parts, strict=True):
            if not documents:
                raise CmrplanError(
                    f"corpora.{name} has {len(fresh)} distinct documents and none for {part} at "
                    f"validation_share {validation_share:g}; give more documents or another share"
                )
    return {name: splits[name] for name in corpora}


def document_hash(document: str) -> str:
    """Return the SHA-256 (hex) of a document's text with white space normalized."""
    return hashlib.sha256(" ".join(document.split()).encode()).hexdigest()


def is_validation(document_hash: str, validation_share: float) -> bool:
    """Tell from its hash alone whether a document belongs to the validation part."""
    return int(document_hash[:13], 16) < validation_share * 16**13


def data_fingerprint(splits: Mapping[str, Split]) -> str:
    """Return a fingerprint of every document's exact text, its corpus and its part."""
    return fingerprint(
        {
            name: [
                [hashlib.sha256(document.encode()).hexdigest() for document in part]
                for part in (split.train, split.validation)
            ]
            for name, split in splits.items()
        }
    )


def _read_file(path: Path, text_field: str) -> list[str]:
    if path.suffix == ".jsonl":
        return _read_jsonl(path, text_field)
    if path.suffix == ".parquet":
        return _read_parquet(path, text_field)
    return [read_text(path)]


def _read_jsonl(path: Path, text_field: str) -> list[str]:
    documents = []
    for row, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path} row {row}: not JSON ({error.msg})") from None
        if not isinstance(record, dict):
            raise InputError(f"{path} row {row}: expected a JSON object, got {line.strip()[:40]}")
        if text_field not in record:
            raise InputError(
                f"{path} row {row}: no field '{text_field}'; fields: {', '.join(record)}; "
                "set text_field"
            )
        documents.append(_text(record[text_field], path, row, text_field))
    return documents


def _read_parquet(path: Path, text_field: str) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_schema(path).names
        if text_field not in columns:
            raise InputError(
                f"{path}: no column '{text_field}'; columns: {', '.join(columns)}; set text_field"
            )
        values = pq.read_table(path, columns=[text_field]).column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a Parquet file: {str(error).splitlines()[0]}") from None
    return [_text(value, path, row, text_field) for row, value in enumerate(values, start=1)]


def _text(value: object, path: Path, row: int, text_field: str) -> str:
    if not isinstance(value, str):
        raise InputError(
            f"{path} row {row}: field '{text_field}' must be text, got "
            f"{json.dumps(value, default=str)[:40]}"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{path} row {row}: field '{text_field}' has a lone surrogate, which is not text"
        ) from None
    return value
