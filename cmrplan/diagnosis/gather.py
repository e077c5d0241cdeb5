"""Every finding on a fit, in the order of the questions a reader has."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cmrplan.diagnosis.levels import level_findings
from cmrplan.diagnosis.schedules import schedule_findings
from cmrplan.diagnosis.settling import find_settling, settling_findings
from cmrplan.errors import Finding
from cmrplan.fitting.surface import Surface


def diagnose(
    log: pd.DataFrame, models: Mapping[str, object], rows: Mapping[str, pd.DataFrame]
) -> list[Finding]:
    """Return the findings on a fit, but for those on parameters, which stand with each corpus.

    Parameters
    ----------
    log : DataFrame
        All rows, base rows included.
    models : mapping of str to Surface or Curves
        By corpus.
    rows : mapping of str to DataFrame
        The rows that each was fitted to.
    """
    surfaces = {corpus: model for corpus, model in models.items() if isinstance(model, Surface)}
    laws = {corpus: surfaces[corpus].fit.law if corpus in surfaces else None for corpus in models}
    fitted = pd.concat(list(rows.values()))
    findings = level_findings(log, rows, laws) + schedule_findings(fitted)
    if surfaces:
        findings += settling_findings(find_settling(surfaces, dict(rows)))
    return findings
