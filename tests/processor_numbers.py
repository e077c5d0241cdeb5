"""Print what fits and plans give on this processor, as JSON; run by test_processors.py under several core types."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from known_mixtures import own_shares
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


def two_corpora(
    log: pd.DataFrame, size: float, bootstrap: int, residual: str = "none", **question: object
) -> dict:
    """Return estimates and resamples at probed and new points, and the numbers of a plan."""
    fit = cp.fit(log, bootstrap=bootstrap, residual=residual)
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


def several_corpora(
    log: pd.DataFrame, questions: dict[str, dict[str, object]], law: str, bootstrap: int
) -> dict:
    """Return the same for a log of several corpora and questions by name."""
    fit = cp.fit_mixture(log, law, bootstrap=bootstrap)
    grid = np.random.default_rng(0).dirichlet(np.ones(len(fit.corpora)), size=20)
    numbers = {}
    for corpus, prediction in fit.predict(grid, model_params=1e8, train_tokens=1.6e9).items():
        numbers[corpus] = prediction.loss.tolist()
        numbers[f"{corpus} resamples"] = prediction.draws.tolist()
    for name, question in questions.items():
        plan = json.loads(
            json.dumps(cp.plan_mixture(fit, train_tokens=1.6e9, **question).as_dict())
        )
        numbers |= {f"plan {name}: {part}": v for part, v in mixture_plan_numbers(plan).items()}
    return numbers


def mixture_plan_numbers(plan: dict) -> dict:
    """Return the numbers of a mixture plan by part.

    A difference of losses is as exact as the losses, so it stands on top of one: a rise on its reference, a gain and an
    excess on the objective. ``optimality`` is relative to the gradient already, and stands on 1.
    """
    bounds = ("", "_low", "_high")
    numbers = {f"shares{bound}": list(plan[f"shares{bound}"].values()) for bound in bounds}
    objective = [plan[f"objective{bound}"] for bound in bounds]
    gains = [plan["objective"] + plan[f"gain{bound}"] for bound in bounds]
    for corpus, loss in plan["losses"].items():
        numbers[f"loss on {corpus}"] = [loss[f"loss{bound}"] for bound in bounds]
        if loss["rise"] is not None:
            rises = [loss["reference"] + loss[f"rise{bound}"] for bound in bounds]
            numbers[f"rise on {corpus}"] = [loss["reference"], *rises, loss["limit"] or 0.0]
    for name, mixture in plan["candidates"].items():
        excess = plan["objective"] + (mixture["worst_excess"] or 0.0)
        numbers[name] = [*mixture["shares"].values(), mixture["objective"], excess]
    held = [value for limit in plan["binding"] for value in (limit["setting"], limit["price"])]
    names = [f"{limit['kind']} {limit['corpus']}" for limit in plan["binding"]]
    rest = [plan["violation_probability"] or 0.0, plan["num_infeasible"], 1 + plan["optimality"]]
    return numbers | {
        "objective and gain": objective + gains,
        f"binding {', '.join(names)}": held,
        "epochs": list(plan["epochs"].values()),
        "rest": rest,
    }


def mixtures() -> dict:
    """Return the numbers of logs of several corpora: determined ones, and ones whose best mixtures are a valley."""
    reference = {"general": 0.4, "code": 0.3, "law": 0.3}
    questions = {
        "free": {},
        "protected": {"protected": {"general": "3%"}},
        "scarce": {"protected": {"general": 0.05, "code": "10%"}, "available": {"law": 3e8}},
        "over a mixture": {"protected": {"general": "1%"}, "reference": reference},
    }
    own = {
        "one": {"objective": {"c2": 1}},
        "two": {"objective": {"c0": 1, "c2": 1}},
        "protected": {"objective": {"c0": 1}, "protected": {"c2": "5%", "c3": 0.05}},
    }
    by_power = own_shares(lambda x: 0.5 * (x + 0.02) ** -0.4, noise=0.003)
    by_exponent = own_shares(lambda x: 1.5 * np.exp(-2 * x))
    return {
        "mixture": several_corpora(mixture_log(), questions, "auto", 20),
        "mixture of own shares": several_corpora(by_power, own, "data_mixing", 15),
        "mixture in a valley": several_corpora(by_exponent, own, "data_mixing", 15),
    }


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
    }
    probes_again = asked | {"max_general_rise": "5%", "residual": "gp"}
    numbers["probes, residual"] = two_corpora(probes, 974208.0, 20, **probes_again)
    numbers |= mixtures()
    numbers |= {name: two_corpora(log, 3e5, 20, **asked) for name, log in few.items()}
    made_for = [info["architecture"] for info in threadpool_info() if "architecture" in info]
    json.dump({"made_for": made_for, "numbers": numbers}, sys.stdout)


if __name__ == "__main__":
    main()
