"""By what part of the late slope the laws of several corpora miss late budgets.

    python benchmarks/mixture_forecast_error.py data/probes/log.csv data/sweep2/log.csv data/sweep2/mature.csv

Logs of two corpora are read as mixtures. Hides the budgets above a half and above a quarter of the largest, fits the
rest with ``cmrplan mix fit`` as it is by default, and compares the losses at the largest budget with those measured,
root mean squares of log losses, over what :func:`cmrplan.mixture.later_budgets.late_slope` says that losses go on to
change by. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

import cmrplan as cp
from cmrplan.mixture.later_budgets import late_slope

HIDDEN = (2.0, 4.0)  # times the largest budget that is seen, at least
KEPT = ["run_id", "model_params", "train_tokens", "eval_corpus", "loss"]


def as_mixtures(log: pd.DataFrame) -> pd.DataFrame:
    """Return a log of two corpora with shares for its ratio."""
    ratio = log["domain_ratio"]
    return log[KEPT].assign(share_domain=ratio, share_general=1 - ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, nargs="+")
    print("| log | loss | tokens | goes on by | missed | part |")
    print("| --- | --- | --- | --- | --- | --- |")
    for path in parser.parse_args().logs:
        log = as_mixtures(cp.read_log(path))
        last = log["train_tokens"].max()
        for times in HIDDEN:
            fit = cp.fit_mixture(log[log["train_tokens"] <= last / times * 1.01], bootstrap=0)
            for corpus in sorted(fit.models):
                rows = fit.rows(corpus)
                sizes = rows["model_params"].unique()
                late = log[(log["train_tokens"] == last) & (log["eval_corpus"] == corpus)]
                miss = []
                for size, at in late[late["model_params"].isin(sizes)].groupby("model_params"):
                    shares = at[[f"share_{name}" for name in fit.corpora]].to_numpy()
                    said = fit.predict(shares, model_params=float(str(size)), train_tokens=last)
                    miss += np.log(at["loss"].to_numpy() / said[corpus].loss).tolist()
                end = rows["train_tokens"].max()
                goes_on = late_slope(rows, {}) * np.log(last / end)
                missed = float(np.sqrt(np.mean(np.square(miss))))
                cells = [path.name, corpus, f"{last / end:.2f} x", f"{goes_on:.4f}"]
                print(
                    "| " + " | ".join([*cells, f"{missed:.4f}", f"{missed / goes_on:.2f}"]) + " |"
                )


if __name__ == "__main__":
    main()
