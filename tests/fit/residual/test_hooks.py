"""A law that meets the probes and leaves them in between has no part in the default's average."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.fit.residual import choice

RATIOS = np.array([0, 0.02, 0.1, 0.25, 0.4, 0.6, 0.75, 0.9, 1])
TOKENS = np.geomspace(25e3, 4e5, 8).round()
PLACE = {"model_params": 151e3, "train_tokens": TOKENS[-1]}


def made_log(drop):
    """Return a log whose general loss at ratio 1 lies below where the others lead, by a number of nats."""
    rng, rows = np.random.default_rng(0), []
    for number, ratio in enumerate(RATIOS):
        of_run = rng.normal(0, 0.002, 2)
        for tokens in TOKENS:
            gone = np.log(tokens / TOKENS[0])
            general = 1.615 - 0.03 * gone * (1 - ratio) + 0.02 * ratio + 0.05 * ratio**3
            general += 0.12 * ratio**12 - drop * (ratio == 1)
            domain = 1.98 - 0.06 * gone * (0.3 + 0.7 * ratio**0.3) - 0.15 * ratio**0.4
            noise = of_run + rng.normal(0, 0.001, 2)
            for name, loss in zip(
                ("general", "domain"), np.array([general, domain]) + noise, strict=True
            ):
                rows.append((f"r{number}", 151e3, tokens, ratio, name, loss))
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    return pd.DataFrame(rows, columns=names)


def hook_of(fit):
    """Return how far the general loss leaves its range at the two largest ratios, as a part of all it spans."""
    ends = fit.predict("general", **PLACE, domain_ratio=RATIOS).loss
    between = fit.predict("general", **PLACE, domain_ratio=1 - np.geomspace(1e-5, 0.1, 99)).loss
    outside = max(between.max() - ends[-2:].max(), ends[-2:].min() - between.min())
    return outside / np.ptp(ends)


def laws_alone(fit):
    members = fit.model_of("general").members
    return [member.choice.mean for member in members if not member.choice.has_residual]


@pytest.mark.parametrize(("drop", "is_part"), [(0.0, True), (0.15, False)])
def test_a_law_with_a_hook_is_no_part_of_the_average(drop, is_part):
    log = made_log(drop)
    alone = cp.fit(log, "dcpt", residual="none", bootstrap=0)
    assert (hook_of(alone) < 0.1) == is_part
    assert ("dcpt" in laws_alone(cp.fit(log, bootstrap=0))) == is_part


@pytest.mark.parametrize(("largest", "is_near"), [(choice.LARGEST_HOOK, True), (np.inf, False)])
def test_a_jump_beside_no_domain_data_is_not_what_a_hidden_ratio_measured(
    monkeypatch, largest, is_near
):
    """Where 5 % of the domain is hidden, D-CPT's ``B r^eta`` jumps at 0 and misses the losses measured there."""
    log = pd.read_csv(Path(__file__).parents[3] / "data/sweep2/french.csv")
    log = log[(log["model_params"] == log["model_params"].min())]
    is_hidden = log["domain_ratio"] == 0.05
    hidden = log[is_hidden & (log["train_tokens"] > 0) & (log["eval_corpus"] == "domain")]
    monkeypatch.setattr(choice, "LARGEST_HOOK", largest)
    fit = cp.fit(log[~is_hidden].reset_index(drop=True), bootstrap=0)
    at = {name: hidden[name].to_numpy(float) for name in ("train_tokens", "domain_ratio")}
    found = fit.predict("domain", model_params=float(log["model_params"].iloc[0]), **at)
    miss = np.abs(found.loss - hidden["loss"].to_numpy())
    assert (miss < 0.15).all() == is_near
    assert (miss > 0.3).all() != is_near
