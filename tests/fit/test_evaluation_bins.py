"""Means of neighboring evaluations: what they are, and that a fit to them says what one to all rows says."""

import numpy as np
import pandas as pd
import pytest

from cmrplan.errors import InputError
from cmrplan.fit import evaluation_bins
from cmrplan.fit.evaluation_bins import EVALUATION_COUNT, averaged_neighbors
from cmrplan.fit.file import read_fit, write_fit
from cmrplan.fit.fit_log import fit

RATIOS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


@pytest.fixture
def always(monkeypatch):
    """Average however short a log is."""
    monkeypatch.setattr(evaluation_bins, "MOST_PLAIN_ROWS", 0)


def one_run(tokens, losses):
    return pd.DataFrame(
        {
            "run_id": "a",
            "model_params": 1e7,
            "train_tokens": np.array(tokens, dtype=float),
            "domain_ratio": 0.5,
            "eval_corpus": "domain",
            "loss": np.array(losses, dtype=float),
        }
    )


def dense_log(evaluations=120, noise=0.002):
    """Return runs of known laws in the manner of the D-CPT law, evaluated at even steps."""
    generator = np.random.default_rng(3)
    tokens = np.linspace(1e7, 1e9, evaluations).round()
    parts = []
    for seed in (0, 1):
        for ratio in RATIOS:
            for corpus, share in (("general", 1 - ratio), ("domain", ratio)):
                loss = 2.0 + 40.0 * share**0.5 / tokens**0.3 + 0.2 / (share + 0.1) ** 0.5
                loss = loss * np.exp(0.004 * generator.normal())
                loss = loss * np.exp(noise * generator.normal(size=evaluations))
                part = one_run(tokens, loss).assign(
                    run_id=f"{ratio}-{seed}", domain_ratio=ratio, seed=seed, eval_corpus=corpus
                )
                parts.append(part)
    return pd.concat(parts, ignore_index=True)


def test_a_short_log_stays_as_it_is():
    log = dense_log(20)
    short, said = averaged_neighbors(log, 0.0)
    assert short is log
    assert said == ()


def test_means_by_hand(always):
    # ln 1000, 1040 and 1100 lie between 55/8 = 6.875 and 57/8 = 7.125, and on either side of 7; ln 3000 = 8.006
    log = one_run([0, 1000, 1040, 1100, 1110, 1120, 1121, 3000], [3, 2, 2.1, 2.2, 2.4, 2.3, 2.3, 1])
    short, (finding,) = averaged_neighbors(log, 0.0)
    assert short[EVALUATION_COUNT].tolist() == [1, 2, 4, 1]
    tokens = [0, np.sqrt(1000 * 1040), (1100 * 1110 * 1120 * 1121) ** 0.25, 3000]
    assert short["train_tokens"].tolist() == np.round(tokens).tolist()
    losses = [3, np.sqrt(2 * 2.1), (2.2 * 2.4 * 2.3 * 2.3) ** 0.25, 1]
    # The bin of four has the median 2.3, from which 0 or ln(2.3/2.2) is the median distance: 2.4 is within three of it.
    assert short["loss"].to_numpy() == pytest.approx(losses, rel=1e-9)
    assert finding.message.startswith("8 rows of 1 runs are many for a fit")


def test_evaluations_before_the_first_that_are_fitted_are_not_mixed_in(always):
    log = one_run([1000, 1003, 1006, 1010, 1020, 1030, 1e6], [9, 9, 9, 9, 2, 2, 1])
    short, _ = averaged_neighbors(log, 1015.0)
    assert short["loss"].tolist() == pytest.approx([9, 2, 1])


def test_a_spike_counts_three_robust_deviations(always):
    # Log losses 0, ±0.01, ±0.02 and a spike: median 0.005, distances 0.005, 0.005, 0.015, 0.015, 0.025, 2.995; their
    # median is 0.015, so that the spike counts as 0.005 + 3 · 1.4826 · 0.015.
    logs = np.array([0.0, 0.01, -0.01, 0.02, -0.02, 3.0])
    log = one_run([1000, 1001, 1002, 1003, 1004, 1005, 5000], [*np.exp(logs), 1])
    short, _ = averaged_neighbors(log, 0.0)
    assert np.log(short["loss"].iloc[0]) == pytest.approx((0.005 + 3 * 1.4826 * 0.015) / 6)


def test_a_fit_to_means_says_what_one_to_all_rows_says(monkeypatch, tmp_path):
    log = dense_log()
    plain = fit(log, law="dcpt", bootstrap=40)
    monkeypatch.setattr(evaluation_bins, "MOST_PLAIN_ROWS", 0)
    short = fit(log, law="dcpt", bootstrap=40)
    assert short.warnings[0].code == "averaged_evaluations"
    assert short.probed.token_range[1] == 1e9
    assert short.provenance["log_fingerprint"] == plain.provenance["log_fingerprint"]
    # The mean of a run moves by the noise of some thirty means, a tenth of the noise of runs; of 24 runs that is 2 %.
    assert short.noise.run == pytest.approx(plain.noise.run, rel=0.05)
    assert short.noise.checkpoint < plain.noise.checkpoint
    ratio = np.linspace(0, 1, 11)
    for corpus in ("general", "domain"):
        at = {"model_params": 1e7, "train_tokens": 1e9, "domain_ratio": ratio}
        whole, binned = plain.predict(corpus, **at), short.predict(corpus, **at)
        low, high = whole.interval()
        assert np.all(np.abs(whole.loss - binned.loss) < 0.1 * (high - low))
    write_fit(short, tmp_path / "fit.json")
    again = read_fit(tmp_path / "fit.json").predict("domain", **at)
    assert again.loss.tolist() == binned.loss.tolist()
    assert again.draws.tolist() == binned.draws.tolist()


def test_a_column_of_that_name_that_counts_nothing_is_refused():
    log = dense_log(8).assign(**{EVALUATION_COUNT: "many"})
    with pytest.raises(
        InputError, match="averaged_evaluations is the column in which a fit counts"
    ):
        fit(log, law="dcpt", bootstrap=0)
