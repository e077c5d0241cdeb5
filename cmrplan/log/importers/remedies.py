"""The option of ``logs import`` that would put right what is wrong with a table."""

from __future__ import annotations

from cmrplan.errors import Code
from cmrplan.log.cells import LogFinding


def option_for(finding: LogFinding) -> str:
    """Return the option that would put an error right, "" if there is none."""
    if finding.code == Code.NOT_A_FRACTION and "Percent?" in finding.message:
        return f" Here: --scale {finding.column}=0.01"
    if finding.code == Code.NOT_WHOLE and "Billions?" in finding.message:
        return f" Here: --scale {finding.column}=1e9"
    if finding.code == Code.SHARE_SUM:
        return " Rounded? --normalize-shares divides them by their sum."
    if finding.code == Code.RUN_CHANGES and finding.column == "domain_ratio":
        return " A mixture that changes during the run? --phases rows reads its phases."
    if finding.code == Code.MISSING_COLUMN and finding.column == "domain_ratio":
        return (
            "; here: --map OLD=domain_ratio, --map OLD=replay_ratio where OLD is the share of replay, or "
            "--set domain_ratio=VALUE for one value"
        )
    if finding.code == Code.MISSING_COLUMN:
        return f"; here: --map OLD={finding.column}, or --set {finding.column}=VALUE for one value"
    return ""
