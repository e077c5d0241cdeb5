"""Mixture laws of many corpora against regressions, on a log of many mixtures at one budget.

Part of ``held_out.py``. The runs at the smallest size are the ones fitted to. Two questions for each validation
corpus: the order of its losses over the mixtures of the larger size (Spearman; the level is another, so no error), and
over the smallest size's own mixtures, a fifth hidden at a time (Spearman and mean absolute error).
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from cmrplan.errors import CmrplanError
from cmrplan.laws.mixtures import autoscale_law, data_mixing_law, optimal_mixture_law
from cmrplan.laws.registry import AUTO
from cmrplan.log.columns import share_columns
from cmrplan.numbers import compact
from cmrplan.solve.law_fit import fit_law
from cmrplan.validate.predictors import mixture_predictors

FOLDS = 5
SHOWN_ALONE = "pile_cc"
LAW_OF = {
    "data_mixing": data_mixing_law,
    "optimal_mixture": lambda *, corpora: optimal_mixture_law(
        corpora=corpora, size_levels=1, token_levels=1
    ),
    "autoscale": autoscale_law,
}

Shares = pd.DataFrame  # columns share_<corpus>, and train_tokens


def by_law(name: str, seen: Shares, loss: np.ndarray, wanted: Shares, corpus: str) -> np.ndarray:
    names = [column.removeprefix("share_") for column in share_columns(seen)]
    names.sort(key=lambda other: other != corpus)  # the corpus itself first
    law = LAW_OF[name](corpora=names)

    def inputs(rows: Shares) -> dict[str, np.ndarray]:
        return {column: rows[column].to_numpy(dtype=float) for column in law.inputs}

    return fit_law(law, inputs(seen), loss).predict(inputs(wanted))


def by_line(seen: Shares, loss: np.ndarray, wanted: Shares, corpus: str) -> np.ndarray:
    names = share_columns(seen)
    solution, *_ = np.linalg.lstsq(seen[names].to_numpy(), loss, rcond=None)
    return wanted[names].to_numpy() @ solution


def by_boosting(seen: Shares, loss: np.ndarray, wanted: Shares, corpus: str) -> np.ndarray:
    from sklearn.ensemble import GradientBoostingRegressor

    names = share_columns(seen)
    model = GradientBoostingRegressor(random_state=0).fit(seen[names].to_numpy(), loss)
    return model.predict(wanted[names].to_numpy())


def by_lightgbm(seen: Shares, loss: np.ndarray, wanted: Shares, corpus: str) -> np.ndarray:
    from lightgbm import LGBMRegressor

    names = share_columns(seen)
    model = LGBMRegressor(random_state=0, verbose=-1).fit(seen[names].to_numpy(), loss)
    return model.predict(wanted[names].to_numpy())


def predict(name: str, seen: Shares, loss: np.ndarray, wanted: Shares, corpus: str) -> np.ndarray:
    if name == AUTO:
        return mixture_predictors()[AUTO](seen, wanted, corpus)
    simple: dict[str, Callable] = {
        "linear": by_line,
        "gradient_boosting": by_boosting,
        "lightgbm": by_lightgbm,
    }
    if name in simple:
        return simple[name](seen, loss, wanted, corpus)
    return by_law(name, seen, loss, wanted, corpus)


def known_predictors() -> list[str]:
    packages = {"gradient_boosting": "sklearn", "lightgbm": "lightgbm"}
    return [
        AUTO,
        *LAW_OF,
        "linear",
        *(name for name, package in packages.items() if importlib.util.find_spec(package)),
    ]


def folds(count: int) -> list[np.ndarray]:
    """Return which of the rows each fold hides, drawn at random and always the same."""
    fold = np.random.default_rng(0).permutation(count) % FOLDS
    return [fold == which for which in range(FOLDS)]


def measure(task: tuple[str, str, pd.DataFrame]) -> dict[str, object]:
    name, corpus, rows = task
    rows = rows.sort_values("run_id", ignore_index=True)
    small = rows["model_params"] == rows["model_params"].min()
    seen, larger = (rows[which].reset_index(drop=True) for which in (small, ~small))
    loss = seen["loss"].to_numpy(dtype=float)
    found: dict[str, object] = {"predictor": name, "corpus": corpus}
    try:
        began = time.perf_counter()
        other = predict(name, seen, loss, larger, corpus)
        found["seconds"] = time.perf_counter() - began
        found["larger"] = spearmanr(other, larger["loss"]).statistic
        guess = np.empty(len(seen))
        for hidden in folds(len(seen)):
            guess[hidden] = predict(name, seen[~hidden], loss[~hidden], seen[hidden], corpus)
        found["own"] = spearmanr(guess, loss).statistic
        found["mae"] = float(np.mean(np.abs(guess - loss)))
    except CmrplanError as error:
        found["skipped"] = str(error)
    return found


def mixture_tables(title: str, log: pd.DataFrame, pool: ProcessPoolExecutor) -> None:
    """Print how mixture laws and regressions predict a log of many mixtures at two sizes."""
    sizes = sorted(log["model_params"].unique())
    tasks = [
        (name, str(corpus), rows)
        for name in known_predictors()
        for corpus, rows in log.groupby("eval_corpus")
    ]
    found = pd.DataFrame(list(pool.map(measure, tasks)))
    small, large = compact(sizes[0]), compact(sizes[-1])
    count = found["corpus"].nunique()
    print(f"\n### {title}\n")
    print(f"fitted to the {small} runs over {len(share_columns(log))} corpora\n")
    columns = [
        f"Spearman {large}, {SHOWN_ALONE}",
        f"Spearman {small} hidden fifths, {SHOWN_ALONE}",
        f"MAE {small}, {SHOWN_ALONE}",
        f"Spearman {large}, mean of {count}",
        f"lowest of {count}",
        f"Spearman {small} hidden fifths, mean of {count}",
        f"MAE {small}, mean of {count}",
        "one fit s",
    ]
    print("| predictor | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for name, rows in found.groupby("predictor", sort=False):
        alone = rows[rows["corpus"] == SHOWN_ALONE].iloc[0]
        mean = rows[["larger", "own", "mae", "seconds"]].mean()
        print(
            f"| {name} | {alone['larger']:.3f} | {alone['own']:.3f} | {alone['mae']:.4f} | {mean['larger']:.3f} | "
            f"{rows['larger'].min():.3f} | {mean['own']:.3f} | {mean['mae']:.4f} | {mean['seconds']:.2f} |"
        )
