"""What the columns of a trainer's log mean: its steps, its tokens, its learning rate and its validation losses.

A metric whose name has a word such as ``eval`` or ``val`` and the word ``loss`` is a validation loss, of the corpus
that the other words name. A count of training tokens is known by its name; one that stands under an evaluation or a
corpus (``eval/tokens``, ``law/tokens_seen``) is not that of the whole training.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmrplan.errors import Code
from cmrplan.log.cells import LogFinding

_EVALUATION_WORDS = {"eval", "val", "valid", "validation", "test", "heldout"}
_LOSS_WORDS = {"loss", "ce", "nll", "lm", "metrics"}
_NO_LOSS_WORDS = {"train", "stderr", "std", "best"}  # an error of a loss, or the lowest so far
TOKEN_COUNTS = (
    "num_input_tokens_seen",
    "train_tokens",
    "consumed_tokens",
    "tokens_seen",
    "n_tokens_seen",
    "num_tokens",
    "total_tokens",
    "total tokens",
    "tokens",
)
"""What trainers call their count of training tokens, whatever stands before it with a slash."""
LINE_COUNTER = "_step"  # counts the lines of a log, unless each was logged with its step
_RATE = re.compile(
    r"(.*/)?(learning[_ -]?rate|lr)(-[\w.]+(/(pg|group)\d+)?)?( \(group 0\))?", re.IGNORECASE
)
# What Lightning puts behind the name of a metric: of an epoch or of one batch, and on which of several loaders.
_OF_A_BATCH = re.compile(r"_step([/_]dataloader_idx_\d+)?$")
_SUFFIX = re.compile(r"(_epoch)?([/_]dataloader_idx_\d+)?$")
_WORD = re.compile(r"[^0-9a-z]+")


@dataclass(frozen=True)
class TrainerRun:
    """What a trainer logged of one run, under its own names.

    Parameters
    ----------
    name : str
        What the run is called.
    source : str
        The file as messages name it.
    table : DataFrame
        One row for each line, in the order they were written; empty cells where a line does not have a metric.
    settings : mapping of str to str
        What the run was set to, as far as the log says it.
    lines : array of int, shape (rows,), optional
        The line of each row in a text file.
    remarks : tuple of LogFinding
        What was left out of the run when it was read.
    """

    name: str
    source: str
    table: pd.DataFrame
    settings: Mapping[str, str] = field(default_factory=dict)
    lines: npt.NDArray[np.int64] | None = None
    remarks: tuple[LogFinding, ...] = ()


@dataclass(frozen=True)
class RunLayout:
    """What the columns of a format mean.

    Parameters
    ----------
    steps : mapping of str to int
        The columns that count steps, of which the first that a run has is read, and how many steps are done where such
        a column is 0: 1 where the first step has the number 0.
    tokens : tuple of str
        Columns that count training tokens; see :meth:`tokens_of`.
    corpus_of : callable
        The corpus that a metric is the validation loss of; see :func:`evaluated_corpus`.
    counting : str
        What makes the trainer count tokens, for the message where it did not.
    """

    steps: Mapping[str, int]
    tokens: tuple[str, ...] = ()
    corpus_of: Callable[[str], str | None] = field(default=lambda metric: evaluated_corpus(metric))
    counting: str = ""

    def step_of(self, run: TrainerRun) -> str | None:
        """Return the column that counts the steps of a run."""
        return next((name for name in self.steps if name in run.table), None)

    def keys_of(self, run: TrainerRun, names: Mapping[str, str]) -> list[str]:
        """Return the columns that say when a run evaluated, also by the names that the caller gives them."""
        own = [name for name in (self.step_of(run), self.tokens_of(run)) if name is not None]
        more = [old for old, new in names.items() if new in ("train_tokens", "step")]
        return list(dict.fromkeys([*own, *(name for name in more if name in run.table)]))

    def tokens_of(self, run: TrainerRun) -> str | None:
        """Return the column that counts the training tokens of a run, None where none does or several may.

        A name alone goes before one under ``train/``, and that before one under anything else, of which there may be
        only one.
        """
        columns = [str(name) for name in run.table]
        of_a_part = {self.corpus_of(name) for name in columns} | _EVALUATION_WORDS
        whole = [
            name
            for ending in self.tokens
            for name in columns
            if name.rsplit("/", 1)[-1] == ending and not of_a_part & set(_folders_of(name))
        ]
        for certain in ([], ["train"]):
            named_so = [name for name in whole if _folders_of(name) == certain]
            if named_so:
                return named_so[0]
        return whole[0] if len(whole) == 1 else None


def _folders_of(name: str) -> list[str]:
    return name.lower().split("/")[:-1]


def lines_as_steps(source: str, counter: str) -> LogFinding:
    """Return the remark that tokens are a step's times what counts the lines of a log, which may be no steps."""
    message = (
        f"{source}: tokens are tokens_per_step times {counter}, which counts the lines of a log unless each was logged "
        f"with its step; if it is the step of the training: --map {counter}=step; else --map COLUMN=step of a column "
        "that counts steps, or log the tokens"
    )
    return LogFinding(Code.LINES_AS_STEPS, message, source, column="train_tokens")


def steps_done(
    counter: pd.Series[float], offset: int, is_evaluated: npt.NDArray[np.bool_]
) -> pd.Series[float]:
    """Return how many steps are done at each line, from a counter and how many are where it is 0.

    Where the first step has the number 0, as Lightning counts, an evaluation before the training has it too. It is one
    of the base, unless the next evaluation is that of the next step.
    """
    done = counter + offset
    if offset and not (counter[is_evaluated] == 1).any():
        done = done.mask(counter == 0, 0)
    return done


def tokens_like(columns: Iterable[object]) -> list[str]:
    """Return the columns that may count tokens, by their names: ``time/token``, not ``tokens_per_second``."""
    names = [str(name) for name in columns]
    return [
        name
        for name in names
        if "token" in name.lower() and not {"per", "throughput"} & set(_WORD.split(name.lower()))
    ]


def rates_of(columns: Iterable[object]) -> list[str]:
    """Return the columns that are called like a learning rate."""
    return [str(name) for name in columns if _RATE.fullmatch(str(name))]


def evaluated_corpus(metric: str) -> str | None:
    """Return the corpus that a metric is the validation loss of, "" if its name does not say, None if it is none.

    Examples
    --------
    >>> [evaluated_corpus(name) for name in ("eval_law_loss", "val/Web-2 loss", "val_loss", "train/loss")]
    ['law', 'web_2', '', None]
    >>> evaluated_corpus("val_law_loss/dataloader_idx_1"), evaluated_corpus("val_loss/dataloader_idx_1")
    ('law', '')
    >>> evaluated_corpus("val_law_loss_epoch"), evaluated_corpus("val_law_loss_step")
    ('law', None)
    >>> evaluated_corpus("val/law/loss_stderr"), evaluated_corpus("best_val_loss")
    (None, None)
    """
    name = metric.lower()
    if _OF_A_BATCH.search(name):
        return None
    words = [word for word in _WORD.split(_SUFFIX.sub("", name)) if word]
    if "loss" not in words or not _EVALUATION_WORDS & set(words) or _NO_LOSS_WORDS & set(words):
        return None
    corpus = "_".join(word for word in words if word not in _EVALUATION_WORDS | _LOSS_WORDS)
    return "" if corpus.isdigit() else corpus
