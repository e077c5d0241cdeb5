"""What a plan from a part of the log would have cost, now that the rest is known.

A window shows the smaller budgets, or the smaller models, and hides the rest. The target is always the largest
model at its largest budget, where the truth is the measured losses, joined by a shape-preserving cubic in the
ratio. For each window and predictor: the error of the predicted losses at the target, the error of the ratio
that follows from them, and what following that ratio would have cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.arguments import named_arguments
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.law_columns import with_law_columns
from cmrplan.fit.probed import base_loss_at
from cmrplan.laws.registry import AUTO
from cmrplan.log import CORPORA
from cmrplan.log.files import LogOrPath, base_losses, is_of_two, log_of
from cmrplan.log.realized import with_token_share
from cmrplan.numbers import CountOrText, Tolerance, parse_first_tokens, parse_tolerance
from cmrplan.plan.loss_curves import best_ratio
from cmrplan.validate.baselines import SIMPLE_NAMES
from cmrplan.validate.predictors import SAID_OF_ROWS, Predictor, predictors

NUM_TRUTH_RATIOS = 1001
FEWEST_BUDGETS = 3


@dataclass(frozen=True)
class HistoryWindow:
    """The rows that a predictor may see.

    Parameters
    ----------
    kind : {"tokens", "size"}
        What grows from window to window.
    name : str
    largest_size, largest_tokens : float
        Rows above either are hidden.
    """

    kind: str
    name: str
    largest_size: float
    largest_tokens: float

    def seen(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows inside the window."""
        inside = (rows["model_params"] <= self.largest_size) & (
            rows["train_tokens"] <= self.largest_tokens
        )
        return rows[inside].reset_index(drop=True)


def windows(rows: pd.DataFrame) -> list[HistoryWindow]:
    """Return windows that grow over budgets, then over sizes.

    Raises
    ------
    CmrplanError
        If there is none that hides anything.
    """
    sizes = np.unique(rows["model_params"].to_numpy(dtype=float))
    budgets = np.unique(rows["train_tokens"].to_numpy(dtype=float))
    by_tokens = [
        HistoryWindow("tokens", f"D <= {budget:.3g}", float(sizes[-1]), float(budget))
        for budget in budgets[FEWEST_BUDGETS - 1 : -1]
    ]
    by_size = [
        HistoryWindow("size", f"N <= {size:.3g}", float(size), float(budgets[-1]))
        for size in sizes[:-1]
    ]
    if not by_tokens + by_size:
        raise CmrplanError(
            "nothing can be hidden: a backtest needs four token counts, or two model sizes"
        )
    return by_tokens + by_size


def _rows_of_both(log: pd.DataFrame, min_train_tokens: float) -> dict[str, pd.DataFrame]:
    if not is_of_two(log):
        raise InputError(
            "the log has several corpora (share_ columns); cmrplan mix backtest (cp.backtest_mixtures) takes them"
        )
    rows = {corpus: fitted_rows(log, corpus, min_train_tokens) for corpus in CORPORA}
    for corpus in CORPORA:
        if not len(rows[corpus]):
            raise CmrplanError(f"a backtest needs both losses; the log has no {corpus} loss")
    return rows


