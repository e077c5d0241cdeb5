"""The names of validation corpora in a log: those that differ by capitals alone, and what one should be called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from cmrplan.errors import Code
from cmrplan.log import CORPORA
from cmrplan.log.cells import LogFinding, RawLog, shown

_OF_AN_EVALUATION = ("run_id", "train_tokens", "step")


def spellings(names: Iterable[str]) -> list[list[str]]:
    """Return the names that differ by capitals alone, together.

    Examples
    --------
    >>> spellings(["General", "code", "general", "General"])
    [['General', 'general']]
    """
    by_case: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        by_case.setdefault(name.casefold(), []).append(name)
    return [alike for alike in by_case.values() if len(alike) > 1]


def spelling_findings(log: pd.DataFrame, source: str) -> list[LogFinding]:
    """Return an error for each corpus of a log that stands under two spellings, which a fit takes for two corpora."""
    counts = Counter(log["eval_corpus"])
    findings = []
    for alike in spellings(counts):
        told = " and ".join(
            f"{shown(name)} ({counts[name]:,} row{'s' * (counts[name] > 1)})" for name in alike
        )
        message = (
            f"{source}: eval_corpus has {told}, which differ by capitals alone; write one of them in every row, as "
            f"cmrplan logs import table {source} --out LOG.csv does, or give one another name: --map {alike[0]}=NAME"
        )
        rows = sum(counts[name] for name in alike[1:])
        value = shown(alike[1])
        findings.append(
            LogFinding(
                Code.CORPUS_SPELLINGS,
                message,
                source,
                column="eval_corpus",
                value=value,
                num_rows=rows,
            )
        )
    return findings


def with_one_spelling(raw: RawLog) -> tuple[RawLog, list[LogFinding]]:
    """Return a table in which a corpus has one spelling, and a remark on those that had another.

    ``General`` and ``Domain`` are those of the probe log. Of other names the one in lower case stays, or the most
    frequent. Two that a run has at one token count stay as they are, since they may be two evaluation sets.
    """
    if "eval_corpus" not in raw.table:
        return raw, []
    cells = raw.table["eval_corpus"]
    names = cells.where(cells.isna(), cells.astype(str).str.strip())
    counts = Counter(names.dropna())
    alone = [[name] for name in counts if name.casefold() in CORPORA]
    new_names: dict[str, str] = {}
    for alike in [*spellings(counts), *alone]:
        lower = alike[0].casefold()
        kept = lower if lower in (*alike, *CORPORA) else max(alike, key=lambda name: counts[name])
        new_names |= {name: kept for name in alike if name != kept and _are_one(raw, names, alike)}
    if not new_names:
        return raw, []
    told = ", ".join(f"{shown(old)} as {shown(new)}" for old, new in new_names.items())
    remark = LogFinding(
        Code.CORPUS_RENAMED,
        f"{raw.source}: eval_corpus {told}: names that differ by capitals alone are read as one",
        raw.source,
        column="eval_corpus",
        num_rows=int(names.isin(list(new_names)).sum()),
    )
    return replace(raw, table=raw.table.assign(eval_corpus=names.replace(new_names))), [remark]


def _are_one(raw: RawLog, names: pd.Series[str], alike: list[str]) -> bool:
    """Tell whether no run was evaluated twice at one time under names that differ by capitals alone."""
    rows = names.isin(alike) if len(alike) > 1 else names.str.casefold() == alike[0].casefold()
    keys = [name for name in _OF_AN_EVALUATION if name in raw.table]
    table = raw.table.loc[rows, keys].astype(str).assign(corpus=names[rows])
    return not table.drop_duplicates().duplicated(keys).any()
