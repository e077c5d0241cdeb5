"""Logs of several corpora whose laws are known."""

import numpy as np
import pandas as pd

D = 1e9


def truth(m):
    """Return levels, scales and rates of data mixing laws in which every corpus helps itself most."""
    rng = np.random.default_rng(3)
    rates = -rng.uniform(0.1, 0.6, (m, m))
    rates[np.arange(m), np.arange(m)] = -rng.uniform(1.5, 3.0, m)
    return rng.uniform(1.2, 1.8, m), rng.uniform(1.0, 2.0, m), rates


def true_losses(m, shares):
    level, scale, rates = truth(m)
    return level + scale * np.exp(np.atleast_2d(shares) @ rates.T)


def world(m, runs, *, noise=0.003, names=None):
    """Return a log of ``m`` corpora, each evaluated, with base rows at the loss of equal shares."""
    names = names or [f"c{j}" for j in range(m)]
    rng = np.random.default_rng(5)
    rows = []
    for run in range(runs):
        x = rng.dirichlet(np.ones(m)) if run >= m else 0.9 * np.eye(m)[run] + 0.1 / m
        shift = noise * rng.standard_normal(m)
        for tokens in (0.0, D):
            losses = true_losses(m, x if tokens else np.full(m, 1 / m))[0]
            rows += [
                {
                    "run_id": f"r{run:03d}",
                    "model_params": 1e8,
                    "train_tokens": tokens,
                    **{f"share_{name}": share for name, share in zip(names, x, strict=True)},
                    "eval_corpus": name,
                    "loss": loss * np.exp(move if tokens else 0.0),
                }
                for name, loss, move in zip(names, losses, shift, strict=True)
            ]
    return pd.DataFrame(rows)


ASKED = {
    "train_tokens": D,
    "protected": {"c0": "2%", "c1": 0.04},
    "available": {"c2": 0.45e9, "c0": 5e9, "c1": 5e9},
}


def own_shares(curve, *, noise=0.0, runs=30):
    """Return a log of four corpora, each of whose losses reads the corpus's own share alone, by a curve.

    Where one loss is minimized the mixtures with the same share of its corpus are equally good.
    """
    rng = np.random.default_rng(5)
    rows = []
    for run in range(runs):
        x = rng.dirichlet(np.ones(4))
        shift = noise * rng.standard_normal(4)
        for tokens in (0.0, D):
            losses = 1.5 + 0.1 * np.arange(4) + curve(x if tokens else np.full(4, 0.25))
            rows += [
                {
                    "run_id": f"r{run:03d}",
                    "model_params": 1e8,
                    "train_tokens": tokens,
                    **{f"share_c{j}": share for j, share in enumerate(x)},
                    "eval_corpus": f"c{j}",
                    "loss": losses[j] * np.exp(shift[j] if tokens else 0.0),
                }
                for j in range(4)
            ]
    return pd.DataFrame(rows)


def growing(m, runs, *, sizes=(1e8, 3e8, 1e9), tokens=(2e8, 4e8, 8e8, 1.6e9, 3.2e9), noise=0.0):
    """Return a log in which what the mixture does grows with tokens and shrinks with size; runs take the sizes in turn.

    The part of the loss that reads the mixture is that of :func:`truth`, times ``(N/3e8)^-0.2 (1 + 0.15 ln(D/1e9))``.
    """
    rng = np.random.default_rng(11)
    level, scale, rates = truth(m)
    rows = []
    for run in range(runs):
        x, size = rng.dirichlet(np.ones(m)), sizes[run % len(sizes)]
        shift = noise * rng.standard_normal(m)
        for d in tokens:
            around = (size / 3e8) ** -0.2 * (1 + 0.15 * np.log(d / 1e9))
            losses = level + 0.3 * (size / 3e8) ** -0.3 - 0.2 * np.log(d / 1e9)
            losses = (losses + around * scale * np.exp(rates @ x)) * np.exp(shift)
            rows += [
                {
                    "run_id": f"r{run:03d}",
                    "model_params": size,
                    "train_tokens": d,
                    **{f"share_c{j}": share for j, share in enumerate(x)},
                    "eval_corpus": f"c{j}",
                    "loss": losses[j],
                }
                for j in range(m)
            ]
    return pd.DataFrame(rows)
