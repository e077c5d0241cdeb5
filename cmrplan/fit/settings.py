"""What a fit can be asked for, of two corpora or of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cmrplan.errors import InputError
from cmrplan.fit.arguments import Accepted, Returned, named_arguments
from cmrplan.fit.bootstrap import Method
from cmrplan.fit.row_weights import WEIGHTS, Weights
from cmrplan.laws.law import Link
from cmrplan.numbers import (
    FIRST_TOKENS,
    parse_first_tokens,
    parse_named_count,
    require_confidence,
)

Objective = Literal["huber", "least_squares"]
OBJECTIVES: tuple[Objective, ...] = ("huber", "least_squares")
ResidualKind = Literal["log", "raw"]
RESIDUAL_KINDS: tuple[ResidualKind, ...] = ("log", "raw")
ResidualModel = Literal["auto", "gp", "none"]
RESIDUAL_MODELS: tuple[ResidualModel, ...] = ("auto", "gp", "none")


@dataclass(frozen=True)
class FitSettings:
    """What a fit was asked for.

    Parameters
    ----------
    law : str
        As it was asked for: a name, or ``auto``.
    bootstrap : int
        Number of resamples of whole runs; 0 for none.
    seed : int
    method : {"runs", "wild"} or None
        How runs are resampled; None chooses by their number.
    delta : float or None
        Huber delta on the residuals; None takes it from the noise.
    min_train_tokens : float
        Rows with fewer tokens are left out of the fit.
    confidence : float
        Level of the reported parameter intervals.
    model_params : float or None
        The only size that was fitted; None for all.
    objective : {"huber", "least_squares"}
    residuals : {"log", "raw"}
    weights : {"equal", "stderr", "seeds"}
    residual : {"auto", "gp", "none"}
        What stands above the laws: a Gaussian process or nothing; ``auto`` as :attr:`may_have_residual` says.
    """

    law: str = "auto"
    bootstrap: int = 200
    seed: int = 0
    method: Method | None = None
    delta: float | None = None
    min_train_tokens: float = 0.0
    confidence: float = 0.9
    model_params: float | None = None
    objective: Objective = "huber"
    residuals: ResidualKind = "log"
    weights: Weights = "equal"
    residual: ResidualModel = "auto"

    def __post_init__(self) -> None:
        """Refuse what no fit can use.

        Raises
        ------
        InputError
            Naming the setting, the value and what is allowed.
        """
        if self.bootstrap < 0:
            raise InputError(f"bootstrap must be 0 or more resamples, got {self.bootstrap}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, got {self.seed}")
        if self.delta is not None and not self.delta > 0:
            raise InputError(f"delta must be above 0, got {self.delta:g}")
        if isinstance(self.min_train_tokens, str) or not self.min_train_tokens >= 0:
            raise InputError(
                f"min_train_tokens must be a number, 0 or more, or 'auto', got {self.min_train_tokens!r}"
            )
        require_confidence(self.confidence)
        for name, value, allowed in (
            ("objective", self.objective, OBJECTIVES),
            ("residuals", self.residuals, RESIDUAL_KINDS),
            ("weights", self.weights, WEIGHTS),
            ("residual", self.residual, RESIDUAL_MODELS),
        ):
            if value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        if self.objective == "least_squares" and self.delta is not None:
            raise InputError(
                "delta belongs to the Huber loss; least_squares has none, leave it out"
            )
        if self.law == "cmr" and (self.residuals != "log" or self.weights != "equal"):
            raise InputError(
                "the CMR laws are fitted to log losses with equal weights; leave out residuals and weights, or "
                "take the law dcpt"
            )
        if self.residual == "gp" and (self.law == "cmr" or not self._has_log_laws):
            raise InputError(
                "residual 'gp' stands above log losses of equal weight and a law across runs; leave out residuals and "
                "weights, and take another law than cmr"
            )

    @property
    def may_have_residual(self) -> bool:
        """Whether a residual is asked for: by name, or by default where the laws are chosen by their evidence."""
        return self.residual == "gp" or (
            self.residual == "auto" and self.law == "auto" and self._has_log_laws
        )

    @property
    def leaves_residual_out(self) -> str:
        """The settings that keep the default from its residual, as they are typed; empty where none does."""
        if self.residual != "auto" or self.law != "auto":
            return ""
        asked = [
            f"--residuals {self.residuals}" if self.residuals != "log" else "",
            f"--weights {self.weights}" if self.weights != "equal" else "",
        ]
        return " and ".join(filter(None, asked))

    @property
    def _has_log_laws(self) -> bool:
        return self.residuals == "log" and self.weights == "equal"

    @property
    def huber_delta(self) -> float | None:
        """The Huber delta: infinite for least squares, None to take it from the noise."""
        return np.inf if self.objective == "least_squares" else self.delta

    @property
    def link(self) -> Link:
        """What the law's residuals are differences of."""
        return "log" if self.residuals == "log" else "identity"


def settings_of(law: str, options: Mapping[str, Any]) -> tuple[FitSettings, bool]:
    """Return what keywords ask a fit for, and whether early evaluations are to be found and left out.

    Parameters
    ----------
    law : str
    options : mapping of str to value
        Fields of :class:`FitSettings`; counts may be texts, and ``min_train_tokens`` may be ``"auto"``.
    """
    size, first = options.get("model_params"), options.get("min_train_tokens", 0.0)
    is_auto = first == "auto"
    counts = {
        "model_params": None if size is None else parse_named_count("model_params", size),
        "min_train_tokens": 0.0 if is_auto else parse_first_tokens(first, FIRST_TOKENS),
    }
    return FitSettings(law=law, **{**options, **counts}), is_auto


def with_settings(function: Callable[Accepted, Returned]) -> Callable[Accepted, Returned]:
    """Let a function whose options are settings name them, see :func:`~cmrplan.fit.arguments.named_arguments`."""
    return named_arguments(function, FitSettings)
