"""Checkpoint paths with losses, as in github.com/yegcjs/mixinglaws (Ye et al., arXiv:2403.16952).

A text file for each size; each line has a checkpoint, a validation file and a loss in nats per token, with tabs
between::

    .../70M_name-0.4-0.6/12000 <tab> .../valid.Github.bin <tab> 1.5

The checkpoint's folder starts with the size and ends with the shares of the two training corpora, that of the general
corpus last; its own name is the step. The validation corpus is the last part of its file's name. The authors train
Github beside Pile-CC, Pythia's sizes, from scratch: Github is the domain here. What the files do not say:

- the parameters of each size: those of Pythia without embeddings; ``names`` gives others, ``{"70M": "7e7"}``;
- which corpus is which: ``names`` too, ``{"Wikipedia": "domain"}``;
- tokens of a step: 1,048,576, an assumption; the constant ``tokens_per_step`` gives another.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cmrplan.errors import InputError
from cmrplan.files import read_text
from cmrplan.log.cells import RawLog, named, shown
from cmrplan.log.columns import parse_numbers
from cmrplan.log.importers.changes import Changes, Imported, as_number, joined, to_log
from cmrplan.log.importers.run_facts import corpus_name

TOKENS_PER_STEP = "1048576"
PYTHIA_SIZES = {  # Pythia, parameters without embeddings (Biderman et al., arXiv:2304.01373)
    "70M": "18915328",
    "160M": "85056000",
    "410M": "302311424",
    "1B": "805736448",
}
EVAL_CORPORA = {"Github": "domain", "Pile-CC": "general"}
_RUN = re.compile(r"(?P<size>[^_]+)_.*?-(?P<first>[0-9.]+)-(?P<last>[0-9.]+)")
_STEP_NUMBER = re.compile(r"[0-9]{1,18}")
_SHARE_SUM = 1e-6
_LAYOUT = "SIZE_name-SHARE-SHARE/STEP, a validation file and a loss, with tabs between"


def is_mixinglaws(path: Path, head: bytes) -> bool:
    """Tell whether the first line of a file is one of a checkpoint."""
    line = head.decode("utf-8-sig", errors="ignore").lstrip().split("\n", 1)[0]
    cells = line.split("\t")
    parts = cells[0].strip().rstrip("/").split("/")
    return len(cells) == 3 and len(parts) > 1 and _RUN.fullmatch(parts[-2]) is not None


def import_mixinglaws(source: Path, changes: Changes) -> Imported:
    """Return a text file, or all of a folder's, as one probe log."""
    paths = sorted(source.glob("*.txt")) if source.is_dir() else [source]
    if not paths:
        raise InputError(
            f"{named(source)}: no .txt file in this folder; give the one with SIZE.txt"
        )
    return joined([_import_file(path, changes) for path in paths], named(source))


def _import_file(path: Path, changes: Changes) -> Imported:
    constants = {"params_kind": "non_embedding", **changes.constants}
    step_tokens = as_number(constants.pop("tokens_per_step", TOKENS_PER_STEP), "tokens_per_step")
    labels = {**PYTHIA_SIZES, **EVAL_CORPORA, **changes.names}
    source = named(path)
    rows, lines = [], []
    text = read_text(path)
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            where = f"{source} line {number}"
            rows.append(_row(line, where, labels, step_tokens))
            lines.append(number)
    if not rows:
        raise InputError(f"{source} is empty; each line is {_LAYOUT}")
    is_open = not text.endswith("\n")
    raw = RawLog(pd.DataFrame(rows).astype(object), source, np.array(lines), ends_open=is_open)
    return to_log(raw, replace(changes, names={}, constants=constants))


def _row(line: str, where: str, labels: dict[str, str], step_tokens: float) -> dict[str, object]:
    cells = line.split("\t")
    parts = cells[0].strip().rstrip("/").split("/")
    run = _RUN.fullmatch(parts[-2]) if len(parts) > 1 and len(cells) == 3 else None
    if run is None or not _STEP_NUMBER.fullmatch(parts[-1]):
        raise InputError(f"{where} is {shown(line)}; it must be {_LAYOUT}")
    first, last = (_share(run[which], where) for which in ("first", "last"))
    if abs(first + last - 1) > _SHARE_SUM:
        raise InputError(
            f"{where}: the shares {first:g} and {last:g} of {parts[-2]!r} must sum to 1"
        )
    size = run["size"]
    if size not in labels:
        raise InputError(
            f"{where}: the parameters of size {size!r} are not known; --map {named(size)}=1.2e8"
        )
    corpus = cells[1].strip().split("/")[-1].removesuffix(".bin").split(".")[-1]
    return {
        "run_id": parts[-2],
        "model_params": as_number(labels[size], f"--map {size}"),
        "train_tokens": int(parts[-1]) * step_tokens,
        "domain_ratio": first,
        "eval_corpus": labels.get(corpus, corpus_name(corpus)),
        "loss": cells[2],
        "step": int(parts[-1]),
    }


def _share(text: str, where: str) -> float:
    numbers, _, _ = parse_numbers(pd.Series([text], dtype=object))
    share = float(numbers[0])
    if not 0 <= share <= 1:
        raise InputError(f"{where}: a share must be a fraction in [0, 1], got {text!r}")
    return share
