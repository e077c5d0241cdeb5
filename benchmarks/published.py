"""Laws, baselines and rules of thumb on the tables that papers print, and beside what the papers themselves predicted.

    python benchmarks/published.py

Tables: D-CPT, chemistry at 1.8B (arXiv:2406.01375, seven ratios, one budget); CMR, Table 2, finance
(arXiv:2407.17467, five ratios, four sizes, domain loss alone); Pile to German at 405M (arXiv:2403.08763, six ratios).
Hidden is each ratio between the outermost ones in turn. A Huber delta of 1e-3 is what the papers fit with. Answers
are planned from whole tables; the best ratio is where the measured general loss, joined between ratios, reaches the
limit. Losses in nats per token. Prints Markdown tables.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pandas as pd
from held_out import mixture_predictors
from world_runs import print_table

import cmrplan as cp
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.log import CORPORA
from cmrplan.log.files import base_losses
from cmrplan.numbers import parse_tolerance

PUBLISHED = Path(__file__).parents[1] / "data" / "published"
RULES = (0.05, 0.1, 0.3, 0.5)
TOLERANCES = {"D-CPT, chemistry": "3%", "Pile to German": "10%"}


def as_log(table: pd.DataFrame, base_loss: float | None) -> pd.DataFrame:
    """Return a published table as a probe log; losses in columns ``general_loss`` and ``domain_loss``."""
    rows = [
        (f"r{row.Index}", row.model_params, row.train_tokens, row.domain_ratio, corpus, loss)
        for row in table.itertuples()
        for corpus in CORPORA
        if np.isfinite(loss := getattr(row, f"{corpus}_loss", np.nan))
    ]
    if base_loss is not None:
        rows.insert(0, ("base", table["model_params"].iloc[0], 0, 0, "general", base_loss))
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    return pd.DataFrame(rows, columns=names)


def logs() -> dict[str, pd.DataFrame]:
    """Return the published tables as probe logs."""
    replay = pd.read_csv(PUBLISHED / "replay_sweeps.csv")
    german = replay[replay["domain_corpus"] == "German"]
    german = german.assign(domain_ratio=(1 - german["replay_ratio"]).round(6))
    chemistry = pd.read_csv(PUBLISHED / "dcpt_usage1.csv")
    finance = pd.read_csv(PUBLISHED / "cmr_table2.csv")
    return {
        "D-CPT, chemistry": as_log(chemistry, chemistry["base_general_loss"].iloc[0]),
        "CMR, finance": as_log(finance, None),
        "Pile to German": as_log(german, german["base_general_loss"].iloc[0]),
    }


def miss(predict, rows: pd.DataFrame, hidden: np.ndarray, corpus: str) -> float:
    """Return the mean absolute error on hidden rows; NaN where a predictor does not apply."""
    seen, wanted = rows[~hidden].reset_index(drop=True), rows[hidden].reset_index(drop=True)
    try:
        predicted = predict(seen, wanted, corpus)
    except cp.CmrplanError:
        return np.nan
    return float(np.mean(np.abs(predicted - wanted["loss"].to_numpy(dtype=float))))


def hidden_ratios(names: list[str] | None = None) -> tuple[list[str], list[list[str]]]:
    """Return header and lines of the mean error at hidden ratios, of some predictors or all."""
    errors: dict[str, dict[str, str]] = {}
    for title, log in logs().items():
        known = mixture_predictors({corpus: base_losses(log, corpus) for corpus in CORPORA})
        for corpus in CORPORA:
            rows = fitted_rows(log, corpus, 0.0)
            inner = np.unique(rows["domain_ratio"])[1:-1]
            if not len(rows):
                continue
            for name in names or known:
                hits = [
                    miss(known[name], rows, rows["domain_ratio"].to_numpy() == ratio, corpus)
                    for ratio in inner
                ]
                cell = "" if np.isnan(hits).any() else f"{np.mean(hits):.5f}"
                errors.setdefault(name, {})[f"{title}, {corpus}"] = cell
    columns = list(next(iter(errors.values())))
    return ["predictor", *columns], [
        [name, *(cells.get(column, "") for column in columns)] for name, cells in errors.items()
    ]


def printed_predictions() -> tuple[list[str], list[list[str]]]:
    """Return the quarter of Table 2, as measured, as its authors predict it and as it is predicted here."""
    table = pd.read_csv(PUBLISHED / "cmr_table2.csv")
    log = as_log(table, None)
    rows = fitted_rows(log, "domain", 0.0)
    is_hidden = rows["domain_ratio"].to_numpy() == 0.25
    seen, wanted = rows[~is_hidden].reset_index(drop=True), rows[is_hidden].reset_index(drop=True)
    known = mixture_predictors({corpus: {} for corpus in CORPORA})
    names = ("auto", "dcpt", "cmr", "interpolation", "gradient_boosting")
    measured = wanted["loss"].to_numpy(dtype=float)
    paper = table.dropna(subset="domain_loss_predicted").set_index("model_params")
    columns = {"its authors": paper.loc[wanted["model_params"], "domain_loss_predicted"].to_numpy()}
    columns |= {name: known[name](seen, wanted, "domain") for name in names}
    lines = [
        [f"{size:.3g}", f"{measured[k]:.4f}", *(f"{c[k]:.4f}" for c in columns.values())]
        for k, size in enumerate(wanted["model_params"])
    ]
    means = [f"{np.mean(np.abs(c - measured)):.5f}" for c in columns.values()]
    return ["size", "measured", *columns], [*lines, ["mean error", "", *means]]


def answers() -> tuple[list[str], list[list[str]]]:
    """Return the ratios of a plan and of rules of thumb, with what each costs by the measured losses."""
    lines = []
    for title, tolerance in TOLERANCES.items():
        log = logs()[title]
        losses = {c: fitted_rows(log, c, 0.0).sort_values("domain_ratio") for c in CORPORA}
        probed = losses["general"]["domain_ratio"].to_numpy()
        measured = {c: rows["loss"].to_numpy(dtype=float) for c, rows in losses.items()}
        limit = parse_tolerance(tolerance).limit(float(log["loss"].iloc[0]))
        grid = np.linspace(probed[0], probed[-1], 20001)
        best = float(grid[np.interp(grid, probed, measured["general"]) <= limit].max())
        last = log.iloc[-1]
        where = {name: float(last[name]) for name in ("model_params", "train_tokens")}
        plan = cp.plan(cp.fit(log), **where, max_general_rise=tolerance)
        asked = {"plan": plan.domain_ratio, "best estimate of the plan": plan.ratio.estimate}
        feasible = probed[measured["general"] <= limit]
        asked |= {f"always {100 * rule:g} %": rule for rule in RULES}
        asked["best probed ratio"] = float(feasible.max())
        for name, ratio in asked.items():
            lines.append([title, name, *_cost(ratio, best, probed, measured, limit)])
    return ["table", "strategy", "ratio", "best", "regret", "excess"], lines


def _cost(ratio: float | None, best: float, probed, measured, limit: float) -> list[str]:
    if ratio is None or np.isnan(ratio):
        return ["none", f"{best:.3f}", "", ""]
    if ratio < probed[0]:
        return [f"{ratio:.3f}", f"{best:.3f}", "not measured", ""]
    at = {c: np.interp([ratio, best], probed, losses) for c, losses in measured.items()}
    regret = at["domain"][0] - at["domain"][1]
    excess = max(float(at["general"][0]) - limit, 0.0)
    return [f"{ratio:.3f}", f"{best:.3f}", f"{regret:+.4f}", f"{excess:.4f}"]


def main() -> None:
    """Print the tables."""
    print("Mean absolute error at a hidden ratio; an empty cell: the predictor does not apply.")
    print_table(*hidden_ratios())
    print("\nThe ratio 0.25 of CMR's Table 2, hidden")
    print_table(*printed_predictions())
    print(f"\nAnswers at a rise of {' and '.join(TOLERANCES.values())}; regret in domain loss")
    print_table(*answers())


if __name__ == "__main__":
    main()
