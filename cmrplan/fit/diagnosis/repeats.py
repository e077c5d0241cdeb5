"""Whether a fit of a law with repetition could see any, and what repetition in the log means for other laws."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import CorpusModel, top_weighted_laws
from cmrplan.fit.supply import supply_of
from cmrplan.laws.registry import AUTO, REGISTRY
from cmrplan.laws.repetition import REPEAT_SCALE


def probed_repetition_findings(
    log: pd.DataFrame, models: Mapping[str, CorpusModel]
) -> list[Finding]:
    """Return a finding where the probes pass over their domain data more than once and the domain loss was fitted."""
    supply, model = supply_of(log), models.get("domain")
    if supply is None or model is None:
        return []
    held = f"{supply.unique_tokens:.4g}" if supply.is_one else f"at most {supply.unique_tokens:.4g}"
    text = (
        f"probes pass over their unique_domain_tokens ({held}) up to {supply.most_passes:.3g} times, so their losses "
        "contain what repetition costs; a plan draws from as many, unless --domain-tokens says what the run has"
    )
    if not supply.is_one and "general" in models:
        text += (
            "; not all drew from one corpus, which the general loss is fitted as if they had, so fit each corpus apart "
            "for it"
        )
    if not model.reads_repetition:
        text += f"; the law {model.law} takes repeats for fresh data, so fit --law auto or dcpt_repetition instead"
    return [Finding(Code.PROBES_REPEAT, text)]


def unseen_repetition_findings(models: Mapping[str, CorpusModel], asked: str) -> list[Finding]:
    """Return a finding for each loss of which the repetition is not in the log, for a law ``asked`` that has it."""
    if asked == AUTO or not REGISTRY[asked].plain:
        return []
    findings = []
    for corpus, law in top_weighted_laws(models).items():
        if law.law != asked:
            message = f"only domain tokens are known to repeat, so the {corpus} loss has the plain law {law.law}"
        elif dict(law.fit.law.fixed).get("repeat_scale") == REPEAT_SCALE:
            message = (
                f"no run passes over its domain tokens more than once, so R* of the {corpus} loss is held at "
                f"{REPEAT_SCALE:.4g}, the value from scratch on one source; probe with as many passes as the target"
            )
        else:
            continue
        findings.append(Finding(Code.NO_REPETITION, message))
    return findings
