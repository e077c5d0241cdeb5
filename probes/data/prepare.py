"""The corpora of a sweep are prepared once; see :mod:`probes.data.prepared` for what is stored."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cmrplan.errors import CmrplanError, InputError, printable
from cmrplan.files import TEMPORARY_PREFIX, read_json, write_json, write_text
from probes.data.build import build_corpora, corpora_of, make_tokenizer
from probes.data.checkpoint_tokenizer import CheckpointTokenizer
from probes.data.display import PreparationDisplay
from probes.data.near_duplicates import can_search, near_duplicates_text
from probes.data.prepared import FORMAT, PreparedCorpora, load_corpora
from probes.data.source_check import check_source
from probes.data.tokens import BpeTokenizer, Tokenizer
from probes.locks import locked
from probes.spec.changes import change_text
from probes.spec.sweep import SweepSpec

SHARD_NAME = re.compile(r"(general|domain)-((train|heldout)-\d{5}|evaluation)\.npy")
"""Names of the files of prepared corpora."""


def prepare_corpora(
    spec: SweepSpec,
    folder: Path,
    *,
    progress: bool = False,
    say: Callable[[str], None] = lambda line: print(printable(line), file=sys.stderr, flush=True),
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
            prepared = load_corpora(folder)
            _say_near_duplicates(spec, prepared.manifest["corpora"], say)
            return prepared
        _refuse_other_settings(spec, folder)
        parts = read_json(folder / "sources.json")
        renewed = [
            check_source(name, corpus, parts[name], folder, say)
            for name, corpus in corpora_of(spec).items()
        ]
        if any(renewed):
            write_json(folder / "sources.json", parts)
        return load_corpora(folder)


def _prepare(spec: SweepSpec, folder: Path, progress: bool) -> None:
    """Do the work of :func:`prepare_corpora`; whatever happens, nothing half usable is left."""
    unfinished, shards = folder / f"{TEMPORARY_PREFIX}shards", folder / "shards"
    shutil.rmtree(unfinished, ignore_errors=True)
    _remove_shards(shards)
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


def _say_near_duplicates(
    spec: SweepSpec, corpora: dict[str, Any], say: Callable[[str], None]
) -> None:
    """Say how many near-duplicates there are, where there are any, or that nothing could look for them."""
    wanted = spec.corpora.near_duplicates
    if wanted == "report" and not can_search():
        say(
            "near-duplicates of validation documents were not looked for: pip install 'cmrplan[probes]', or set "
            "near_duplicates: ignore"
        )
    for name, counts in corpora.items():
        if (near := counts["near_duplicates"]) and near["documents"]:
            say(near_duplicates_text(name, near, dropped=wanted == "drop"))


def _remove_shards(shards: Path) -> None:
    """Remove the shards that a killed preparation left without their manifest.

    Raises
    ------
    InputError
        If the folder has anything else in it.
    """
    files = sorted(shards.iterdir()) if shards.exists() else []
    others = [file.name for file in files if not SHARD_NAME.fullmatch(file.name)]
    if others:
        raise InputError(
            f"{shards} has {ascii(others[0])[1:-1]}, which no sweep wrote; choose another output folder"
        )
    for file in files:
        file.unlink()
    if shards.exists():
        shards.rmdir()


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
        "format": FORMAT,
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
    for key in ("validation_share", "unique_domain_tokens", "near_duplicates"):
        settings[f"corpora.{key}"] = getattr(spec.corpora, key)
    for key in ("sequence_length", "evaluation_sequences"):
        settings[key] = getattr(spec, key)
    return settings


def _refuse_other_settings(spec: SweepSpec, folder: Path) -> None:
    before = read_json(folder / "manifest.json").get("settings", {})
    for key, value in _settings(spec).items():
        if key in before and before[key] != value:
            raise InputError(
                f"{folder} holds other corpora: {change_text(key, before[key], value)}; "
                "choose another output folder"
            )
