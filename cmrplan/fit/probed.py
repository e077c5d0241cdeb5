"""What was probed, worked out once from the log of a fit, and how far a question lies outside of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.fit.base_tokens import base_tokens_at, knows_base_tokens
from cmrplan.fit.corpus_model import CorpusModel
from cmrplan.fit.supply import Supply, supply_of

TWO_DIGITS = 0.01  # a size given to two digits is still the probed one
SAME_BASE = 0.005  # by which a base loss that is measured again may differ
FARTHEST_BASE = 1.4  # by which another checkpoint's may
STEEPEST_SIZE = 0.12  # of base losses with size: Kaplan et al. 2020 have 0.076
FARTHEST_BELOW = 1e4  # times below the smallest probed size: millions or billions were meant
UNTOLD_TOKENS = "; the log has no other budget, so nothing tells how a loss changes with tokens"
TOLD_ELSEWHERE = (
    "; the log has no other budget, so how a loss changes with tokens is taken from other sweeps"
)
WIDEST_GAP = 2.0  # how far above a share the next fitted one may be, where 0 was fitted too

# By size and token count: the ratios, ascending, and the mean loss at each.
MeanLosses = Mapping[float, Mapping[float, tuple[Array, Array]]]


@dataclass(frozen=True)
class ProbedLosses:
    """The losses of one corpus that were fitted.

    Parameters
    ----------
    sizes, ratios : array (S,), (R,)
        The fitted model sizes, and the domain ratios that a law was fitted to; ascending.
    means : MeanLosses
    follows_rows : bool
        Whether a residual stands above the laws. At one budget laws leave the tokens out, and a residual takes what
        they do from other sweeps.
    """

    sizes: Array
    ratios: Array
    means: MeanLosses
    follows_rows: bool


@dataclass(frozen=True)
class Probed:
    """What the log of a fit holds.

    Parameters
    ----------
    size_range, token_range : (float, float)
        The smallest and the largest after the base checkpoint, fitted or not.
    losses : mapping of str to ProbedLosses
        By validation corpus that was fitted.
    supply : Supply, optional
        The domain corpus of the probes, where they repeat it.
    """

    size_range: tuple[float, float]
    token_range: tuple[float, float]
    losses: Mapping[str, ProbedLosses]
    supply: Supply | None = None

    @property
    def ratio_range(self) -> tuple[float, float]:
        """The smallest and largest ratio at which every loss was fitted."""
        ratios = [losses.ratios for losses in self.losses.values()]
        return max(float(r[0]) for r in ratios), min(float(r[-1]) for r in ratios)

    def require_unit_of_sizes(self, model_params: float) -> None:
        """Refuse, by an InputError, a size so far below those probed that it was not written in the same unit."""
        if model_params < self.size_range[0] / FARTHEST_BELOW:
            raise InputError(
                f"model_params is {model_params:g} and the smallest probed size {self.size_range[0]:.4g}; millions or "
                f"billions? write {model_params:g}M or {model_params:g}B"
            )

    def extrapolation_findings(
        self,
        *,
        model_params: float,
        train_tokens: float,
        domain_ratio: float | None = None,
        by_laws: bool = False,
    ) -> list[Finding]:
        """Return a finding for each input outside the fitted range; ``by_laws`` asks for what laws alone know."""
        findings = []
        if size := _distance(self.size_range, model_params):
            text = f"model_params = {model_params:.4g} is {size}"
            findings.append(Finding(Code.EXTRAPOLATES_SIZE, text))
        findings += self._token_findings(model_params, train_tokens, by_laws)
        if domain_ratio is not None:
            beyond = self._outside_ratios(model_params, domain_ratio)
            findings += self._below_shares(domain_ratio) or beyond
        return findings

    def _token_findings(
        self, model_params: float, train_tokens: float, by_laws: bool
    ) -> list[Finding]:
        """Return a finding where no run had so many tokens, and one where the laws know a single budget."""
        budget, most = self.token_range
        alone = [c for c, losses in self.losses.items() if by_laws or not losses.follows_rows]
        findings, told = [], ""
        if tokens := _distance(self.token_range, train_tokens):
            if budget == most:
                told = UNTOLD_TOKENS if len(alone) == len(self.losses) else TOLD_ELSEWHERE
                if alone == ["domain"] and "general" in self.losses:
                    told += "; the domain loss, without a residual, stays that of the budget"
                elif alone:
                    findings.append(_untold_budget(alone, budget, train_tokens))
        elif own := self._budgets_of(model_params):
            tokens = _distance((0.0, min(max(budgets) for budgets in own)), train_tokens)
            told = f" at {model_params:.4g} parameters; only other sizes tell what longer runs do"
        if tokens:
            text = f"train_tokens = {train_tokens:.4g} is {tokens}{told}"
            findings.append(Finding(Code.EXTRAPOLATES_TOKENS, text))
        return findings

    def _below_shares(self, domain_ratio: float) -> list[Finding]:
        """Return a finding for each corpus whose share lies below those at which its loss was fitted."""
        findings = []
        for corpus, losses in self.losses.items():
            ratios = np.array([domain_ratio, *losses.ratios])
            shares = ratios if corpus == "domain" else 1.0 - ratios
            text = _below(float(shares[0]), shares[1:])
            if text:
                findings.append(
                    Finding(
                        Code.EXTRAPOLATES_SHARE,
                        f"the share of {corpus} data, {shares[0]:.3g}, {text}; do not rely on this {corpus} loss, "
                        f"probe domain_ratio {domain_ratio:g} first",
                    )
                )
        return findings

    def _budgets_of(self, model_params: float) -> list[Mapping[float, tuple[Array, Array]]]:
        """Return the token counts that were fitted at a size, of each loss; nothing where it was not probed."""
        return [
            budgets
            for losses in self.losses.values()
            for size, budgets in losses.means.items()
            if is_among(np.array([size]), model_params)
        ]

    def _outside_ratios(self, model_params: float, domain_ratio: float) -> list[Finding]:
        """Return a finding on a ratio outside the fitted ones, or those of its size where that was probed."""
        low, high = self.ratio_range
        if not low <= domain_ratio <= high:
            text = (
                f"outside the fitted ratios {low:g} to {high:g}; predictions there can be far off"
            )
            return [Finding(Code.EXTRAPOLATES_RATIO, f"domain_ratio = {domain_ratio:g} is {text}")]
        own = [
            np.concatenate([ratios for ratios, _ in budgets.values()])
            for budgets in self._budgets_of(model_params)
        ]
        if not own:
            return []
        low, high = max(float(r.min()) for r in own), min(float(r.max()) for r in own)
        if low - SAME_SIZE <= domain_ratio <= high + SAME_SIZE:
            return []
        return [
            Finding(
                Code.EXTRAPOLATES_RATIO,
                f"domain_ratio = {domain_ratio:g} is outside the ratios {low:g} to {high:g} that were probed at "
                f"{model_params:.4g} parameters; only other sizes tell what it does there, so probe it at this one",
            )
        ]


def probed_of(
    log: pd.DataFrame, models: Mapping[str, CorpusModel], rows: Mapping[str, pd.DataFrame]
) -> Probed:
    """Return what a log holds, and each corpus's ``rows`` that were fitted."""
    trained = log[log["train_tokens"] > 0]
    return Probed(
        size_range=(float(trained["model_params"].min()), float(trained["model_params"].max())),
        token_range=(float(trained["train_tokens"].min()), float(trained["train_tokens"].max())),
        losses={corpus: _probed_losses(model, rows[corpus]) for corpus, model in models.items()},
        supply=supply_of(log),
    )


