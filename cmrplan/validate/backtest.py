"""What a plan from a part of the log would have cost, now that the rest is known.

A window shows the smaller budgets, or the smaller models, and hides the rest. The target is always the largest
model at its largest budget, where the truth is the measured losses, joined by a shape-preserving cubic in the
ratio. For each window and predictor: the error of the predicted losses at the target, the error of the ratio
that follows from them, and what following that ratio would have cost. The default is judged by what a plan from the
window would recommend with confidence, the others by what their estimates alone say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.arguments import named_arguments
from cmrplan.fit.fit_log import fit_with
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.law_columns import with_law_columns
from cmrplan.fit.probed import base_loss_at
from cmrplan.fit.settings import FitSettings
from cmrplan.laws.registry import AUTO
from cmrplan.log import CORPORA
from cmrplan.log.corpora import require_a_corpus_to_fit
from cmrplan.log.files import LogOrPath, base_losses, is_of_two, log_of, source_of
from cmrplan.log.realized import with_token_share
from cmrplan.numbers import CountOrText, Tolerance, parse_first_tokens
from cmrplan.plan.loss_curves import best_ratio
from cmrplan.plan.optimum import decide
from cmrplan.plan.request import PlanRequest
from cmrplan.validate.baselines import SIMPLE_NAMES
from cmrplan.validate.predictors import SAID_OF_ROWS, Predictor, losses_by, predictors

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
        return pd.DataFrame(rows[self._is_inside(rows)]).reset_index(drop=True)

    def seen_with_bases(self, log: pd.DataFrame) -> pd.DataFrame:
        """Return the rows inside the window and every base checkpoint, which is known before any probe is run."""
        kept = self._is_inside(log) | (log["train_tokens"] == 0)
        return pd.DataFrame(log[kept]).reset_index(drop=True)

    def _is_inside(self, rows: pd.DataFrame) -> pd.Series:
        return (rows["model_params"] <= self.largest_size) & (
            rows["train_tokens"] <= self.largest_tokens
        )


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


def _with_both(log: LogOrPath) -> pd.DataFrame:
    checked = log_of(log)
    require_a_corpus_to_fit(checked, source_of(log), both=True)
    return with_law_columns(with_token_share(checked)[0], AUTO)[0]


def _rows_of_both(log: pd.DataFrame, min_train_tokens: float) -> dict[str, pd.DataFrame]:
    if not is_of_two(log):
        raise InputError(
            "the log has several corpora (share_ columns); cmrplan mix backtest (cp.backtest_mixtures) takes them"
        )
    rows = {corpus: fitted_rows(log, corpus, min_train_tokens) for corpus in CORPORA}
    for corpus in CORPORA:
        if not len(rows[corpus]):
            raise CmrplanError(
                f"a backtest needs both losses; min_train_tokens = {min_train_tokens:g} leaves none of {corpus}"
            )
    return rows


@dataclass(frozen=True)
class Backtest:
    """How plans from parts of a log did.

    Parameters
    ----------
    table : DataFrame
        What :func:`backtest` returns.
    skipped : dict of (str, str) to str
        Why a predictor has no row, by window and predictor.
    num_windows : int
    """

    table: pd.DataFrame
    skipped: dict[tuple[str, str], str]
    num_windows: int


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
        ``domain_mae`` at the target in nats per token, ``confidence`` (0.9 for the default, whose ratio is the one that
        :func:`cmrplan.plan` would have recommended from the window; NaN for the others, whose estimates alone are
        followed), ``domain_ratio`` (NaN where no ratio was feasible), ``best_domain_ratio``, ``ratio_error``,
        ``regret`` (domain loss above that of the best feasible ratio) and ``excess`` (general loss above its limit),
        both in nats per token; ``point_domain_ratio``, ``point_regret`` and ``point_excess`` of the best estimate.

    Raises
    ------
    InputError
        If an argument or the log is wrong.
    CmrplanError
        If the log lacks a corpus, a base loss, or budgets and sizes to hide.
    """
    return replay(
        log,
        max_general_rise=max_general_rise,
        base_loss=base_loss,
        min_train_tokens=min_train_tokens,
        progress=progress,
    ).table


