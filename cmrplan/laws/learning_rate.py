"""The learning-rate-aware law of continual pre-training, without and with replay.

``L = L0 + A (S1_pt + S1_cpt)^-alpha - C1 S2_pt - C2 S2_cpt + B (1 - (1 + E S1_cpt)^-beta)``

S1 is the sum of the learning rate over steps and S2 the annealing area of a phase; pt names the base's
own pre-training, cpt the continual phase. Inputs ``s1_pt``, ``s1_cpt``, ``s2_pt`` and ``s2_cpt`` come from
:func:`schedule_areas`. The last term is the shift from one distribution to the other: B is at or above
zero for the general loss and at or below for the domain loss. A, B, C1, C2 and L0 are in nats per token
(A at S1 = 1), E and the rates in one per unit of S1.

With replay r_g (``replay_ratio``, the share of general data, so that ``r_cpt = 1 - r_g``), the term in
C2 is multiplied by ``exp(a1 r_g)``, of either sign of a1, and the shift by ``1 - exp(-a2 r_cpt)`` for the
general loss, by ``exp(a2 r_cpt) - 1`` for the domain loss: no new data, no shift.

References
----------
Wang et al., Learning Dynamics in Continual Pre-Training, ICML 2025, arXiv:2505.07796.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from cmrplan.arrays import Array
from cmrplan.errors import InputError
from cmrplan.laws.assembly import Piece, assemble
from cmrplan.laws.law import (
    Exponent,
    Exponential,
    Factor,
    Inputs,
    Law,
    OneMinus,
    OnePlusPower,
    Term,
)

ANNEALING_DECAY = 0.999  # lambda in the paper


@dataclass(frozen=True)
class SumPower:
    """``(sum of the inputs) ** (-exponent)``."""

    variables: tuple[str, ...]
    exponent: str

    @property
    def exponents(self) -> tuple[str, ...]:
        """The one exponent."""
        return (self.exponent,)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the power and its derivative."""
        total = sum((inputs[name] for name in self.variables), start=np.zeros(1))
        value = total ** -theta[self.exponent]
        return value, [-np.log(total) * value]


