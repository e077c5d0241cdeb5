"""Fits built by hand from laws in closed form, so that a failure points at the planner and not at a fit.

General loss 2.5 + 0.2 r², so the critical ratio is sqrt(tolerance / 0.2); domain loss 2 - r. Both may fall with
tokens and size by a number of nats a decade from D and N.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cmrplan.fit.corpus_model import CorpusModel, Prediction
from cmrplan.fit.fit import Fit
from cmrplan.fit.noise import Noise
from cmrplan.fit.settings import FitSettings
from cmrplan.plan.plan import plan

N, D, BASE = 1e8, 2e9, 2.5


@dataclass(frozen=True)
class ByHand(CorpusModel):
    """A model of one corpus: level + slope * r**power, resamples shifted by ``spread``."""

    corpus: str
    level: float
    slope: float
    power: float
    spread: np.ndarray = field(default_factory=lambda: np.zeros(0))
    per_decade: float = 0.0
    per_size: float = 0.0
    law: str = "dcpt"
    noise: Noise | None = None

    def predict(self, columns):
        loss = self.level + self.slope * columns["domain_ratio"] ** self.power
        loss = loss - self.per_decade * np.log10(columns["train_tokens"] / D)
        loss = loss - self.per_size * np.log10(columns["model_params"] / N)
        return Prediction(columns, loss, loss[None, :] + self.spread[:, None])

    def summary(self, confidence):
        return {}


def make_fit(
    *,
    spread=(),
    base=BASE,
    general=(BASE, 0.2, 2.0),
    domain=(2.0, -1.0, 1.0),
    per_decade=(0.0, 0.0),
    per_size=(0.0, 0.0),
    ratios=(0.0, 0.25, 0.5, 0.75, 1.0),
    miss=0.0,
    noise=None,
):
    """Return the fit; the measured losses lie ``miss`` nats above its laws."""
    laws = {"general": general, "domain": domain}
    rows = [
        {
            "run_id": f"r{ratio:g}",
            "model_params": N,
            "train_tokens": tokens,
            "domain_ratio": ratio,
            "eval_corpus": corpus,
            "loss": laws[corpus][0] + laws[corpus][1] * ratio ** laws[corpus][2] + miss,
        }
        for ratio in ratios
        for tokens in (0.5 * D, D)
        for corpus in ("general", "domain")
    ]
    spread = np.asarray(spread, dtype=float)
    return Fit(
        settings=FitSettings("dcpt"),
        corpora=("general", "domain"),
        log=pd.DataFrame(rows),
        models={
            "general": ByHand("general", *general, spread, per_decade[0], per_size[0], noise=noise),
            "domain": ByHand("domain", *domain, 0 * spread, per_decade[1], per_size[1]),
        },
        base_loss={"general": {N: base}},
        warnings=(),
        provenance={},
    )


def ask(fit=None, **overrides):
    inputs = {"model_params": N, "train_tokens": D, "max_general_rise": 0.05}
    return plan(fit or make_fit(), **(inputs | overrides))
