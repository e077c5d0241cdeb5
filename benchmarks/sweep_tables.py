"""What a sweep measured, without any law: the tables of docs/experiments.md.

python benchmarks/sweep_tables.py data/probes/log.csv
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator

import cmrplan as cp
from cmrplan.numbers import compact


def by_ratio(log: pd.DataFrame, corpus: str, tokens: float) -> pd.DataFrame:
    """Return the mean loss over seeds at one budget, sizes down and ratios across."""
    rows = log[(log["eval_corpus"] == corpus) & (log["train_tokens"] == tokens)]
    return rows.pivot_table(index="model_params", columns="domain_ratio", values="loss")


def markdown(table: pd.DataFrame, digits: int, corner: str) -> str:
    lines = [f"| {corner} | " + " | ".join(f"{c:g}" for c in table.columns) + " |"]
    lines.append("| --- |" + " --- |" * table.shape[1])
    for name, row in table.iterrows():
        cells = ["" if np.isnan(v) else f"{v:.{digits}f}" for v in row]
        label = compact(float(name)) if isinstance(name, float) else str(name)
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def critical(loss: pd.Series, limit: float) -> float:
    """Return the largest ratio whose measured loss, joined by a cubic, is within the limit."""
    grid = np.linspace(loss.index[0], loss.index[-1], 10001)
    inside = grid[PchipInterpolator(loss.index, loss.to_numpy())(grid) <= limit]
    return float(inside.max()) if len(inside) else float("nan")


def moved(log: pd.DataFrame, corpus: str) -> float:
    """Return how far a loss moves from that of its base."""
    rows = log[(log["eval_corpus"] == corpus) & (log["train_tokens"] > 0)]
    base = rows["model_params"].map(by_ratio(log, corpus, 0.0).mean(axis=1))
    return float(np.sqrt(np.mean(np.log(rows["loss"] / base) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log")
    log = cp.read_log(parser.parse_args().log)
    last = log["train_tokens"].max()
    base = {c: by_ratio(log, c, 0.0).mean(axis=1) for c in ("general", "domain")}
    for corpus in ("general", "domain"):
        table = by_ratio(log, corpus, last)
        table.insert(0, "base", base[corpus])
        table.columns = [c if isinstance(c, str) else f"{c:g}" for c in table.columns]
        print(f"\n{corpus} loss at {compact(last)} tokens, mean over seeds, nats per token\n")
        text = markdown(table.rename(columns=str).set_axis(range(table.shape[1]), axis=1), 4, "N")
        names = "| N | " + " | ".join(table.columns) + " |"
        print("\n".join([names, *text.splitlines()[1:]]))
    print("\nroot mean square of the logarithm of the loss over its base, all budgets and ratios\n")
    print("; ".join(f"{corpus} {moved(log, corpus):.3f}" for corpus in base))
    runs = log[log["train_tokens"] == last]
    spread = runs.groupby(["eval_corpus", "model_params", "domain_ratio"])["loss"].std(ddof=1)
    pooled = np.sqrt((spread**2).groupby(level=[0, 1]).mean()).unstack("model_params")
    print("\nstandard deviation between seeds, pooled over ratios, nats\n")
    pooled.columns = [float(c) for c in pooled.columns]
    print(markdown(pooled, 4, "loss"))
    print("\nlargest ratio whose general loss stays within a tolerance, measured points joined\n")
    print("| N | tokens | 2 % over base | 3 % over base | 5 % over base | 5 % over pure replay |")
    print("| --- | --- | --- | --- | --- | --- |")
    budgets = np.unique(log.loc[log["train_tokens"] > 0, "train_tokens"])
    for size in sorted(base["general"].index):
        for tokens in budgets[[2, 5, -1]]:
            losses = by_ratio(log, "general", tokens)
            if size not in losses.index:  # a size may have budgets of its own
                continue
            loss = losses.loc[size].dropna()
            start = base["general"][size]
            cells = [critical(loss, start * (1 + t)) for t in (0.02, 0.03, 0.05)]
            cells.append(critical(loss, loss.iloc[0] * 1.05))
            shown = ["none" if np.isnan(c) else f"{c:.2f}" for c in cells]
            print(f"| {compact(size)} | {compact(tokens)} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
