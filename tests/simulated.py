"""A probe log made from known laws."""

from __future__ import annotations

import numpy as np
import pandas as pd


def simulated_log(
    *,
    sizes=(3e5, 1e6),
    seeds=(0, 1),
    noise=0.002,
    ratios=(0, 0.01, 0.05, 0.25, 0.5, 0.75, 1),
    draw=7,
) -> pd.DataFrame:
    """Return a log of both losses from D-CPT laws, with a base row a run and noise shared by a run.

    Another ``draw`` is another draw of the noise.
    """
    tokens = np.round(np.geomspace(2e4, 1e6, 8))
    rng = np.random.default_rng(draw)
    rows = []
    for size in sizes:
        base = {"general": 1.60 + 3 / size**0.2, "domain": 2.0 + 3 / size**0.2}
        for ratio in ratios:
            for seed in seeds:
                shift = noise * rng.standard_normal(2)
                for d in (0.0, *tokens):
                    for k, corpus in enumerate(("general", "domain")):
                        share = ratio if corpus == "domain" else 1 - ratio
                        loss = base[corpus]
                        if d:
                            loss = (
                                1.2
                                + 3 / size**0.2
                                + 2.0 * share**0.3 / d**0.25
                                + 0.12 / (share + 0.05) ** 0.5
                                + shift[k]
                                + 0.3 * noise * rng.standard_normal()
                            )
                        rows.append(
                            {
                                "run_id": f"{size:g}-r{ratio:g}-s{seed}",
                                "model_params": size,
                                "train_tokens": d,
                                "domain_ratio": ratio,
                                "eval_corpus": corpus,
                                "loss": loss,
                                "seed": seed,
                            }
                        )
    return pd.DataFrame(rows)
