"""Whether a fit of a law with repetition could see any."""

from __future__ import annotations

from collections.abc import Mapping

from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import CorpusModel, top_weighted_laws
from cmrplan.laws.registry import AUTO, REGISTRY
from cmrplan.laws.repetition import REPEAT_SCALE


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
