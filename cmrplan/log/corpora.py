"""The names of validation corpora in a log: those that differ by capitals alone, and what one should be called."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError, Code
from cmrplan.log import CORPORA
from cmrplan.log.cells import LogFinding, RawLog, listed, shown
from cmrplan.log.columns import Numbers

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


def renames(corpora: Iterable[str], trend: Mapping[str, float]) -> dict[str, str]:
    """Return ``general`` and ``domain`` by the corpus that may be it, as far as a log lacks them.

    A name that has the word in it goes before what the losses say.

    Parameters
    ----------
    corpora : iterable of str
        The validation corpora that there are.
    trend : mapping of str to float
        How the loss on each goes with the domain ratio: that on general data rises.
    """
    present = list(dict.fromkeys(corpora))
    rising = sorted(
        (name for name in present if name not in CORPORA), key=lambda name: -trend.get(name, 0.0)
    )
    lacking = [name for name in CORPORA if name not in present]
    having = {new: [name for name in rising if new in _words(name)] for new in CORPORA}
    by_word = {new: having[new] if len(having[new]) == 1 else [] for new in lacking}
    others = [name for name in rising if [name] not in by_word.values()]
    unnamed = [new for new in lacking if not by_word[new]]
    if len(unnamed) == 2 and len(others) == 1:
        unnamed = ["general" if trend.get(others[0], 0.0) > 0 else "domain"]
    ends = {
        "general": [name for name in others if name not in having["domain"]][:1],
        "domain": [name for name in others if name not in having["general"]][-1:],
    }
    return {
        old: new for new in lacking for old in by_word[new] or (ends[new] if new in unnamed else [])
    }


def _words(name: str) -> list[str]:
    return re.split(r"[^a-z]+", name.casefold())


def trend_with_ratio(ratio: Numbers, loss: Numbers) -> float:
    """Return the covariance of losses with the domain ratio, 0 where either does not vary or is no number."""
    is_number = np.isfinite(ratio) & np.isfinite(loss)
    if is_number.sum() < 2:
        return 0.0
    return float(np.cov(ratio[is_number], loss[is_number])[0, 1])


def naming_command(log: pd.DataFrame, source: str) -> str:
    """Return what gives the corpora of a checked log the names general and domain, "" if none is left."""
    training = log[log["train_tokens"] > 0]
    ratio = training["domain_ratio"]
    loss = training["loss"] - training.groupby("eval_corpus")["loss"].transform("mean")
    trend = {
        str(corpus): trend_with_ratio(ratio[rows].to_numpy(), loss[rows].to_numpy())
        for corpus, rows in training.groupby("eval_corpus").groups.items()
    }
    pairs = renames(log["eval_corpus"], trend)
    if not pairs:
        return ""
    if source == "log":  # a frame
        return f"log.replace({{'eval_corpus': {pairs}}})"
    options = " ".join(f"--map {shlex.quote(f'{old}={new}')}" for old, new in pairs.items())
    return f"cmrplan logs import table {shlex.quote(source)} --out NEW.csv {options}"


def require_a_corpus_to_fit(log: pd.DataFrame, source: str, *, both: bool = False) -> None:
    """Refuse a log of two corpora without a loss on general or domain, or on either of them.

    Raises
    ------
    CmrplanError
        Naming the corpora that it has, and the command that names them.
    """
    corpora = list(log["eval_corpus"].unique())
    missing = [corpus for corpus in CORPORA if corpus not in corpora]
    if "domain_ratio" not in log or not (missing if both else len(missing) == len(CORPORA)):
        return
    command = naming_command(log, source)
    name_them = f"; name them: {command} (the other way round where that is what they are)"
    if len(missing) < len(CORPORA):
        name_them = f"; if it goes by another name: {command}" if command else ""
    raise CmrplanError(
        f"{source} has no loss on the corpus {' or '.join(missing)}, only on {listed(corpora)}{name_them}"
    )