@dataclass(frozen=True)
class Minus:
    """An input with its sign turned: ``-x``."""

    variable: str

    @property
    def variables(self) -> tuple[str, ...]:
        """The one input."""
        return (self.variable,)

    @property
    def exponents(self) -> tuple[str, ...]:
        """None."""
        return ()

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the value; there is no derivative."""
        return -inputs[self.variable], []


@dataclass(frozen=True)
class ReplayedShift:
    """``sign * (1 - exp(-sign * rate * (1 - replay)))``, zero where all data is replay."""

    replay: str
    rate: str
    sign: Literal[1, -1]

    @property
    def variables(self) -> tuple[str, ...]:
        """The share of replay."""
        return (self.replay,)

    @property
    def exponents(self) -> tuple[str, ...]:
        """The one rate."""
        return (self.rate,)

    def __call__(self, inputs: Inputs, theta: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """Return the factor and its derivative by the rate."""
        new = 1 - inputs[self.replay]
        power = -self.sign * theta[self.rate] * new
        return -self.sign * np.expm1(power), [new * np.exp(power)]


def learning_rate_law(
    *, corpus: Literal["general", "domain"], base_levels: int = 2, has_replay: bool = False
) -> Law:
    """Return the learning-rate-aware law of one corpus's loss.

    Parameters
    ----------
    corpus : {"general", "domain"}
        Whose loss; gives the sign of B and the form of the shift under replay.
    base_levels : int
        Distinct base checkpoints. With one, the term in C1 is a constant and is left out.
    has_replay : bool
        Read ``replay_ratio`` too.

    Raises
    ------
    InputError
        If ``corpus`` is neither of the two.
    """
    if corpus not in ("general", "domain"):
        raise InputError(f"corpus must be 'general' or 'domain', got {corpus!r}")
    sign: Literal[1, -1] = 1 if corpus == "general" else -1
    name = "learning_rate_replay" if has_replay else "learning_rate"
    return assemble(
        [
            Piece(Term("L0"), "L0", "L_0"),
            _annealed_piece(),
            *([_base_piece()] if base_levels >= 2 else []),
            _annealing_piece(has_replay),
            _shift_piece(sign, has_replay),
        ],
        name=name,
        reference="Wang et al. 2025, arXiv:2505.07796",
        needs="Many evaluations of runs under 2 or more learning-rate schedules, with the schedule of every "
        "step, the base's own included" + (", at 3 or more replay ratios." if has_replay else "."),
        scaled=(),
        options=(("corpus", corpus), ("base_levels", base_levels)),
    )


def _annealed_piece() -> Piece:
    return Piece(
        Term("A", (SumPower(("s1_pt", "s1_cpt"), "alpha"),)),
        "A*(S1_pt+S1_cpt)^-alpha",
        r"A\,(S_1^{\mathrm{pt}}+S_1^{\mathrm{cpt}})^{-\alpha}",
        (Exponent("alpha", 0.01, 5.0),),
    )


def _base_piece() -> Piece:
    return Piece(Term("C1", (Minus("s2_pt"),)), "-C1*S2_pt", r"-C_1\,S_2^{\mathrm{pt}}")


def _annealing_piece(has_replay: bool) -> Piece:
    factors: tuple[Factor, ...] = (Minus("s2_cpt"),)
    if not has_replay:
        return Piece(Term("C2", factors), "-C2*S2_cpt", r"-C_2\,S_2^{\mathrm{cpt}}")
    return Piece(
        Term("C2", (*factors, Exponential("replay_ratio", "a1", 1))),
        "-C2*exp(a1*r_g)*S2_cpt",
        r"-C_2\,e^{a_1 r_g}\,S_2^{\mathrm{cpt}}",
        (Exponent("a1", -10.0, 10.0, is_log=False),),
    )


def _shift_piece(sign: Literal[1, -1], has_replay: bool) -> Piece:
    factors: tuple[Factor, ...] = (OneMinus(OnePlusPower("s1_cpt", "E", "beta")),)
    formula = "(1-(1+E*S1_cpt)^-beta)"
    latex = r"\left(1-(1+E\,S_1^{\mathrm{cpt}})^{-\beta}\right)"
    exponents: tuple[Exponent, ...] = (Exponent("E", 1e-2, 1e6), Exponent("beta", 0.01, 5.0))
    if has_replay:
        factors = (*factors, ReplayedShift("replay_ratio", "a2", sign))
        exponents = (*exponents, Exponent("a2", 0.01, 50.0))
        if sign == 1:
            formula = "(1-exp(-a2*(1-r_g)))*" + formula
            latex = r"(1-e^{-a_2(1-r_g)})" + latex
        else:
            formula = "(exp(a2*(1-r_g))-1)*" + formula
            latex = r"(e^{a_2(1-r_g)}-1)" + latex
    return Piece(Term("B", factors, sign), "B*" + formula, r"B\," + latex, exponents)


def schedule_areas(
    learning_rate: ArrayLike, *, decay: float = ANNEALING_DECAY
) -> tuple[Array, Array]:
    """Return S1 and S2 of a phase after each of its steps.

    ``S1_n = sum of eta_i`` and ``S2_n = sum over i and k <= i of (eta_(k-1) - eta_k) decay^(i-k)``. The first
    step of a phase has no step before it, so a jump between phases is not annealing. The inner sum
    obeys ``m_i = decay m_(i-1) + eta_(i-1) - eta_i``, which makes the cost linear in the steps.

    Parameters
    ----------
    learning_rate : array (n,)
        Learning rate of each step of the phase.
    decay : float
        lambda, inside [0, 1).

    Returns
    -------
    s1, s2 : array (n,)
        In units of the learning rate. A rise of the learning rate makes S2 negative.

    Raises
    ------
    InputError
        If the schedule is empty or not one-dimensional, or the decay is outside [0, 1).

    Examples
    --------
    >>> s1, s2 = schedule_areas([4.0, 2.0, 2.0], decay=0.5)
    >>> s1.tolist(), s2.tolist()
    ([4.0, 6.0, 8.0], [0.0, 2.0, 3.0])
    """
    rate = np.asarray(learning_rate, dtype=float)
    if rate.ndim != 1 or not len(rate):
        raise InputError(f"learning_rate must hold one value a step, got shape {rate.shape}")
    if not 0 <= decay < 1:
        raise InputError(f"decay (lambda) must be inside [0, 1), got {decay}")
    drops = np.concatenate([[0.0], rate[:-1] - rate[1:]])
    from scipy.linalg import solve_banded  # takes a tenth of a second to import

    bands = np.stack([np.ones(len(rate)), np.full(len(rate), -decay)])
    momentum = solve_banded((1, 0), bands, drops)
    return np.cumsum(rate), np.cumsum(momentum)
