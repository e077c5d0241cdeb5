"""How well fits to small runs order the mixtures of larger ones, on the tables of github.com/sail-sg/regmix.

``python benchmarks/regmix.py FOLDER`` fits the runs of the smallest size and predicts those of the largest. Another
size has another level, so what counts is the order: Spearman's rank correlation of predicted and measured losses over
the mixtures, for Pile-CC and as the mean over the validation corpora. Beside it the seconds of the whole fit, and of
the processor.

With ``--plans`` a fit of the smallest runs plans a mixture for the loss on Pile-CC and one for the sum over the
corpora, with its process and with laws alone. The measured mixtures of the larger size are other ones, so a plan is
judged by what it says of them, and by how the five nearest to it rank.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

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


def plans(small: pd.DataFrame, large: pd.DataFrame) -> None:
    """Print what plans from the small runs say of the mixtures of the large ones."""
    wide = large.pivot_table(index="run_id", columns="eval_corpus", values="loss")
    runs = large.drop_duplicates("run_id").set_index("run_id").loc[wide.index]
    for name in ("auto", "auto, laws alone"):
        fit = cp.fit_mixture(small, **FITS[name])
        shares = shares_of(fit, runs)
        at = {"model_params": fit.sizes[-1], "train_tokens": float(fit.log["train_tokens"].max())}
        said = fit.predict(shares, **at)
        for objective in ([SHOWN_ALONE], sorted(fit.models)):
            weights = dict.fromkeys(objective, 1.0)
            plan = cp.plan_mixture(fit, objective=weights, **at)
            measured = wide[objective].sum(axis=1).to_numpy()
            predicted = sum(said[corpus].loss for corpus in objective)
            rank, guess = rankdata(measured), rankdata(predicted)
            mixture = np.array([plan.shares[corpus] for corpus in fit.corpora])
            moved = np.abs(shares - mixture).sum(axis=1) / 2
            near = np.argsort(moved)[:5]
            most = ", ".join(f"{c} {plan.shares[c]:.2f}" for c in plan.largest_first()[:4])
            best, chosen = int(np.argmin(measured)), int(np.argmin(predicted))
            ranks = ", ".join(f"{one:.0f}" for one in rank[near])
            order = spearmanr(measured, predicted).statistic
            print(
                f"| {name} | {len(objective)} | {most} | {order:.4f} | {guess[best]:.0f} | "
                f"{rank[chosen]:.0f} ({measured[chosen]:.3f}; {measured[best]:.3f}, {np.median(measured):.3f}) | "
                f"{ranks} ({moved[near[0]]:.2f} to {moved[near[-1]]:.2f}) |",
                flush=True,
            )


PLAN_HEAD = (
    "fit",
    "corpora in the sum",
    "planned mixture (largest shares)",
    "Spearman",
    "predicted rank of the best measured",
    "measured rank of the best predicted (its loss; lowest, median)",
    "measured ranks of the five nearest to the plan (shares that differ)",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with SPLIT_mixture_SIZE.csv and their losses")
    parser.add_argument("--plans", action="store_true", help="plan mixtures instead")
    options = parser.parse_args()
    log = import_log("regmix", options.folder)
    sizes = np.unique(log["model_params"])
    small, large = (log[log["model_params"] == size] for size in (sizes[0], sizes[-1]))
    runs = small["run_id"].nunique(), large["run_id"].nunique()
    print(f"fitted to {runs[0]} mixtures at {compact(sizes[0])}, {TARGETS}")
    print(f"rank correlation over {runs[1]} mixtures at {compact(sizes[-1])}\n")
    if options.plans:
        print(f"| {' | '.join(PLAN_HEAD)} |\n|{' --- |' * len(PLAN_HEAD)}")
        plans(small, large)
        return
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
