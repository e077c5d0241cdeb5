"""Predict a part of the sweep before it is trained, and compare with what was measured afterwards.

    python data/sweep2/preregister.py write large       # predictions/large, to be committed before the part is trained
    python data/sweep2/preregister.py compare large     # tables, after `stages.py train large` and `stages.py collect`
    python data/sweep2/preregister.py again large       # the same with what the present code would have predicted

``write`` reads the smaller sizes of the log that the part's probes will stand in, and the losses of the part's base in
``bases.csv``; it refuses where the log has probes of the part already. The default's losses are those that a plan is
made from, with the 90 % interval of one new run. Laws and baselines answer as in ``cmrplan backtest``. Every question
is asked at the largest budget: 2, 3 and 5 % over the base and over pure replay.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from comparison import compare, summary
from targets import GRID, Target, log_path, questions, read_target, target_of

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.files import fingerprint, write_json, write_text
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.law_columns import with_law_columns
from cmrplan.fit.other_sizes import general_loss_at
from cmrplan.laws.registry import AUTO
from cmrplan.log import CORPORA
from cmrplan.log.files import base_losses
from cmrplan.log.realized import with_token_share
from cmrplan.numbers import parse_tolerance
from cmrplan.plan.loss_curves import best_ratio
from cmrplan.validate.predictors import predictors

HERE = Path(__file__).parent
RULES = (0.05, 0.1, 0.3, 0.5)
CONFIDENCE = 0.9
DEFAULT = "default"
BEST_PROBED = "best probed ratio"


# --- predictions -------------------------------------------------------------------------------


def predict(log: pd.DataFrame, target: Target, **options: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what every method says of a target, from a log without it.

    Parameters
    ----------
    log : DataFrame
        A probe log of smaller sizes, with base rows.
    target : Target
    **options
        Of :func:`cmrplan.fit`, for the default.

    Returns
    -------
    losses : DataFrame
        ``method``, ``eval_corpus``, ``train_tokens``, ``domain_ratio``, ``loss``; ``low`` and ``high`` of one new run
        for the default.
    ratios : DataFrame
        ``method``, ``tolerance``, ``rise_over``, ``domain_ratio`` (NaN where the method allows none); ``low`` and
        ``high`` for the default.
    """
    others = [*_of_predictors(log, target), *_simple_ratios(log, target)]
    return _joined([*_default(log, target, options), *others])


