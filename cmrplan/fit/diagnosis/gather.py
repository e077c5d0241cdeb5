"""Every finding on a fit, in the order of the questions a reader has."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import Finding
from cmrplan.fit.corpus_model import CorpusModel, top_weighted_laws
from cmrplan.fit.diagnosis.burn_in import BurnIn, burn_in_findings
from cmrplan.fit.diagnosis.influence import check_runs, influence_findings
from cmrplan.fit.diagnosis.lack_of_fit import lack_of_fit_findings
from cmrplan.fit.diagnosis.levels import level_findings
from cmrplan.fit.diagnosis.shape import shape_findings
from cmrplan.fit.diagnosis.trends import residual_trends, trend_findings
from cmrplan.fit.law_model import LawModel, row_inputs
from cmrplan.fit.schedule_areas import peak_findings
from cmrplan.log.schedules import schedule_findings


def diagnose(
    log: pd.DataFrame,
    models: Mapping[str, CorpusModel],
    rows: Mapping[str, pd.DataFrame],
    early: BurnIn,
) -> list[Finding]:
    """Return the findings on a fit, but for those on parameters, which stand with each corpus.

    Laws of rises over the base, and models that follow their rows, are looked at for levels and parameters alone.
    Where laws were averaged, the one with the largest weight is looked at. Of the CMR laws, levels, schedule and shape
    are looked at: runs are not left out, since each has a token law of its own, and for the same reason residuals say
    nothing across runs.

    Parameters
    ----------
    log : DataFrame
        All rows, base rows included.
    models : mapping of str to CorpusModel
        By corpus.
    rows : mapping of str to DataFrame
        The rows that each was fitted to.
    early : BurnIn
        What early evaluations do to these laws.
    """
    laws = top_weighted_laws(models)
    declared = {corpus: laws[corpus].fit.law if corpus in laws else None for corpus in models}
    fitted = pd.concat(list(rows.values()))
    findings = level_findings(log, rows, declared)
    of_rates = [model.law for model in models.values() if "s1_cpt" in model.more_columns]
    findings += peak_findings(log, of_rates[0]) if of_rates else schedule_findings(fitted)
    by_law = [
        corpus
        for corpus, model in models.items()
        if not model.follows_rows and not (corpus in laws and laws[corpus].entry.fits_rises)
    ]
    models = {corpus: models[corpus] for corpus in by_law}
    laws = {corpus: laws[corpus] for corpus in by_law if corpus in laws}
    findings += burn_in_findings(early)
    findings += lack_of_fit_findings(laws, rows)
    for corpus, model in models.items():
        findings += shape_findings(laws.get(corpus, model), rows[corpus])
    for corpus, law in laws.items():
        findings += influence_findings(corpus, *check_runs(law, rows[corpus]))
        findings += trend_findings(corpus, residual_trends(rows[corpus], _residual(law, rows)))
    return findings


def _residual(law: LawModel, rows: Mapping[str, pd.DataFrame]) -> Array:
    """Return observed less fitted losses, nats per token."""
    frame = rows[law.corpus]
    fitted = law.fit.predict(row_inputs(law.corpus, frame))
    return frame["loss"].to_numpy(dtype=float) - fitted
