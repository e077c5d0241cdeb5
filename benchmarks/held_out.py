"""How do laws predict what they have not seen? Held-out tables for every log in a folder.

    python benchmarks/held_out.py FOLDER

Looks through the folder for probe logs (``log.csv``, ``probe_log.csv``) and for logs in the layouts of mixinglaws,
RegMix and the Chinchilla extraction (see ``cmrplan logs import``), and prints Markdown tables for each: laws, what
``fit`` does by itself, and simple baselines. What each column hides stands above its table.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from held_out_mixtures import mixture_tables

import cmrplan as cp
from cmrplan.fit.fit_log import fit_rows
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.law_fitting import fit_law_model
from cmrplan.fit.law_model import row_inputs
from cmrplan.fit.settings import FitSettings
from cmrplan.laws.chinchilla import chinchilla_law
from cmrplan.laws.registry import plain_ratio_laws, unranked_ratio_laws
from cmrplan.log import CORPORA
from cmrplan.log.files import base_losses
from cmrplan.log.importers import import_log
from cmrplan.solve.law_fit import PAPER_DELTA, fit_law
from cmrplan.validate.baselines import BASELINES
from cmrplan.validate.predictors import Predictor, predictors

BaseLosses = Mapping[str, Mapping[float, float]]
SEEDS = 5
RANDOM_SHARE = 0.2
LATE = 0.6  # of the largest budget; for steps up to 30,000 that is after step 18,000
LARGEST_SIZES, LARGEST_FLOPS = 4.0, 10.0  # "the largest" are within this factor of the largest
WHAT_IS_HIDDEN = """hidden: random 20 %: of the rows, mean of 5 draws; late budgets: above 0.6 of the largest; one
ratio: each in turn, mean; late, largest size: those rows of the largest model; largest size: that model, its base loss
known where the log has it; largest FLOPs, largest models: within a factor of 10 and of 4 of the largest. A Huber delta
of 1e-3 is what the papers fit with. An empty cell: the predictor does not apply."""


@dataclass(frozen=True)
class Hidden:
    """Rows to hide: the column they count for, and which."""

    column: str
    rows: np.ndarray


def random_rows(count: int) -> Iterator[Hidden]:
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(count)
        yield Hidden(f"random {100 * RANDOM_SHARE:g} %", order < RANDOM_SHARE * count)


def mixture_splits(rows: pd.DataFrame) -> Iterator[Hidden]:
    """Yield what to hide of a log of two corpora."""
    size, tokens, ratio = (
        rows[name].to_numpy(dtype=float)
        for name in ("model_params", "train_tokens", "domain_ratio")
    )
    late = tokens > LATE * tokens.max()
    yield from random_rows(len(rows))
    yield Hidden("late budgets", late)
    yield from (Hidden("one ratio", ratio == level) for level in np.unique(ratio))
    if len(np.unique(size)) > 1:
        yield Hidden("late, largest size", late & (size == size.max()))
    if len(np.unique(size)) > 2:
        yield Hidden("largest size", size == size.max())


def size_splits(rows: pd.DataFrame) -> Iterator[Hidden]:
    """Yield what to hide of a log of one corpus over sizes and budgets."""
    size, tokens = (rows[name].to_numpy(dtype=float) for name in ("model_params", "train_tokens"))
    compute = size * tokens
    yield from random_rows(len(rows))
    yield Hidden("largest FLOPs", compute > compute.max() / LARGEST_FLOPS)
    yield Hidden("largest models", size > size.max() / LARGEST_SIZES)


def law_at_delta(
    name: str, delta: float | None, seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str
) -> np.ndarray:
    model = fit_law_model(seen, corpus, law_name=name, delta=delta)
    return model.fit.predict(row_inputs(corpus, wanted))


def chinchilla(
    delta: float | None, seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str
) -> np.ndarray:
    inputs = row_inputs(corpus, seen)
    loss = seen["loss"].to_numpy(dtype=float)
    return fit_law(chinchilla_law(), inputs, loss, delta=delta).predict(row_inputs(corpus, wanted))


def laws_alone(seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str) -> np.ndarray:
    """Predict by the published laws averaged, without a residual."""
    settings = FitSettings(bootstrap=0, residual="none")
    names = ("model_params", "train_tokens", "domain_ratio")
    columns = {name: wanted[name].to_numpy(dtype=float) for name in names}
    return fit_rows(seen, corpus, {}, settings).predict(columns).loss


def mixture_predictors(base_loss: BaseLosses) -> dict[str, Predictor]:
    both = predictors(base_loss)
    laws = {name: call for name, call in both.items() if name not in {*BASELINES, "auto"}}
    laws |= {name: partial(law_at_delta, name, None) for name in unranked_ratio_laws()}
    papers = {
        f"{name}, delta 1e-3": partial(law_at_delta, name, PAPER_DELTA)
        for name in ("dcpt", "dcpt_exp")
    }
    chosen = {"auto": both["auto"], "auto, laws alone": laws_alone}
    return laws | papers | chosen | {name: both[name] for name in BASELINES}


def size_predictors(base_loss: BaseLosses) -> dict[str, Predictor]:
    laws: dict[str, Predictor] = {
        "chinchilla": partial(chinchilla, None),
        "chinchilla, delta 1e-3": partial(chinchilla, PAPER_DELTA),
    }
    return laws | {name: predictors(base_loss)[name] for name in BASELINES}


SETTINGS: dict[str, tuple[Callable, Callable]] = {
    "mixture": (mixture_splits, mixture_predictors),
    "size": (size_splits, size_predictors),
}


def measure(task: tuple[str, str, str, pd.DataFrame, BaseLosses]) -> list[dict[str, object]]:
    """Return R2 and mean absolute error of one predictor of one corpus on each split."""
    kind, name, corpus, rows, base_loss = task
    splits, known = SETTINGS[kind]
    found = []
    for split in splits(rows):
        seen, wanted = (rows[which].reset_index(drop=True) for which in (~split.rows, split.rows))
        loss = wanted["loss"].to_numpy(dtype=float)
        answer = {"predictor": name, "corpus": corpus, "split": split.column}
        try:
            miss = known(base_loss)[name](seen, wanted, corpus) - loss
        except cp.CmrplanError:
            miss = np.full(len(loss), np.nan)
        spread = np.sum((loss - loss.mean()) ** 2)
        found.append(
            answer | {"r2": 1 - np.sum(miss**2) / spread, "mae": float(np.mean(np.abs(miss)))}
        )
    return found


def tables(title: str, kind: str, log: pd.DataFrame, pool: ProcessPoolExecutor) -> None:
    """Print the held-out table of a log, and how the chosen law does beside the best one."""
    rows = {corpus: fitted_rows(log, corpus, 0.0) for corpus in CORPORA}
    base_loss = {corpus: base_losses(log, corpus) for corpus in CORPORA}
    names = list(SETTINGS[kind][1](base_loss))
    tasks = [(kind, n, c, part, base_loss) for n in names for c, part in rows.items() if len(part)]
    found = pd.DataFrame([line for lines in pool.map(measure, tasks) for line in lines])
    by_corpus = found.groupby(["predictor", "corpus", "split"], sort=False)[["r2", "mae"]]
    # a split that one corpus or one hidden part cannot answer is not answered
    means = by_corpus.agg(lambda v: v.mean(skipna=False)).groupby(level=[0, 2], sort=False)
    table = means.agg(lambda v: v.mean(skipna=False)).unstack("split")
    columns = list(dict.fromkeys(found["split"]))
    print(f"\n### {title}\n")
    corpora = " and ".join(corpus for corpus, part in rows.items() if len(part))
    print(f"R² / MAE in nats per token, mean over {corpora}\n")
    print("| predictor | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    best = table["mae"].min()
    for name in names:
        cells = []
        for column in columns:
            r2, mae = table.loc[name, ("r2", column)], table.loc[name, ("mae", column)]
            mark = "**" if mae == best[column] else ""
            cells.append("" if np.isnan(mae) else f"{r2:.3f} / {mark}{mae:.4f}{mark}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    laws = [
        name
        for name in names
        if name not in BASELINES and not name.startswith("auto") and "delta" not in name
    ]
    verdicts(table["mae"][columns], laws)


def verdicts(mae: pd.DataFrame, laws: list[str]) -> None:
    """Print the best law beside the best baseline, and the law that ``fit`` chooses beside the best ones."""
    ratio_laws = [name for name in plain_ratio_laws() if name in mae.index]
    names = ["hidden", "best law", "best baseline", "law / baseline"]
    if ratio_laws:
        names += ["best D-CPT form", "auto / best D-CPT form", "auto / best law"]
    print("\n| " + " | ".join(names) + " |")
    print("| " + " | ".join(["---"] * len(names)) + " |")
    for column, errors in mae.items():
        law, simple = errors[laws].idxmin(), errors[list(BASELINES)].idxmin()
        cells = [column, law, simple, f"{errors[law] / errors[simple]:.2f}"]
        if ratio_laws:
            form = errors[ratio_laws].idxmin()
            cells += [form, *(f"{errors['auto'] / errors[name]:.3f}" for name in (form, law))]
        print("| " + " | ".join(cells) + " |")


def logs_in(folder: Path) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield a title, what kind of log it is and the log, for each one in a folder and below."""
    for place in sorted({folder, *(p for p in folder.rglob("*") if p.is_dir())}):
        texts = sorted(place.glob("*[0-9][MB].txt"))
        if texts:
            yield place.name, "mixture", import_log("mixinglaws", place)
        elif any(place.glob("*_mixture_*.csv")):
            yield place.name, "shares", import_log("regmix", place)
        else:
            for path in sorted(place.glob("*.csv")):
                head = path.open(encoding="utf-8").readline()
                if path.name in ("log.csv", "probe_log.csv"):
                    yield place.name, "mixture", cp.read_log(path)
                elif "Model Size" in head and "Training FLOP" in head:
                    yield place.name, "size", import_log("chinchilla", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    found = list(logs_in(asked.folder))
    if not found:
        parser.error(f"no log in {asked.folder}; see --help for what is looked for")
    print(WHAT_IS_HIDDEN)
    with ProcessPoolExecutor(asked.workers) as pool:
        for title, kind, log in found:
            if kind == "shares":
                mixture_tables(title, log, pool)
            else:
                tables(title, kind, log, pool)


if __name__ == "__main__":
    main()
