"""Every finding on a fit, in the order of the questions a reader has."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import Finding
from cmrplan.fit.averaged_model import leading_surfaces
from cmrplan.fit.cmr_model import Curves
from cmrplan.fit.diagnosis.burn_in import find_settling, settling_findings
from cmrplan.fit.diagnosis.influence import check_runs, influence_findings
from cmrplan.fit.diagnosis.lack_of_fit import lack_of_fit_findings
from cmrplan.fit.diagnosis.levels import level_findings
from cmrplan.fit.diagnosis.shape import shape_findings
from cmrplan.fit.diagnosis.trends import residual_trends, trend_findings
from cmrplan.fit.law_model import Surface, row_inputs
from cmrplan.log.schedules import schedule_findings


def diagnose(
    log: pd.DataFrame, models: Mapping[str, object], rows: Mapping[str, pd.DataFrame]
) -> list[Finding]:
    """Return the findings on a fit, but for those on parameters, which stand with each corpus.

    Where laws were averaged, the one with the largest weight is looked at. Of the CMR laws, levels, schedule and shape
    are looked at: runs are not left out, since each has a token law of its own, and for the same reason residuals say
    nothing across runs.

    Parameters
    ----------
    log : DataFrame
        All rows, base rows included.
    models : mapping of str to Surface or Curves
        By corpus.
    rows : mapping of str to DataFrame
        The rows that each was fitted to.
    """
    surfaces = leading_surfaces(models)
    laws = {corpus: surfaces[corpus].fit.law if corpus in surfaces else None for corpus in models}
    fitted = pd.concat(list(rows.values()))
    findings = level_findings(log, rows, laws) + schedule_findings(fitted)
    if surfaces:
        findings += settling_findings(find_settling(surfaces, rows))
    findings += lack_of_fit_findings(surfaces, rows)
    for corpus, model in models.items():
        shown = surfaces.get(corpus, model)
        if isinstance(shown, Surface | Curves):
            findings += shape_findings(shown, rows[corpus])
    for corpus, surface in surfaces.items():
        findings += influence_findings(corpus, *check_runs(surface, rows[corpus]))
        findings += trend_findings(corpus, residual_trends(rows[corpus], _residual(surface, rows)))
    return findings


def _residual(surface: Surface, rows: Mapping[str, pd.DataFrame]) -> Array:
    """Return observed less fitted losses, nats per token."""
    frame = rows[surface.corpus]
    fitted = surface.fit.predict(row_inputs(surface.corpus, frame))
    return frame["loss"].to_numpy(dtype=float) - fitted
