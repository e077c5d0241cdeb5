"""Whether a law follows the data: its residuals against what repeated seeds show without any law."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import fdtrc

from cmrplan.errors import Code, Finding
from cmrplan.fit.diagnosis.thresholds import ALPHA
from cmrplan.fit.law_model import LawModel
from cmrplan.fit.noise import Noise, run_noise, seed_noise


def lack_of_fit_findings(
    laws: Mapping[str, LawModel], rows: Mapping[str, pd.DataFrame]
) -> list[Finding]:
    """Return a finding for each loss whose residuals are larger than seeds explain, by an F test at 1 %.

    The degrees of freedom are those between runs, on both sides: evaluations of one run count as one.

    Parameters
    ----------
    laws : mapping of str to LawModel
        By corpus, fitted to log losses.
    rows : mapping of str to DataFrame
        What each was fitted to.
    """
    findings = []
    for corpus, law in laws.items():
        seeds = seed_noise(rows[corpus])
        if seeds is None or law.fit.law.link != "log":
            continue
        misfit = run_noise([law.residuals(rows[corpus])])
        known, left = total(seeds), total(misfit)
        degrees = (misfit.degrees_of_freedom, seeds.degrees_of_freedom)
        if known > 0 and fdtrc(*degrees, (left / known) ** 2) < ALPHA:
            findings.append(
                Finding(
                    Code.LACK_OF_FIT,
                    f"the {corpus} loss lies {100 * left:.2g} % off the law and only {100 * known:.2g} % apart between "
                    "seeds: the law does not follow it, and more seeds will not help; fit one size "
                    "(--model-params), leave out early evaluations, or compare laws",
                )
            )
    return findings


def total(noise: Noise) -> float:
    """Return the standard deviation of one evaluation of one run."""
    return float(np.hypot(noise.run, noise.checkpoint))
