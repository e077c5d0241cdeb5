"""Prepared corpora lie in memory-mapped shards and are only loaded.

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

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmrplan.errors import InputError
from cmrplan.files import read_json
from probes.data.shards import Sequences, read_shards

FORMAT = 2
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


def load_corpora(folder: Path) -> PreparedCorpora:
    """Load prepared corpora; training tokens stay on disk until they are used.

    Raises
    ------
    InputError
        If they are not there, are of another version, or a file of them is missing or damaged.
    """
    manifest = read_json(folder / "manifest.json")
    if not isinstance(manifest, dict):
        raise _damaged(folder, "manifest.json is no object")
    if manifest.get("format") != FORMAT:
        raise InputError(
            f"{folder} was prepared by another version of cmrplan; choose another output folder"
        )
    try:
        corpora = _mapped(folder, manifest)
        corpora.identity  # noqa: B018  a manifest without it is damaged too
    except (AttributeError, LookupError, TypeError) as error:
        raise _damaged(folder, f"manifest.json: {type(error).__name__}: {error}") from None
    except (OSError, ValueError) as error:
        raise _damaged(folder, str(error).splitlines()[0]) from None
    return corpora


def _mapped(folder: Path, manifest: dict[str, Any]) -> PreparedCorpora:
    train, evaluation = {}, {}
    for name, counts in manifest["corpora"].items():
        shards = counts["train_shards"]
        if any(Path(shard).name != shard for shard in (name, *shards)):
            raise ValueError(f"{name} has files outside of its folder")
        train[name] = read_shards(
            folder / "shards", shards, sequence_length=manifest["sequence_length"]
        )
        evaluation[name] = np.load(folder / "shards" / f"{name}-evaluation.npy", allow_pickle=False)
        if len(train[name]) != counts["train_sequences"]:
            raise ValueError(f"{name} has {len(train[name])} training sequences")
    return PreparedCorpora(train, evaluation, manifest)


def mean_document_tokens(folder: Path) -> dict[str, float]:
    """Return the mean tokens of a training document of each corpus, by the tokenizer that prepared it.

    Parameters
    ----------
    folder : Path
        Prepared corpora, or the folder of a sweep that has them.

    Raises
    ------
    InputError
        If they are not there, or their manifest does not count documents.
    """
    inner = folder / "corpora"
    manifest = read_json((inner if inner.is_dir() else folder) / "manifest.json")
    try:
        return {
            name: counts["available_train_tokens"] / counts["train_documents"]
            for name, counts in manifest["corpora"].items()
        }
    except (ArithmeticError, AttributeError, LookupError, TypeError):
        raise InputError(
            f"{folder} has no prepared corpora that count tokens and documents; give --tokens-per-row for each corpus"
        ) from None


def _damaged(folder: Path, problem: str) -> InputError:
    return InputError(
        f"{folder} is damaged ({problem}); remove that folder to prepare the corpora again"
    )
