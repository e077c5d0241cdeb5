"""What a fit of a mixture has to say about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import CorpusModel, top_weighted_laws
from cmrplan.fit.mixture_laws import mixtures_needed, run_shares
from cmrplan.log.cells import listed
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.mixture.plane import held_positions, tied_positions
from cmrplan.solve.law_fit import Status

FEWEST_PER_PARAMETER = 2


def fit_findings(
    models: Mapping[str, CorpusModel],
    rows: pd.DataFrame,
    corpora: Sequence[str],
) -> list[Finding]:
    """Return remarks on the mixtures of a log and on the fitted laws."""
    findings = _few_mixtures(models, rows, corpora)
    shares = run_shares(rows, corpora)
    findings += [
        Finding(
            Code.UNVARIED_CORPUS,
            f"the share of {corpora[j]} is {shares[:, j].mean():.4g} in every run, so what more or less of it does is "
            "not known; a plan keeps it there",
        )
        for j in sorted(held_positions(shares), key=lambda j: corpora[j])
    ]
    unmeasured = sorted(set(corpora) - set(models))
    if 0 < len(unmeasured) < len(corpora):  # validation corpora may have names of their own
        findings.append(
            Finding(
                Code.UNMEASURED_CORPUS,
                f"no loss was measured on {listed(unmeasured)}, which runs were trained on: a plan counts nothing for "
                "what a share does there, and gives it what serves the other losses",
            )
        )
    tied = tied_positions(shares)
    if tied:
        findings.append(
            Finding(
                Code.TIED_CORPORA,
                f"the shares of {listed(sorted(corpora[j] for j in tied))} moved together in every run, so what one "
                "of them does without the others is not known: a plan keeps them together, and a prediction apart from "
                "that, as of the natural mix, is a guess; vary them against each other, or count them as one corpus",
            )
        )
    for corpus, law in sorted(top_weighted_laws(models).items()):
        fit = law.fit
        blurred = [n for n in corpora if {f"t_{n}", f"gamma_{n}", f"w_{n}"} & set(fit.unidentified)]
        if blurred:
            findings.append(
                Finding(
                    Code.UNIDENTIFIED,
                    f"{corpus} loss: the log does not tell its law's parameters of the share of "
                    f"{listed(sorted(blurred))} from the others; rest on predictions near probed mixtures, not on them",
                )
            )
        if fit.status is Status.STALLED:
            findings.append(
                Finding(
                    Code.STALLED,
                    f"{corpus} loss: the search stopped before the optimality test was met; compare the other law",
                )
            )
    return findings


def _few_mixtures(
    models: Mapping[str, CorpusModel], rows: pd.DataFrame, corpora: Sequence[str]
) -> list[Finding]:
    """Return a finding for the losses that were measured at few mixtures, one for those at as many."""
    few: dict[tuple[int, int], list[str]] = {}
    for corpus, model in sorted(models.items()):
        there = rows[rows["eval_corpus"] == corpus]
        count = len(there[[SHARE_PREFIX + name for name in corpora]].drop_duplicates())
        most = max(mixtures_needed(law.fit.law) for law in model.components)
        if count < FEWEST_PER_PARAMETER * most:
            few.setdefault((count, most), []).append(corpus)
    return [
        Finding(
            Code.FEW_MIXTURES,
            f"the loss on {listed(losses)}: {count} mixtures for laws with up to {most} parameters of the mixture: "
            f"little checks them between the mixtures; probe {FEWEST_PER_PARAMETER * most} or more",
        )
        for (count, most), losses in few.items()
    ]
