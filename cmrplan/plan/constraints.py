"""The constraints of a plan as data: what each allows, which one binds, and when each would matter.

A constraint matters where taking it away would change the ratio. Its edge is the setting at which that begins or
ends: the one that just allows the ratio that is best without it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from cmrplan.fit.fit import Fit
from cmrplan.plan.compute import training_flops
from cmrplan.plan.extrapolation import ratio_range
from cmrplan.plan.loss_curves import Landscape
from cmrplan.plan.request import Limits
from cmrplan.plan.turning_point import multiplier_at, turning_ratio
from cmrplan.tolerance import Tolerance

SAME_RATIO = 1e-6

Binding = Literal[
    "tolerance",
    "turning_point",
    "domain_tokens",
    "compute",
    "ratio_floor",
    "ratio_ceiling",
    "none",
]
TIGHTER_UPWARD = ("turning_point", "ratio_floor")  # a larger setting allows less


@dataclass(frozen=True)
class Constraint:
    """One constraint of a plan.

    Parameters
    ----------
    name : str
        As in ``binding``.
    setting : float
        As it was asked, in ``unit``.
    unit : str
    is_binding : bool
        Whether it alone holds the ratio where it is.
    allows : float
        The largest ratio it would allow by itself; of a floor the smallest; of compute the ratio as it is.
    ratio_without : float
        The ratio that would be recommended without it.
    edge : float or None
        The setting from which it no longer matters where it binds, and from which it would bind where it does
        not. None where no setting does.
    """

    name: Binding
    setting: float
    unit: str
    is_binding: bool
    allows: float
    ratio_without: float
    edge: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return every field by name as plain values; infinity as ``"inf"``."""
        values = asdict(self)
        return {key: "inf" if value == math.inf else value for key, value in values.items()}


@dataclass(frozen=True)
class Window:
    """The ratios that are left by everything but the tolerance.

    Parameters
    ----------
    probed : (float, float)
        Smallest and largest fitted ratio.
    caps : dict of str to float
        The largest ratio that each constraint allows.
    floor : float or None
    """

    probed: tuple[float, float]
    caps: dict[Binding, float]
    floor: float | None

    @property
    def low(self) -> float:
        """The smallest ratio left."""
        return self.probed[0] if self.floor is None else max(self.probed[0], self.floor)

    @property
    def high(self) -> float:
        """The largest ratio left; below ``low`` where none is."""
        return min([self.probed[1], *self.caps.values()])

    @property
    def tightest(self) -> Binding | None:
        """The constraint with the lowest cap."""
        return min(self.caps.items(), key=lambda cap: cap[1])[0] if self.caps else None

    @property
    def marks(self) -> list[float]:
        """The ratios at which a constraint ends."""
        return [*self.caps.values(), self.low]

    def without(self, name: Binding) -> Window:
        """Return the window with one constraint less."""
        if name == "ratio_floor":
            return replace(self, floor=None)
        return replace(self, caps={key: cap for key, cap in self.caps.items() if key != name})


def window_of(fit: Fit, limits: Limits, *, model_params: float, train_tokens: float) -> Window:
    """Return the ratios that the constraints leave at a size and budget."""
    caps: dict[Binding, float] = {}
    if limits.domain_tokens is not None:
        caps["domain_tokens"] = limits.max_epochs * limits.domain_tokens / train_tokens
    if limits.turning_point is not None:
        caps["turning_point"] = turning_ratio(
            fit,
            model_params=model_params,
            train_tokens=train_tokens,
            multiplier=limits.turning_point,
        )
    if limits.max_ratio is not None:
        caps["ratio_ceiling"] = limits.max_ratio
    return Window(ratio_range(fit), caps, limits.min_ratio)


def binding_of(land: Landscape, window: Window, chosen: float, *, is_cut: bool) -> Binding:
    """Return what keeps the ratio from the one that is best without any constraint.

    ``is_cut`` tells whether compute cut the tokens, which is said where nothing else binds.
    """
    free = land.safe_ratio(*window.probed, allowed=float("inf"))
    if abs(chosen - free) <= SAME_RATIO:
        return "compute" if is_cut else "none"
    if window.floor is not None and chosen <= window.low + SAME_RATIO and free < chosen:
        return "ratio_floor"
    if window.tightest is not None and chosen >= window.high - SAME_RATIO:
        return window.tightest
    return "tolerance"


