"""The probe log: one row for each evaluation of a training run on one validation corpus.

A log is a DataFrame with these columns, in this order; losses are validation losses:

========================  =======  ==========================================================
column                    type     meaning and unit
========================  =======  ==========================================================
``run_id``                str      one training run; all its checkpoints share it
``model_params``          float64  parameters, counted as ``params_kind`` says
``train_tokens``          float64  tokens of the continual phase so far; 0 for the base checkpoint
``domain_ratio``          float64  share of training tokens from the domain corpus, 0 to 1
``share_<corpus>``        float64  share of each training corpus, 0 to 1, together 1
``eval_corpus``           str      ``general``, ``domain``, or a corpus's name
``loss``                  float64  nats per token
``seed``                  Int64    optional
``step``                  Int64    optimizer steps of the continual phase; optional
``loss_stderr``           float64  standard error of ``loss``, nats per token; optional
``schedule``              str      learning-rate schedule; optional
``learning_rate``         float64  learning rate of the last step before it; optional
``unique_domain_tokens``  float64  tokens the domain corpus holds before it repeats; optional
``base_model``            str      optional
``base_tokens``           float64  tokens of the pre-training of the base; optional
``tokenizer``             str      optional
``params_kind``           str      ``non_embedding`` or ``total``; optional
========================  =======  ==========================================================

A log has ``domain_ratio``, ``share_`` columns, or both; from ``share_general`` and
``share_domain`` alone the ratio is derived, and ``replay_ratio`` is read as its complement. Beside shares
``unique_<corpus>_tokens`` says what each training corpus holds. Other columns are kept as they are, at the end.
Files are CSV, JSONL (one object a line) or Parquet, by suffix. What is checked stands in
validate.py (errors) and advice.py (warnings); rows in messages count from 1, without the header.
"""

from __future__ import annotations

import csv
import json
import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmrplan.errors import InputError
from cmrplan.files import atomic_write, fingerprint
from cmrplan.log.advice import advice
from cmrplan.log.cells import (
    LogFinding,
    RawLog,
    UnreadableLog,
    checked_suffix,
    named,
    raw_frame,
    read_raw,
)
from cmrplan.log.columns import canonical_columns, share_columns
from cmrplan.log.corpora import require_a_corpus_to_fit
from cmrplan.log.parquet import needs_pyarrow
from cmrplan.log.phases import require_constant_mixture
from cmrplan.log.plausibility import plausibility_findings, require_plausible
from cmrplan.log.validate import convert

LogOrPath = pd.DataFrame | str | os.PathLike[str]

_EXACT_INTEGERS = 2.0**53  # float64 holds every whole number below


