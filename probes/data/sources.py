"""The documents of a corpus come from the parts of a source, each read lazily.

A source is an embedded corpus, a file, a folder or glob of files (shards), a folder that
``datasets.save_to_disk`` wrote, or ``datasets:NAME`` for a streamed Hugging Face dataset. Each of
its files is a :class:`Part`, with a stamp that changes when the file does.
"""

from __future__ import annotations

import glob as globbing
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cmrplan.errors import InputError
from cmrplan.files import read_json
from probes.data.embedded import EMBEDDED
from probes.data.readers import COMPRESSIONS, checked_text, file_kind, read_file
from probes.spec.corpora import DATASETS_PREFIX, EMBEDDED_PREFIX, CorpusSpec

CORPUS_SUFFIXES = (".jsonl", ".ndjson", ".parquet", ".arrow", ".txt")
"""What a folder is searched for when no glob is given; JSONL and text may be compressed."""

_ACCEPTED = (
    "give a .jsonl, .parquet, .arrow or .txt file (.jsonl and .txt also as .gz or .zst), a folder or a glob of them, "
    "datasets:NAME, embedded:english or embedded:python"
)


@dataclass(frozen=True)
class Part:
    """One file of a source, or all of a source that has no files.

    Parameters
    ----------
    name : str
        Path, or name of the source.
    stamp : tuple of int or str
        Equal stamps mean unchanged content: size and time of a file, version of an embedded corpus.
    read : callable
        Returns an iterator of the documents.
    num_bytes : int
        Size of the file; 0 where there is none.
    """

    name: str
    stamp: tuple[int | str, ...]
    read: Callable[[], Iterator[str]]
    num_bytes: int = 0


def open_source(corpus: CorpusSpec) -> list[Part]:
    """Return the parts of a corpus in the order in which they are read; nothing is read yet.

    Parameters
    ----------
    corpus : CorpusSpec
        Source and how to read it.

    Raises
    ------
    InputError
        If there is nothing at the source, or nothing that can be read as a corpus.
    """
    source = corpus.source
    if source.startswith(EMBEDDED_PREFIX):
        name = source.removeprefix(EMBEDDED_PREFIX)
        if name not in EMBEDDED:
            valid = ", ".join(EMBEDDED_PREFIX + known for known in EMBEDDED)
            raise InputError(f"unknown corpus '{source}'; embedded corpora: {valid}")
        return [Part(source, (sys.version,), lambda: iter(EMBEDDED[name]()))]
    if source.startswith(DATASETS_PREFIX):
        return [_streamed_dataset(corpus)]
    return [file_part(path, corpus) for path in source_files(corpus)]


def read_documents(corpus: CorpusSpec) -> Iterator[str]:
    """Yield the documents of a corpus, part by part.

    Raises
    ------
    InputError
        If the source does not exist or a document cannot be read; names file, row and field.
    """
    for part in open_source(corpus):
        yield from part.read()


def source_files(corpus: CorpusSpec) -> list[Path]:
    """Return the files of a source in the order of their paths.

    Raises
    ------
    InputError
        If there is none, or they are of several kinds and ``glob`` does not choose.
    """
    path = Path(corpus.source)
    if path.is_dir():
        if saved := _saved_dataset(path, corpus.split):
            return saved
        return _folder_files(path, corpus.glob)
    if path.exists():
        if not _has_known_suffix(path):
            suffix = path.suffix or path.name
            raise InputError(f"{path}: '{suffix}' is no form of a corpus; {_ACCEPTED}")
        return [path]
    if globbing.has_magic(corpus.source):
        files = sorted(map(Path, globbing.glob(corpus.source, recursive=True)))
        files = [file for file in files if file.is_file()]
        if not files:
            raise InputError(f"{corpus.source}: no file matches; {_ACCEPTED}")
        return files
    raise InputError(f"{path}: no such file or folder; {_ACCEPTED}")