def _untold_budget(corpora: list[str], budget: float, train_tokens: float) -> Finding:
    text = (
        f"every run has {budget:.4g} tokens and laws alone do not read tokens, so {' and '.join(corpora)} losses, "
        f"intervals and chances are those at {budget:.4g} tokens and have no room for what {train_tokens:.4g} do; "
        "evaluate runs at two budgets or more"
    )
    return Finding(Code.BUDGET_UNTOLD, text)


def _probed_losses(model: CorpusModel, rows: pd.DataFrame) -> ProbedLosses:
    sizes, ratios = (
        np.unique(rows["model_params"].astype(float)),
        np.unique(model.fitted_ratios(rows)),
    )
    return ProbedLosses(sizes, ratios, mean_losses(rows), model.follows_rows)


def mean_losses(rows: pd.DataFrame) -> MeanLosses:
    """Return the mean losses of rows of one corpus, by size and token count, at the ratios there."""
    keys = ["model_params", "train_tokens", "domain_ratio"]
    rows = rows.assign(train_tokens=shared_budgets(rows))
    mean = rows.groupby(keys, as_index=False)["loss"].mean()[[*keys, "loss"]]
    size, tokens, ratio, loss = mean.to_numpy(dtype=float).T
    means: dict[float, dict[float, tuple[Array, Array]]] = {}
    # The means are sorted, so each size and budget is a stretch of them.
    starts = np.flatnonzero(
        (np.diff(size, prepend=np.nan) != 0) | (np.diff(tokens, prepend=np.nan) != 0)
    )
    stretches = zip(starts, [*starts[1:], len(size)], strict=True)
    stretch_of = {(size[low], tokens[low]): slice(low, high) for low, high in stretches}
    for here, budget in dict.fromkeys(zip(rows[keys[0]], rows[keys[1]], strict=True)):
        at = stretch_of[here, budget]
        means.setdefault(float(here), {})[float(budget)] = (ratio[at], loss[at])
    return means


