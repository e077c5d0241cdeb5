"""How often the interval of the rise holds what was measured at a size that was hidden.

    python benchmarks/across_sizes.py data/probes/log.csv
    python benchmarks/across_sizes.py data/probes/log.csv --law auto --ledger data/probes/log.runs.csv

Each size and each pair of sizes is fitted alone and asked for the general loss at every other size, at each measured
budget and ratio. "held": the nominal 90 % interval of the rise over the base holds the measured rise; "over replay":
of the rise over the smallest ratio. Errors are mean absolute ones, in nats per token: of the rise that is carried, and
of the loss as the law has it. Needs base rows. ``--ledger`` adds ``base_tokens`` to a log that lacks them, and
``--drop`` leaves them out. ``--scatter 0.3 0.4`` tries parts of the posterior's scatter at the hidden size in place of
the library's, toward larger sizes and between two: the share of runs inside the 90 % interval, and of those below its
one-sided 90 % bound, which is what a plan keeps; means over the transfers. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import importlib
import os
from itertools import combinations
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

import cmrplan as cp
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.other_sizes import general_loss_at
from cmrplan.log.files import base_losses

CONFIDENCE = 0.9


def outcomes(fit, rows, size, base):
    """Return for each measured place: held, held over replay, error of the rise, error of the law."""
    found = []
    for tokens, group in rows.groupby("train_tokens"):
        measured = group.groupby("domain_ratio")["loss"].mean()
        ratio, loss = measured.index.to_numpy(), measured.to_numpy()
        place = {"model_params": size, "train_tokens": float(tokens)}
        carried = general_loss_at(fit, **place, domain_ratio=ratio, base_loss=base).prediction
        law = fit.predict("general", **place, domain_ratio=ratio).loss
        held = within(carried.draws, loss)
        over_replay = within(carried.draws - carried.draws[:, :1], loss - loss[0])
        found += zip(held, over_replay, abs(carried.loss - loss), abs(law - loss), strict=True)
    return np.array(found, dtype=float)


def within(draws, truth):
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return (low <= truth) & (truth <= high)


def by_scatter(log, rows, base, scatters):
    """Print what each part of the scatter holds, for the default."""
    constants = importlib.import_module("cmrplan.fit.size_prior")
    sizes = np.unique(rows["model_params"])
    found = {scatter: [] for scatter in scatters}
    for seen in (*combinations(sizes, 1), *combinations(sizes, 2)):
        known = log["model_params"].isin(seen) | (log["train_tokens"] == 0)
        fit = cp.fit(log[known].reset_index(drop=True))
        for size in (float(one) for one in set(sizes) - set(seen) if one > min(seen)):
            for scatter in scatters:
                constants.KNOWN_BASE_SCATTER = constants.KNOWN_MATURITY_SCATTER = scatter
                found[scatter].append(held_at(fit, rows[rows["model_params"] == size], base[size]))
    print("| scatter | transfers | held | below the bound |")
    print("|" + " --- |" * 4)
    for scatter, shares in found.items():
        held, below = np.mean(shares, axis=0)
        print(f"| {scatter:g} | {len(shares)} | {held:.2f} | {below:.2f} |")


def held_at(fit, rows, base):
    """Return the shares of the runs of a hidden size inside the interval and below the one-sided bound."""
    held = []
    for tokens, group in rows.groupby("train_tokens"):
        ratio, loss = group["domain_ratio"].to_numpy(), group["loss"].to_numpy()
        place = {
            "model_params": float(group["model_params"].iloc[0]),
            "train_tokens": float(tokens),
        }
        draws = general_loss_at(fit, **place, domain_ratio=ratio, base_loss=base).prediction.draws
        held += zip(
            within(draws, loss), loss <= np.quantile(draws, CONFIDENCE, axis=0), strict=True
        )
    return np.mean(held, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("--law", default="dcpt")
    parser.add_argument("--ledger", type=Path, help="run ledger with the bases")
    parser.add_argument("--drop", action="store_true", help="what the bases had seen")
    parser.add_argument("--scatter", nargs="+", type=float, help="of the default at other sizes")
    asked = parser.parse_args()
    log = cp.read_log(asked.log)
    if asked.ledger is not None:
        seen = pd.read_csv(asked.ledger).set_index("run_id")["train_tokens"]
        log = log.assign(base_tokens=log["base_model"].map(seen).astype(float))
    if asked.drop:
        log = log.drop(columns="base_tokens", errors="ignore")
    base, rows = base_losses(log, "general"), fitted_rows(log, "general", 0.0)
    if asked.scatter:
        by_scatter(log, rows, base, asked.scatter)
        return
    sizes = np.unique(rows["model_params"])
    print("| seen | hidden | held | over replay | error of the rise | error of the law |")
    print("|" + " --- |" * 6)
    every, larger = [], []
    for seen in (*combinations(sizes, 1), *combinations(sizes, 2)):
        known = log["model_params"].isin(seen) | (log["train_tokens"] == 0)
        fit = cp.fit(log[known].reset_index(drop=True), asked.law)
        for size in sorted(set(sizes) - set(seen)):
            found = outcomes(fit, rows[rows["model_params"] == size], float(size), base[size])
            every.append(found)
            if size > max(seen):
                larger.append(found)
            names = ", ".join(f"{one:.3g}" for one in seen)
            cells = " | ".join(f"{value:.3f}" for value in found.mean(axis=0))
            print(f"| {names} | {size:.3g} | {cells} |", flush=True)
    for name, found in (("all", every), ("toward larger", larger)):
        cells = " | ".join(f"{value:.3f}" for value in np.concatenate(found).mean(axis=0))
        print(f"| {name} | | {cells} |")


if __name__ == "__main__":
    main()
