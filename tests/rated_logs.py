"""Logs with a learning rate, whose losses follow from the sum of the rates and from how far the rate has fallen.

Neither is a law of the library: a rise of the general loss with the share of domain data, a fall of the domain loss,
and a gain for both from a rate that has come down.
"""

import numpy as np
import pandas as pd

BASE = {"general": 2.6, "domain": 2.0}
SIZE, TOKENS, PEAK = 4e8, 4e9, 3e-4
RATIOS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
DONE = (0.25, 0.5, 0.75, 1.0)
COURSES = {
    "constant": np.ones_like,
    "cosine": lambda done: 0.1 + 0.45 * (1 + np.cos(np.pi * done)),
}


def true_loss(corpus, ratio, *, peak=PEAK, course="cosine", tokens=TOKENS, done=1.0):
    """Return the loss at a part of a run whose rate follows the whole of it."""
    at = np.linspace(0, done, 2001)
    rate = peak * COURSES[course](at)
    trained = (np.trapezoid(rate, at) / PEAK * tokens / 1e9) ** 0.3
    fallen = 1 - rate[-1] / peak
    if corpus == "general":
        rise = 0.07 * ratio**1.2 - 0.012 * (1 - ratio)
        return BASE["general"] + rise * trained - 0.015 * fallen * (1 - 0.3 * ratio)
    gain = 0.28 * (1 - np.exp(-1.6 * (ratio + 0.03) ** 0.6))
    return BASE["domain"] - gain * trained - 0.02 * fallen


def rated_log(peaks=(PEAK,), course="cosine", lengths=(1e9, 2e9, 4e9)):
    """Return runs of each peak, ratio and length, evaluated at each quarter, with a noise of 0.001 nats."""
    rng, rows = np.random.default_rng(0), []
    for peak in peaks:
        for ratio in RATIOS:
            for length in lengths:
                run = f"p{peak:g}-r{ratio:g}-d{length:g}"
                for corpus, base in BASE.items():
                    rows.append((run, SIZE, 0.0, ratio, corpus, base, peak))
                    for done in DONE:
                        loss = true_loss(
                            corpus, ratio, peak=peak, course=course, tokens=length, done=done
                        )
                        rate = peak * float(COURSES[course](np.array([done]))[0])
                        noisy = loss + 0.001 * rng.standard_normal()
                        rows.append((run, SIZE, done * length, ratio, corpus, noisy, rate))
    columns = [
        *("run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus"),
        *("loss", "learning_rate"),
    ]
    return pd.DataFrame(rows, columns=columns)


def largest_ratio(rise, **run):
    """Return the largest ratio at which the true general loss of a run has risen by no more than that."""
    ratio = np.linspace(0, 1, 1001)
    loss = np.array([true_loss("general", one, **run) for one in ratio])
    return float(ratio[loss <= BASE["general"] + rise].max())
