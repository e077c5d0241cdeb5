"""Whether a log has the levels that the terms of its laws need.

A term needs three levels of its variable before its exponent means anything, and the ratio term more shares than it
has parameters before anything is left to check it. Terms with too few levels are dropped or tied by the laws
(:mod:`cmrplan.laws.chinchilla`); the findings here say which, what was found and what to probe.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.cmr_model import FEWEST_TOKENS
from cmrplan.fit.hold_outs import levels_needed
from cmrplan.laws.chinchilla import HELD_EXPONENT
from cmrplan.laws.dcpt import ALL_SHAPES, HELD_SHAPES
from cmrplan.laws.law import Law
from cmrplan.laws.registry import REGISTRY

FEWEST_LEVELS = 3
CMR_PARAMETERS = 3  # alpha, s and beta of the ratio law
_MISSING = {
    "general": Finding(
        Code.NO_GENERAL_LOSS,
        "the log has no general loss, so nothing is said about it; a plan can seek the lowest domain loss alone "
        "(--general-weight 0)",
    ),
    "domain": Finding(
        Code.NO_DOMAIN_LOSS,
        "the log has no domain loss, so nothing is said about it; a plan needs it, so evaluate the runs on domain data",
    ),
}


def level_findings(
    log: pd.DataFrame, rows: Mapping[str, pd.DataFrame], laws: Mapping[str, Law | None]
) -> list[Finding]:
    """Return remarks on what a log can support.

    Parameters
    ----------
    log : DataFrame
        All rows, base rows included.
    rows : mapping of str to DataFrame
        The rows that were fitted, by corpus.
    laws : mapping of str to Law or None
        Their laws; None for the CMR laws, which are one per run and budget.
    """
    asked = {c for law in laws.values() if law is not None for c in REGISTRY[law.name].corpora}
    findings = [
        finding
        for corpus, finding in _MISSING.items()
        if corpus not in rows and (corpus in asked or not asked)
    ]
    fitted = pd.concat(list(rows.values()))
    options = {name for law in laws.values() if law is not None for name, _ in law.options}
    sizes, tokens = (
        np.unique(fitted[name].to_numpy(dtype=float)) for name in ("model_params", "train_tokens")
    )
    if "size_levels" in options:
        findings += _sizes(sizes)
    if "token_levels" in options:
        findings += _token_counts(tokens)
    if "levels_by_size" in options:
        held = {name: value for law in laws.values() if law for name, value in law.fixed}
        findings += _by_size(sizes, tokens, held.get("beta"))
    for corpus, law in laws.items():
        if law is None:
            findings += _cmr_token_counts(corpus, rows[corpus])
        if law is None or "share" in law.inputs:
            findings += _ratios(corpus, rows[corpus], law)
    if not (log["train_tokens"] == 0).any():
        findings.append(
            Finding(
                Code.NO_BASE_ROW,
                "the log has no base row (train_tokens = 0), so the base loss is not known; a plan needs it, "
                "or a limit over pure replay (rise_over replay)",
            )
        )
    return findings


def _sizes(levels: Array) -> list[Finding]:
    if len(levels) >= FEWEST_LEVELS:
        return []
    fate = (
        "the term A/N^alpha is left out"
        if len(levels) == 1
        else f"alpha of the term A/N^alpha is held at {HELD_EXPONENT}"
    )
    return [
        Finding(
            Code.FEW_SIZES,
            f"the log has {_counted(levels, 'model size')}: {fate}, so the law says nothing of its own about other "
            "sizes; probe three, a factor of 3 or more apart",
        )
    ]


def _token_counts(levels: Array) -> list[Finding]:
    if len(levels) >= FEWEST_LEVELS:
        return []
    fate = (
        "the term B/D^beta is left out"
        if len(levels) == 1
        else f"beta of the term B/D^beta is held at {HELD_EXPONENT}"
    )
    return [
        Finding(
            Code.FEW_TOKEN_COUNTS,
            f"the log has {_counted(levels, 'token count')} after the base: {fate}, so nothing in it tells what "
            "other budgets do; evaluate each run at three or more",
        )
    ]


def _by_size(sizes: Array, tokens: Array, beta: float | None) -> list[Finding]:
    """Return remarks on a law whose coefficients belong to the size; ``beta`` is None where it is free."""
    findings = []
    if len(sizes) == 1:
        findings.append(
            Finding(
                Code.FEW_SIZES,
                f"the log has {_counted(sizes, 'model size')}: its law has one set of coefficients, so it says nothing "
                "about other sizes; probe three, a factor of 3 or more apart",
            )
        )
    if len(tokens) < FEWEST_LEVELS:
        fate = "its law has no token term" if len(tokens) == 1 else f"its beta is held at {beta}"
        findings.append(
            Finding(
                Code.FEW_TOKEN_COUNTS,
                f"the log has {_counted(tokens, 'token count')} after the base: {fate}, so nothing in it "
                "tells what other budgets do; evaluate each run at three or more",
            )
        )
    return findings


def _cmr_token_counts(corpus: str, rows: pd.DataFrame) -> list[Finding]:
    needed = FEWEST_TOKENS[corpus]
    most = int(rows.groupby("run_id")["train_tokens"].nunique().max())
    if most >= needed:
        return []
    return [
        Finding(
            Code.FEW_TOKEN_COUNTS,
            f"no run has the {needed} token counts that the CMR token law of the {corpus} loss needs (found {most} at "
            f"most), so its loss is known at measured budgets only; evaluate each run at {needed} or more",
        )
    ]


def _ratios(corpus: str, rows: pd.DataFrame, law: Law | None) -> list[Finding]:
    ratios = np.unique(rows["domain_ratio"].to_numpy(dtype=float))
    held = (
        [f"{name} at {value:g}" for name, value in law.fixed if name in HELD_SHAPES] if law else []
    )
    if held:
        return [
            Finding(
                Code.FEW_RATIOS,
                f"the {corpus} loss was fitted at {_counted(ratios, 'domain ratio')}, which do not tell how it bends "
                f"between them: its law has {' and '.join(held)} held; probe {ALL_SHAPES} or more",
            )
        ]
    number = CMR_PARAMETERS if law is None else ratio_parameters(law) + 1
    if len(ratios) > number:
        return []
    return [
        Finding(
            Code.FEW_RATIOS,
            f"the {corpus} loss was fitted at {_counted(ratios, 'domain ratio')} and its law has {number} parameters "
            f"for them: nothing is left to check it between them; probe {number + 1} or more",
        )
    ]


def ratio_parameters(law: Law) -> int:
    """Return how many free parameters a curve of the share has in a law, without its level."""
    return levels_needed(law, ("share",)) - 1


def _counted(levels: Array, noun: str) -> str:
    values = ", ".join(f"{value:.4g}" for value in levels)
    return f"{len(levels)} {noun}{'' if len(levels) == 1 else 's'} ({values})"