def of_default(
    log: pd.DataFrame, target: Target, **options: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what the default alone says, as :func:`predict` does."""
    return _joined(list(_default(log, target, options)))


def _joined(parts: list[tuple[str, pd.DataFrame]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    losses = [table for kind, table in parts if kind == "losses"]
    ratios = [table for kind, table in parts if kind == "ratios"]
    return pd.concat(losses, ignore_index=True), pd.concat(ratios, ignore_index=True)


def _default(
    log: pd.DataFrame, target: Target, options: dict[str, Any]
) -> Iterator[tuple[str, pd.DataFrame]]:
    fit = cp.fit(with_base(log, target), **options)
    for corpus in CORPORA:
        yield (
            "losses",
            pd.concat(
                _default_losses(fit, target, corpus, tokens) for tokens in target.train_tokens
            ),
        )
    rows = []
    for tolerance, reference in questions():
        asked = {"tolerance": tolerance, "rise_over": reference}
        plan = cp.plan(
            fit,
            model_params=target.model_params,
            train_tokens=target.train_tokens[-1],
            base_loss=target.base_loss["general"],
            max_general_rise=tolerance,
            rise_over=reference,
            confidence=CONFIDENCE,
        )
        bounds = {"low": plan.domain_ratio_low, "high": plan.domain_ratio_high}
        rows.append({"method": DEFAULT, **asked, "domain_ratio": plan.domain_ratio} | bounds)
        estimate = {"method": "default, estimate", "domain_ratio": plan.ratio.estimate}
        rows.append(asked | estimate)
    yield "ratios", pd.DataFrame(rows)


def with_base(log: pd.DataFrame, target: Target) -> pd.DataFrame:
    """Return a log with the base losses of the target, which are known before any probe of it."""
    base = log[log["train_tokens"] == 0].drop_duplicates("eval_corpus")
    loss = base["eval_corpus"].map(target.base_loss)
    columns = {"run_id": "base", "model_params": target.model_params, "loss": loss}
    if "base_tokens" in log:
        columns["base_tokens"] = target.base_tokens
    return pd.concat([log, base.assign(**columns)], ignore_index=True)


def _default_losses(fit: cp.Fit, target: Target, corpus: str, tokens: float) -> pd.DataFrame:
    place = {"model_params": target.model_params, "train_tokens": tokens}
    ratio = np.array(target.domain_ratio)
    if corpus == "general":
        base = target.base_loss["general"]
        said = general_loss_at(fit, **place, domain_ratio=ratio, base_loss=base).prediction
    else:
        said = fit.predict(corpus, **place, domain_ratio=ratio)
    draws = said.draws
    if (shifts := fit.new_run_shifts(corpus, len(draws))) is not None:
        draws = fit.model_of(corpus).with_shifts(draws, shifts)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    columns = {"domain_ratio": ratio, "loss": said.loss, "low": low, "high": high}
    about = {"method": DEFAULT, "eval_corpus": corpus, "train_tokens": tokens}
    return pd.DataFrame(columns).assign(**about)


def _of_predictors(log: pd.DataFrame, target: Target) -> Iterator[tuple[str, pd.DataFrame]]:
    log = with_law_columns(with_token_share(log)[0], AUTO)[0]
    rows = {corpus: fitted_rows(log, corpus, 0.0) for corpus in CORPORA}
    bases = {
        corpus: base_losses(log, corpus) | {target.model_params: target.base_loss[corpus]}
        for corpus in CORPORA
    }
    wanted = pd.concat([target.places(), target.curve()], ignore_index=True)
    for name, predictor in predictors(bases).items():
        if name == AUTO:
            continue
        try:
            loss = {corpus: predictor(rows[corpus], wanted, corpus) for corpus in CORPORA}
        except CmrplanError:
            continue
        places = target.places().drop(columns="model_params")
        count = len(places)
        for corpus in CORPORA:
            about = {"method": name, "eval_corpus": corpus, "loss": loss[corpus][:count]}
            yield "losses", places.assign(**about)
        yield "ratios", _ratios_of(name, target, *(loss[corpus][count:] for corpus in CORPORA))


def _ratios_of(name: str, target: Target, *curves: np.ndarray) -> pd.DataFrame:
    general, domain = (np.where(np.isnan(curve), np.inf, curve)[None, :] for curve in curves)
    rows = []
    for tolerance, reference in questions():
        limit = target.limit(tolerance, reference, float(general[0, 0]))
        ratio = float(best_ratio(GRID, general, domain, limit)[0]) if np.isfinite(limit) else np.nan
        rows.append((name, tolerance, reference, ratio))
    return pd.DataFrame(rows, columns=["method", "tolerance", "rise_over", "domain_ratio"])


def _simple_ratios(log: pd.DataFrame, target: Target) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rules of thumb, and the largest ratio that kept the tolerance at the largest size of the log."""
    rows = fitted_rows(log, "general", 0.0)
    rows = rows[rows["model_params"] == rows["model_params"].max()]
    size = float(rows["model_params"].iloc[0])
    rows = rows[rows["train_tokens"] == rows["train_tokens"].max()]
    measured = rows.groupby("domain_ratio")["loss"].mean()
    base = base_losses(log, "general")[size]
    answers = []
    for tolerance, reference in questions():
        over = base if reference == "base" else float(measured.iloc[0])
        kept = measured.index[measured <= parse_tolerance(tolerance).limit(over)]
        best = float(kept.max()) if len(kept) else np.nan
        answers += [(f"always {100 * rule:g} %", tolerance, reference, rule) for rule in RULES]
        answers.append((BEST_PROBED, tolerance, reference, best))
    yield (
        "ratios",
        pd.DataFrame(answers, columns=["method", "tolerance", "rise_over", "domain_ratio"]),
    )


# --- the command -------------------------------------------------------------------------------


def smaller(log: pd.DataFrame, target: Target) -> pd.DataFrame:
    """Return the rows of the sizes that a prediction may see."""
    return log[log["model_params"] < target.model_params].reset_index(drop=True)


def write(part: str, folder: Path, out: Path) -> None:
    """Write the predictions of a part.

    Raises
    ------
    InputError
        If the log has rows of it, or its base is not finished.
    """
    target = target_of(part, folder)
    path = log_path(part, folder)
    log = cp.read_log(path)
    if (log["model_params"] == target.model_params).any():
        raise InputError(
            f"{path} has probes of {part} already; a prediction is written before they are trained"
        )
    seen = smaller(log, target)
    losses, ratios = predict(seen, target)
    out.mkdir(parents=True, exist_ok=True)
    columns = ["method", "eval_corpus", "train_tokens", "domain_ratio", "loss", "low", "high"]
    write_text(out / "losses.csv", losses[columns].to_csv(index=False, float_format="%.6f"))
    write_text(out / "ratios.csv", ratios.to_csv(index=False, float_format="%.4f"))
    about = {
        "model_params": target.model_params,
        "train_tokens": target.train_tokens,
        "domain_ratio": target.domain_ratio,
        "base_loss": target.base_loss,
        "base_tokens": target.base_tokens,
        "seen_model_params": sorted(seen["model_params"].unique().tolist()),
        "seen_runs": int(seen["run_id"].nunique()),
        "log_fingerprint": fingerprint(seen.to_csv(index=False)),
        "code_version": cp.__version__,
    }
    write_json(out / "target.json", about)


def shown(table: pd.DataFrame) -> str:
    """Return a table as Markdown, four digits after the point."""
    lines = [f"| {' | '.join(table.columns)} |", "| " + " | ".join("---" for _ in table) + " |"]
    for row in table.itertuples(index=False):
        cells = [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row]
        lines.append("| " + " | ".join("-" if cell == "nan" else cell for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["write", "compare", "again"])
    parser.add_argument("part", help="of stages.yaml")
    parser.add_argument("--summary", action="store_true", help="leave out single questions")
    parser.add_argument("--into", help="folder of predictions  [default: the part]")
    parser.add_argument("--folder", type=Path, default=HERE, help="with the logs and bases.csv")
    options = parser.parse_args()
    out = options.folder / "predictions" / (options.into or options.part)
    try:
        if options.action == "write":
            write(options.part, options.folder, out)
            return
        target = read_target(out / "target.json")
        log = cp.read_log(log_path(options.part, options.folder))
        if options.action == "again":
            target = target_of(options.part, options.folder)
            losses, ratios = predict(smaller(log, target), target)
        else:
            losses, ratios = (pd.read_csv(out / name) for name in ("losses.csv", "ratios.csv"))
        errors, decisions = compare(log, target, losses, ratios)
    except (CmrplanError, OSError) as error:
        parser.exit(1, f"{error}\n")
    print("Losses and regrets in nats per token.\n")
    tables = [errors, *([] if options.summary else [decisions]), summary(decisions)]
    print("\n\n".join(map(shown, tables)))


if __name__ == "__main__":
    main()
