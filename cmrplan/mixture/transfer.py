"""Predict the loss on a new domain from a run of about one hundredth of the cost.

The cross-domain D-CPT law is fitted to the domain losses of several domains probed from the same base. Each enters by
its coefficient ``K = 1 / k1 + w k2``, from a short run on it; a new domain needs nothing but such a run, from the
same base, of the same length and at the same mixture as the others. The weight ``w`` is the one under which hidden
domains are predicted best.

References
----------
Que et al., D-CPT Law, NeurIPS 2024, arXiv:2406.01375.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.fit.arguments import named_arguments
from cmrplan.fit.law_model import row_inputs
from cmrplan.fit.tabular import Tabular
from cmrplan.laws.cross_domain import FEWEST_DOMAINS, cross_domain_law, domain_coefficient
from cmrplan.laws.law import predict_draws
from cmrplan.log.files import LogOrPath, log_of, training_rows
from cmrplan.mixture.extrapolation import beyond_levels
from cmrplan.numbers import CountOrText, parse_named_count
from cmrplan.solve.law_fit import LawFit, fit_law, refit
from cmrplan.solve.varpro import Stopping

ShortRun = tuple[ArrayLike, ArrayLike]
FEWEST_TO_HIDE = FEWEST_DOMAINS + 1  # a hidden domain leaves as many as the law needs
RELATIVE_WEIGHTS = (
    0.0,
    0.1,
    0.3,
    1.0,
    3.0,
    10.0,
)  # of the rates against the first losses, on the mean
SAME_LENGTH = 0.01


@dataclass(frozen=True, repr=False)
class DomainsFit(Tabular):
    """The cross-domain law of several domains.

    Parameters
    ----------
    fit : LawFit
    rate_weight : float
        The weight w2 of the early rate of decline, in 1e9 tokens per nat; w1 is 1.
    coefficients : dict of str to float
        K of each domain.
    held_out_errors : dict of str to float
        Mean absolute error on each domain when it is hidden, nats per token; empty with three domains.
    short_tokens : float
        Tokens at which the short runs end.
    rows : DataFrame
        The evaluations that were fitted, of all domains.
    """

    fit: LawFit
    rate_weight: float
    coefficients: dict[str, float]
    held_out_errors: dict[str, float]
    short_tokens: float
    rows: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Return one row a domain: its coefficient and the error on it when it is hidden (NaN where none was)."""
        names = list(self.coefficients)
        return pd.DataFrame(
            {
                "domain": names,
                "coefficient": list(self.coefficients.values()),
                "held_out_error": [self.held_out_errors.get(name, np.nan) for name in names],
            }
        )


@dataclass(frozen=True, repr=False)
class NewDomain(Tabular):
    """The predicted loss on a domain that was not probed.

    Parameters
    ----------
    domain_ratio : array (G,)
        In [0, 1].
    loss : array (G,)
        Nats per token, one for each ratio.
    domain_coefficient : float
    held_out_error : float or None
        Mean absolute error on hidden domains, nats per token: what to expect of this prediction.
    is_extrapolated : bool
        Whether the coefficient lies outside those that were fitted.
    warnings : tuple of Finding
        On a size, a budget or ratios outside those that were fitted.
    """

    domain_ratio: Array
    loss: Array
    domain_coefficient: float
    held_out_error: float | None
    is_extrapolated: bool
    warnings: tuple[Finding, ...] = ()

    def table(self) -> pd.DataFrame:
        """Return one row a ratio: ``domain_ratio`` and ``loss``."""
        return pd.DataFrame({"domain_ratio": self.domain_ratio, "loss": self.loss})

    def __repr__(self) -> str:
        error = "not known" if self.held_out_error is None else f"{self.held_out_error:.4f} nats"
        outside = ", outside those fitted" if self.is_extrapolated else ""
        said = (
            f"coefficient {self.domain_coefficient:.4g}{outside}; error on hidden domains {error}"
        )
        remarks = [f"{one.code.severity} [{one.code}]: {one.message}" for one in self.warnings]
        return "\n".join([super().__repr__(), said, *remarks])


