"""Where a picture is taken: model size, budget and confidence, and the rows measured there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import pandas as pd

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.corpus_model import Prediction
from cmrplan.fit.fit import Fit
from cmrplan.fit.other_sizes import general_loss_at
from cmrplan.fit.probed import other_base
from cmrplan.log import CORPORA
from cmrplan.numbers import compact, require_confidence, require_positive
from cmrplan.plan.loss_curves import planned_general_loss
from cmrplan.plan.plan import Plan
from cmrplan.plan.repeated_data import domain_of_repeats, other_supply_text
from cmrplan.plots.wording import law_title

NUM_CURVE_RATIOS = 301
LOSS_UNIT = "nats per token"


class ViewOptions(TypedDict, total=False):
    """What a picture is about, where it is not to be the plan's.

    Parameters
    ----------
    model_params, train_tokens : float or None
        The plan's, or the largest probed, by default.
    confidence : float or None
        Level of the bands, in (0, 1); the plan's, or the fit's, by default.
    """

    model_params: float | None
    train_tokens: float | None
    confidence: float | None


@dataclass(frozen=True)
class View:
    """What a picture is about.

    Parameters
    ----------
    law : str
    model_params : float
    train_tokens : float
    confidence : float
        Level of the bands, in (0, 1).
    beyond : str
        Which of N and D lie outside of the probes; empty where none does.
    probed_supply : str
        What the probes' domain data were where the plan repeats its own otherwise; empty where it does not.
    other_base : str
        What the base of the probes of that size is where the plan is for another; empty where it is the same.
    """

    law: str
    model_params: float
    train_tokens: float
    confidence: float
    beyond: str = ""
    probed_supply: str = ""
    other_base: str = ""

    @property
    def law_and_size(self) -> str:
        """Law and model size for a title."""
        return f"{law_title(self.law)}, N = {compact(self.model_params)}"

    @property
    def law_and_budget(self) -> str:
        """Law, model size and tokens for a title, and which of these were not probed."""
        beyond = f" ({self.beyond} beyond the probes)" if self.beyond else ""
        return f"{self.law_and_size}, D = {compact(self.train_tokens)} tokens{beyond}"


@dataclass(frozen=True)
class Measured:
    """The rows of one corpus that were measured at, or nearest to, a size and a budget.

    Parameters
    ----------
    run_id : tuple of str
    domain_ratio, loss : array (n,)
        One per run; losses in nats per token.
    model_params, train_tokens : float
        Where they were measured.
    note : str
        Empty where that is the size and the budget asked for, or else where it is.
    """

    run_id: tuple[str, ...]
    domain_ratio: Array
    loss: Array
    model_params: float
    train_tokens: float
    note: str

    @property
    def label(self) -> str:
        """What a legend calls the points."""
        return f"measured at {self.note}" if self.note else "measured"


def view_of(
    fit: Fit,
    plan: Plan | None = None,
    *,
    model_params: float | None = None,
    train_tokens: float | None = None,
    confidence: float | None = None,
) -> View:
    """Return what a picture shows: as asked, or as the plan has it, or the largest probed.

    Raises
    ------
    InputError
        If a number is out of its range, or is another than the plan's.
    """
    if plan is not None:
        for name, given, planned in (
            ("model_params", model_params, plan.model_params),
            ("train_tokens", train_tokens, plan.train_tokens),
        ):
            if given is not None and not is_same(given, planned):
                raise InputError(
                    f"{name} = {given:g} is not the plan's {planned:g}; leave out {name}, or the plan"
                )
        model_params, train_tokens = plan.model_params, plan.train_tokens
        confidence = plan.confidence if confidence is None else confidence
    if model_params is None:
        model_params = max(_sizes(fit))
    require_positive("model_params", model_params)
    if train_tokens is None:
        rows = pd.concat([fit.rows(corpus) for corpus in fit.models])
        near = rows["model_params"] == nearest(rows["model_params"], model_params)
        train_tokens = float(rows.loc[near, "train_tokens"].max())
    require_positive("train_tokens", train_tokens)
    confidence = fit.settings.confidence if confidence is None else confidence
    require_confidence(confidence)
    outside = [
        name
        for name, value, (low, high) in (
            ("N", model_params, fit.probed.size_range),
            ("D", train_tokens, fit.probed.token_range),
        )
        if not low * (1 - SAME_SIZE) <= value <= high * (1 + SAME_SIZE)
    ]
    return View(
        fit.law,
        float(model_params),
        float(train_tokens),
        float(confidence),
        beyond=" and ".join(outside),
        probed_supply="" if plan is None else _probed_supply(fit, plan),
        other_base="" if plan is None else _other_base(fit, plan),
    )


def _probed_supply(fit: Fit, plan: Plan) -> str:
    """Return what the probes' domain data were where a plan repeats its own otherwise; empty where it does not."""
    unique = plan.asked.unique_tokens
    return "" if unique is None else other_supply_text(fit, unique, plan.domain_epochs or 0)


def _other_base(fit: Fit, plan: Plan) -> str:
    """Return the base loss of the probes where a plan of their size is for another checkpoint."""
    probed, given = base_loss_of(fit, "general", plan.model_params), plan.asked.base_loss
    if probed is None or given is None or not other_base(given, probed, plan.model_params):
        return ""
    return f"a base loss of {probed:.4g}"


def require_plan(kind: str, plan: Plan | None) -> Plan:
    """Refuse a picture of a plan without one."""
    if plan is None:
        raise InputError(f"the plot {kind!r} is about a plan; give max_general_rise, or a plan")
    return plan


def fitted_corpora(fit: Fit) -> list[str]:
    """Return the corpora of a fit, general first."""
    return [corpus for corpus in CORPORA if corpus in fit.models]


