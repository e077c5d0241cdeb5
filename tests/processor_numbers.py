"""Print what fits and plans give on this processor, as JSON; run by test_processors.py under several core types."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from simulated import simulated_log
from threadpoolctl import threadpool_info

import cmrplan as cp

DATA = Path(__file__).parents[1] / "data"
RATIOS = np.array([0.0, 0.03, 0.2, 0.5, 0.77, 0.9, 0.97, 1.0])


def mixture_log() -> pd.DataFrame:
    """Return losses on three corpora at 16 mixtures and 2 budgets, with noise shared by a run."""
    generator = np.random.default_rng(11)
    names = ("general", "code", "law")
    slopes = np.array([[-0.8, 0.2, 0.3], [0.4, -1.2, 0.1], [0.3, 0.1, -1.5]])
    rows = []
    for run, shares in enumerate(generator.dirichlet(np.ones(3), size=16)):
        noise = 0.003 * generator.standard_normal(3)
        for tokens in (0.0, 2e8, 8e8):
            mixed = shares if tokens else np.full(3, 1 / 3)
            late = 4 / tokens**0.25 if tokens else 0.03
            loss = 1.5 + 0.2 * np.arange(3) + 0.8 * np.exp(slopes @ mixed) + late
            for k, corpus in enumerate(names):
                row = {"run_id": f"m{run:02d}", "model_params": 1e8, "train_tokens": tokens}
                row |= {f"share_{name}": share for name, share in zip(names, shares, strict=True)}
                rows.append(
                    row | {"eval_corpus": corpus, "loss": loss[k] * np.exp(noise[k] * (tokens > 0))}
                )
    return pd.DataFrame(rows)


def two_corpora(log: pd.DataFrame, size: float, bootstrap: int, **question: object) -> dict:
    """Return estimates and resamples at probed and new points, and the numbers of a plan."""
    fit = cp.fit(log, bootstrap=bootstrap)
    tokens = np.unique(fit.log["train_tokens"])[-1] * np.array([0.5, 1.0, 3.0])
    numbers = {}
    for corpus in ("general", "domain"):
        at = {"train_tokens": np.repeat(tokens, len(RATIOS)), "domain_ratio": np.tile(RATIOS, 3)}
        for where in (size, 3 * size):
            prediction = fit.predict(corpus, model_params=where, **at)
            numbers[f"{corpus} {where:g}"] = prediction.loss.tolist()
            numbers[f"{corpus} {where:g} resamples"] = prediction.draws.tolist()
    plan = json.loads(json.dumps(cp.plan(fit, model_params=size, **question).as_dict()))
    numbers["plan"] = [v for v in plan.values() if isinstance(v, float)]
    return numbers


def several_corpora(bootstrap: int) -> dict:
    """Return the same for a log of three corpora."""
    fit = cp.fit_mixture(mixture_log(), bootstrap=bootstrap)
    grid = np.random.default_rng(0).dirichlet(np.ones(3), size=20)
    numbers = {}
    for corpus, prediction in fit.predict(grid, model_params=1e8, train_tokens=1.6e9).items():
        numbers[corpus] = prediction.loss.tolist()
        numbers[f"{corpus} resamples"] = prediction.draws.tolist()
    return numbers


def main() -> None:
    """Write the numbers and the kind of processor that the linear algebra was made for."""
    published = cp.read_log(DATA / "published" / "dcpt_usage1_log.csv")
    probes = cp.read_log(DATA / "probes" / "log.csv")
    asked = {"train_tokens": 1.6e6, "max_general_rise": "20%"}
    one_seed = {"sizes": (3e5,), "seeds": (0,)}
    few = {
        "seven ratios": simulated_log(seeds=(0,)),
        "four ratios": simulated_log(**one_seed, ratios=(0, 0.3, 0.6, 1)),
        "three ratios": simulated_log(**one_seed, ratios=(0, 0.5, 1)),
        "three inner ratios": simulated_log(sizes=(3e5,), ratios=(0.1, 0.4, 0.8), draw=3),
    }
    numbers = {
        "published": two_corpora(published, 1.8e9, 60, train_tokens=1e10, max_general_rise="3%"),
        "probes": two_corpora(probes, 974208.0, 20, **asked | {"max_general_rise": "5%"}),
        "mixture": several_corpora(20),
    } | {name: two_corpora(log, 3e5, 20, **asked) for name, log in few.items()}
    made_for = [info["architecture"] for info in threadpool_info() if "architecture" in info]
    json.dump({"made_for": made_for, "numbers": numbers}, sys.stdout)


if __name__ == "__main__":
    main()
