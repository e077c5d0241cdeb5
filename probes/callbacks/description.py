"""The description of a run is the same in each of its rows, and checked before it trains."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any

from cmrplan.errors import InputError
from cmrplan.log.cells import shown
from cmrplan.log.columns import PARAMS_KINDS, SHARE_PREFIX
from cmrplan.log.validate import SHARE_TOLERANCE

_RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]{0,199}")  # it becomes a file name


@dataclass(frozen=True, kw_only=True)
class ProbeRun:
    """The description of one training run.

    What is left out is taken from the trainer where it can be known.

    Parameters
    ----------
    run_id : str
        Names the run and its file: letters, digits and ``._=+-``, 200 at most.
    domain_ratio : float, optional
        Share of the training tokens from the domain corpus, 0 to 1. This or ``shares``.
    shares : mapping of str to float, optional
        Share of each training corpus, together 1; for mixtures of several corpora.
    model_params : float, optional
        Parameters of the model; counted from it if left out.
    params_kind : {"non_embedding", "total"}
        How they are counted, or are to be.
    params_total : float, optional
        All parameters, a tied head once; counted with ``model_params``.
    seed : int, optional
        Seed of the run.
    schedule : str, optional
        Name of the learning-rate schedule, such as ``constant`` or ``cosine``.
    unique_domain_tokens : float, optional
        Tokens the domain corpus holds before it repeats.
    base_model, tokenizer : str, optional
        Their names.
    base_tokens : float, optional
        Tokens that the base had seen in its pre-training, by which a fit counts replay.

    Raises
    ------
    InputError
        If a value breaks a rule of the probe log; the message names it.
    """

    run_id: str
    domain_ratio: float | None = None
    shares: Mapping[str, float] | None = None
    model_params: float | None = None
    params_kind: str = "non_embedding"
    params_total: float | None = None
    seed: int | None = None
    schedule: str | None = None
    unique_domain_tokens: float | None = None
    base_model: str | None = None
    base_tokens: float | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        _check_run_id(self.run_id)
        if (self.domain_ratio is None) == (self.shares is None):
            got = "neither" if self.shares is None else "both"
            raise InputError(f"domain_ratio or shares must be given, got {got}; give one of them")
        if self.domain_ratio is not None:
            _check_fraction("domain_ratio", self.domain_ratio)
        if self.shares is not None:
            _check_shares(self.shares)
        if self.params_kind not in PARAMS_KINDS:
            raise InputError(
                f"params_kind must be {' or '.join(PARAMS_KINDS)}, got {shown(self.params_kind)}"
            )
        for name in ("model_params", "params_total", "unique_domain_tokens", "base_tokens"):
            _check_count(name, getattr(self, name))
        if self.seed is not None and not (
            isinstance(self.seed, Integral) and not isinstance(self.seed, bool)
        ):
            raise InputError(f"seed must be a whole number, got {shown(self.seed)}")
        for name in ("schedule", "base_model", "tokenizer"):
            text = getattr(self, name)
            if text is not None and not (isinstance(text, str) and text and text.isprintable()):
                raise InputError(f"{name} must be a plain name, got {shown(text)}")

    def completed(self, **values: Any) -> ProbeRun:
        """Return the run with ``values`` in those of their fields that were left out."""
        lacking = {field.name for field in fields(self) if getattr(self, field.name) is None}
        return replace(self, **{k: v for k, v in values.items() if k in lacking and v is not None})

    def columns(self) -> dict[str, Any]:
        """Return the run's columns of the probe log, those without a value left out.

        Raises
        ------
        InputError
            If ``model_params`` is not known.
        """
        if self.model_params is None:
            raise InputError("model_params is not known; give it in the ProbeRun")
        shares = {f"{SHARE_PREFIX}{name}": share for name, share in (self.shares or {}).items()}
        columns = {
            "run_id": self.run_id,
            "model_params": _plain(self.model_params),
            "domain_ratio": self.domain_ratio,
            **shares,
            "seed": None if self.seed is None else int(self.seed),
            "schedule": self.schedule,
            "unique_domain_tokens": _plain(self.unique_domain_tokens),
            "base_model": self.base_model,
            "base_tokens": _plain(self.base_tokens),
            "tokenizer": self.tokenizer,
            "params_kind": self.params_kind,
            "params_total": _plain(self.params_total),
        }
        return {name: value for name, value in columns.items() if value is not None}


def _check_run_id(run_id: Any) -> None:
    if not (isinstance(run_id, str) and _RUN_ID.fullmatch(run_id)):
        raise InputError(
            f"run_id must be letters, digits and ._=+- (it names a file), got {shown(run_id)}"
        )


def _check_fraction(name: str, value: Any) -> None:
    if not _is_number(value) or not 0 <= value <= 1:
        is_percent = _is_number(value) and 1 < value <= 100
        hint = (
            "Percent? Divide by 100." if is_percent else "Write the share of the training tokens."
        )
        raise InputError(f"{name} must be a fraction in [0, 1], got {shown(value)}. {hint}")


def _check_shares(shares: Mapping[str, float]) -> None:
    for name, share in shares.items():
        if not (isinstance(name, str) and name.strip() and name.isprintable()):
            raise InputError(f"shares must name its corpora, got {shown(name)}; write a plain name")
        _check_fraction(f"the share of {shown(name)}", share)
    total = math.fsum(shares.values())
    if abs(total - 1) > SHARE_TOLERANCE:
        raise InputError(
            f"shares must sum to 1, got {total:.9g}; write the share of every training corpus"
        )


def _check_count(name: str, value: Any) -> None:
    if value is not None and not (_is_number(value) and 0 < value < math.inf):
        raise InputError(
            f"{name} must be a number above 0, got {shown(value)}; write it out: 1.8e9"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def _plain(value: float | None) -> float | None:
    """Return a count as an int where it is whole."""
    return int(value) if value is not None and value == int(value) else value