def shared_budgets(rows: pd.DataFrame) -> Array:
    """Return the token count of each row as one budget where runs of a size end a batch or so apart, ``(n,)``.

    Counts within one percent are the largest of them, unless one run was evaluated at two of them.

    Examples
    --------
    >>> rows = {"model_params": 1e8, "train_tokens": [1e9, 2e9, 2.001e9], "run_id": ["a", "a", "b"]}
    >>> shared_budgets(pd.DataFrame(rows)).tolist()
    [1000000000.0, 2001000000.0, 2001000000.0]
    """
    tokens = rows["train_tokens"].to_numpy(dtype=float).copy()
    size = rows["model_params"].to_numpy(dtype=float)
    run = rows["run_id"].to_numpy()
    for here in np.unique(size):
        mine = np.flatnonzero(size == here)
        distinct, which = np.unique(tokens[mine], return_inverse=True)
        if not (np.diff(distinct) <= SAME_SIZE * distinct[1:]).any():
            continue
        runs = [set(run[mine[which == k]]) for k in range(len(distinct))]
        budget, seen = distinct.copy(), runs[-1]
        for k in range(len(distinct) - 2, -1, -1):
            is_same = distinct[k] >= budget[k + 1] * (1 - SAME_SIZE) and not seen & runs[k]
            budget[k] = budget[k + 1] if is_same else distinct[k]
            seen = seen | runs[k] if is_same else runs[k]
        tokens[mine] = budget[which.reshape(-1)]
    return tokens


def _distance(fitted: tuple[float, float], value: float) -> str:
    """Return in words how far a value lies outside the fitted ones; empty inside."""
    smallest, largest = fitted
    if value > largest * (1 + TWO_DIGITS):
        return f"{value / largest:.3g} times the largest fitted ({largest:.4g})"
    if value < smallest * (1 - TWO_DIGITS):
        return f"{value / smallest:.3g} times the smallest fitted ({smallest:.4g})"
    return ""


def _below(share: float, fitted: Array) -> str:
    """Return in words how far a share lies below the fitted ones; empty where it does not.

    A run at share 0 holds the end of the curve, not how it bends, so a gap above it counts from a factor of two on.
    """
    smallest = float(np.min(fitted[fitted > 0], initial=1.0))
    has_zero = bool(np.any(fitted == 0))
    if has_zero and (share == 0 or share * WIDEST_GAP >= smallest):
        return ""
    if share >= smallest * (1 - TWO_DIGITS):
        return ""
    if has_zero:
        return (
            f"lies in the gap between 0 and {smallest:.3g}, {smallest / share:.3g} times below the smallest fitted "
            "share above 0: nothing shows how the loss bends there"
        )
    factor = f"is {smallest / share:.3g} times below" if share > 0 else "is without end below"
    return (
        f"{factor} the smallest fitted ({smallest:.3g}): the laws bend sharply there and have been wrong by up to "
        "190 %"
    )


def is_among(sizes: Array, model_params: float) -> bool:
    """Tell whether a size is one of those, to within one percent."""
    return bool(np.any(np.abs(sizes / model_params - 1) <= SAME_SIZE))


def nearest_size(sizes: Array, model_params: float) -> float:
    """Return the size that is nearest in ln N, the first of two that are equally near."""
    return float(sizes[np.argmin(np.round(np.abs(np.log(sizes / model_params)), 12))])


