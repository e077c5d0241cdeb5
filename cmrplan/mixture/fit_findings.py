"""What a fit of a mixture has to say about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import CorpusModel, top_weighted_laws
from cmrplan.fit.mixture_laws import mixtures_needed
from cmrplan.log.cells import listed
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.solve.law_fit import Status

FEWEST_PER_PARAMETER = 2


def fit_findings(
    models: Mapping[str, CorpusModel],
    rows: pd.DataFrame,
    corpora: Sequence[str],
    varied: Sequence[str],
) -> list[Finding]:
    """Return remarks on the mixtures of a log and on the fitted laws."""
    findings = []
    shares = rows[[SHARE_PREFIX + name for name in corpora]].to_numpy(dtype=float)
    count = len(np.unique(shares, axis=0))
    most = max(
        mixtures_needed(law.fit.law) for model in models.values() for law in model.components
    )
    if count < FEWEST_PER_PARAMETER * most:
        findings.append(
            Finding(
                Code.FEW_MIXTURES,
                f"{count} mixtures for laws with up to {most} parameters of the mixture: little checks them "
                f"between the mixtures; probe {FEWEST_PER_PARAMETER * most} or more",
            )
        )
    findings += [
        Finding(
            Code.UNVARIED_CORPUS,
            f"the share of {name} is {rows[SHARE_PREFIX + name].iloc[0]:g} in every run, so what more or less of it "
            "does is not known; a plan keeps it there",
        )
        for name in sorted(set(corpora) - set(varied))
    ]
    for corpus, law in sorted(top_weighted_laws(models).items()):
        fit = law.fit
        blurred = [n for n in corpora if {f"t_{n}", f"gamma_{n}", f"w_{n}"} & set(fit.unidentified)]
        if blurred:
            findings.append(
                Finding(
                    Code.UNIDENTIFIED,
                    f"{corpus} loss: the log does not tell what the share of {listed(sorted(blurred))} does to it; "
                    f"rest on "
                    "predictions near probed mixtures",
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
