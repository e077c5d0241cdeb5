"""Which column of a table is which, guessed from the names that trainers and people give them.

A guess is shown before it is used, and what the caller says goes before it. Names are compared without case and
signs: ``Tokens (B)`` is ``tokens b``, a count of tokens in billions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cmrplan.log.cells import RawLog
from cmrplan.log.columns import LOSS_PREFIX, parse_numbers
from cmrplan.log.importers.changes import Changes
from cmrplan.log.importers.run_facts import expanded, is_log_column
from cmrplan.log.importers.run_layout import TOKEN_COUNTS, evaluated_corpus
from cmrplan.log.importers.spellings import respelled

_SYNONYMS: dict[str, tuple[str, ...]] = {
    "run_id": ("run", "run name", "run id", "name", "experiment", "run uuid"),
    "model_params": (
        "params",
        "n params",
        "num params",
        "parameters",
        "model size",
        "n parameters",
        "size",
    ),
    "train_tokens": (
        *(name.replace("_", " ") for name in TOKEN_COUNTS),
        "n tokens",
        "token count",
    ),
    "domain_ratio": (
        "ratio",
        "domain share",
        "domain fraction",
        "domain weight",
        "mix ratio",
        "mixture ratio",
    ),
    "replay_ratio": ("replay", "replay share", "replay fraction", "general ratio", "general share"),
    "eval_corpus": (
        "corpus",
        "eval set",
        "val set",
        "validation set",
        "eval dataset",
        "dataset",
        "domain",
    ),
    "loss": ("val loss", "eval loss", "validation loss", "test loss", "value"),
    "step": ("global step", "steps", "iteration", "iter"),
}
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12} | {
    word: scale
    for one, scale in {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}.items()
    for word in (one, f"{one}s")
}
_PERCENT = ("percent", "pct")
_COUNT_COLUMNS = ("model_params", "train_tokens")
_FRACTIONS = ("domain_ratio", "replay_ratio")


def with_guesses(raw: RawLog, changes: Changes) -> Changes:
    """Return the changes with names and units of columns that the caller did not name.

    Parameters
    ----------
    raw : RawLog
        The table, for the names of its columns.
    changes : Changes
        What the caller says.
    """
    present = [str(name) for name in raw.table]
    given = with_contract_names(present, changes).names
    taken = {*present, *given.values(), *changes.constants, *changes.facts.columns} - set(given)
    names: dict[str, str] = {}
    scales: dict[str, float] = {}
    for column in present:
        if column in given or is_log_column(column):
            continue
        new, scale = _column_of(column)
        if new == "eval_corpus" and not parse_numbers(raw.table[column])[2].any():
            continue  # numbers are no names of corpora
        if new and new not in taken:
            names[column] = new
            taken.add(new)
            if scale != 1 and new not in changes.scales:
                scales[new] = scale
    has_corpus = "eval_corpus" in taken
    if not has_corpus:
        names |= _losses(present, {**given, **names})
    return replace(changes, names={**names, **given}, scales={**scales, **changes.scales})


def with_contract_names(columns: Sequence[str], changes: Changes) -> Changes:
    """Return the changes with the contract's names of columns that the caller did not name."""
    given = expanded(changes.names, columns)
    taken = {*columns, *given.values(), *changes.constants, *changes.facts.columns}
    free = [column for column in columns if column not in given]
    return replace(changes, names={**respelled(free, taken), **given})


def _column_of(column: str) -> tuple[str, float]:
    """Return the column of the probe log that a name stands for, "" if none, and what its numbers are multiplied by."""
    spelled = column.lower().replace("%", " percent ")
    words = [word for word in re.split(r"[^0-9a-z]+", spelled) if word]
    for new, synonyms in _SYNONYMS.items():
        for end, scale in _endings(new).items():
            plain = " ".join(words[: len(words) - 1] if end else words)
            if (not end or words[-1:] == [end]) and plain in (*synonyms, new.replace("_", " ")):
                return new, scale
    return "", 1.0


def _endings(new: str) -> Mapping[str, float]:
    if new in _COUNT_COLUMNS:
        return {"": 1.0, **_UNITS}
    return {"": 1.0, **dict.fromkeys(_PERCENT, 0.01)} if new in _FRACTIONS else {"": 1.0}


def _losses(present: list[str], names: Mapping[str, str]) -> dict[str, str]:
    """Return ``loss_<corpus>`` for each column that is called like the validation loss of a corpus."""
    pairs = {}
    for column in present:
        corpus = evaluated_corpus(column)
        if column not in names and corpus and f"{LOSS_PREFIX}{corpus}" not in present:
            pairs[column] = f"{LOSS_PREFIX}{corpus}"
    return pairs