@named_arguments
def backtest(
    log: LogOrPath,
    *,
    max_general_rise: float | str | Tolerance,
    base_loss: float | None = None,
    min_train_tokens: CountOrText = 0.0,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Replay the log: plan from a part of it and compare with the rest.

    Parameters
    ----------
    log : DataFrame or path
        A probe log with both losses, or its file.
    max_general_rise : float or str
        The tolerance that the ratios are planned for.
    base_loss : float, optional
        General loss of the largest model's base; from the log by default.
    min_train_tokens : float or str
        Leave out rows with fewer tokens, ``1.6e6`` or ``"1.6M"``.
    progress : callable, optional
        Takes a word on what is being done.

    Returns
    -------
    DataFrame
        One row for each window and predictor: ``kind``, ``window``, ``predictor``, ``is_law``, ``general_mae`` and
        ``domain_mae`` at the target in nats per token, ``domain_ratio`` that was recommended (NaN where the predictor
        saw no feasible one), ``best_domain_ratio``, ``ratio_error``, ``regret`` (domain loss above that of
        the best feasible ratio) and ``excess`` (general loss above its limit), both in nats per token.

    Raises
    ------
    InputError
        If an argument or the log is wrong.
    CmrplanError
        If the log lacks a corpus, a base loss, or budgets and sizes to hide.
    """
    log = with_law_columns(with_token_share(log_of(log))[0], AUTO)[0]
    say = progress or (lambda line: None)
    rows = _rows_of_both(log, parse_first_tokens(min_train_tokens))
    size, tokens = (float(rows["general"][name].max()) for name in ("model_params", "train_tokens"))
    if base_loss is None:
        base_loss, _ = base_loss_at(base_losses(log, "general"), size)
    limit = parse_tolerance(max_general_rise).limit(base_loss)
    growing = windows(rows["general"])
    known = predictors({corpus: base_losses(log, corpus) for corpus in CORPORA})
    truth = Truth.of(rows, size, tokens)
    table = []
    for window, (name, predictor) in product(growing, known.items()):
        say(f"{window.name} {name}")
        try:
            general, domain = _predict(predictor, window, rows, truth)
        except CmrplanError:
            continue
        about = {"kind": window.kind, "window": window.name, "predictor": name}
        is_law = {"is_law": name not in SIMPLE_NAMES}
        table.append(about | is_law | truth.compare(general, domain, limit))
    return pd.DataFrame(table)


def backtest_verdict(table: pd.DataFrame) -> str:
    """Return in a sentence how the default did in the windows of a backtest, beside the predictor that did best.

    Best is whoever kept the limit in most windows, and of those the one with the lowest mean regret where it did.
    """
    judged = []
    windows_of_all = table["window"].nunique() if len(table) else 0
    for name, rows in table.groupby("predictor", sort=False) if len(table) else []:
        kept = rows[rows["domain_ratio"].notna() & (rows["excess"] <= 0)]
        judged.append((-len(kept), float(kept["regret"].mean()), str(name)))
    judged = [one for one in judged if one[0]]
    if not judged:
        return f"no predictor kept the limit in any of {windows_of_all} windows"

    def words(one: tuple[int, float, str]) -> str:
        return f"kept the limit in {-one[0]} of {windows_of_all} windows at a mean regret of {one[1]:.4f} nats"

    best = min(judged)
    own = next((one for one in judged if one[2] == AUTO), None)
    if own is None:
        return f"the default (auto) kept the limit in no window; {best[2]} {words(best)}"
    if own[:2] == best[:2]:
        return f"the default (auto) {words(own)}, and nothing else did better"
    return f"the default (auto) {words(own)}; {best[2]} {words(best)}"


@dataclass(frozen=True)
class Truth:
    """Measured losses at a target, in nats per token: at the probed ratios, and between them on a grid.

    Parameters
    ----------
    model_params, train_tokens : float
        The target.
    ratio : array (M,)
        Probed ratios, ascending, where both losses were measured.
    measured : dict of str to array (M,)
        By corpus: mean over the runs at each ratio.
    grid : array (G,)
        From the smallest to the largest of them.
    """

    model_params: float
    train_tokens: float
    ratio: Array
    measured: dict[str, Array]
    grid: Array

    @classmethod
    def of(cls, rows: dict[str, pd.DataFrame], size: float, tokens: float) -> Truth:
        """Return what the rows of each corpus measured at a size and budget.

        Raises
        ------
        CmrplanError
            If both losses were measured at fewer than three ratios there.
        """
        means = {}
        for corpus, frame in rows.items():
            there = frame[(frame["model_params"] == size) & (frame["train_tokens"] == tokens)]
            means[corpus] = there.groupby("domain_ratio")["loss"].mean()
        shared = means["general"].index.intersection(means["domain"].index)
        if len(shared) < 3:
            raise CmrplanError(
                "the largest model at its largest budget was measured at fewer than three ratios, so there is "
                "no truth to compare with"
            )
        ratio = shared.to_numpy(dtype=float)
        measured = {c: means[c].loc[shared].to_numpy(dtype=float) for c in CORPORA}
        return cls(
            size, tokens, ratio, measured, np.linspace(ratio[0], ratio[-1], NUM_TRUTH_RATIOS)
        )

    @property
    def general(self) -> Array:
        """General loss on the grid."""
        return np.asarray(PchipInterpolator(self.ratio, self.measured["general"])(self.grid))

    @property
    def domain(self) -> Array:
        """Domain loss on the grid."""
        return np.asarray(PchipInterpolator(self.ratio, self.measured["domain"])(self.grid))

    def general_at(self, ratio: float) -> float:
        """Return the general loss at a ratio; NaN for NaN."""
        return float(np.interp(ratio, self.grid, self.general)) if np.isfinite(ratio) else np.nan

    def domain_at(self, ratio: float) -> float:
        """Return the domain loss at a ratio; NaN for NaN."""
        return float(np.interp(ratio, self.grid, self.domain)) if np.isfinite(ratio) else np.nan

    def best_ratio(self, general: Array, domain: Array, limit: float) -> float:
        """Return the ratio of the grid that two curves on it recommend; NaN where none is feasible."""
        return float(best_ratio(self.grid, general[None, :], domain[None, :], limit)[0])

    def compare(self, general: Array, domain: Array, limit: float) -> dict[str, float]:
        """Return what :func:`backtest` says of two predicted curves on the grid."""
        general, domain = (np.where(np.isnan(curve), np.inf, curve) for curve in (general, domain))
        best = self.best_ratio(self.general, self.domain, limit)
        chosen = self.best_ratio(general, domain, limit)
        return {
            "general_mae": self.error("general", general),
            "domain_mae": self.error("domain", domain),
            "domain_ratio": chosen,
            "best_domain_ratio": best,
            "ratio_error": chosen - best,
            "regret": self.domain_at(chosen) - self.domain_at(best),
            "excess": max(self.general_at(chosen) - limit, 0.0),
        }

    def error(self, corpus: str, curve: Array) -> float:
        """Return the mean absolute error of a curve on the grid at the measured ratios where it is finite."""
        known = np.isfinite(curve)
        inside = (self.ratio >= self.grid[known][0]) & (self.ratio <= self.grid[known][-1])
        at = np.interp(self.ratio[inside], self.grid[known], curve[known])
        return float(np.mean(np.abs(at - self.measured[corpus][inside])))


def _predict(
    predictor: Predictor, window: HistoryWindow, rows: dict[str, pd.DataFrame], truth: Truth
) -> tuple[Array, Array]:
    def curves() -> Iterator[Array]:
        wanted = pd.DataFrame(
            {
                "model_params": truth.model_params,
                "train_tokens": truth.train_tokens,
                "domain_ratio": truth.grid,
            }
        )
        general = rows["general"]
        at_truth = (general["model_params"] == truth.model_params) & (
            general["train_tokens"] == truth.train_tokens
        )
        for name in SAID_OF_ROWS:  # these are known before the run is
            if name in general:
                wanted[name] = float(general.loc[at_truth, name].mean())
        for corpus in CORPORA:
            yield predictor(window.seen(rows[corpus]), wanted, corpus)

    general, domain = curves()
    return general, domain
