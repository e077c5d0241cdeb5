"""By what part of the change forecasts of tokens miss late budgets.

    python benchmarks/forecast_error.py data/probes/log.csv

Hides the budgets above a half and above a quarter of the largest, fits the rest by default settings, and compares the
change of each loss from the last seen budget to the largest with the change that was measured, root mean squares of
log losses over sizes and ratios. A folder in the layout of mixinglaws may be given. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

import cmrplan as cp
from cmrplan.fit.fit_log import fit_rows
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.settings import FitSettings
from cmrplan.log import CORPORA
from cmrplan.log.files import base_losses
from cmrplan.log.importers import import_log

HIDDEN = (2.0, 4.0)  # times the largest budget that is seen, at least
FEWEST_BUDGETS = 3


def log_losses_at(rows: pd.DataFrame, tokens: float) -> pd.Series:
    """Return the mean log loss of each size and ratio at a budget."""
    there = rows[rows["train_tokens"] == tokens]
    means: pd.Series = there.groupby(["model_params", "domain_ratio"])["loss"].mean()
    return np.log(means)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    path = parser.parse_args().log
    log = import_log("mixinglaws", path) if path.is_dir() else cp.read_log(path)
    print("| loss | tokens | predicted change | measured | missed | part |")
    print("| --- | --- | --- | --- | --- | --- |")
    for corpus in CORPORA:
        rows = fitted_rows(log, corpus, 0.0)
        last = rows["train_tokens"].max()
        for times in HIDDEN:
            seen = rows[rows["train_tokens"] <= last / times * 1.001].reset_index(drop=True)
            if seen["train_tokens"].nunique() < FEWEST_BUDGETS:
                continue
            end = seen["train_tokens"].max()
            model = fit_rows(seen, corpus, base_losses(log, corpus), FitSettings(bootstrap=0))
            measured = log_losses_at(rows, last) - log_losses_at(rows, end)
            places = measured.index.to_frame(index=False)
            at = {name: places[name].to_numpy(dtype=float) for name in places}
            late, early = (
                model.predict(at | {"train_tokens": np.full(len(places), float(tokens))}).loss
                for tokens in (last, end)
            )
            change = np.log(late / early)
            sizes = [
                float(np.sqrt(np.mean(np.square(v)))) for v in (change, measured, change - measured)
            ]
            cells = [corpus, f"{last / end:.2f} x", *(f"{v:.4f}" for v in sizes)]
            print("| " + " | ".join([*cells, f"{sizes[2] / sizes[0]:.2f}"]) + " |")


if __name__ == "__main__":
    main()
