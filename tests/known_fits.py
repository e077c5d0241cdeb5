"""Fits whose law and resamples are known by hand.

The law is ``L = a + b r + c log10(D / 1e6)`` for every size, with three resamples at -0.01, 0 and +0.01 nats.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

import cmrplan as cp
from cmrplan.fit.corpus_model import CorpusModel, Prediction
from cmrplan.fit.fit import Fit
from cmrplan.fit.settings import FitSettings

N, D = 2e6, 1e6
SMALL = 1e6
TOKENS = (1e4, 1e5, 1e6)
RATIOS = (0.0, 0.01, 0.05, 0.5, 1.0)
LAWS = {"general": (2.5, 0.2, -0.01), "domain": (2.0, -0.5, -0.1)}


def law(corpus, ratio, tokens):
    a, b, c = LAWS[corpus]
    return a + b * np.asarray(ratio) + c * np.log10(tokens / 1e6)


@dataclass(frozen=True)
class KnownLaw(CorpusModel):
    """A fitted law whose curve and resamples are known."""

    corpus: str
    num_draws: int = 3
    law: str = "dcpt"

    def predict(self, columns):
        loss = law(self.corpus, columns["domain_ratio"], columns["train_tokens"])
        shifts = np.array([-0.01, 0.0, 0.01])[: self.num_draws]
        return Prediction(columns, loss, loss[None, :] + shifts[:, None])

    def summary(self, confidence):
        return {}


def known_log(*, ratios=RATIOS, sizes=(SMALL, N), seeds=(0, 1), corpora=("general", "domain")):
    """Losses on the law, those of seed 1 one percent above it."""
    rows = [
        {
            "run_id": f"r{ratio:g}-s{seed}-n{size:g}",
            "model_params": size,
            "train_tokens": tokens,
            "domain_ratio": ratio,
            "eval_corpus": corpus,
            "loss": law(corpus, ratio, tokens) * (1.01 if seed else 1.0),
        }
        for size in sizes
        for ratio in ratios
        for seed in seeds
        for tokens in TOKENS
        for corpus in corpora
    ]
    return pd.DataFrame(rows)


def known_fit(*, num_draws=3, base=True, corpora=("general", "domain"), **log) -> Fit:
    frame = known_log(corpora=corpora, **log)
    starts = {"general": 2.5, "domain": 2.2}
    return Fit(
        settings=FitSettings("dcpt"),
        corpora=("general", "domain"),
        log=frame,
        models={corpus: KnownLaw(corpus, num_draws) for corpus in corpora},
        base_loss={
            c: dict.fromkeys(frame["model_params"].unique(), starts[c]) if base else {}
            for c in starts
        },
        warnings=(),
        provenance={},
    )


def known_plan(fit, **changes):
    options = {"model_params": N, "train_tokens": D, "max_general_rise": 0.05} | changes
    return cp.plan(fit, **options)
