"""Turn fitted laws into one recommended domain ratio.

The question: how much domain data can a continual pre-training run take before the general loss rises more than
the user allows? Steps, in the order below::

    fit + budget -> losses over the ratio -> what the constraints leave -> the lowest domain loss -> Plan

The recommended ratio keeps the rise within the tolerance with the asked confidence: the constraint is put on the
upper quantile of the resampled rise, ratio by ratio. The best estimate, which breaks the tolerance
about every other time, stands beside it as ``point_domain_ratio``.

Nothing here reads files, draws, or fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.fit.prediction import Prediction
from cmrplan.numbers import require_positive
from cmrplan.plan.compute import affordable_tokens, parse_compute, training_flops
from cmrplan.plan.constraints import Binding, Constraint, binding_of, constraints_of
from cmrplan.plan.early_evaluations import early_findings
from cmrplan.plan.extrapolation import extrapolation_findings
from cmrplan.plan.loss_curves import survey_at
from cmrplan.plan.misfit import misfit_findings
from cmrplan.plan.optimum import decide
from cmrplan.plan.repetition import repetition_findings
from cmrplan.plan.request import Limits
from cmrplan.tolerance import Reference, Tolerance


@dataclass(frozen=True)
class Plan:
    """The recommended ratio and its reasons. Losses in nats per token, ratios in [0, 1].

    ``domain_ratio`` holds the tolerance with probability ``confidence`` (where there are resamples);
    ``domain_ratio_low`` and ``_high`` bound the best feasible ratio at that level, and ``point_domain_ratio`` is its
    best estimate (NaN where the estimates alone allow none). ``unconstrained_domain_ratio`` is best without any
    constraint. ``violation_probability`` is the share of resamples whose general loss there rises too far. Losses are
    predicted at ``domain_ratio``. ``general_rise`` is over the base checkpoint, ``replay_rise`` over
    ``replay_loss``, a run of the same tokens on general data alone. ``general_loss_limit`` is what the tolerance allows
    over the reference that was asked for. ``asked`` is the question as it was put, ``compute`` the FLOPs of the run.
    Fields that need resamples, a tolerance or a fitted ratio near 0 are None without them.
    """

    domain_ratio: float
    domain_ratio_low: float | None
    domain_ratio_high: float | None
    point_domain_ratio: float
    confidence: float
    binding: Binding
    constraints: tuple[Constraint, ...]
    unconstrained_domain_ratio: float
    violation_probability: float | None
    general_loss: float
    general_loss_low: float | None
    general_loss_high: float | None
    domain_loss: float
    domain_loss_low: float | None
    domain_loss_high: float | None
    general_rise: float
    general_rise_low: float | None
    general_rise_high: float | None
    base_loss: float
    replay_loss: float | None
    replay_rise: float | None
    replay_rise_low: float | None
    replay_rise_high: float | None
    general_loss_limit: float | None
    max_general_rise: str
    rise_over: Reference
    model_params: float
    train_tokens: float
    compute: float
    domain_epochs: float | None
    turning_point_ratio: float | None
    law: str
    num_resamples: int
    asked: Limits
    warnings: tuple[Finding, ...]
    provenance: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return every field by name as plain values, numbers unrounded; infinity as ``"inf"``."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if np.isnan(self.point_domain_ratio):
            fields["point_domain_ratio"] = None
        return fields | {
            "constraints": [constraint.as_dict() for constraint in self.constraints],
            "asked": self.asked.as_dict(),
            "warnings": [finding.as_dict() for finding in self.warnings],
        }

    def with_findings(self, findings: Sequence[Finding]) -> Plan:
        """Return the plan with more remarks."""
        return replace(self, warnings=(*self.warnings, *findings))


def plan(
    fit: Fit,
    *,
    model_params: float,
    max_general_rise: float | str | Tolerance | None = None,
    train_tokens: float | None = None,
    compute: float | str | None = None,
    gpu_flops: float | None = None,
    **limits: Any,
) -> Plan:
    """Recommend the domain ratio of a full-scale run.

    Parameters
    ----------
    fit : Fit
    model_params : float
        Size of the full-scale model, counted as in the log.
    max_general_rise : float or str
        Allowed rise of the general loss over the base: nats per token (``0.05``), a percentage of the loss
        (``"3%"``), or of the perplexity (``"5%ppl"``).
    train_tokens : float, optional
        Budget in tokens, domain and replay together. May be left out when ``compute`` is given.
    compute : float or str, optional
        Budget in FLOPs, at 6 a parameter and token, or in GPU-hours (``"500gpu-hours"``); cuts ``train_tokens``
        where it is the smaller.
    gpu_flops : float, optional
        What one GPU really does, in FLOP/s; needed for GPU-hours.
    **limits
        The other fields of :class:`~cmrplan.plan.request.Limits`: ``rise_over``, ``base_loss``, ``confidence``,
        ``domain_tokens``, ``max_epochs``, ``turning_point``, ``min_ratio``, ``max_ratio``, ``general_weight``.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If no ratio is feasible, with the smallest change that would be; or the fit lacks what is asked.
    """
    asked = Limits(max_general_rise=max_general_rise, **limits)
    budget = None if compute is None else parse_compute(compute, gpu_flops)
    return plan_within(
        fit, asked, model_params=model_params, train_tokens=train_tokens, compute=budget
    )


def plan_within(
    fit: Fit,
    limits: Limits,
    *,
    model_params: float,
    train_tokens: float | None,
    compute: float | None = None,
) -> Plan:
    """Return :func:`plan` for limits that were put together before, and compute in FLOPs."""
    require_positive("model_params", model_params)
    require_mixture_laws(fit)
    tokens, is_cut = _budget(model_params, train_tokens, compute)
    made = decide(fit, limits, model_params=model_params, train_tokens=tokens)
    land, window, chosen = made.land, made.window, made.ratio
    at = survey_at(fit, limits, model_params=model_params, train_tokens=tokens, domain_ratio=chosen)
    base, confidence = land.base_loss, limits.confidence
    general_low, general_high = _bounds(at.general, confidence)
    domain_low, domain_high = _bounds(at.domain, confidence)
    low, high = _quantiles(made.draws, confidence)
    binding = binding_of(land, window, chosen, is_cut=is_cut)
    findings = [*fit.warnings, *land.findings]
    findings += extrapolation_findings(
        fit, model_params=model_params, train_tokens=tokens, domain_ratio=chosen
    )
    findings += early_findings(
        fit, limits, model_params=model_params, train_tokens=tokens, chosen=made.point
    )
    findings += made.findings(binding)
    limit = None
    if limits.tolerance is not None:
        reference = base
        if limits.rise_over == "replay" and land.replay is not None:
            reference = float(land.replay.loss[0])
        limit = limits.tolerance.limit(reference)
        findings += misfit_findings(
            fit, model_params=model_params, domain_ratio=chosen, allowed=limit - reference
        )
    findings += repetition_findings(limits, tokens, chosen)
    violation = at.violation() if limits.tolerance is not None else None
    return Plan(
        domain_ratio=chosen,
        domain_ratio_low=low,
        domain_ratio_high=high,
        point_domain_ratio=made.point,
        confidence=confidence,
        binding=binding,
        constraints=constraints_of(
            fit,
            limits,
            land,
            window,
            chosen=chosen,
            binding=binding,
            compute=compute,
            asked_tokens=train_tokens,
        ),
        unconstrained_domain_ratio=made.unconstrained,
        violation_probability=None if violation is None else float(violation[0]),
        general_loss=float(at.general.loss[0]),
        general_loss_low=general_low,
        general_loss_high=general_high,
        domain_loss=float(at.domain.loss[0]),
        domain_loss_low=domain_low,
        domain_loss_high=domain_high,
        general_rise=float(at.general.loss[0]) - base,
        general_rise_low=None if general_low is None else general_low - base,
        general_rise_high=None if general_high is None else general_high - base,
        base_loss=base,
        **_over_replay(at.general, land.replay, confidence),
        general_loss_limit=limit,
        max_general_rise="any" if limits.tolerance is None else str(limits.tolerance),
        rise_over=limits.rise_over,
        model_params=float(model_params),
        train_tokens=tokens,
        compute=training_flops(model_params, tokens),
        domain_epochs=None
        if limits.domain_tokens is None
        else tokens * chosen / limits.domain_tokens,
        turning_point_ratio=window.caps.get("turning_point"),
        law=fit.law,
        num_resamples=len(land.general.draws),
        asked=limits,
        warnings=tuple(findings),
        provenance=fit.provenance,
    )


def require_mixture_laws(fit: Fit) -> None:
    """Refuse a fit whose laws do not read the ratio.

    Raises
    ------
    CmrplanError
        Naming the law.
    """
    blind = [model.law for model in fit.models.values() if not model.reads_mixture]
    if blind:
        raise CmrplanError(
            f"the law {blind[0]} does not read the domain ratio, so it cannot choose one; fit a log of several ratios "
            "with --law dcpt"
        )


def _budget(
    model_params: float, train_tokens: float | None, compute: float | None
) -> tuple[float, bool]:
    """Return the tokens to train on, and whether compute cut them."""
    if train_tokens is None and compute is None:
        raise InputError("train_tokens or compute must be given")
    if train_tokens is not None:
        require_positive("train_tokens", train_tokens)
    if compute is None:
        assert train_tokens is not None
        return float(train_tokens), False
    affordable = affordable_tokens(model_params, compute)
    if train_tokens is None or affordable < train_tokens:
        return affordable, True
    return float(train_tokens), False


def _bounds(prediction: Prediction, confidence: float) -> tuple[float | None, float | None]:
    return _quantiles(prediction.draws[:, 0], confidence)


def _quantiles(draws: Array, confidence: float) -> tuple[float | None, float | None]:
    if not len(draws):
        return None, None
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _over_replay(
    general: Prediction, replay: Prediction | None, confidence: float
) -> dict[str, float | None]:
    """Return the fields of a plan on pure replay; the resamples of both losses are paired."""
    if replay is None:
        names = ("replay_loss", "replay_rise", "replay_rise_low", "replay_rise_high")
        return dict.fromkeys(names)
    low, high = _quantiles(general.draws[:, 0] - replay.draws[:, 0], confidence)
    loss = float(replay.loss[0])
    return {
        "replay_loss": loss,
        "replay_rise": float(general.loss[0]) - loss,
        "replay_rise_low": low,
        "replay_rise_high": high,
    }