def base_loss_at(measured: dict[float, float], model_params: float) -> tuple[float, list[Finding]]:
    """Return the general loss of the base checkpoint at a model size, from those ``measured`` by size.

    Measured sizes are taken as they are; between and beyond them the loss follows a straight line through
    the two nearest sizes in the logarithms, and a finding says so. Without any it raises a CmrplanError.
    """
    if not measured:
        raise CmrplanError(
            "the base loss is not known: the log has no row with train_tokens = 0 for the general corpus; add one, or "
            "give --base-loss"
        )
    sizes = np.array(sorted(measured))
    loss = np.array([measured[size] for size in sizes])
    near = np.abs(sizes / model_params - 1) <= SAME_SIZE
    if near.any():
        return float(loss[near][0]), []
    if len(sizes) == 1:
        return float(loss[0]), [
            Finding(
                Code.BASE_LOSS_OF_OTHER_SIZE,
                f"the base loss is taken from the only probed size, {sizes[0]:.4g} parameters; give --base-loss "
                f"of the checkpoint with {model_params:.4g}",
            )
        ]
    upper = int(np.clip(np.searchsorted(sizes, model_params), 1, len(sizes) - 1))
    x0, x1 = np.log(sizes[upper - 1 : upper + 1])
    y0, y1 = np.log(loss[upper - 1 : upper + 1])
    value = float(np.exp(y0 + (y1 - y0) * (np.log(model_params) - x0) / (x1 - x0)))
    return value, [
        Finding(
            Code.BASE_LOSS_EXTRAPOLATED,
            f"the base loss {value:.4f} at {model_params:.4g} parameters is drawn through the sizes "
            f"{sizes[upper - 1]:.4g} and {sizes[upper]:.4g}; give --base-loss if you have measured it",
        )
    ]


def other_base(base: float, measured: float, model_params: float) -> list[Finding]:
    """Return a finding where a base loss is not that of the probed checkpoint of the same size, measured again."""
    if abs(base / measured - 1) <= SAME_BASE:
        return []
    return [
        Finding(
            Code.RISE_CARRIED,
            f"the base loss {base:.4f} is not that of the probed base of {model_params:.4g} parameters, "
            f"{measured:.4f}, so another checkpoint is planned for and the rise of the probes is carried to it; leave "
            "out --base-loss to plan for the probed one",
        )
    ]


def require_plausible_base(
    name: str, base: float | None, measured: Mapping[float, float], model_params: float
) -> None:
    """Refuse a given base loss that cannot be in nats per token, by those of the log; without any it is taken.

    Raises
    ------
    InputError
        Naming the argument, both losses, and what it may be instead.
    """
    if base is None or not measured or _is_plausible(base, measured, model_params):
        return
    near = min(measured, key=lambda size: abs(np.log(size / model_params)))
    meant = [
        f"{what} gives {value:.4f}"
        for what, value in (
            ("the logarithm of a perplexity", np.log(base)),
            ("bits times ln 2", base * np.log(2)),
        )
        if _is_plausible(value, measured, model_params)
    ]
    raise InputError(
        f"{name} must be nats per token, got {base:g}; the log's base of {near:.4g} parameters has {measured[near]:.4f}"
        + "".join(f"; {text}" for text in meant[:1])
    )


def _is_plausible(base: float, measured: Mapping[float, float], model_params: float) -> bool:
    """Tell whether a base loss is near those of a log, with room for the size and another checkpoint."""
    sizes = np.array(list(measured))
    inside = float(np.clip(model_params, np.min(sizes), np.max(sizes)))
    expected, _ = base_loss_at(dict(measured), inside)
    grown = model_params / inside
    low, high = sorted((1.0, grown**-STEEPEST_SIZE))
    return bool(expected * low / FARTHEST_BASE <= base <= expected * high * FARTHEST_BASE)


def rise_carried(log: pd.DataFrame, model_params: float, sizes: Array) -> Finding:
    """Return a finding on a rise of the general loss that is carried to another size."""
    known = ", ".join(f"{size:.4g}" for size in sizes)
    base = ""
    if "base_tokens" in log and not knows_base_tokens(log, model_params):
        base = (
            f"; its base is taken to have seen {base_tokens_at(log, model_params):.3g} tokens, as in the log they go "
            "with size: add its row with train_tokens = 0 and base_tokens"
        )
    return Finding(
        Code.RISE_CARRIED,
        f"the rise of the general loss at {model_params:.4g} parameters is carried from {known}, and the interval has "
        f"room for a change with size; probe a size nearer to narrow it{base}",
    )
