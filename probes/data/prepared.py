"""The corpora of a sweep are prepared once, into memory-mapped shards; later they are only loaded.

::

    corpora/
      manifest.json                    what the data are: settings, fingerprint, counts; written last
      sources.json                     the files they came from
      tokenizer.json                   a byte-pair encoding, or the tokenizer of the checkpoints
      shards/general-train-00000.npy   a stream of tokens; see probes.data.shards
      shards/general-evaluation.npy    the fixed evaluation sequences

With a manifest the folder is complete and the sources are not needed any more; without one, what a
killed process left is removed and the work is done again.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmrplan.errors import CmrplanError, InputError
from cmrplan.files import read_json, write_json, write_text
from probes.data.checkpoint_tokenizer import CheckpointTokenizer
from probes.data.display import PreparationDisplay
from probes.data.prepare import build_corpora, corpora_of, make_tokenizer
from probes.data.shards import Sequences, read_shards
from probes.data.source_check import check_source
from probes.data.tokens import BpeTokenizer, Tokenizer
from probes.locks import locked
from probes.spec.sweep import SweepSpec

_FORMAT = 2
"""Raised when the stored form changes."""


@dataclass(frozen=True)
class DataIdentity:
    """What the runs of a sweep need to know of the prepared corpora to be named.

    Parameters
    ----------
    data_fingerprint : str
        Identity of the documents and their split.
    tokenizer : str
        Identity of the tokenizer.
    vocab_size : int
        Token ids.
    """

    data_fingerprint: str
    tokenizer: str
    vocab_size: int


@dataclass(frozen=True)
class PreparedCorpora:
    """The packed sequences of both corpora and what they came from.

    Parameters
    ----------
    train : mapping of str to Sequences, shape (S, T + 1)
        Training sequences of ``general`` and ``domain``, uint16 or uint32, mapped from disk.
    evaluation : mapping of str to ndarray, shape (E, T + 1)
        The fixed evaluation sequences of each corpus.
    manifest : dict
        Settings of the preparation, counts of documents and tokens, tokenizer and fingerprint.
    """

    train: Mapping[str, Sequences]
    evaluation: Mapping[str, np.ndarray]
    manifest: dict[str, Any]

    @property
    def identity(self) -> DataIdentity:
        """What the settings of runs say about the data."""
        return DataIdentity(
            *(self.manifest[key] for key in ("data_fingerprint", "tokenizer", "vocab_size"))
        )


def prepare_corpora(
    spec: SweepSpec,
    folder: Path,
    *,
    progress: bool = False,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> PreparedCorpora:
    """Prepare the corpora of a spec in ``folder``, or load them if they are there.

    Parameters
    ----------
    spec : SweepSpec
        Corpora, tokenizer and sequence length.
    folder : Path
        Where the prepared corpora are, or go.
    progress : bool
        Whether to show a bar where standard error is a terminal.
    say : callable
        Takes a notice, such as that a source is gone; prints to standard error by default.

    Raises
    ------
    InputError
        If a source cannot be read, or the folder holds other corpora.
    CmrplanError
        If a corpus is too small, or the folder's disk is full.
    """
    with locked(folder):
        if not (folder / "manifest.json").exists():
            _prepare(spec, folder, progress)
            return load_corpora(folder)
        _refuse_other_settings(spec, folder)
        parts = read_json(folder / "sources.json")
        renewed = [
            check_source(name, corpus, parts[name], folder, say)
            for name, corpus in corpora_of(spec).items()
        ]
        if any(renewed):
            write_json(folder / "sources.json", parts)
        return load_corpora(folder)


def load_corpora(folder: Path) -> PreparedCorpora:
    """Load prepared corpora; training tokens stay on disk until they are used.

    Raises
    ------
    InputError
        If they are not there, are of another version, or a file of them is missing or damaged.
    """
    manifest = read_json(folder / "manifest.json")
    if manifest.get("format") != _FORMAT:
        raise InputError(
            f"{folder} was prepared by another version of cmrplan; choose another output folder"
        )
    train, evaluation = {}, {}
    for name, counts in manifest["corpora"].items():
        try:
            train[name] = read_shards(
                folder / "shards",
                counts["train_shards"],
                sequence_length=manifest["sequence_length"],
            )
            evaluation[name] = np.load(
                folder / "shards" / f"{name}-evaluation.npy", allow_pickle=False
            )
        except (OSError, ValueError) as error:
            raise _damaged(folder, str(error).splitlines()[0]) from None
        if len(train[name]) != counts["train_sequences"]:
            raise _damaged(folder, f"{name} has {len(train[name])} training sequences")
    return PreparedCorpora(train, evaluation, manifest)


def _prepare(spec: SweepSpec, folder: Path, progress: bool) -> None:
    """Do the work of :func:`prepare_corpora`; whatever happens, nothing half usable is left."""
    unfinished, shards = folder / "unfinished", folder / "shards"
    for leftover in (unfinished, shards):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        unfinished.mkdir()
        tokenizer = make_tokenizer(spec)
        with PreparationDisplay(progress) as display:
            contents, parts = build_corpora(spec, unfinished, tokenizer, display)
        unfinished.rename(shards)
        _write_papers(spec, folder, tokenizer, contents, parts)
    except OSError as error:
        raise CmrplanError(
            f"cannot write prepared corpora to {folder}: {error.strerror or error}; "
            "free space there or choose another output folder"
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_papers(
    spec: SweepSpec,
    folder: Path,
    tokenizer: Tokenizer,
    contents: dict[str, Any],
    parts: dict[str, Any],
) -> None:
    """Write tokenizer, sources and, last, the manifest."""
    if isinstance(tokenizer, BpeTokenizer | CheckpointTokenizer):
        write_text(folder / "tokenizer.json", tokenizer.definition)
    write_json(folder / "sources.json", parts)
    manifest = {
        "format": _FORMAT,
        "settings": _settings(spec),
        "tokenizer": tokenizer.identity,
        "vocab_size": tokenizer.vocab_size,
        "dtype": tokenizer.dtype.name,
        "sequence_length": spec.sequence_length,
    }
    write_json(folder / "manifest.json", manifest | contents)


def _settings(spec: SweepSpec) -> dict[str, Any]:
    """Return everything in a spec that prepared corpora depend on, by dotted key."""
    settings = {
        f"corpora.{name}.{key}": value
        for name, corpus in corpora_of(spec).items()
        for key, value in corpus.model_dump(exclude={"max_epochs"}).items()
    }
    settings |= {f"tokenizer.{key}": value for key, value in spec.tokenizer.model_dump().items()}
    for key in ("validation_share", "unique_domain_tokens"):
        settings[f"corpora.{key}"] = getattr(spec.corpora, key)
    for key in ("sequence_length", "evaluation_sequences"):
        settings[key] = getattr(spec, key)
    return settings


def _refuse_other_settings(spec: SweepSpec, folder: Path) -> None:
    before = read_json(folder / "manifest.json").get("settings", {})
    for key, value in _settings(spec).items():
        if key in before and before[key] != value:
            raise InputError(
                f"{folder} holds other corpora: {key} was {before[key]}, now it is {value}; "
                "choose another output folder"
            )


def _damaged(folder: Path, problem: str) -> InputError:
    return InputError(
        f"{folder} is damaged ({problem}); remove that folder to prepare the corpora again"
    )
