"""What a base had seen: replay counts as a part of it, and nothing else does."""

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.fit.base_tokens import base_tokens_at
from cmrplan.fit.file import read_fit, write_fit
from cmrplan.fit.residual.maturity import ByMaturity, mean_base_tokens
from cmrplan.fit.residual.mean_functions import Frame, own_law
from cmrplan.report.text import fit_text

RATIOS = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 1.0)
SEEN = {1e6: 2e7, 3e6: 6e7}
BASES = {1e6: 2.4, 3e6: 2.1, 1e7: 1.9}


def general_loss(size, tokens, ratio, base_tokens):
    """Return a loss whose change by replay goes with the part of the base, and by other data with the tokens."""
    learned = -0.06 * np.log(1 + 8 * tokens / base_tokens)
    forgotten = 0.05 * ratio**2 * np.log(1 + tokens / 1e6)
    return BASES[size] * np.exp((learned + forgotten) * (size / 1e6) ** -0.3)


def log_of(sizes, seen, *, has_base_tokens=True, noise=0.001):
    rng = np.random.default_rng(0)
    rows = []
    for size in sizes:
        for ratio in RATIOS:
            run = {
                "run_id": f"{size:g}-{ratio:g}",
                "model_params": size,
                "domain_ratio": ratio,
                "seed": 0,
                "base_tokens": seen[size],
            }
            for tokens in (0.0, *np.geomspace(1e6, 1.6e7, 6)):
                loss = general_loss(size, tokens, ratio, seen[size]) if tokens else BASES[size]
                loss *= np.exp(rng.normal(0, noise)) if tokens else 1.0
                rows.append(run | {"train_tokens": tokens, "eval_corpus": "general", "loss": loss})
    log = pd.DataFrame(rows)
    return log if has_base_tokens else log.drop(columns="base_tokens")


def with_base(log, size, base_tokens=None):
    """Return a log with the base row of another size, which is known without any probe of it."""
    row = log[log["train_tokens"] == 0].iloc[[0]].assign(model_params=size, loss=BASES[size])
    if base_tokens is not None:
        row = row.assign(base_tokens=base_tokens)
    return pd.concat([log, row.assign(run_id="base")], ignore_index=True)


def error_at(fit, size, base_tokens):
    """Return the mean absolute error of the general loss at an unprobed size, nats per token."""
    ratios, misses = np.array(RATIOS), []
    for tokens in (4e6, 8e6, 1.6e7):
        found = fit.general_loss_from_base(size, tokens, ratios)
        misses.append(found.prediction.loss - general_loss(size, tokens, ratios, base_tokens))
    return float(np.mean(np.abs(misses)))


@pytest.mark.parametrize("base_tokens", [2e7, 8e7])
def test_another_size_is_told_by_how_much_its_base_had_seen(base_tokens):
    """One probed size, another one with a known base, as young as the probed or four times as old."""
    seen = cp.fit(with_base(log_of([1e6], SEEN), 1e7, base_tokens), bootstrap=0)
    unknown = cp.fit(with_base(log_of([1e6], SEEN, has_base_tokens=False), 1e7), bootstrap=0)
    errors = [error_at(fit, 1e7, base_tokens) for fit in (seen, unknown)]
    if base_tokens == SEEN[1e6]:
        assert errors[0] == pytest.approx(errors[1], abs=1e-9)
    else:
        assert errors[0] < 0.5 * errors[1]


def test_at_the_one_probed_size_nothing_changes():
    ratios = np.linspace(0, 1, 11)
    known, unknown = (
        cp.fit(log_of([1e6], SEEN, has_base_tokens=has), bootstrap=20) for has in (True, False)
    )
    at = {"model_params": 1e6, "train_tokens": 7e6, "domain_ratio": ratios}
    one, other = (fit.predict("general", **at) for fit in (known, unknown))
    assert np.array_equal(one.loss, other.loss)
    assert np.array_equal(one.draws, other.draws)


@pytest.mark.parametrize("base_tokens", [2e7, 2e9])
def test_two_sizes_whose_bases_differ_are_told_apart_by_them(base_tokens):
    """Three times the size and twelve times the tokens: what replay does is the base's part, not the size's."""
    log = with_base(log_of([1e6, 3e6], {1e6: 2e7, 3e6: 2.4e8}), 1e7, base_tokens)
    fits = cp.fit(log, bootstrap=0), cp.fit(log.drop(columns="base_tokens"), bootstrap=0)
    known, unknown = (error_at(fit, 1e7, base_tokens) for fit in fits)
    assert known < unknown