@named_arguments
def fit_domains(
    logs: Mapping[str, LogOrPath],
    short_runs: Mapping[str, ShortRun],
    *,
    rate_weight: float | None = None,
) -> DomainsFit:
    """Fit the cross-domain D-CPT law.

    Parameters
    ----------
    logs : mapping of str to DataFrame or path
        By domain, a two-corpus probe log from the same base, or its file; its rows with ``eval_corpus`` ``domain``
        are fitted.
    short_runs : mapping of str to (tokens, loss)
        By domain, the evaluations of a short run, see :func:`cmrplan.laws.cross_domain.domain_coefficient`.
    rate_weight : float, optional
        Weight of the rate, 0 or more; by default the best of six by the error on hidden domains, or with three
        domains the one at which both parts count alike.

    Raises
    ------
    InputError
        If there are fewer than three domains, one has no short run, or short runs end at different tokens.
    CmrplanError
        If the rows cannot support the law.
    """
    names = sorted(logs)
    if len(names) < FEWEST_DOMAINS:
        raise InputError(
            f"logs must hold {FEWEST_DOMAINS} domains or more, got {len(names)}; fit dcpt to each domain"
        )
    missing = [name for name in names if name not in short_runs]
    if missing:
        raise InputError(f"short_runs lacks the domain {missing[0]}; add its tokens and losses")
    ends = {name: float(np.max(np.asarray(short_runs[name][0], dtype=float))) for name in names}
    _require_same_length(ends)
    rows = {name: training_rows(log_of(logs[name], source=name), "domain") for name in names}
    empty = [name for name in names if rows[name].empty]
    if empty:
        raise CmrplanError(f"the log of {empty[0]} has no rows with eval_corpus = domain; add them")
    can_hide = len(names) >= FEWEST_TO_HIDE
    if rate_weight is None:
        first, rate = _mean_parts({name: short_runs[name] for name in names})
        relative = RELATIVE_WEIGHTS if can_hide else (1.0,)
        weights = [w * first / rate if rate > 0 else 0.0 for w in relative]
        # A weight under which domains have the same K tells nothing of them.
        tried = [w for w in weights if _num_levels(short_runs, names, w) >= FEWEST_DOMAINS]
        tried = tried or weights
    elif not rate_weight >= 0:
        raise InputError(f"rate_weight must be 0 or more, got {rate_weight:g}")
    else:
        tried = [rate_weight]
    transfers = [_fit_at(rows, short_runs, weight, can_hide, ends[names[0]]) for weight in tried]
    return min(transfers, key=lambda m: float(np.mean(list(m.held_out_errors.values()) or [0.0])))


@named_arguments
def predict_new_domain(
    domains: DomainsFit,
    short_run: ShortRun,
    *,
    model_params: CountOrText,
    train_tokens: CountOrText,
    domain_ratio: ArrayLike,
) -> NewDomain:
    """Return the loss on a new domain from its short run.

    Parameters
    ----------
    domains : DomainsFit
    short_run : (tokens, loss)
        From the same base, to the same tokens and at the same mixture as those of the fit.
    model_params, train_tokens : float or str
        Of the run to predict; counts such as ``1.8e9`` or ``"1.8B"``.
    domain_ratio : float or array (G,)
        Each in [0, 1].

    Raises
    ------
    InputError
        If a number is out of its range, or the short run ends elsewhere than those of the fit.
    """
    size = parse_named_count("model_params", model_params)
    tokens = parse_named_count("train_tokens", train_tokens)
    ratio = np.atleast_1d(np.asarray(domain_ratio, dtype=float))
    if not np.all((ratio >= 0) & (ratio <= 1)):
        raise InputError(f"domain_ratio must be a fraction in [0, 1], got {ratio.tolist()}")
    end = float(np.max(np.asarray(short_run[0], dtype=float)))
    _require_same_length({"the fit": domains.short_tokens, "the new domain": end})
    coefficient = domain_coefficient(*short_run, w2=domains.rate_weight)
    inputs = {
        "model_params": np.full(ratio.shape, size),
        "train_tokens": np.full(ratio.shape, tokens),
        "share": ratio,
        "domain_coefficient": np.full(ratio.shape, coefficient),
    }
    known = list(domains.coefficients.values())
    errors = list(domains.held_out_errors.values())
    return NewDomain(
        domain_ratio=ratio,
        loss=domains.fit.predict(inputs),
        domain_coefficient=coefficient,
        held_out_error=float(np.mean(errors)) if errors else None,
        is_extrapolated=not min(known) <= coefficient <= max(known),
        warnings=(
            *beyond_levels(domains.rows, size, tokens),
            *_outside_ratios(domains.rows["domain_ratio"].to_numpy(dtype=float), ratio),
        ),
    )


