"""Remarks on a fit: what its log can support, and how the fit of each loss ended."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cmrplan.errors import Finding
from cmrplan.records import CORPORA


def log_findings(log: pd.DataFrame, laws: dict[str, str]) -> list[Finding]:
    """Return remarks on what a log can support.

    Parameters
    ----------
    log : DataFrame
        All rows, base rows included.
    laws : dict of str to str
        Name of the law by the corpora that were fitted.
    """
    findings: list[Finding] = []
    for corpus in CORPORA:
        if corpus not in laws:
            findings.append(
                Finding(
                    f"no_{corpus}_loss",
                    f"the log has no {corpus} loss, so nothing is said about it; a plan needs both",
                )
            )
    num_sizes = log["model_params"].nunique()
    if set(laws.values()) - {"cmr"} and num_sizes < 3:
        what = (
            "one model size: the term A/N^alpha is left out"
            if num_sizes == 1
            else "two model sizes: alpha is held at its published value"
        )
        findings.append(
            Finding(
                "few_sizes",
                f"the log has {what}, so the law says nothing of its own about other sizes; probe three",
            )
        )
    num_budgets = log.loc[log["train_tokens"] > 0, "train_tokens"].nunique()
    if num_budgets < 3:
        findings.append(
            Finding(
                "few_token_counts",
                f"the log has {num_budgets} token count(s) after the base; predictions at other budgets have no "
                "ground, evaluate each run at three or more",
            )
        )
    if not (log["train_tokens"] == 0).any():
        findings.append(
            Finding(
                "no_base_row",
                "the log has no base row (train_tokens = 0), so the base loss is not known; a plan needs it",
            )
        )
    return findings


def corpus_findings(corpus: str, figures: dict[str, Any]) -> list[Finding]:
    """Return remarks on how the fit of one corpus ended."""
    findings: list[Finding] = []
    if figures["status"] == "stalled":
        findings.append(
            Finding(
                "stalled",
                f"the fit of the {corpus} loss stopped before the optimality test was met; try another delta",
            )
        )
    if figures["unidentified"]:
        findings.append(
            Finding(
                "unidentified",
                f"the log cannot tell these parameters of the {corpus} loss: "
                f"{', '.join(figures['unidentified'])}; predictions inside the probed range stand, the "
                "parameters mean nothing by themselves",
            )
        )
    if figures["at_bound"]:
        findings.append(
            Finding(
                "at_bound",
                f"these parameters of the {corpus} loss ended at the edge of their range: "
                f"{', '.join(figures['at_bound'])}; the term they belong to is not needed or not seen",
            )
        )
    return findings