def file_part(path: Path, corpus: CorpusSpec) -> Part:
    """Return a file of a corpus as a part; see :func:`probes.data.readers.read_file`."""
    status = path.stat()
    read = partial(read_file, path, text_field=corpus.text_field, separator=corpus.separator)
    return Part(str(path), (status.st_size, status.st_mtime_ns), read, status.st_size)


def _folder_files(folder: Path, glob: str | None) -> list[Path]:
    files = sorted(file for file in folder.glob(glob or "**/*") if file.is_file())
    if glob is None:
        files = [file for file in files if _has_known_suffix(file)]
        kinds = sorted({file_kind(file) for file in files})
        if len(kinds) > 1:
            raise InputError(
                f"{folder} has files of several kinds ({', '.join(kinds)}); set glob to those of the corpus"
            )
    if not files:
        wanted = (
            f"glob '{glob}'" if glob else f"{', '.join('*' + suffix for suffix in CORPUS_SUFFIXES)}"
        )
        raise InputError(f"{folder}: no file matches {wanted}; set glob to your files")
    return files


def _has_known_suffix(path: Path) -> bool:
    if path.suffix in COMPRESSIONS:
        return Path(path.stem).suffix in (".jsonl", ".ndjson", ".txt")
    return path.suffix in CORPUS_SUFFIXES


def _saved_dataset(folder: Path, split: str | None) -> list[Path] | None:
    """Return the Arrow files of a folder that ``datasets.save_to_disk`` wrote, or None."""
    if (folder / "dataset_dict.json").exists():
        splits = read_json(folder / "dataset_dict.json")["splits"]
        chosen = split or (splits[0] if len(splits) == 1 else None)
        if chosen is None or chosen not in splits:
            problem = f"no split '{split}'" if split else "several splits"
            raise InputError(f"{folder} has {problem}; set split to one of {', '.join(splits)}")
        folder = folder / chosen
    if not (folder / "state.json").exists():
        return None
    return [folder / file["filename"] for file in read_json(folder / "state.json")["_data_files"]]


def _streamed_dataset(corpus: CorpusSpec) -> Part:
    name = corpus.source.removeprefix(DATASETS_PREFIX)
    stamp: list[int | str] = [corpus.config or "", corpus.split or ""]
    if Path(name).exists():
        for file in sorted(file for file in Path(name).rglob("*") if file.is_file()):
            status = file.stat()
            stamp += [str(file), status.st_size, status.st_mtime_ns]
    elif Path(name).is_absolute():
        raise InputError(
            f"{corpus.source}: no such file or folder; give a folder or a dataset's name"
        )
    return Part(corpus.source, tuple(stamp), partial(_stream, name, corpus))


def _stream(name: str, corpus: CorpusSpec) -> Iterator[str]:
    """Yield the texts of a dataset that the ``datasets`` library streams."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise InputError(
            f"{corpus.source} needs the datasets library: pip install 'cmrplan[datasets]'"
        ) from None

    split = corpus.split or "train"
    rows: Iterator[dict[str, Any]]
    try:
        rows = iter(load_dataset(name, corpus.config, split=split, streaming=True))
    except Exception as error:  # the library raises its own, the hub's and the file formats' errors
        raise InputError(f"{corpus.source}, split '{split}': {_one_line(error)}") from None
    row = 0
    while True:
        row += 1
        where = f"{corpus.source} row {row}"
        try:
            record = next(rows)
        except StopIteration:
            return
        except Exception as error:
            raise InputError(f"{where}: {_one_line(error)}") from None
        if corpus.text_field not in record:
            fields = ", ".join(record)
            raise InputError(
                f"{where}: no field '{corpus.text_field}'; fields: {fields}; set text_field"
            )
        yield checked_text(record[corpus.text_field], where, corpus.text_field)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}…"


def changed_while_read(part: Part) -> bool:
    """Tell whether the file of a part is another one than when its source was opened."""
    if not part.num_bytes:
        return False
    try:
        status = Path(part.name).stat()
    except FileNotFoundError:  # it was still there when the last of it was read
        return False
    return (status.st_size, status.st_mtime_ns) != part.stamp
