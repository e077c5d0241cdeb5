"""Losses in another unit -> nats per token."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import Code, InputError
from cmrplan.log.cells import RawLog, listed, shown

LossUnit = Literal["nats", "ppl", "bits", "bpb"]
LOSS_UNITS: tuple[LossUnit, ...] = ("nats", "ppl", "bits", "bpb")
EVERY_CORPUS = ""  # the name under which bytes per token stand for all corpora

_UNITS_IN_NAMES: tuple[tuple[str, LossUnit, str], ...] = (
    ("ppl|perplexity", "ppl", "perplexities"),
    ("bpb|bits_(per_)?byte", "bpb", "bits per byte"),
    ("bpc|bits_(per_)?char(acter)?", "bpb", "bits per character"),
    ("bpt|bits(_(per_)?token)?", "bits", "bits per token"),
)


def require_named_unit(columns: Iterable[str], unit: LossUnit | None, source: str) -> None:
    """Refuse loss columns whose names say another unit than the one that was given, nats where none was.

    Raises
    ------
    InputError
        Naming the column and the option.
    """
    columns = list(columns) if unit != "nats" else []
    named = {column: _unit_named(column) for column in columns}
    for column, (meant, plural) in named.items():
        if meant in (None, unit):
            continue
        holds = f"{source}: the name of the loss column {shown(column)} says that it holds {plural}, and "
        if unit is not None:
            raise InputError(
                f"{holds}--loss-unit {unit} takes it for another unit; import losses in different units apart"
            )
        bytes_too = " --bytes-per-token X" if meant == "bpb" else ""
        others = [name for name, (other, _) in named.items() if other != meant]
        too = f" (it takes {listed(others)} so too: import those apart)" if others else ""
        raise InputError(
            f"{holds}a probe log holds nats per token; add --loss-unit {meant}{bytes_too}{too}, or --loss-unit nats "
            "if it does"
        )


def _unit_named(column: str) -> tuple[LossUnit | None, str]:
    """Return the unit that the name of a column speaks of, None if of none, and what a message calls its numbers."""
    words = re.sub(r"[^a-z]+", "_", column.lower())
    return next(
        (
            (unit, plural)
            for pattern, unit, plural in _UNITS_IN_NAMES
            if re.search(rf"(^|_)({pattern})(_|$)", words)
        ),
        (None, ""),
    )


def in_nats(
    raw: RawLog, log: pd.DataFrame, unit: LossUnit | None, bytes_per_token: Mapping[str, float]
) -> pd.DataFrame:
    """Return a log with its losses, and their standard errors, in nats per token.

    ``ln(perplexity)``; ``bits * ln 2``; ``bits per byte * bytes per token * ln 2``. An error of a perplexity is
    divided by it.

    Parameters
    ----------
    raw : RawLog
        The cells that the log was read from, row by row, for messages.
    log : DataFrame
        In canonical types.
    unit : {"nats", "ppl", "bits", "bpb"}, optional
        What the losses are in; nats by default.
    bytes_per_token : mapping of str to float
        By ``eval_corpus``, or under :data:`EVERY_CORPUS`.

    Raises
    ------
    InputError
        If a perplexity is 1 or less, or the bytes per token of a corpus are not known.
    """
    if unit in (None, "nats"):
        return log
    loss = log["loss"].to_numpy(dtype=float)
    if unit == "ppl":
        _require_perplexities(raw, loss)
        nats, factor = np.log(loss), 1 / loss
    else:
        units = _bytes_of_rows(log, bytes_per_token) if unit == "bpb" else np.ones_like(loss)
        factor = math.log(2) * units
        nats = loss * factor
    converted = log.assign(loss=nats)
    if "loss_stderr" in log:
        converted["loss_stderr"] = log["loss_stderr"] * factor
    return converted


def _require_perplexities(raw: RawLog, loss: Array) -> None:
    rows = np.flatnonzero(loss <= 1)
    if len(rows):
        finding = raw.finding(
            Code.LOSS_NOT_NATS,
            f"a perplexity must be above 1, got {loss[rows[0]]:g}",
            "Another --loss-unit?",
            rows=rows,
        )
        raise InputError(finding.message)


def _bytes_of_rows(log: pd.DataFrame, bytes_per_token: Mapping[str, float]) -> Array:
    known = log["eval_corpus"].map(
        lambda corpus: bytes_per_token.get(corpus, bytes_per_token.get(EVERY_CORPUS, np.nan))
    )
    if known.isna().any():
        corpus = log["eval_corpus"][known.isna()].iloc[0]
        raise InputError(
            f"--loss-unit bpb needs --bytes-per-token, the mean bytes of a token of the evaluation set {shown(corpus)} "
            f"(4.3, or {corpus}=4.3)"
        )
    return known.to_numpy(dtype=float)
