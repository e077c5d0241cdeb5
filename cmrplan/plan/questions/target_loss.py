"""A target domain loss is reached by a least number of tokens, or by a smallest model among listed sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.fit.probed import is_among
from cmrplan.fit.tabular import Tabular
from cmrplan.numbers import affordable_tokens, require_positive
from cmrplan.plan.findings import infeasible_text
from cmrplan.plan.loss_curves import COARSE_GRID, survey_at
from cmrplan.plan.optimum import decide
from cmrplan.plan.plan import Plan, feasible_plan_for
from cmrplan.plan.request import (
    CountOrText,
    FitOrPath,
    PlanRequest,
    RequestOptions,
    TokensOptions,
    fit_of,
    named_arguments,
    parse_named_count,
    request_of,
)

NUM_BUDGETS = 33
NUM_HALVINGS = 16  # of a step between budgets, to a hundred-thousandth of the tokens
MOST_TIMES_PROBED = 1000.0  # the largest probed tokens, where no other bound is given


@dataclass(frozen=True)
class ReachedLoss:
    """The domain loss that a run reaches at the ratio that the limits allow, nats per token.

    Parameters
    ----------
    model_params, train_tokens : float
    domain_ratio : float
        NaN where no ratio is feasible.
    domain_loss, domain_loss_safe : float
        The estimate, and the quantile that holds with the asked confidence; infinite where none is feasible.
    objective : float
        What is sought to be low: the domain loss, with the weighted general loss where it was given a weight.
    reason : str
        Why none is feasible; empty where one is.
    """

    model_params: float
    train_tokens: float
    domain_ratio: float
    domain_loss: float
    domain_loss_safe: float
    objective: float
    reason: str


@dataclass(frozen=True, repr=False)
class TargetLossPlan(Tabular):
    """The least that reaches a target domain loss.

    Parameters
    ----------
    target_domain_loss : float
    plan : Plan
        At that size and budget.
    domain_loss_safe : float
        The domain loss that holds there with confidence; at most the target.
    best_estimate_tokens : float or None
        Tokens at which the best estimate reaches the target; None where sizes were listed.
    tried : tuple of ReachedLoss
        The sizes or budgets that were looked at on the way.
    """

    target_domain_loss: float
    plan: Plan
    domain_loss_safe: float
    best_estimate_tokens: float | None
    tried: tuple[ReachedLoss, ...]

    def table(self) -> pd.DataFrame:
        """Return one row a size or budget that was looked at."""
        rows = pd.DataFrame([vars(one) for one in self.tried])
        return rows.assign(reaches=rows["domain_loss_safe"] <= self.target_domain_loss)


def reached(fit: Fit, request: PlanRequest) -> ReachedLoss:
    """Return the domain loss of a run at the best ratio that the limits allow."""
    size, tokens = request.size, request.tokens
    try:
        decision = decide(fit, request, num_grid=COARSE_GRID)
    except InputError:
        raise
    except CmrplanError as error:
        return ReachedLoss(size, tokens, np.nan, np.inf, np.inf, np.inf, str(error))
    ratio = decision.ratio
    if not decision.is_feasible:
        reason = infeasible_text(fit, request, decision)
        return ReachedLoss(size, tokens, np.nan, np.inf, np.inf, np.inf, reason)
    at = survey_at(fit, request, ratio)
    loss = float(at.domain.loss[0])
    upper = loss
    if len(at.domain.draws):
        upper = max(loss, float(np.quantile(at.domain.draws[:, 0], request.confidence)))
    return ReachedLoss(size, tokens, ratio, loss, upper, float(at.objective[0]), "")


@named_arguments
def fewest_tokens(
    fit: FitOrPath,
    request: PlanRequest | None = None,
    *,
    target_domain_loss: float,
    **options: Unpack[RequestOptions],
) -> TargetLossPlan:
    """Return the fewest tokens whose best feasible ratio reaches a domain loss, with confidence.

    Parameters
    ----------
    fit : Fit or path
    request : PlanRequest, optional
        The size and the limits; its ``train_tokens`` and ``compute`` are the most that may be spent, a thousand times
        the largest probed tokens by default.
    target_domain_loss : float
        Nats per token.
    **options
        Fields of :class:`~cmrplan.plan.request.PlanRequest`.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If the target is not reached, with the lowest loss that is.
    """
    require_positive("target_domain_loss", target_domain_loss)
    fit, asked = fit_of(fit), request_of(request, options)
    fit.model_of("domain")  # without one no number of tokens is out of reach
    least, most = _token_range(fit, asked)

    def at(tokens: float) -> ReachedLoss:
        return reached(fit, asked.at(asked.size, tokens))

    tried = [at(float(tokens)) for tokens in np.unique(np.geomspace(least, most, NUM_BUDGETS))]
    tokens = _first(at, tried, target_domain_loss, lambda one: one.domain_loss_safe)
    if tokens is None:
        raise CmrplanError(_out_of_reach(tried, target_domain_loss, asked.confidence))
    plan = feasible_plan_for(fit, replace(asked, train_tokens=tokens))
    if tokens == least:
        fewest = "fewest probed tokens" if least < most else "most tokens that may be spent"
        remark = Finding(
            Code.TARGET_REACHED_AT_ONCE,
            f"the {fewest} ({least:.4g}) reach the target already; fewer may do",
        )
        plan = plan.with_findings([remark])
    return TargetLossPlan(
        target_domain_loss=float(target_domain_loss),
        plan=plan,
        domain_loss_safe=at(tokens).domain_loss_safe,
        best_estimate_tokens=_first(at, tried, target_domain_loss, lambda one: one.domain_loss),
        tried=tuple(tried),
    )


@named_arguments
def smallest_model(
    fit: FitOrPath,
    request: PlanRequest | None = None,
    *,
    target_domain_loss: float,
    sizes: Sequence[CountOrText],
    **options: Unpack[TokensOptions],
) -> TargetLossPlan:
    """Return the smallest of the listed sizes that reaches a domain loss at a budget, with confidence.

    The rise of each size is measured over its own base, and ``compute`` cuts the tokens of each; see
    :func:`fewest_tokens` for the arguments.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If no listed size reaches the target, with the lowest loss that one does.
    """
    require_positive("target_domain_loss", target_domain_loss)
    fit, asked = fit_of(fit), request_of(request, options)
    if asked.train_tokens is None:
        raise InputError("train_tokens must be given")
    asked.refuse_base_loss()
    listed = checked_sizes(sizes)
    require_sizes(fit, listed)
    tried = [reached(fit, replace(asked, model_params=size)) for size in listed]
    for one in tried:
        if one.domain_loss_safe <= target_domain_loss:
            plan = feasible_plan_for(fit, replace(asked, model_params=one.model_params))
            return TargetLossPlan(
                float(target_domain_loss), plan, one.domain_loss_safe, None, tuple(tried)
            )
    raise CmrplanError(_out_of_reach(tried, target_domain_loss, asked.confidence))


def _token_range(fit: Fit, request: PlanRequest) -> tuple[float, float]:
    """Return the fewest and the most tokens to look at."""
    probed = fit.log.loc[fit.log["train_tokens"] > 0, "train_tokens"]
    most = MOST_TIMES_PROBED * float(probed.max())
    if request.train_tokens is not None:
        most = float(request.train_tokens)
    if request.flops is not None:
        affordable = affordable_tokens(request.size, request.flops)
        most = affordable if request.train_tokens is None else min(most, affordable)
    return min(float(probed.min()), most), most


def checked_sizes(sizes: Sequence[CountOrText]) -> list[float]:
    """Return sizes ascending, each once.

    Raises
    ------
    InputError
        If there is none, or one is not above zero.
    """
    if not len(sizes):
        raise InputError("sizes must be one or more numbers of parameters, got none")
    return sorted({parse_named_count("sizes", size) for size in sizes})


def require_sizes(fit: Fit, sizes: Sequence[float]) -> None:
    """Refuse to compare sizes by a law without a term of size, as it is where one size was probed.

    Raises
    ------
    CmrplanError
        If sizes were listed that the fit cannot tell apart, or it has no domain loss.
    """
    model = fit.model_of("domain")
    probed = fit.probed.losses["domain"].sizes
    if not model.reads_size and any(not is_among(probed, size) for size in sizes):
        raise CmrplanError(
            f"the log has one model size, {probed[0]:.4g}, so the domain loss of others is not known and sizes cannot "
            "be compared; probe a second one, better two more, a factor of 3 or more apart"
        )


def _first(
    at: Callable[[float], ReachedLoss],
    tried: list[ReachedLoss],
    target: float,
    loss: Callable[[ReachedLoss], float],
) -> float | None:
    """Return the first tokens that reach the target, between two budgets by halving; None where none do."""
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


def _out_of_reach(tried: list[ReachedLoss], target: float, confidence: float) -> str:
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
