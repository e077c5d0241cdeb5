"""What a fit of a mixture has to say about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import CorpusModel, top_weighted_laws
from cmrplan.fit.mixture_laws import mixtures_needed, run_shares
from cmrplan.log.cells import listed
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.mixture.plane import held_positions, tied_groups
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
    findings += _tied(shares, corpora)
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


def _tied(shares: Array, corpora: Sequence[str]) -> list[Finding]:
    """Return a finding for each group of corpora whose shares no run has varied against each other."""
    findings, num_varied = [], len(corpora) - len(held_positions(shares))
    for group in tied_groups(shares):
        names = listed(sorted(corpora[j] for j in group))
        told = (
            f"the shares of {names} moved together in every run, so what one of them does without the others is not "
            "known: a plan keeps them together"
        )
        if len(group) == num_varied:
            told = (
                f"the runs do not tell some combination of the shares of {names} from others, so what it does is not "
                "known: a plan keeps to their mixtures and those between"
            )
        rest = "is a guess; add runs that vary them against each other"
        text = f"{told}, and a prediction apart from that, as of the natural mix, {rest}"
        findings.append(Finding(Code.TIED_CORPORA, text))
    return findings
