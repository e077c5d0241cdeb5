"""Whether profile intervals hold unequal noise, on losses that were read off a figure.

    python benchmarks/profile_noise.py svg_extracted_data.csv

Takes the rows of github.com/epoch-research/analyzing-chinchilla (losses that were read off Figure 4 of Hoffmann et al.
2022) and fits ``E + A/N^alpha + B/D^beta`` with the Huber delta of the papers and that of the library, with all rows
and without the five of the highest loss. Beside each other stand nominal 90 % intervals of the exponents: of resampled
rows, which hold any noise, of the profile by one noise for all rows, and of the profile that holds unequal noise.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import cmrplan as cp
from cmrplan.errors import CmrplanError
from cmrplan.laws import build_law
from cmrplan.log.importers import import_log
from cmrplan.solve.law_fit import PAPER_DELTA, fit_law
from cmrplan.solve.profile import profile_parameter

RESAMPLES = 200
CONFIDENCE = 0.9
OUTLIERS = 5
EXPONENTS = ("alpha", "beta")
LAW = build_law("chinchilla", {})


def resampled(inputs, loss, delta):
    """Return the bounds of each exponent over fits to rows drawn with replacement."""
    generator, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = generator.integers(0, len(loss), len(loss))
        drawn = {name: values[rows] for name, values in inputs.items()}
        try:
            fit = fit_law(LAW, drawn, loss[rows], delta=delta)
        except CmrplanError:
            continue
        found.append([fit.params[name] for name in EXPONENTS])
    return dict(zip(EXPONENTS, np.quantile(found, [0.05, 0.95], axis=0).T, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    log = cp.validate_log(import_log("chinchilla", parser.parse_args().table))
    rows = log[log["train_tokens"] > 0].sort_values("loss", ascending=False)
    print(
        "| rows | Huber delta | exponent | estimate | resampled rows | one noise | unequal noise |"
    )
    print("|" + " --- |" * 7)
    for kept in (rows, rows.iloc[OUTLIERS:]):
        inputs = {name: kept[name].to_numpy(float) for name in ("model_params", "train_tokens")}
        loss = kept["loss"].to_numpy(float)
        for delta in (PAPER_DELTA, None):
            fit, bounds = fit_law(LAW, inputs, loss, delta=delta), resampled(inputs, loss, delta)
            for name in EXPONENTS:
                profiles = [
                    profile_parameter(
                        fit, inputs, loss, name, confidence=CONFIDENCE, unequal_noise=told
                    )
                    for told in (False, True)
                ]
                cells = [
                    f"{low:.3f} to {high:.3f}"
                    for low, high in (bounds[name], *((p.low, p.high) for p in profiles))
                ]
                print(
                    f"| {len(loss)} | {fit.delta:.2g} | {name} | {fit.params[name]:.3f} | {' | '.join(cells)} |"
                )


if __name__ == "__main__":
    main()
