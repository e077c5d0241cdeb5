"""How well fits to small runs order the mixtures of larger ones, on the tables of github.com/sail-sg/regmix.

``python benchmarks/regmix.py FOLDER`` fits the runs of the smallest size and predicts those of the largest. Another
size has another level, so what counts is the order: Spearman's rank correlation of predicted and measured losses over
the mixtures, for Pile-CC and as the mean over the validation corpora. Beside it the seconds of the whole fit.
"""

from __future__ import annotations

import argparse
import time
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
    "optimal_mixture": {"law": "optimal_mixture"},
    "data_mixing": {"law": "data_mixing"},
}
SHOWN_ALONE = "pile_cc"
TARGETS = "targets: 0.992 (Pile-CC), 0.990 (mean), under 30 s"


def rank_correlations(fit: cp.MixtureFit, larger: pd.DataFrame) -> dict[str, float]:
    """Return Spearman's correlation of predicted and measured losses, by validation corpus."""
    correlations = {}
    for corpus, rows in larger.groupby("eval_corpus"):
        shares = rows[[SHARE_PREFIX + name for name in fit.corpora]].to_numpy(dtype=float)
        at = {"model_params": fit.sizes[-1], "train_tokens": fit.log["train_tokens"].max()}
        predicted = fit.predict(shares, **at)[str(corpus)].loss
        correlations[str(corpus)] = float(spearmanr(predicted, rows["loss"]).statistic)
    return correlations


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
    print(f"| fit | {SHOWN_ALONE} | mean of {count} | lowest of {count} | seconds |")
    print("| --- | --- | --- | --- | --- |")
    for name, options in FITS.items():
        began = time.perf_counter()
        fit = cp.fit_mixture(small, bootstrap=0, **options)
        seconds = time.perf_counter() - began
        found = rank_correlations(fit, large)
        values = np.array(list(found.values()))
        print(
            f"| {name} | {found[SHOWN_ALONE]:.4f} | {values.mean():.4f} | {values.min():.4f} | {seconds:.1f} |"
        )


if __name__ == "__main__":
    main()