@named_arguments
def replay(
    log: LogOrPath,
    *,
    max_general_rise: float | str | Tolerance,
    base_loss: float | None = None,
    min_train_tokens: CountOrText = 0.0,
    progress: Callable[[str], None] | None = None,
) -> Backtest:
    """Return :func:`backtest` of a log, and who could not answer in which window, and why."""
    log = _with_both(log)
    say, first = progress or (lambda line: None), parse_first_tokens(min_train_tokens)
    rows = _rows_of_both(log, first)
    request = _target(log, rows, max_general_rise, base_loss)
    truth = Truth.of(rows, request.size, request.tokens)
    known = predictors({corpus: base_losses(log, corpus) for corpus in CORPORA})
    table, skipped = [], {}
    parts = windows(rows["general"])
    for window, (name, predictor) in product(parts, known.items()):
        say(f"{window.name} {name}")
        try:
            chosen = None
            if name == AUTO:
                predictor, chosen = _default(window.seen_with_bases(log), first, request)
            general, domain = _predict(predictor, window, rows, truth)
        except CmrplanError as error:
            skipped[window.name, name] = str(error)
            continue
        about: dict[str, Any] = {"kind": window.kind, "window": window.name, "predictor": name}
        about |= {"is_law": name not in SIMPLE_NAMES}
        table.append(about | truth.compare(general, domain, _limit(request), chosen))
    return Backtest(pd.DataFrame(table), skipped, len(parts))


def _target(
    log: pd.DataFrame,
    rows: dict[str, pd.DataFrame],
    max_general_rise: float | str | Tolerance,
    base_loss: float | None,
) -> PlanRequest:
    """Return the question: the largest model at its largest budget."""
    size, tokens = (float(rows["general"][name].max()) for name in ("model_params", "train_tokens"))
    if base_loss is None:
        base_loss, _ = base_loss_at(base_losses(log, "general"), size)
    return PlanRequest(
        model_params=size,
        train_tokens=tokens,
        max_general_rise=max_general_rise,
        base_loss=base_loss,
    )


def _limit(request: PlanRequest) -> float:
    assert request.tolerance is not None
    assert request.base_loss is not None
    return request.tolerance.limit(request.base_loss)


@dataclass(frozen=True)
class Recommended:
    """What a plan recommends with confidence, and its best estimate; NaN where no ratio is feasible."""

    domain_ratio: float
    best_estimate: float
    confidence: float


def _default(
    seen: pd.DataFrame, min_train_tokens: float, request: PlanRequest
) -> tuple[Predictor, Recommended]:
    """Return the default fit of rows that may be seen, and what its plan recommends; nothing where it is refused."""
    fit = fit_with(seen, FitSettings(min_train_tokens=min_train_tokens))
    try:
        decision = decide(fit, request)
        known = decision.ratio, decision.best_estimate
    except CmrplanError:
        known = np.nan, np.nan
    return (
        lambda seen, wanted, corpus: losses_by(fit.model_of(corpus), wanted),
        Recommended(*known, request.confidence),
    )


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

    def compare(
        self, general: Array, domain: Array, limit: float, recommended: Recommended | None
    ) -> dict[str, float]:
        """Return what :func:`backtest` says of two predicted curves on the grid, and of what a plan recommends."""
        general, domain = (np.where(np.isnan(curve), np.inf, curve) for curve in (general, domain))
        best = self.best_ratio(self.general, self.domain, limit)
        if recommended is None:
            point = self.best_ratio(general, domain, limit)
            recommended = Recommended(point, point, np.nan)
        chosen, point = recommended.domain_ratio, recommended.best_estimate
        return {
            "general_mae": self.error("general", general),
            "domain_mae": self.error("domain", domain),
            "confidence": recommended.confidence,
            "domain_ratio": chosen,
            "best_domain_ratio": best,
            "ratio_error": chosen - best,
            "regret": self.domain_at(chosen) - self.domain_at(best),
            "excess": max(self.general_at(chosen) - limit, 0.0),
            "point_domain_ratio": point,
            "point_regret": self.domain_at(point) - self.domain_at(best),
            "point_excess": max(self.general_at(point) - limit, 0.0),
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