def test_the_mean_function_is_that_of_the_counted_tokens():
    frame = Frame("general", 1e6, 4e6, base_tokens=4e7, least_tokens=1e6)
    mean = ByMaturity.of(own_law("bilinear", frame, is_anchored=True))
    tokens, ratio = np.array([2e6, 8e6, 8e6]), np.array([0.0, 0.5, 1.0])
    columns = {"model_params": np.full(3, 1e6), "base_tokens": np.array([8e7, 8e7, 4e7])}
    points = frame.points({**columns, "train_tokens": tokens, "domain_ratio": ratio})
    shape = mean.shape_prior.mean
    values, changes = mean.features(points, shape)

    def at(tokens, ratio):
        there = {**columns, "train_tokens": np.asarray(tokens), "domain_ratio": np.asarray(ratio)}
        return mean.inner.features(frame.points(there), shape)

    # halved where the base had seen twice the mean, and as they are where it had seen the mean
    counted = at([1e6, 4e6, 8e6], np.zeros(3))
    alone, here = at(tokens, np.zeros(3)), at(tokens, ratio)
    assert values == pytest.approx(here[0] - alone[0] + counted[0], abs=1e-12)
    assert changes == pytest.approx(here[1] - alone[1] + counted[1], abs=1e-12)
    short = frame.points({**columns, "train_tokens": np.full(3, 1.2e6), "domain_ratio": ratio})
    least = at(np.array([1e6, 1e6, 1.2e6]), np.zeros(3))[0]
    of_short = at(np.full(3, 1.2e6), ratio)[0] - at(np.full(3, 1.2e6), np.zeros(3))[0] + least
    assert mean.features(short, shape)[0] == pytest.approx(of_short, abs=1e-12)


def test_what_a_base_had_seen_is_carried_along_a_line_in_the_logarithms():
    log = pd.DataFrame({"model_params": [1e6, 1e6, 4e6], "base_tokens": [2e7, 2e7, 8e7]})
    assert base_tokens_at(log, 1e6) == 2e7
    assert base_tokens_at(log, 2e6) == pytest.approx(4e7)
    assert base_tokens_at(log, 1e8) == pytest.approx(2e9)
    assert base_tokens_at(log[:2], 1e9) == 2e7


def test_a_plan_says_what_it_took_the_base_to_have_seen():
    fit = cp.fit(with_base(log_of([1e6, 3e6], SEEN), 1e7), bootstrap=20)
    log = fit.log.assign(base_tokens=fit.log["base_tokens"].where(fit.log["model_params"] < 1e7))
    carried = cp.fit(log, bootstrap=20)
    (found,) = carried.general_loss_from_base(1e7, 8e6, np.array(RATIOS)).findings
    assert "its base is taken to have seen 2e+08 tokens" in found.message
    (known,) = fit.general_loss_from_base(1e7, 8e6, np.array(RATIOS)).findings
    assert "taken to have seen" not in known.message


def test_the_text_of_a_fit_says_that_replay_is_counted_by_it():
    known = cp.fit(log_of([1e6, 3e6], SEEN), bootstrap=0)
    assert "replay is counted by what the base of each size had seen" in fit_text(known)
    for log in (log_of([1e6], SEEN), log_of([1e6, 3e6], SEEN, has_base_tokens=False)):
        assert "base of each size" not in fit_text(cp.fit(log, bootstrap=0))


def test_a_fit_is_read_back_with_what_the_bases_had_seen(tmp_path):
    fit = cp.fit(with_base(log_of([1e6, 3e6], SEEN), 1e7, 2e9), bootstrap=20)
    write_fit(fit, tmp_path / "fit.json")
    again = read_fit(tmp_path / "fit.json")
    one, other = (
        f.general_loss_from_base(1e7, 8e6, np.array(RATIOS)).prediction for f in (fit, again)
    )
    assert np.array_equal(one.loss, other.loss)
    assert np.array_equal(one.draws, other.draws)


def test_what_is_said_of_some_bases_or_of_two_at_one_size_is_left_alone():
    log = log_of([1e6, 3e6], SEEN)
    is_first = log["model_params"] == 1e6
    some = log.assign(base_tokens=log["base_tokens"].where(is_first))
    two = log.assign(base_tokens=log["base_tokens"].where(log["domain_ratio"] < 0.5, 1e9))
    assert mean_base_tokens(log) == pytest.approx(np.sqrt(2e7 * 6e7))
    assert mean_base_tokens(log[is_first]) == 2e7
    assert mean_base_tokens(some) is None
    assert mean_base_tokens(two) is None
    assert mean_base_tokens(log.drop(columns="base_tokens")) is None


def test_the_interval_has_room_for_the_error_of_the_rule():
    """Replay of a base that saw four times as much goes with another power of that than the rule says."""
    log = with_base(log_of([1e6], SEEN), 1e7, 8e7)
    known = cp.fit(log)
    tokens, ratios = 8e6, np.array(RATIOS)
    for power in (0.7, 1.0, 1.3):
        as_old_as = SEEN[1e6] * 4.0**power
        truth = general_loss(1e7, tokens, ratios, as_old_as)
        low, high = known.general_loss_from_base(1e7, tokens, ratios).prediction.interval(0.9)
        assert np.all((low <= truth) & (truth <= high)), power


def test_at_the_age_of_the_probed_base_there_is_no_such_error():
    same, unknown = (
        cp.fit(with_base(log_of([1e6], SEEN, has_base_tokens=has), 1e7, 2e7 if has else None))
        for has in (True, False)
    )
    spreads = []
    for fit in (same, unknown):
        draws = fit.general_loss_from_base(1e7, 8e6, np.array(RATIOS)).prediction.draws
        spreads.append(np.std(np.log(draws), axis=0))
    assert np.all(
        spreads[0] < spreads[1]
    )  # four tenths of the scatter between sizes stand, half without
