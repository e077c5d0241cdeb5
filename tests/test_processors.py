"""The same log and seed give the same predictions under every processor type that numpy's OpenBLAS knows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CORE_TYPES = ("Haswell", "Prescott", "SkylakeX", "Zen")
ALLOWED = 1e-6  # relative, of every prediction
SCRIPT = """
import json, sys
import numpy as np
import pandas as pd
import cmrplan as cp
from simulated import simulated_log

def predictions(fit):
    ratio = np.linspace(0, 1, 21)
    found = []
    for corpus in fit.models:
        sizes, tokens = fit.sizes_of(corpus), np.unique(fit.rows(corpus)["train_tokens"])
        for size in (*sizes, 3 * sizes[-1]):
            for budget in (tokens[0], tokens[-1], 4 * tokens[-1]):
                at = {"model_params": size, "train_tokens": budget, "domain_ratio": ratio}
                loss = fit.predict(corpus, **at)
                found += [*loss.loss, *loss.draws.ravel()]
    return [float(value) for value in found]

def mixtures():
    rng = np.random.default_rng(3)
    names = ["general", "code", "law"]
    rows = []
    for run, shares in enumerate(rng.dirichlet(np.ones(3), 20)):
        for k, corpus in enumerate(names):
            rows.append({
                "run_id": f"m{run}", "model_params": 1e8, "train_tokens": 1e9, "eval_corpus": corpus,
                "loss": 2 + 0.5 * np.exp(-2 * shares[k]) + 0.002 * rng.standard_normal(),
                **{f"share_{name}": share for name, share in zip(names, shares)},
            })
    return pd.DataFrame(rows)

one_size = {"sizes": (3e5,), "seeds": (0,)}
logs = {
    "published": cp.read_log(sys.argv[1]),
    "seven ratios": simulated_log(seeds=(0,)),
    "four ratios": simulated_log(**one_size, ratios=(0, 0.3, 0.6, 1)),
    "three ratios": simulated_log(**one_size, ratios=(0, 0.5, 1)),
}
result = {name: predictions(cp.fit(log, bootstrap=20)) for name, log in logs.items()}
mixture = cp.fit_mixture(mixtures(), bootstrap=20)
at = np.random.default_rng(0).dirichlet(np.ones(3), 8)
losses = mixture.predict(at, model_params=1e8, train_tokens=1e9).values()
result["mixture"] = [float(v) for p in losses for v in (*p.loss, *p.draws.ravel())]
json.dump(result, sys.stdout)
"""


@pytest.fixture(scope="module")
def by_type():
    """Return every prediction by processor type and log, for the types that run here."""
    log = Path(__file__).parents[1] / "data" / "published" / "dcpt_usage1_log.csv"
    predictions = {}
    for core in CORE_TYPES:
        environment = os.environ | {
            "OPENBLAS_CORETYPE": core,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        }
        command = [sys.executable, "-c", SCRIPT, str(log)]
        ended = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False
        )
        if ended.returncode == 0:
            predictions[core] = json.loads(ended.stdout)
        else:  # a type whose instructions this processor lacks ends by a signal, not by an error of ours
            assert ended.returncode < 0, ended.stderr
    return predictions


@pytest.mark.parametrize(
    "log", ["published", "seven ratios", "four ratios", "three ratios", "mixture"]
)
def test_predictions_agree(by_type, log):
    first, *others = (np.array(values[log]) for values in by_type.values())
    assert len(others) >= 1
    for other in others:
        np.testing.assert_allclose(other, first, rtol=ALLOWED)
