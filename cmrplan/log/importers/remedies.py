"""The option of ``logs import`` that would put right what is wrong with a table."""

from __future__ import annotations

import shlex

import numpy as np
import pandas as pd

from cmrplan.errors import Code
from cmrplan.log import CORPORA
from cmrplan.log.cells import LogFinding, listed
from cmrplan.log.columns import LOSS_PREFIX, parse_numbers
from cmrplan.log.corpora import renames, trend_with_ratio
from cmrplan.log.importers.spellings import contract_name

_LOSSES = (0.05, 20.0)  # nats per token; below are learning rates, above are counts
_NO_LOSS = ("epoch", "time", "hour", "second", "norm", "ratio", "share", "accuracy", "percent")
_MOST_LOSSES = 12  # columns that are named


def option_for(finding: LogFinding, table: pd.DataFrame) -> str:
    """Return the option that would put an error right, "" if there is none; ``table`` has the names it was read by."""
    if finding.code == Code.NOT_A_FRACTION and "Percent?" in finding.message:
        return f" Here: --scale {finding.column}=0.01"
    if finding.code == Code.NOT_WHOLE and "Billions?" in finding.message:
        return f" Here: --scale {finding.column}=1e9"
    if finding.code == Code.SHARE_SUM and "Rounded?" in finding.message:
        return " Here: --normalize-shares"
    if finding.code == Code.RUN_CHANGES and finding.column == "domain_ratio":
        return " A mixture that changes during the run? --phases rows reads its phases."
    if finding.code == Code.MISSING_COLUMN and finding.column == "domain_ratio":
        return (
            "; here: --map OLD=domain_ratio, --map OLD=replay_ratio where OLD is the share of replay, or "
            "--set domain_ratio=VALUE for one value"
        )
    if finding.code == Code.MISSING_COLUMN:
        losses = _losses_named(table) if finding.column == "eval_corpus" else ""
        return losses or (
            f"; here: --map OLD={finding.column}, or --set {finding.column}=VALUE for one value"
        )
    return ""


def _losses_named(table: pd.DataFrame) -> str:
    """Return the options that make losses of columns that look so, "" where none does."""
    names = _loss_like(table)
    if not names or "loss" in table:
        return ""
    if "domain_ratio" in table:
        ratio, _, _ = parse_numbers(table["domain_ratio"])
        trend = {name: trend_with_ratio(ratio, parse_numbers(table[name])[0]) for name in names}
        pairs = renames(names, trend) | {name: name for name in names if name in CORPORA}
    else:
        pairs = {name: name for name in names}
    options = " ".join(
        f"--map {shlex.quote(f'{name}={LOSS_PREFIX}{pairs[name]}')}"
        for name in names
        if name in pairs
    )
    both = "; the other way round where that is what they are" if len(pairs) > 1 else ""
    return f"; here: {options}, where {listed(names)} {'hold' if both else 'holds'} losses{both}"


def _loss_like(table: pd.DataFrame) -> list[str]:
    """Return the columns that mean nothing to a probe log and hold numbers such as losses."""
    return [
        name for name in map(str, table) if not contract_name(name) and _may_be_losses(table[name])
    ][:_MOST_LOSSES]


def _may_be_losses(cells: pd.Series[float]) -> bool:
    name = str(cells.name).lower()
    numbers, missing, bad = parse_numbers(cells)
    if bad.any() or missing.all() or any(word in name for word in _NO_LOSS):
        return False
    numbers = numbers[~missing]
    low, high = _LOSSES
    is_loss = np.isfinite(numbers) & (numbers > low) & (numbers < high)
    return bool(is_loss.all() and (numbers != np.round(numbers)).any())