def read_log(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the probe log in a ``.csv``, ``.jsonl`` or ``.parquet`` file, checked.

    Numbers are read exactly: what :func:`write_log` wrote comes back bit for bit. Spaces around
    names, blank lines, a byte-order mark and Windows line ends do no harm.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    DataFrame
        One row per evaluation, with the columns and types of this module's table.

    Raises
    ------
    InputError
        If the file cannot be read or breaks a rule; the message names the file, row and column of
        the first error, and says how many more there are.

    See Also
    --------
    check_log : Every error and warning instead of the first.
    """
    return _checked(read_raw(path))


def read_plausible_log(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return :func:`read_log` of a file, refused where its numbers cannot be what their columns say.

    Raises
    ------
    InputError
        Also where a ratio stands the wrong way round, or sizes, tokens or losses are in another unit.
    """
    log = read_log(path)
    require_plausible(log, named(path))
    return log


def read_log_to_fit(path: str | os.PathLike[str], *, both: bool = False) -> pd.DataFrame:
    """Return :func:`read_plausible_log` of a file that laws can be fitted to; ``both`` where they need both losses.

    Raises
    ------
    CmrplanError
        Also where runs change their mixture, or the losses go by other names.
    """
    log = read_plausible_log(path)
    require_constant_mixture(log)
    require_a_corpus_to_fit(log, named(path), both=both)
    return log


def validate_log(frame: pd.DataFrame, *, source: str = "log") -> pd.DataFrame:
    """Return a frame as a probe log, in canonical types and order; ``frame`` stays as it is.

    The rules are those of :func:`read_log`, and validating twice changes nothing.

    Parameters
    ----------
    frame : DataFrame
        One row per evaluation. Its index is dropped.
    source : str, default "log"
        What messages call it.

    Raises
    ------
    InputError
        If a rule is broken; see :func:`read_log`.

    Examples
    --------
    >>> frame = pd.DataFrame({
    ...     "run_id": [1, 1], "model_params": 460e6, "train_tokens": [0, 2e9],
    ...     "domain_ratio": 0.3, "eval_corpus": "general", "loss": [2.86, 2.91]})
    >>> validate_log(frame)["run_id"].tolist()
    ['1', '1']
    """
    return _checked(raw_frame(frame, source))


def source_of(log: LogOrPath) -> str:
    """Return what a message calls a log that was given: its file, or ``log``."""
    return "log" if isinstance(log, pd.DataFrame) else named(log)


def log_of(log: LogOrPath, *, source: str = "log") -> pd.DataFrame:
    """Return a log to fit that was given, or read it from its file: checked, and in its canonical order.

    Raises
    ------
    InputError
        If it is neither, or breaks a rule; see :func:`read_log`.
    CmrplanError
        If runs change their mixture, which no law holds; see phases.py.
    """
    if isinstance(log, pd.DataFrame):
        checked = validate_log(log, source=source)
    elif isinstance(log, str | os.PathLike):
        checked = read_log(log)
    else:
        raise InputError(
            f"{source} must be a DataFrame or the path of a file, got {type(log).__name__}"
        )
    require_constant_mixture(checked)
    return in_canonical_order(checked)


def in_canonical_order(log: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a checked log in an order that their order and the names of runs and corpora do not change.

    Runs go by size, domain ratio or shares by their size, seed and losses, the rows of a run by tokens and corpus. What
    is computed from the rows, and every random number that is drawn for a run, is then the same however a log was
    written.
    """
    run_of = pd.factorize(log["run_id"])[0].astype(np.int64)
    corpus = pd.factorize(log["eval_corpus"], sort=True)[0]
    tokens = log["train_tokens"].to_numpy(dtype=float)
    loss = log["loss"].to_numpy(dtype=float)
    loss = loss / np.max(loss, initial=np.finfo(float).tiny)  # so that its square is a number
    of_run = log.drop_duplicates("run_id")
    mixture = share_columns(log) or ["domain_ratio"]
    shares = np.sort(of_run[mixture].to_numpy(dtype=float), axis=1)
    keys = [of_run["model_params"].to_numpy(dtype=float), *shares.T]
    if "seed" in log:
        keys.append(of_run["seed"].astype(float).fillna(-1.0).to_numpy())
    # Runs that agree in all but the last are told apart by the names of the corpora, since nothing else is left.
    measures = (loss, loss * tokens, loss**2, loss * (1.0 + corpus))
    keys += [_run_sums(values, run_of) for values in measures]
    rank = np.empty(len(of_run), dtype=np.intp)
    rank[np.lexsort(keys[::-1])] = np.arange(len(of_run))
    order = np.lexsort((corpus, tokens, rank[run_of]))
    return log.iloc[order].reset_index(drop=True)


def _run_sums(
    values: npt.NDArray[np.float64], run_of: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the sum of the values of each run, rounded once, so that their order does not matter."""
    by_run = np.split(
        values[np.argsort(run_of, kind="stable")], np.cumsum(np.bincount(run_of))[:-1]
    )
    return np.array([math.fsum(part) for part in by_run])


def check_log(
    log: pd.DataFrame | str | os.PathLike[str], *, source: str = "log"
) -> list[LogFinding]:
    """Return everything there is to say about a log, errors before warnings.

    Parameters
    ----------
    log : DataFrame or path
        A frame, checked or not, or a file.
    source : str, default "log"
        What messages call a frame; a file goes by its name.

    Returns
    -------
    list of LogFinding
        Empty for a log without a flaw. A finding that applies to several rows names the first ten.

    See Also
    --------
    read_with_findings : The log as well, read once.
    """
    return read_with_findings(log, source=source)[1]


def read_with_findings(
    log: pd.DataFrame | str | os.PathLike[str], *, source: str = "log"
) -> tuple[pd.DataFrame | None, list[LogFinding]]:
    """Return a log, and what :func:`check_log` says of it; None where it breaks a rule."""
    try:
        raw = raw_frame(log, source) if isinstance(log, pd.DataFrame) else read_raw(log)
    except UnreadableLog as error:
        return None, [error.finding]
    frame, errors = convert(raw)
    if errors:
        return None, errors
    return frame, [*plausibility_findings(frame, raw.source), *advice(raw, frame)]


def write_log(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a log to ``path``, whole or not at all; the suffix picks the format.

    Raises
    ------
    InputError
        If ``frame`` is not a log, or ``path`` has another suffix or cannot be written.
    """
    suffix = checked_suffix(path)
    log = validate_log(frame)
    with atomic_write(path) as temporary:
        try:
            if suffix == ".parquet":
                log.to_parquet(temporary, index=False, engine="pyarrow")
            else:
                text = (_csv if suffix == ".csv" else _jsonl)(_with_whole_numbers(log))
                temporary.write_bytes(text.encode())
        except ImportError:
            raise needs_pyarrow(named(path)) from None
        except (ValueError, TypeError, NotImplementedError) as error:
            # Checked columns fit every format, so this is a column of the user's own.
            raise InputError(
                f"cannot write {named(path)}: a column outside the contract does not fit the "
                f"format ({type(error).__name__}); leave it out"
            ) from None


def log_fingerprint(log: pd.DataFrame) -> str:
    """Return 12 hex digits that identify what a log says.

    The order of the rows, the file's format and columns outside the contract do not matter; an
    optional column without values is the same as none.
    """
    rows = log.sort_values(["run_id", "train_tokens", "eval_corpus"], kind="stable")
    parts = [b"cmrplan probe log 1"]
    for column in canonical_columns(log):
        values = rows[column.name]
        if values.isna().all():
            continue
        parts.append(column.name.encode())
        if column.kind in ("text", "integer"):
            cells = [cell if _has(cell) else None for cell in values.astype(object)]
            parts.append(json.dumps(cells).encode())
        else:
            numbers = values.to_numpy(dtype="<f8") + 0.0  # -0.0 becomes 0.0
            parts.append(np.where(np.isnan(numbers), np.nan, numbers).astype("<f8").tobytes())
    return fingerprint(b"\x00".join(parts))


def base_losses(log: pd.DataFrame, corpus: str) -> dict[float, float]:
    """Return the loss before continual pre-training, in nats per token, for each model size.

    Parameters
    ----------
    log : DataFrame
        A checked log.
    corpus : str
        The ``eval_corpus``.

    Returns
    -------
    dict of float to float
        ``model_params`` to the mean loss over the rows with ``train_tokens`` 0, sizes ascending;
        sizes without such a row are left out.
    """
    rows = log[(log["eval_corpus"] == corpus) & (log["train_tokens"] == 0)]
    means = rows.groupby("model_params")["loss"].mean()
    return {float(size): float(loss) for size, loss in zip(means.index, means, strict=True)}


def is_of_two(log: pd.DataFrame) -> bool:
    """Tell whether a checked log is of a domain and a general corpus, and not of several corpora."""
    return "domain_ratio" in log


def eval_corpora(log: pd.DataFrame) -> tuple[str, ...]:
    """Return the validation corpora of a log, by the alphabet."""
    return tuple(sorted(log["eval_corpus"].unique()))


def training_rows(log: pd.DataFrame, corpus: str) -> pd.DataFrame:
    """Return the rows on ``corpus`` after the base checkpoint, with a fresh index."""
    rows = log[(log["eval_corpus"] == corpus) & (log["train_tokens"] > 0)]
    return rows.reset_index(drop=True)


def _checked(raw: RawLog) -> pd.DataFrame:
    frame, errors = convert(raw)
    if errors:
        first, more = errors[0].message, len(errors) - 1
        joint = " " if first.endswith(".") else "; "
        rest = f"{joint}{more} more: cmrplan logs check lists them." if more else ""
        raise InputError(first + rest)
    return frame


def _with_whole_numbers(log: pd.DataFrame) -> pd.DataFrame:
    """Return the log with counts as integers where they are exact: 460000000, not 460000000.0."""
    whole = log.copy(deep=False)
    for column in canonical_columns(log):
        numbers = log[column.name]
        if (
            column.kind == "count"
            and (numbers < _EXACT_INTEGERS).all()
            and (numbers % 1 == 0).all()
        ):
            whole[column.name] = numbers.astype("int64")
    return whole


def _csv(log: pd.DataFrame) -> str:
    text = log.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # Python 3.11 and 3.12 leave a bare carriage return unquoted
        text = log.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def _jsonl(log: pd.DataFrame) -> str:
    names = list(log.columns)
    columns = [log[name].astype(object).tolist() for name in names]
    lines = [
        json.dumps(
            {name: cell if _has(cell) else None for name, cell in zip(names, cells, strict=True)}
        )
        for cells in zip(*columns, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _has(cell: Any) -> bool:
    return not (cell is None or cell is pd.NA or (isinstance(cell, float) and cell != cell))