def constraints_of(
    fit: Fit,
    limits: Limits,
    land: Landscape,
    window: Window,
    *,
    chosen: float,
    binding: Binding,
    compute: float | None,
    asked_tokens: float | None,
) -> tuple[Constraint, ...]:
    """Return every constraint that was asked for, with what it allows and where it begins to matter.

    Parameters
    ----------
    fit : Fit
    limits : Limits
    land : Landscape
    window : Window
    chosen : float
        The recommended ratio.
    binding : str
    compute : float or None
        Budget in FLOPs.
    asked_tokens : float or None
        Tokens that were asked for, before compute cut them.
    """
    tokens = float(land.train_tokens[0])
    found: list[Constraint] = []

    def add(
        name: Binding,
        setting: float,
        unit: str,
        allows: float,
        without: float,
        edge: float | None,
    ) -> None:
        found.append(
            Constraint(name, setting, unit, name == binding, min(allows, 1.0), without, edge)
        )

    if limits.tolerance is not None:
        without = land.safe_ratio(window.low, window.high, allowed=float("inf"))
        alone = land.safe_ratio(*window.probed)
        needed: float | None = land.needed(without)
        if needed is not None and needed <= 0:  # a tolerance of zero would do
            needed = None
        add("tolerance", limits.tolerance.value, limits.tolerance.unit, alone, without, needed)
    for name, cap in window.caps.items():
        wider = window.without(name)
        without = land.safe_ratio(wider.low, wider.high)
        if name == "domain_tokens":
            assert limits.domain_tokens is not None
            edge: float | None = without * tokens / limits.max_epochs
            add(name, limits.domain_tokens, "tokens", cap, without, edge)
        elif name == "turning_point":
            assert limits.turning_point is not None
            edge = multiplier_at(
                fit, model_params=land.model_params, train_tokens=tokens, domain_ratio=without
            )
            add(name, limits.turning_point, "lambda", cap, without, edge)
        else:
            add(name, cap, "ratio", cap, without, without)
    if window.floor is not None:
        lower = window.without("ratio_floor")
        without = land.safe_ratio(lower.low, lower.high)
        add("ratio_floor", window.floor, "ratio", window.floor, without, without)
    if compute is not None:
        edge = None
        if asked_tokens is not None:
            edge = training_flops(land.model_params, asked_tokens)
        add("compute", compute, "FLOPs", chosen, chosen, edge)
    return tuple(found)


def constraint_text(constraint: Constraint) -> str:
    """Return in words what a constraint allows and how far it would have to move to matter, or not to.

    Examples
    --------
    >>> constraint_text(Constraint("tolerance", 0.03, "fraction", True, 0.4, 0.6, 0.0512))
    'tolerance 3% allows up to 0.400; binds, stops to matter from 5.12% on (ratio 0.600)'
    """
    name, unit, edge = constraint.name, constraint.unit, constraint.edge
    text = f"{name} {shown(constraint.setting, unit)}"
    if name == "compute":
        text += " cuts the tokens" if constraint.is_binding else ""
        return text + ("" if edge is None else f"; matters below {shown(edge, unit)}")
    is_up = name in TIGHTER_UPWARD
    text += f" allows {'down' if name == 'ratio_floor' else 'up'} to {constraint.allows:.3f}; "
    if not constraint.is_binding:
        if edge is None:
            return text + "never binds here"
        return text + f"would bind {'above' if is_up else 'below'} {shown(edge, unit)}"
    if edge is None:
        return text + "binds"
    side = f"below {shown(edge, unit)}" if is_up else f"from {shown(edge, unit)} on"
    return text + f"binds, stops to matter {side} (ratio {constraint.ratio_without:.3f})"


def shown(value: float, unit: str) -> str:
    """Return a setting as a person would write it."""
    if unit in ("nats", "fraction", "perplexity_fraction", "perplexity"):
        return str(Tolerance(float(f"{value:.3g}"), unit))  # type: ignore[arg-type]
    return f"{value:.4g}" if unit in ("tokens", "FLOPs", "lambda") else f"{value:.3f}"
