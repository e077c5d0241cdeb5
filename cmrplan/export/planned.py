"""What an export needs of a plan: shares, tokens, and how often each corpus may be repeated.

A plan of two corpora and one of many, in memory or in a file, are read by way of the same content, which is what
``cmrplan plan --json`` and ``cmrplan mix plan --json`` print.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from cmrplan.errors import CmrplanError, InputError, printable
from cmrplan.files import CHECKSUM, read_json, require_seal, sealed
from cmrplan.log import CORPORA
from cmrplan.mixture.mixture_plan import MixturePlan
from cmrplan.plan.plan import Plan

PlanOrPath = Plan | MixturePlan | str | os.PathLike[str]

_ROUNDED_SUM = 1e-6  # the shares of a mixture are rounded by the search for it
_AGAIN = "make it again with cmrplan plan FIT --out PLAN.json, or cmrplan mix plan"

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True)
class PlannedMixture:
    """The mixture that a plan recommends.

    Parameters
    ----------
    shares : mapping of str to float
        Share of the training tokens by corpus; they sum to 1.
    train_tokens : float
        Tokens of the run, all corpora together.
    available : mapping of str to float
        Unique tokens of those corpora for which the plan was told.
    max_epochs : mapping of str to float
        Passes that the plan allows over those corpora which it bounds: of two corpora the domain, of many all.
    fingerprint : str
        The checksum over the content of the plan.
    """

    shares: Mapping[str, float]
    train_tokens: float
    available: Mapping[str, float]
    max_epochs: Mapping[str, float]
    fingerprint: str


class _TwoCorporaLimits(BaseModel):
    domain_tokens: _Positive | None = None
    max_epochs: _Positive = 1.0


class _TwoCorporaContent(BaseModel):
    domain_ratio: _Share
    train_tokens: _Positive
    supply_tokens: _Positive | None = None
    asked: _TwoCorporaLimits = _TwoCorporaLimits()


class _MixtureLimits(BaseModel):
    available: dict[str, _Positive] = {}
    max_epochs: _Positive | dict[str, _Positive] = 1.0


class _MixtureContent(BaseModel):
    shares: dict[str, _Share] = Field(min_length=1)
    train_tokens: _Positive
    asked: _MixtureLimits = _MixtureLimits()


def planned_mixture(plan: PlanOrPath) -> PlannedMixture:
    """Return the mixture of a plan, or of its file.

    Raises
    ------
    InputError
        If it is neither, or the file cannot be read, was edited, or is not a whole plan.
    CmrplanError
        If the plan recommends none.
    """
    if isinstance(plan, Plan | MixturePlan):
        return _mixture_of(sealed(plan.as_dict()), "the plan")
    if not isinstance(plan, str | os.PathLike):
        raise InputError(
            f"plan must be a Plan, a MixturePlan or the path of a file, got {type(plan).__name__}; cp.plan and "
            "cp.plan_mixture make one"
        )
    content = read_json(plan)
    if not isinstance(content, dict) or not {"domain_ratio", "shares"} & content.keys():
        is_fit = isinstance(content, dict) and "cmrplan_fit" in content
        what = "a fit and not a plan" if is_fit else "not a plan"
        raise InputError(
            f"{os.fspath(plan)} is {what}; make one with cmrplan plan FIT --out PLAN.json, or cmrplan mix plan"
        )
    require_seal(plan, content, remedy=_AGAIN)
    return _mixture_of(content, os.fspath(plan))


def _mixture_of(content: dict[str, Any], source: str) -> PlannedMixture:
    """Return the mixture in the content of a plan, of which the checksum is a part."""
    fingerprint = content[CHECKSUM]
    if content.get("is_feasible") is False:
        reason = printable(str(content.get("reason", "")), keep="")
        what = "ratio" if "domain_ratio" in content else "mixture"
        raise CmrplanError(
            f"{source} recommends no {what}, so there is nothing to export: {reason}"
        )
    try:
        if "domain_ratio" in content:
            return _of_two(_TwoCorporaContent.model_validate(content), fingerprint)
        return _of_many(_MixtureContent.model_validate(content), fingerprint)
    except ValidationError as error:
        first = error.errors()[0]
        part = ".".join(str(name) for name in first["loc"])
        problem = f"{part}: {first['msg']}"
    except InputError as error:
        problem = str(error)
    raise InputError(f"{source} is not a whole plan ({problem}); {_AGAIN}")


def _of_two(content: _TwoCorporaContent, fingerprint: str) -> PlannedMixture:
    general, domain = CORPORA
    unique, allowed = content.asked.domain_tokens, content.asked.max_epochs
    if content.supply_tokens is not None:  # the plan counts the repeats of the probes' own supply
        unique = content.supply_tokens
        allowed = max(1.0, content.train_tokens * content.domain_ratio / unique)
    return PlannedMixture(
        shares={general: 1 - content.domain_ratio, domain: content.domain_ratio},
        train_tokens=content.train_tokens,
        available={} if unique is None else {domain: unique},
        max_epochs={domain: allowed},
        fingerprint=fingerprint,
    )


def _of_many(content: _MixtureContent, fingerprint: str) -> PlannedMixture:
    total = sum(content.shares.values())
    if abs(total - 1) > _ROUNDED_SUM:
        raise InputError(f"shares: they sum to {total:g} and not to 1")
    passes = content.asked.max_epochs
    return PlannedMixture(
        shares={name: share / total for name, share in content.shares.items()},
        train_tokens=content.train_tokens,
        available=content.asked.available,
        max_epochs={
            name: passes.get(name, 1.0) if isinstance(passes, dict) else passes
            for name in content.shares
        },
        fingerprint=fingerprint,
    )
