"""Whether a log that can be read can be what it says: which way round its ratio stands, and its units."""

from __future__ import annotations

import pandas as pd

from cmrplan.errors import InputError
from cmrplan.log.cells import LogFinding
from cmrplan.log.orientation import orientation_findings
from cmrplan.log.units import unit_findings


def plausibility_findings(
    log: pd.DataFrame, source: str, ratio_column: str = "domain_ratio"
) -> list[LogFinding]:
    """Return what is wrong, or suspect, about the meaning of the numbers of a log in canonical types; errors first.

    ``ratio_column`` is the name that the ratio had in the file.
    """
    findings = [*orientation_findings(log, source, ratio_column), *unit_findings(log, source)]
    return sorted(findings, key=lambda finding: finding.severity != "error")


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
