"""The least that reaches a target domain loss within the limits: tokens, or a model among listed sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import is_among
from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.numbers import require_positive
from cmrplan.plan.compute import affordable_tokens, parse_compute
from cmrplan.plan.loss_curves import survey_at
from cmrplan.plan.optimum import decide
from cmrplan.plan.plan import Plan, plan_within
from cmrplan.plan.request import Limits

NUM_GRID = 201
NUM_PLACES = 33
NUM_HALVINGS = 16  # of a step between places, to a hundred-thousandth of the tokens
FARTHEST = 1000.0  # times the largest probed tokens, where no other bound is given


@dataclass(frozen=True)
class Reached:
    """The domain loss that a size and budget reach at the ratio that the limits allow, nats per token.

    Parameters
    ----------
    model_params, train_tokens : float
    domain_ratio : float
        NaN where no ratio is feasible.
    domain_loss, domain_loss_safe : float
        The estimate, and the quantile that holds with the asked confidence; infinite where none is feasible.
    reason : str
        Why none is feasible; empty where one is.
    """

    model_params: float
    train_tokens: float
    domain_ratio: float
    domain_loss: float
    domain_loss_safe: float
    reason: str


@dataclass(frozen=True)
class Target:
    """The least that reaches a target domain loss.

    Parameters
    ----------
    target_domain_loss : float
    plan : Plan
        At the size and budget found.
    domain_loss_safe : float
        The domain loss that holds there with confidence; at most the target.
    point_train_tokens : float or None
        Tokens at which the best estimate reaches the target; None where sizes were listed.
    tried : tuple of Reached
        The sizes or budgets that were looked at on the way.
    """

    target_domain_loss: float
    plan: Plan
    domain_loss_safe: float
    point_train_tokens: float | None
    tried: tuple[Reached, ...]

    def table(self) -> pd.DataFrame:
        """Return one row a size or budget that was looked at."""
        rows = pd.DataFrame([vars(one) for one in self.tried])
        return rows.assign(reaches=rows["domain_loss_safe"] <= self.target_domain_loss)


def reached(fit: Fit, limits: Limits, *, model_params: float, train_tokens: float) -> Reached:
    """Return the domain loss at the best ratio that the limits allow."""
    size, tokens = float(model_params), float(train_tokens)
    try:
        made = decide(fit, limits, model_params=size, train_tokens=tokens, num_grid=NUM_GRID)
    except InputError:
        raise
    except CmrplanError as error:
        return Reached(size, tokens, np.nan, np.inf, np.inf, str(error))
    at = survey_at(fit, limits, model_params=size, train_tokens=tokens, domain_ratio=made.ratio)
    loss = float(at.domain.loss[0])
    safe = loss
    if len(at.domain.draws):
        safe = max(loss, float(np.quantile(at.domain.draws[:, 0], limits.confidence)))
    return Reached(size, tokens, made.ratio, loss, safe, "")


def fewest_tokens(
    fit: Fit,
    *,
    target_domain_loss: float,
    model_params: float,
    train_tokens: float | None = None,
    compute: float | str | None = None,
    gpu_flops: float | None = None,
    **limits: Any,
) -> Target:
    """Return the fewest tokens whose best feasible ratio reaches a domain loss, with confidence.

    Parameters
    ----------
    fit : Fit
    target_domain_loss : float
        Nats per token.
    model_params : float
    train_tokens, compute : optional
        The most tokens, FLOPs or GPU-hours that may be spent; a thousand times the largest probed tokens by default.
    gpu_flops : float, optional
        As in :func:`~cmrplan.plan.plan.plan`.
    **limits
        Fields of :class:`~cmrplan.plan.request.Limits`.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If the target is not reached, with the lowest loss that is.
    """
    require_positive("target_domain_loss", target_domain_loss)
    require_positive("model_params", model_params)
    asked = Limits(**limits)
    budget = None if compute is None else parse_compute(compute, gpu_flops)
    probed = fit.log.loc[fit.log["train_tokens"] > 0, "train_tokens"]
    most = FARTHEST * float(probed.max())
    if train_tokens is not None:
        require_positive("train_tokens", train_tokens)
        most = float(train_tokens)
    if budget is not None:
        most = min(
            most if train_tokens is not None else np.inf, affordable_tokens(model_params, budget)
        )
    least = min(float(probed.min()), most)

    def at(tokens: float) -> Reached:
        return reached(fit, asked, model_params=model_params, train_tokens=tokens)

    tried = [at(float(tokens)) for tokens in np.unique(np.geomspace(least, most, NUM_PLACES))]
    tokens = _first(at, tried, target_domain_loss, lambda one: one.domain_loss_safe)
    if tokens is None:
        raise CmrplanError(_out_of_reach(tried, target_domain_loss, asked.confidence))
    found = at(tokens)
    made = plan_within(fit, asked, model_params=model_params, train_tokens=tokens, compute=budget)
    if tokens == least:
        remark = Finding(
            Code.TARGET_REACHED_AT_ONCE,
            f"the fewest probed tokens ({least:.4g}) reach the target already; fewer may do",
        )
        made = made.with_findings([remark])
    return Target(
        target_domain_loss=float(target_domain_loss),
        plan=made,
        domain_loss_safe=found.domain_loss_safe,
        point_train_tokens=_first(at, tried, target_domain_loss, lambda one: one.domain_loss),
        tried=tuple(tried),
    )


def smallest_model(
    fit: Fit,
    *,
    target_domain_loss: float,
    sizes: Sequence[float],
    train_tokens: float,
    **limits: Any,
) -> Target:
    """Return the smallest of the listed sizes that reaches a domain loss at a budget, with confidence.

    The rise of each size is measured over its own base; see :func:`fewest_tokens` for the arguments.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If no listed size reaches the target, with the lowest loss that one does.
    """
    require_positive("target_domain_loss", target_domain_loss)
    require_positive("train_tokens", train_tokens)
    asked = Limits(**limits)
    asked.refuse_base_loss()
    listed = checked_sizes(sizes)
    require_sizes(fit, listed)
    tried = [reached(fit, asked, model_params=size, train_tokens=train_tokens) for size in listed]
    for one in tried:
        if one.domain_loss_safe <= target_domain_loss:
            made = plan_within(fit, asked, model_params=one.model_params, train_tokens=train_tokens)
            return Target(float(target_domain_loss), made, one.domain_loss_safe, None, tuple(tried))
    raise CmrplanError(_out_of_reach(tried, target_domain_loss, asked.confidence))


def checked_sizes(sizes: Sequence[float]) -> list[float]:
    """Return sizes ascending, each once.

    Raises
    ------
    InputError
        If there is none, or one is not above zero.
    """
    if not len(sizes):
        raise InputError("sizes must be one or more numbers of parameters, got none")
    for size in sizes:
        require_positive("sizes", size)
    return sorted({float(size) for size in sizes})


def require_sizes(fit: Fit, sizes: Sequence[float]) -> None:
    """Refuse to compare sizes by a law without a term of size, as it is where one size was probed.

    Raises
    ------
    CmrplanError
        If sizes were listed that the fit cannot tell apart.
    """
    probed = fit.sizes_of("domain")
    if not fit.model_of("domain").reads_size and any(not is_among(probed, size) for size in sizes):
        raise CmrplanError(
            f"the log has one model size, {probed[0]:.4g}, so the domain loss of others is not known and sizes cannot "
            "be compared; probe a second one, better two more, a factor of 3 or more apart"
        )


def _first(
    at: Callable[[float], Reached],
    tried: list[Reached],
    target: float,
    loss: Callable[[Reached], float],
) -> float | None:
    """Return the first tokens that reach the target, between two places by halving; None where none do."""
    reaching = [k for k, one in enumerate(tried) if loss(one) <= target]
    if not reaching:
        return None
    k = reaching[0]
    high = tried[k].train_tokens
    if k == 0:
        return high
    low = tried[k - 1].train_tokens
    for _ in range(NUM_HALVINGS):
        middle = float(np.sqrt(low * high))
        if loss(at(middle)) <= target:
            high = middle
        else:
            low = middle
    return high


def _out_of_reach(tried: list[Reached], target: float, confidence: float) -> str:
    best = min(tried, key=lambda one: one.domain_loss_safe)
    if not np.isfinite(best.domain_loss_safe):
        return f"the target is out of reach: {tried[-1].reason}"
    lowest = np.ceil(best.domain_loss_safe * 1e4) / 1e4
    text = (
        f"no run within the limits reaches a domain loss of {target:g} with confidence {confidence:g}; the lowest "
        f"is {lowest:.4f}, at model_params = {best.model_params:.4g}, train_tokens = {best.train_tokens:.4g}, "
        f"domain_ratio = {best.domain_ratio:.3f}: aim there, or allow more tokens, a larger model or more rise"
    )
    if best.domain_loss <= target:
        text += f"; the best estimate there, {best.domain_loss:.4f}, would do"
    return text
