"""What the default predictor loses where a published law is exactly true.

    python benchmarks/true_law.py --logs 300
    python benchmarks/true_law.py --logs 300 --with-hooks

Each log is drawn from the D-CPT law or its exponential form, with exponents as published: 5 to 9 ratios, evenly or
unevenly placed, 5 to 8 budgets over a factor of ten, one or three sizes, noise of runs and of evaluations on the log
loss. The default (``--law auto``), and the laws averaged without a residual, predict the noise-free loss between the
probed ratios, at the largest budget and at twice it. Their mean absolute errors are divided by that of the law which
made the log, fitted alone. Prints a Markdown table.

Some of these D-CPT laws jump beside a ratio of 0 (``B r^eta`` with a small ``eta``). The default leaves out a law that
leaves the range of its values between two probed ratios; ``--with-hooks`` lets it stand.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

import cmrplan as cp
from cmrplan.fit.residual import choice

LAWS = ("dcpt", "dcpt_exp")
PREDICTORS = {
    "default": {"law": "auto"},
    "laws averaged": {"law": "auto", "residual": "none"},
}
SIZES = (3e6, 1e7, 3e7)
TOKENS = (2e7, 2e8)
BETWEEN = np.linspace(0.02, 0.98, 25)
Loss = Callable[[float, float, np.ndarray], np.ndarray]


def draw_law(name: str, rng: np.random.Generator) -> Loss:
    """Return a loss of (size, tokens, share)."""
    e, a, b = rng.uniform((1.2, 0.2, 0.1), (2.2, 0.6, 0.5))
    alpha, beta, eta, gamma = rng.uniform((0.1, 0.15, 0.0, 0.3), (0.4, 0.5, 0.6, 1.0))
    c, offset, k = rng.uniform((0.03, 0.02, 2.0), (0.2, 0.15, 6.0))

    def loss(size: float, tokens: float, share: np.ndarray) -> np.ndarray:
        n, d = size / 1e7, tokens / 1e8
        if name == "dcpt":
            return e + a / n**alpha + b * share**eta / d**beta + c / (share + offset) ** gamma
        return e + a / n**alpha + b / d**beta + 3 * c * np.exp(-k * share)

    return loss


def draw_log(loss: Loss, rng: np.random.Generator) -> pd.DataFrame:
    """Return a log of the domain loss with noise."""
    number = int(rng.integers(5, 10))
    ratios = np.linspace(0, 1, number)
    if rng.random() < 0.6:
        ratios = np.sort(np.concatenate([[0, 1], rng.uniform(0.02, 0.98, number - 2)]))
    sizes = SIZES[1:2] if rng.random() < 0.5 else SIZES
    tokens = np.geomspace(*TOKENS, int(rng.integers(5, 9))).round()
    of_run, of_evaluation = rng.uniform((0.0005, 0.0005), (0.004, 0.003))
    rows = []
    for size in sizes:
        for ratio in np.unique(ratios.round(3)):
            noise = of_run * rng.normal() + of_evaluation * rng.normal(size=len(tokens))
            for budget, more in zip(tokens, noise, strict=True):
                value = float(loss(size, budget, np.array(ratio)) * np.exp(more))
                rows.append((f"{size:g}-{ratio}", size, budget, ratio, "domain", value))
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    return pd.DataFrame(rows, columns=names)


def errors_of(seed: int) -> list[dict[str, object]]:
    """Return the errors of each predictor on one log, as parts of that of the law that made it."""
    rng = np.random.default_rng(seed)
    name = LAWS[seed % len(LAWS)]
    loss = draw_law(name, rng)
    log = draw_log(loss, rng)
    fits = {"the law": cp.fit(log, name, bootstrap=0)}
    fits |= {key: cp.fit(log, bootstrap=0, **options) for key, options in PREDICTORS.items()}
    last = float(log["train_tokens"].max())
    rows = []
    for where, tokens in (("between ratios", last), ("twice the budget", 2 * last)):
        row: dict[str, object] = {"law": name, "where": where}
        for key, fit in fits.items():
            misses = [
                fit.predict(
                    "domain", model_params=size, train_tokens=tokens, domain_ratio=BETWEEN
                ).loss
                - loss(size, tokens, BETWEEN)
                for size in log["model_params"].unique()
            ]
            row[key] = float(np.mean(np.abs(misses)))
        rows.append(row)
    return rows


def let_hooks_stand(largest: float) -> None:
    """Set how far a law may leave the range of its values between two probed ratios."""
    choice.LARGEST_HOOK = largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--with-hooks", action="store_true")
    asked = parser.parse_args()
    largest = np.inf if asked.with_hooks else choice.LARGEST_HOOK
    with ProcessPoolExecutor(asked.workers, None, let_hooks_stand, (largest,)) as pool:
        table = pd.DataFrame(
            [row for rows in pool.map(errors_of, range(asked.logs)) for row in rows]
        )
    groups = [*table.groupby(["law", "where"], sort=False), (("all", "both"), table)]
    print(f"{asked.logs} logs; mean absolute error over that of the law that made the log\n")
    print("| law | where | the law, nats | " + " | ".join(PREDICTORS) + " | median, default |")
    print("| --- |" + " --- |" * (len(PREDICTORS) + 3))
    for (law, where), rows in groups:
        parts = [f"{rows[key].sum() / rows['the law'].sum():.2f}" for key in PREDICTORS]
        middle = (rows["default"] / rows["the law"]).median()
        cells = [law, where, f"{rows['the law'].mean():.4f}", *parts, f"{middle:.2f}"]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
