"""The text that Megatron-LM, Megatron-Bridge and NeMo print while they train: one file a run.

Lines such as ``validation loss at iteration 100 | lm loss value: 2.1E+00 | lm loss PPL: ... |`` become rows; several
validation sets stand apart by what follows ``validation`` or ``loss`` (``validation-law loss at``), and one without a
name needs ``--map 'lm loss=general'``. What Megatron evaluates once more at its end, ``on validation set``, is on other
samples, and gives no row beside the evaluation of that iteration. NeMo prints ``val_loss: 2.1`` in its lines of
progress, and goes on to print it until the next evaluation: the first line with a value counts. Tokens are the
``consumed samples`` of the last line before it, times the ``seq_length`` that Megatron prints with its arguments, or
``--set sequence_length=4096``. The perplexity is not read: Megatron caps it at exp(20).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cmrplan.errors import InputError
from cmrplan.files import read_text
from cmrplan.log.cells import named
from cmrplan.log.importers.changes import Changes, Imported, as_number
from cmrplan.log.importers.repeats import shown_again
from cmrplan.log.importers.run_cells import cells_of, folders_of, unique_names, whole_lines
from cmrplan.log.importers.run_layout import RunLayout, TrainerRun, evaluated_corpus
from cmrplan.log.importers.runs import runs_to_log

SEQUENCE_LENGTH = "sequence_length"
_TOKENS = "consumed_tokens"
_ITERATION = re.compile(r"\biteration\s+(\d+)\s*/\s*(\d+)\b")
_VALIDATION = re.compile(
    r"\bvalidation(?P<first>-\S+)? loss(?P<second>-\S+)? at "
    r"iteration\s+(?P<iteration>\d+)(?P<where>[^|]*)\|(?P<rest>.*)"
)
_ARGUMENT = re.compile(r"^\W*seq_length \.*\s*(\d+)\s*$", re.MULTILINE)
_PAIR = re.compile(
    r"\|?\s*([A-Za-z][\w ()/.-]*?)\s*:\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?|nan|inf)\s*(?=\||$)"
)
_VALUE = " value"


def is_megatron(path: Path, head: bytes) -> bool:
    """Tell whether a text has the lines of progress of Megatron or NeMo."""
    return (
        b"consumed samples:" in head
        or b"consumed_samples:" in head
        or b" loss at iteration " in head
    )


def import_megatron(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return the validation losses in such texts as a probe log.

    Raises
    ------
    InputError
        If a text has none, or the tokens of a sample are not known.
    """
    paths = sorted(paths)
    constants = dict(changes.constants)
    length = constants.pop(SEQUENCE_LENGTH, None)
    names = unique_names(folders_of(paths), changes.facts.pattern)
    runs = [_run_of_text(path, name, length) for path, name in zip(paths, names, strict=True)]
    layout = RunLayout(
        steps={"iteration": 0},
        tokens=(_TOKENS,),
        corpus_of=_corpus,
        counting="a log from its start, with seq_length among the arguments, or --set sequence_length=VALUE",
    )
    return runs_to_log(runs, layout, replace(changes, constants=constants))


def _corpus(metric: str) -> str | None:
    if not metric.startswith("lm loss"):
        return evaluated_corpus(metric)
    corpus = metric.removeprefix("lm loss").strip(" -")
    return None if corpus in ("test", "on test set") else corpus


def _run_of_text(path: Path, name: str, length: str | None) -> TrainerRun:
    text = read_text(path)
    argument = _ARGUMENT.search(text)
    each = (
        as_number(length, SEQUENCE_LENGTH) if length else float(argument[1]) if argument else None
    )
    whole, remarks = whole_lines(text, named(path))
    rows, lines, repeated = [], [], 0
    for number, row, again in _rows(whole):
        repeated += again
        samples = row.pop("consumed samples", row.pop("consumed_samples", None))
        if samples is not None and each is not None:
            row[_TOKENS] = float(samples) * each
        rows.append(row)
        lines.append(number)
    if not rows:
        lack = (
            "is empty"
            if not text.strip()
            else "has no line such as 'validation loss at iteration 100 | lm loss value: 2.1'"
        )
        raise InputError(f"{named(path)} {lack}; give what Megatron or NeMo printed")
    if repeated:
        remarks = (*remarks, shown_again(named(path), repeated))
    return TrainerRun(name, named(path), cells_of(rows), lines=np.array(lines), remarks=remarks)


def _rows(text: Sequence[str]) -> Iterator[tuple[int, dict[str, Any], int]]:
    """Yield the number and the values of each line of progress or validation, and how many losses it repeats."""
    last: dict[str, tuple[int, str]] = {}  # iteration and value of the last evaluation of a metric
    for number, line in enumerate(text, start=1):
        validation = _VALIDATION.search(line)
        if validation:
            suffix = (validation["first"] or "") + (validation["second"] or "")
            if "test set" in validation["where"]:
                suffix = " test"
            row = {
                key.removesuffix(_VALUE) + suffix: value
                for key, value in _PAIR.findall(validation["rest"])
                if key.endswith(_VALUE)
            }
            at = int(validation["iteration"])
            is_at_end = "validation set" in validation["where"]
            again = [key for key in row if is_at_end and last.get(key, (-1, ""))[0] == at]
        elif progress := _ITERATION.search(line):
            pairs = _PAIR.findall(line[progress.end() :])
            row = {f"training {key}" if key == "lm loss" else key: value for key, value in pairs}
            at = int(progress[1])
            again = [key for key in row if last.get(key, (-1, ""))[1] == row[key]]
        else:
            continue
        losses = {key: (at, row[key]) for key in row if _corpus(key) is not None}
        last |= {key: value for key, value in losses.items() if key not in again}
        yield (
            number,
            {"iteration": at, **{k: v for k, v in row.items() if k not in again}},
            len(again),
        )
