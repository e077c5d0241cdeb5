"""Every law answers the same question; where they disagree, a finding names the probe that would settle it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.fit.fit_log import fit as fit_laws
from cmrplan.fit.model_averaging import held_out_score
from cmrplan.fit.tabular import Tabular
from cmrplan.laws.registry import PLAN_LAWS
from cmrplan.numbers import training_flops
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.domain_tokens import plan_again
from cmrplan.plan.request import FitOrPath, fit_of, named_arguments

# Laws that predict hidden rows worse than the best by this factor are shown but do not count as a disagreement.
CONTENDER = 1.5
NUM_COMPARED = 21
LENGTHS = (1.0, 2.0, 4.0)  # times the largest probed tokens, where a settling probe may end
NEW_RATIO_GAP = 0.01  # a probe this near to one that was run is not another


@dataclass(frozen=True)
class LawAnswer:
    """What one law answers. Losses in nats per token.

    Parameters
    ----------
    law : str
    domain_ratio, domain_ratio_low, domain_ratio_high, point_domain_ratio : float
        As in a plan; NaN where there is none.
    general_loss, domain_loss : float
        At its ratio.
    held_out_error : float
        Mean absolute error of the general loss on hidden ratios, budgets and sizes; NaN where it was not taken.
    is_contender : bool
        Whether that error is near the best law's, or not known.
    agrees : bool or None
        Whether its interval meets the plan's; None without intervals.
    reason : str
        Why there is no answer; empty where there is one.
    """

    law: str
    domain_ratio: float = np.nan
    domain_ratio_low: float = np.nan
    domain_ratio_high: float = np.nan
    point_domain_ratio: float = np.nan
    general_loss: float = np.nan
    domain_loss: float = np.nan
    held_out_error: float = np.nan
    is_contender: bool = False
    agrees: bool | None = None
    reason: str = ""


@dataclass(frozen=True, repr=False)
class LawPanel(Tabular):
    """The answers of all laws to a plan's question.

    Parameters
    ----------
    plan : Plan
    answers : tuple of LawAnswer
    warnings : tuple of Finding
        Says where laws disagree beyond their intervals, and which probe would settle it.
    """

    plan: Plan
    answers: tuple[LawAnswer, ...]
    warnings: tuple[Finding, ...]

    def table(self) -> pd.DataFrame:
        """Return one row a law."""
        return pd.DataFrame([asdict(answer) for answer in self.answers])


def refit(fit: Fit, **changes: Any) -> Fit:
    """Fit the rows of a fit again with other settings; another law is asked by itself, without a residual.

    Raises
    ------
    CmrplanError
        If the rows do not take the law, or the question is of a run under another learning rate and the law reads none.
    """
    alone = {"residual": "none"} if "law" in changes else {}
    again = fit_laws(fit.log, **(asdict(fit.settings) | alone | changes))
    if fit.planned is not None and not any(
        "s1_cpt" in m.more_columns for m in again.models.values()
    ):
        raise CmrplanError(
            "it reads no learning rate, so it cannot answer for another schedule or peak"
        )
    return replace(again, planned=fit.planned)


@named_arguments
def law_panel(
    fit: FitOrPath,
    plan: Plan,
    *,
    laws: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> LawPanel:
    """Fit every law to the rows of a fit and ask each the question of a plan.

    Parameters
    ----------
    fit : Fit or path
    plan : Plan
        Of the fit.
    laws : sequence of str, optional
        Names from :data:`cmrplan.laws.registry.PLAN_LAWS`; all by default.
    progress : callable, optional
        Takes a word on what is being done.

    Raises
    ------
    InputError
        If a law is not known.
    """
    fit = fit_of(fit)
    names = [law for law in PLAN_LAWS if law != "auto"] if laws is None else list(laws)
    for name in names:
        if name not in PLAN_LAWS:
            raise InputError(f"law must be one of {', '.join(PLAN_LAWS)}, got {name!r}")
    say = progress or (lambda line: None)
    fits: dict[str, Fit] = {}
    answers = []
    for name in names:
        say(f"law {name}")
        try:
            fits[name] = refit(fit, law=name)
            answers.append(_answer(name, fits[name], plan))
        except CmrplanError as error:
            answers.append(LawAnswer(name, reason=str(error)))
    best = min([a.held_out_error for a in answers if a.held_out_error > 0], default=np.inf)
    judged = [_judged(answer, plan, best) for answer in answers]
    return LawPanel(plan, tuple(judged), tuple(_warnings(fit, plan, judged, fits)))


def _answer(name: str, fit: Fit, plan: Plan) -> LawAnswer:
    own = plan_again(fit, plan)
    corpus = "general" if "general" in fit.models else "domain"
    law, error = fit.models[corpus].top_weighted, np.nan
    if law is not None:
        error = held_out_score(law, fit.rows(corpus)).error
    return LawAnswer(
        law=name,
        domain_ratio=own.domain_ratio,
        domain_ratio_low=np.nan if own.ratio.low is None else own.ratio.low,
        domain_ratio_high=np.nan if own.ratio.high is None else own.ratio.high,
        point_domain_ratio=own.ratio.estimate,
        general_loss=own.general_loss.estimate,
        domain_loss=own.domain_loss.estimate,
        held_out_error=error,
    )


def _judged(answer: LawAnswer, plan: Plan, best: float) -> LawAnswer:
    if answer.reason:
        return answer
    agrees = None
    low, high = plan.ratio.low, plan.ratio.high
    if low is not None and high is not None and np.isfinite(answer.domain_ratio_low):
        agrees = answer.domain_ratio_low <= high and answer.domain_ratio_high >= low
    is_contender = not answer.held_out_error > CONTENDER * best
    return LawAnswer(**(asdict(answer) | {"agrees": agrees, "is_contender": is_contender}))


def _warnings(
    fit: Fit, plan: Plan, answers: Sequence[LawAnswer], fits: dict[str, Fit]
) -> list[Finding]:
    """Return a finding on the contender that is farthest from the plan, if one disagrees."""
    against = [a for a in answers if a.agrees is False and a.is_contender]
    if not against:
        return []
    far = max(against, key=lambda a: abs(a.domain_ratio - plan.domain_ratio))
    others = f" ({len(against)} laws disagree)" if len(against) > 1 else ""
    text = (
        f"the law {far.law} answers {far.domain_ratio:.3f} ({far.domain_ratio_low:.3f} to {far.domain_ratio_high:.3f}) "
        f"where the fit answers {plan.domain_ratio:.3f} ({plan.domain_ratio_low:.3f} to {plan.domain_ratio_high:.3f})"
        f"{others}"
    )
    probe = _settling_probe(fit, fits[far.law], plan.confidence)
    if probe is not None:
        size, tokens, ratio, here, there = probe
        text += (
            f"; a probe of {size:.4g} parameters for {tokens:.4g} tokens at domain_ratio {ratio:.2f} would settle it: "
            f"they predict a general loss of {there:.3f} and {here:.3f} there"
        )
    return [Finding(Code.LAWS_DISAGREE, text)]


def _settling_probe(
    fit: Fit, other: Fit, confidence: float
) -> tuple[float, float, float, float, float] | None:
    """Return size, tokens and ratio of the probe that tells two fits apart, and what each predicts.

    The cheapest at which their intervals of the general loss do not meet, or where they are farthest apart for their
    intervals. Only probed sizes, up to four times the probed tokens.
    """
    rows = fit.rows("general")
    sizes = np.unique(rows["model_params"].to_numpy(dtype=float))
    longest = float(rows["train_tokens"].max())
    low, high = (
        max(a, b) for a, b in zip(fit.probed.ratio_range, other.probed.ratio_range, strict=True)
    )
    ratio = np.linspace(
        low, min(high, fit.probed.ratio_range[1], other.probed.ratio_range[1]), NUM_COMPARED
    )
    probed = np.unique(rows["domain_ratio"].to_numpy(dtype=float))
    is_new = np.min(np.abs(ratio[:, None] - probed[None, :]), axis=1) > NEW_RATIO_GAP
    candidates = []
    for size, factor in product(sizes, LENGTHS):
        tokens = factor * longest
        try:
            one, two = (
                either.predict(
                    "general", model_params=float(size), train_tokens=tokens, domain_ratio=ratio
                )
                for either in (fit, other)
            )
        except CmrplanError:
            continue
        width = sum(np.diff(p.interval(confidence), axis=0)[0] / 2 for p in (one, two))
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.abs(one.loss - two.loss) / width
        score = np.where(np.isfinite(score) & (is_new | (factor > 1)), score, 0.0)
        k = int(np.argmax(score))
        cost = training_flops(float(size), tokens)
        probe = (float(size), tokens, float(ratio[k]), float(one.loss[k]), float(two.loss[k]))
        candidates.append((float(score[k]), cost, probe))
    if not candidates:
        return None
    apart = [one for one in candidates if one[0] > 1]
    if apart:
        return min(apart, key=lambda one: one[1])[2]
    return max(candidates, key=lambda one: one[0])[2]