def require_fitted(fit: Fit, corpus: str) -> None:
    """Refuse a corpus that was not fitted."""
    if corpus not in fit.models:
        raise CmrplanError(
            f"the {corpus} loss was not fitted, so it cannot be drawn; fitted: {', '.join(fit.models)}"
        )


def is_same(one: float, other: float) -> bool:
    """Tell whether two sizes or budgets are the same for a picture."""
    return abs(one / other - 1) <= SAME_SIZE


def nearest(values: pd.Series[float], wanted: float) -> float:
    """Return the value nearest to a positive number, by their quotient."""
    known = np.unique(values.to_numpy(dtype=float))
    return float(known[np.argmin(np.abs(np.log(known / wanted)))])


def measured_at(fit: Fit, corpus: str, view: View) -> Measured:
    """Return each run's loss at the size and token count nearest to a view's."""
    rows = fit.rows(corpus)
    size = nearest(rows["model_params"], view.model_params)
    rows = rows[rows["model_params"] == size]
    tokens = nearest(rows["train_tokens"], view.train_tokens)
    off = (rows["train_tokens"] / tokens - 1).abs()
    rows = rows.assign(off=off)[off <= SAME_SIZE].sort_values(["off", "run_id"], kind="stable")
    rows = rows.drop_duplicates("run_id").sort_values(["domain_ratio", "run_id"], kind="stable")
    elsewhere = []
    if not is_same(size, view.model_params):
        elsewhere.append(f"N = {compact(size)}")
    if not is_same(tokens, view.train_tokens):
        elsewhere.append(f"D = {compact(tokens)} tokens")
    if corpus == "general" and view.other_base:
        elsewhere.append(view.other_base)
    if view.probed_supply:
        elsewhere.append(view.probed_supply)
    return Measured(
        run_id=tuple(rows["run_id"].astype(str)),
        domain_ratio=rows["domain_ratio"].to_numpy(dtype=float),
        loss=rows["loss"].to_numpy(dtype=float),
        model_params=size,
        train_tokens=tokens,
        note=", ".join(elsewhere),
    )


def ratio_grid(fit: Fit) -> Array:
    """Return ascending ratios between the outermost probed ones, densest at both ends.

    The laws bend most where a share goes to zero, hence the spacing.
    """
    low, high = fit.probed.ratio_range
    part = (1 - np.cos(np.linspace(0, np.pi, NUM_CURVE_RATIOS))) / 2
    return np.clip(low + (high - low) * part, low, high)


def base_loss_of(fit: Fit, corpus: str, model_params: float) -> float | None:
    """Return the measured base loss at a size, or None where there is none."""
    for size, loss in fit.base_loss.get(corpus, {}).items():
        if is_same(size, model_params):
            return loss
    return None


def bases_across_sizes(
    fit: Fit, corpus: str, view: View, measured_params: float, plan: Plan | None
) -> tuple[float, float] | None:
    """Return the base losses of the points and of the view where their sizes or checkpoints differ.

    Then the rises over them stand in one picture, since the levels do not compare. None where the base is the
    same, or a base loss is not known, and for the domain loss, which has no limit.
    """
    is_own = is_same(measured_params, view.model_params) and not view.other_base
    if corpus != "general" or is_own:
        return None
    theirs = base_loss_of(fit, corpus, measured_params)
    ours = base_loss_of(fit, corpus, view.model_params) if plan is None else plan.base_loss
    return None if theirs is None or ours is None else (theirs, ours)


def loss_label(corpus: str, is_rise: bool) -> str:
    """Return what an axis of losses is called."""
    what = f"rise of the {corpus} loss over the base" if is_rise else f"{corpus} loss"
    return f"{what} ({LOSS_UNIT})"


def predicted_at(
    fit: Fit,
    corpus: str,
    view: View,
    ratio: Array,
    plan: Plan | None,
    base_loss: float | None = None,
) -> Prediction:
    """Return the loss of a corpus over the ratio, the general one as a plan would carry it to the view's size.

    Without a plan, a base loss given or one in the log there is nothing to carry it with, and it is the law's. Where a
    plan says what the domain corpus holds, both losses count repeats as the plan does.
    """
    size, tokens = view.model_params, view.train_tokens
    if plan is not None and plan.asked.unique_tokens is not None:
        asked = plan.asked.at(size, tokens)
        if base_loss is not None or not is_same(size, plan.model_params):
            asked = replace(asked, base_loss=base_loss)
        if corpus == "general":
            return planned_general_loss(fit, asked, tokens, ratio).prediction
        return domain_of_repeats(fit, asked, tokens, ratio)[0]
    is_carried = plan is not None or base_loss is not None or bool(fit.base_loss.get("general"))
    if corpus != "general" or not is_carried:
        return fit.predict(corpus, model_params=size, train_tokens=tokens, domain_ratio=ratio)
    if plan is not None and base_loss is None:
        base_loss = plan.asked.base_loss
    return general_loss_at(
        fit,
        model_params=size,
        train_tokens=tokens,
        domain_ratio=ratio,
        base_loss=base_loss,
        rise_over="base" if plan is None else plan.asked.rise_over,
    ).prediction


def _sizes(fit: Fit) -> set[float]:
    """Return the probed sizes; for the CMR laws those that they were fitted at."""
    sizes = []
    for corpus, model in fit.models.items():
        known = fit.probed.losses[corpus].sizes if model.only_sizes is None else model.only_sizes
        sizes.append({float(size) for size in known})
    if not sizes:
        raise CmrplanError("the fit has no losses to draw")
    return set.intersection(*sizes) or set.union(*sizes)
