"""What a fit costs, side by side with the papers' way, in one run on one core.

    python benchmarks/cost.py data/probes/log.csv

The papers' way is Huber L-BFGS-B from 500 random starts to tight tolerance (here with an analytic gradient, which is
kind to it). Ours is one fit, and one fit with 1,000 resamples of whole runs. Then rows and resamples are scaled up; a
whole log has as many rows on both losses, and is checked, fitted with 20 resamples and searched for early evaluations.
Times are seconds of one core.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from lbfgs import multi_start

import cmrplan as cp
from cmrplan.fit.bootstrap import resample_runs
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.law_fitting import fit_law_model
from cmrplan.fit.law_model import row_inputs


def timed(call):
    """Return what a call gives and the seconds of one core that it took, whatever else the machine does."""
    began = time.process_time()
    result = call()
    return result, time.process_time() - began


def copied(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return ``count`` rows: copies of the runs, each row with noise and a token count of its own."""
    copies = -(-count // len(rows))
    many = pd.concat([rows] * copies, ignore_index=True).iloc[:count]
    copy = (np.arange(count) // len(rows)).astype(str)
    generator = np.random.default_rng(0)
    return many.assign(
        run_id=np.char.add(many["run_id"].to_numpy(dtype=str), np.char.add("-", copy)),
        train_tokens=np.round(many["train_tokens"] * generator.uniform(0.9, 1.1, count)),
        loss=many["loss"] * np.exp(0.003 * generator.standard_normal(count)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log")
    parser.add_argument("--starts", type=int, default=500)
    parser.add_argument("--most-rows", type=float, default=1e6)
    asked = parser.parse_args()
    log = cp.read_log(asked.log)
    print(
        "| loss | one fit | 1,000 resamples more | L-BFGS-B x 500 | fits per L-BFGS-B | excess of ours |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for corpus in ("general", "domain"):
        rows = fitted_rows(log, corpus, 0.0)
        model, once = timed(lambda: fit_law_model(rows, corpus))  # noqa: B023
        resamples = resample_runs(rows["run_id"].tolist(), count=1000, seed=0)
        _, more = timed(lambda: model.resampled(rows, resamples))  # noqa: B023
        fit = model.fit
        loss = rows["loss"].to_numpy(dtype=float)
        scaled = {k: v / fit.scales.get(k, 1.0) for k, v in row_inputs(corpus, rows).items()}
        ends, theirs = timed(
            lambda: multi_start(fit.law, scaled, loss, fit.delta, starts=asked.starts)  # noqa: B023
        )
        theirs *= 500 / asked.starts
        excess = 100 * (fit.objective / ends.min() - 1)
        print(
            f"| {corpus}, {len(rows)} rows | {once:.2f} s | {more:.2f} s | {theirs:.1f} s | "
            f"{theirs / once:.0f} | {excess:+.4f} % |",
            flush=True,
        )
    print("\n| rows | one fit | a whole log | peak memory |\n| --- | --- | --- | --- |")
    for count in (1e4, 1e5, 1e6):
        if count > asked.most_rows:
            break
        many = copied(fitted_rows(log, "general", 0.0), int(count))
        _, once = timed(lambda: fit_law_model(many, "general"))  # noqa: B023
        many = copied(log[log["train_tokens"] > 0], int(count))
        _, whole = timed(lambda: cp.fit(many, "dcpt", bootstrap=20))  # noqa: B023
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"| {int(count)} | {once:.1f} s | {whole:.1f} s | {peak:.2f} GB |", flush=True)
    rows = fitted_rows(log, "general", 0.0)
    print("\n| resamples | time |\n| --- | --- |")
    model = fit_law_model(rows, "general")
    for count in (100, 1000, 10000):
        resamples = resample_runs(rows["run_id"].tolist(), count=count, seed=0)
        _, seconds = timed(lambda: model.resampled(rows, resamples))  # noqa: B023
        print(f"| {count} | {seconds:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
