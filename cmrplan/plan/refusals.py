"""Why the limits of a plan contradict each other, and the smallest change of each that would not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmrplan.errors import CmrplanError
from cmrplan.fit.fit import Fit
from cmrplan.plan.request import PlanRequest
from cmrplan.plan.turning_point import multiplier_at

if TYPE_CHECKING:
    from cmrplan.plan.optimum import FeasibleInterval


def empty_text(fit: Fit, request: PlanRequest, feasible: FeasibleInterval) -> str:
    """Return why the constraints leave no ratio, and the smallest change of each that would."""
    lowest, highest = feasible.probed
    if feasible.low > highest:
        return (
            f"min_ratio {feasible.low:g} is above the largest fitted ratio {highest:g}; probe larger ratios, or lower "
            f"min_ratio to {highest:g}"
        )
    name, low = feasible.tightest, feasible.low
    is_floor = feasible.floor is not None and feasible.floor > lowest
    what = f"min_ratio {feasible.floor:g}" if is_floor else f"the smallest probed ratio {lowest:g}"
    way_out = f"lower min_ratio to {feasible.high:.4g}" if is_floor else "probe smaller ratios"
    if name == "domain_tokens":
        assert request.unique_tokens is not None
        needed = low * request.tokens
        change = (
            f"give {needed / request.max_epochs:.4g} domain_tokens, or allow {needed / request.unique_tokens:.3g} "
            "max_epochs"
        )
    elif name == "turning_point":
        weight = multiplier_at(
            fit, model_params=request.size, train_tokens=request.tokens, domain_ratio=low
        )
        change = "train longer" if weight is None else f"lower turning_point to {weight:.4g}"
    else:
        change = f"raise max_ratio to {low:.4g}"
    return f"{name} allows a domain ratio of at most {feasible.high:.4g}, below {what}; {way_out}, or {change}"


def unfitted_general_loss() -> CmrplanError:
    """Return the refusal of a question that counts a general loss which the log does not have."""
    return CmrplanError(
        "the general loss was not fitted: the log has no rows with eval_corpus = general; add them and fit again, "
        "or seek the lowest domain loss alone (general_weight 0 and no limit on the general loss)"
    )