def _outside_ratios(fitted: Array, asked: Array) -> list[Finding]:
    """Return a finding where ratios that were asked for lie outside the fitted ones."""
    low, high = float(fitted.min()), float(fitted.max())
    outside = asked[(asked < low) | (asked > high)]
    if not outside.size:
        return []
    named = ", ".join(f"{one:g}" for one in outside[:3]) + (", …" if outside.size > 3 else "")
    return [
        Finding(
            Code.EXTRAPOLATES_RATIO,
            f"domain_ratio = {named} is outside the fitted ratios {low:g} to {high:g}; predictions there can be far "
            "off, and the error on hidden domains says nothing of them",
        )
    ]


def _num_levels(short_runs: Mapping[str, ShortRun], names: Sequence[str], weight: float) -> int:
    return len({domain_coefficient(*short_runs[name], w2=weight) for name in names})


def _fit_at(
    rows: Mapping[str, pd.DataFrame],
    short_runs: Mapping[str, ShortRun],
    weight: float,
    can_hide: bool,
    short_tokens: float,
) -> DomainsFit:
    coefficients = {name: domain_coefficient(*short_runs[name], w2=weight) for name in rows}
    table = pd.concat(rows.values(), ignore_index=True)
    domain = np.repeat(list(rows), [len(part) for part in rows.values()])
    inputs = row_inputs("domain", table)
    inputs["domain_coefficient"] = np.array([coefficients[name] for name in domain])
    law = cross_domain_law(
        size_levels=int(table["model_params"].nunique()),
        token_levels=int(table["train_tokens"].nunique()),
        smallest_share=float(inputs["share"].min()),
        domain_levels=len(set(coefficients.values())),
    )
    loss = table["loss"].to_numpy(dtype=float)
    fit = fit_law(law, inputs, loss)
    errors = {}
    if can_hide:
        seen = np.stack([domain != name for name in rows]).astype(float)
        ends = refit(fit, inputs, loss[None, :], seen, stopping=Stopping())
        miss = np.abs(predict_draws(law, fit.scales, inputs, *ends) - loss)
        errors = {
            name: float(np.mean(m[domain == name])) for name, m in zip(rows, miss, strict=True)
        }
    return DomainsFit(fit, weight, coefficients, errors, short_tokens, table)


def _mean_parts(short_runs: Mapping[str, ShortRun]) -> tuple[float, float]:
    """Return the mean over the domains of 1 / k1 and of k2."""
    first = {name: domain_coefficient(*run, w2=0.0) for name, run in short_runs.items()}
    rate = [domain_coefficient(*run, w2=1e-3) - first[name] for name, run in short_runs.items()]
    return float(np.mean(list(first.values()))), float(np.mean(rate)) / 1e-3


def _require_same_length(ends: Mapping[str, float]) -> None:
    """Refuse short runs of different lengths: early rates of decline are not comparable."""
    shortest, longest = min(ends, key=lambda n: ends[n]), max(ends, key=lambda n: ends[n])
    if ends[longest] > ends[shortest] * (1 + SAME_LENGTH):
        raise InputError(
            f"short runs must end at the same tokens; that of {shortest} ends at {ends[shortest]:g}, that of "
            f"{longest} at "
            f"{ends[longest]:g}: cut the longer one"
        )
