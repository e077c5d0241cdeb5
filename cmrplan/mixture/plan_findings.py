"""What a planned mixture has to say about itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.log.cells import listed
from cmrplan.mixture.extrapolation import beyond_levels, far_from_probed
from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.mixture.other_sizes import other_size_findings
from cmrplan.mixture.repetition import repetition_findings
from cmrplan.mixture.request import MixturePlanRequest

if TYPE_CHECKING:
    from cmrplan.mixture.mixture_plan import BindingConstraint


def plan_findings(
    fit: MixtureFit,
    asked: MixturePlanRequest,
    shares: Array,
    binding: Sequence[BindingConstraint],
) -> list[Finding]:
    """Return remarks on how far a mixture lies from what was probed, and on repeated data."""
    sizes = fit.fitted()["model_params"].unique()
    findings = [
        *other_size_findings(asked.size(fit), sizes, fit.carried(asked.size(fit))),
        *beyond_levels(fit.fitted(), asked.size(fit), asked.tokens),
        *far_from_probed(fit.mixtures(), shares),
    ]
    edges = sorted(b.corpus for b in binding if b.kind.startswith("probed"))
    if edges:
        findings.append(
            Finding(
                Code.SHARE_AT_EDGE,
                f"the share of {listed(edges)} ends where probing did; probe beyond to see whether more, or less, is "
                f"better",
            )
        )
    return [*findings, *repetition_findings(fit, shares, asked.tokens, asked.unique_tokens)]
