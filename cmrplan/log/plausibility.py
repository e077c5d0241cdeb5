"""Whether a log that can be read can be what it says: which way round its ratio stands, its units, its corpora."""

from __future__ import annotations

import pandas as pd

from cmrplan.errors import Code, InputError
from cmrplan.log.cells import LogFinding
from cmrplan.log.copied_runs import copied_run_findings
from cmrplan.log.corpora import spelling_findings
from cmrplan.log.diverged_runs import diverged_run_findings
from cmrplan.log.orientation import orientation_findings
from cmrplan.log.resumed_runs import resumed_run_findings
from cmrplan.log.units import unit_findings

_FAR_ABOVE = (
    0.04  # of the base loss; re-warming leaves 1 to 3 % of a loss at the end of published runs
)


def plausibility_findings(
    log: pd.DataFrame, source: str, ratio_column: str = "domain_ratio"
) -> list[LogFinding]:
    """Return what is wrong, or suspect, about the meaning of the numbers of a log in canonical types; errors first.

    ``ratio_column`` is the name that the ratio had in the file.
    """
    findings = [
        *spelling_findings(log, source),
        *orientation_findings(log, source, ratio_column),
        *unit_findings(log, source),
        *_base_findings(log, source),
        *copied_run_findings(log, source),
        *resumed_run_findings(log, source),
        *diverged_run_findings(log, source),
    ]
    return sorted(findings, key=lambda finding: finding.severity != "error")


def _base_findings(log: pd.DataFrame, source: str) -> list[LogFinding]:
    """Return a finding for the size whose runs at ratio 0 lie farthest above their base, if they do at every budget."""
    if "domain_ratio" not in log:
        return []
    general = log[log["eval_corpus"] == "general"]
    base = general[general["train_tokens"] == 0].groupby("model_params")["loss"].mean()
    replay = general[(general["train_tokens"] > 0) & (general["domain_ratio"] == 0)]
    lowest = replay.groupby("model_params")["loss"].min()
    rise = (lowest / base - 1).dropna()
    if rise.empty or rise.max() <= _FAR_ABOVE:
        return []
    size = float(rise.index[int(rise.to_numpy().argmax())])
    above = lowest[size] - base[size]
    message = (
        f"{source}: without domain data the general loss lies {above:.3g} nats or more above the base loss "
        f"{base[size]:.4g} at every budget (model_params {size:.4g}), so it was evaluated on another set, or "
        "re-warming raised it; evaluate the base anew, or plan with --rise-over replay"
    )
    return [LogFinding(Code.BASE_APART, message, source, column="loss", num_rows=len(replay))]


def require_plausible(log: pd.DataFrame, source: str, ratio_column: str = "domain_ratio") -> None:
    """Refuse a log whose numbers cannot be what their columns say.

    Raises
    ------
    InputError
        With the first error of :func:`plausibility_findings`.
    """
    for finding in plausibility_findings(log, source, ratio_column):
        if finding.severity == "error":
            raise InputError(finding.message)
