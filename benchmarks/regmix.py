"""How well fits to small runs order the mixtures of larger ones, on the tables of github.com/sail-sg/regmix.

``python benchmarks/regmix.py FOLDER`` fits the runs of the smallest size and predicts those of the largest. Another
size has another level, so what counts is the order: Spearman's rank correlation of predicted and measured losses over
the mixtures, for Pile-CC and as the mean over the validation corpora. Beside it the seconds of the whole fit, and of
the processor.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import cmrplan as cp
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.log.importers import import_log
from cmrplan.numbers import compact

FITS: dict[str, dict[str, str]] = {
    "auto": {},
    "auto, laws alone": {"residual": "none"},
    "optimal_mixture": {"law": "optimal_mixture"},
    "optimal_mixture with a residual": {"law": "optimal_mixture", "residual": "gp"},
    "data_mixing": {"law": "data_mixing"},
}
SHOWN_ALONE = "pile_cc"
TARGETS = "targets: 0.992 (Pile-CC), 0.990 (mean), under 30 s"


Losses = dict[str, np.ndarray]  # by validation corpus, (n,)


def by_fit(options: dict[str, str], small: pd.DataFrame, large: pd.DataFrame) -> Losses:
    """Return the predicted losses of the runs of the larger size, in the order of :func:`of_corpus`."""
    fit = cp.fit_mixture(small, bootstrap=0, **options)
    return predicted(fit, large)


def predicted(fit: cp.MixtureFit, rows: pd.DataFrame) -> Losses:
    """Return the losses that a fit gives the mixtures of some rows, at its own size and tokens."""
    at = {"model_params": fit.sizes[-1], "train_tokens": float(fit.log["train_tokens"].max())}
    return {
        corpus: fit.predict(shares_of(fit, of_corpus(rows, corpus)), **at)[corpus].loss
        for corpus in fit.models
    }


def of_corpus(rows: pd.DataFrame, corpus: str) -> pd.DataFrame:
    return rows[rows["eval_corpus"] == corpus].sort_values("run_id")


def shares_of(fit: cp.MixtureFit, rows: pd.DataFrame) -> np.ndarray:
    return rows[[SHARE_PREFIX + name for name in fit.corpora]].to_numpy(dtype=float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with SPLIT_mixture_SIZE.csv and their losses")
    log = import_log("regmix", parser.parse_args().folder)
    sizes = np.unique(log["model_params"])
    small, large = (log[log["model_params"] == size] for size in (sizes[0], sizes[-1]))
    runs = small["run_id"].nunique(), large["run_id"].nunique()
    print(f"fitted to {runs[0]} mixtures at {compact(sizes[0])}, {TARGETS}")
    print(f"rank correlation over {runs[1]} mixtures at {compact(sizes[-1])}\n")
    count = large["eval_corpus"].nunique()
    print(
        f"| fit | {SHOWN_ALONE} | mean of {count} | lowest of {count} | seconds | of the processor |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    ways = {name: partial(by_fit, options) for name, options in FITS.items()}
    for name, way in ways.items():
        began, worked = time.perf_counter(), time.process_time()
        losses = way(small, large)
        seconds, processor = time.perf_counter() - began, time.process_time() - worked
        found = {
            corpus: float(spearmanr(loss, of_corpus(large, corpus)["loss"]).statistic)
            for corpus, loss in losses.items()
        }
        values = np.array(list(found.values()))
        print(
            f"| {name} | {found[SHOWN_ALONE]:.4f} | {values.mean():.4f} | {values.min():.4f} | {seconds:.1f} | "
            f"{processor:.1f} |"
        )


if __name__ == "__main__":
    main()
