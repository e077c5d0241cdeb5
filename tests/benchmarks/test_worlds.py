"""Simulated worlds: always the same, anchored at their bases, and each of the kind that its family names."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import decisions
import worlds

BENCHMARKS = Path(worlds.__file__).parent
SEEDS = range(20)
EARLY_TO_LAST = np.linspace(0.005, 1, 2000)  # of the largest budget


def curve(world, corpus, ratio, times=EARLY_TO_LAST):
    """Return the true loss along a run of the largest size."""
    return world.loss(corpus, world.sizes[-1], times * world.tokens[-1], ratio)


@pytest.mark.parametrize("family", worlds.FAMILIES)
def test_a_world_is_the_same_whenever_it_is_drawn(family):
    first, second = (worlds.draw_world(family, 3) for _ in range(2))
    pd.testing.assert_frame_equal(first.log, second.log, check_exact=True)
    assert not first.log.equals(worlds.draw_world(family, 4).log)
    fresh = [
        w.new_run(w.rng, "domain", w.sizes[0], w.tokens, 0.5).tolist() for w in (first, second)
    ]
    assert fresh[0] == fresh[1]


def test_a_world_is_the_same_in_another_process():
    command = [sys.executable, "worlds.py", "--family", "mixed", "--seed", "5"]
    text = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert text.stdout == worlds.draw_world("mixed", 5).log.to_csv(index=False)


@pytest.mark.parametrize("family", worlds.FAMILIES)
def test_base_rows_are_the_surface_at_no_tokens_whatever_the_ratio(family):
    for seed in SEEDS:
        world = worlds.draw_world(family, seed)
        base = world.log[world.log["train_tokens"] == 0]
        assert set(base["model_params"]) == set(world.sizes)
        for (size, corpus), rows in base.groupby(["model_params", "eval_corpus"]):
            at_zero = world.loss(corpus, size, 0, np.linspace(0, 1, 11))
            assert np.all(at_zero == at_zero[0])
            assert np.all(rows["loss"] == at_zero[0])
            # no jump between the base and the first token
            assert world.loss(corpus, size, 1e-9 * world.tokens[-1], 0.5) == pytest.approx(
                at_zero[0], abs=0.01
            )


@pytest.mark.parametrize("family", worlds.FAMILIES)
def test_logs_are_valid_and_of_the_stated_scale(family):
    for seed in SEEDS:
        world = worlds.draw_world(family, seed)
        cp.validate_log(world.log)
        runs = world.log.groupby("model_params")["run_id"].nunique()
        assert len(world.sizes) in (1, 2, 3)
        assert runs.between(4, 12).all()
        assert 4 <= len(world.tokens) <= 10
        size, tokens = world.sizes[:, None, None], world.tokens[:, None]
        for corpus in worlds.LOSSES:
            loss = world.loss(corpus, size, tokens, world.ratios)
            assert loss.shape == (len(world.sizes), len(world.tokens), len(world.ratios))
            assert np.all((loss > 1.2) & (loss < 3.5))
        base = world.loss("general", size, 0, 0)
        assert np.all(world.loss("general", size, tokens, world.ratios) <= 1.2001 * base)


def test_ratios_mostly_but_not_always_begin_at_zero():
    begins = [worlds.draw_world("dip", seed).ratios[0] == 0 for seed in range(100)]
    assert 70 <= sum(begins) <= 97


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ratio_of_losses_of_exponential_worlds_depends_on_tokens(seed):
    world = worlds.draw_world("exponential", seed)
    shape = []
    for times in (0.1, 1):
        gain = [
            1 - curve(world, "domain", r, times) / curve(world, "domain", 0.2, 0) for r in (0.3, 1)
        ]
        shape.append(gain[0] / gain[1])
    assert abs(shape[1] - shape[0]) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_rising_worlds_rise_at_every_ratio_above_some(seed):
    world = worlds.draw_world("rising", seed)
    times = np.linspace(0.005, 4, 1000)
    change = [np.diff(curve(world, "general", r, times)) for r in np.linspace(0, 1, 101)]
    rises = np.array([np.all(c > 0) for c in change])
    falls = np.array([np.all(c < 0) for c in change])
    first = int(np.argmax(rises))
    assert rises[first:].all()
    assert falls[: first - 1].all()  # all ratios but the one at which the slope changes its sign
    assert 0.04 <= first / 100 <= 0.52


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ratio", [0, 0.5, 1])
def test_u_shaped_worlds_have_an_inner_minimum_in_tokens(seed, ratio):
    times = np.geomspace(1e-6, 1, 4000)  # pure domain data turn soon
    loss = curve(worlds.draw_world("u_shaped", seed), "general", ratio, times)
    lowest = int(np.argmin(loss))
    assert 0 < lowest < len(loss) - 1
    assert np.all(np.diff(loss[lowest:]) > 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_humped_worlds_jump_early_and_relearn(seed):
    loss = curve(worlds.draw_world("humped", seed), "general", 0.5)
    highest = int(np.argmax(loss[EARLY_TO_LAST < 0.4]))
    assert 0 < highest < np.sum(EARLY_TO_LAST < 0.4) - 1
    assert np.min(loss[highest:]) < loss[highest] - 0.005  # more than the noise of an evaluation


@pytest.mark.parametrize("seed", SEEDS)
def test_exponents_of_tokens_depend_on_the_ratio(seed):
    world = worlds.draw_world("exponents", seed)
    gain, one, exponents = world.truth.gain, np.ones(1), []
    for ratio in (0.3, 0.9):
        # so many tokens that the part that levels off, at most 0.02, no longer changes; what is left to gain is a power
        level = gain(one, 1e40 * one, ratio * one)
        left = [level - gain(one, times * one, ratio * one) for times in (1e4, 1e5)]
        exponents.append(np.log10(left[0] / left[1])[0])
    assert exponents[1] - exponents[0] > 0.03


@pytest.mark.parametrize("seed", SEEDS)
def test_dips_lie_at_an_inner_ratio_at_every_budget(seed):
    world = worlds.draw_world("dip", seed)
    ratio = np.linspace(0, 1, 1001)
    for times in (0.1, 1, 4):
        lowest = ratio[
            np.argmin(world.loss("domain", world.sizes[0], times * world.tokens[-1], ratio))
        ]
        assert 0.549 <= lowest <= 0.851


def noise_of(world, ratio, times, count=400):
    """Return the noise of many new runs at one place, nats."""
    tokens = np.array([times * world.tokens[-1]])
    rng, size = np.random.default_rng(7), world.sizes[0]
    truth = world.loss("general", size, tokens, ratio)
    return np.array(
        [world.new_run(rng, "general", size, tokens, ratio) - truth for _ in range(count)]
    )


def test_heavy_tails_are_heavy_and_normal_ones_are_not():
    # share of a normal beyond 3.5 times its quartile deviation / 0.6745: 0.0005; of Student t with 3: about 0.04
    def far(family):
        noise = np.concatenate([noise_of(worlds.draw_world(family, s), 0.5, 1) for s in range(5)])
        noise = noise.reshape(5, -1)
        scale = np.median(np.abs(noise), axis=1, keepdims=True) / 0.6745
        return np.mean(np.abs(noise) > 3.5 * scale)

    assert far("heavy_tails") > 0.015
    assert far("dip") < 0.005


@pytest.mark.parametrize("seed", range(3))
def test_unequal_noise_grows_with_the_ratio_and_falls_with_tokens(seed):
    world = worlds.draw_world("unequal_noise", seed)
    spread = {key: noise_of(world, *key).std() for key in ((0, 0.1), (0, 1), (1, 0.1), (1, 1))}
    assert spread[1, 1] > 1.5 * spread[0, 1]
    assert spread[0, 0.1] > 1.2 * spread[0, 1]
    equal = worlds.draw_world("dip", seed)
    assert noise_of(equal, 1, 1).std() == pytest.approx(noise_of(equal, 0, 1).std(), rel=1e-6)


def test_evaluations_of_a_step_share_noise_across_ratios():
    noise, rng = worlds.RunNoise(0, 1, 0.5, 0.5, 0.5, np.inf, (0, 0, 0)), np.random.default_rng(0)
    step_noise = noise.variates(rng, 4000)
    runs = [noise.of_run(rng, step_noise) for _ in range(2)]
    # the shared half of the variance; the standard error of a correlation of 4,000 pairs is 0.015
    assert np.corrcoef(runs)[0, 1] == pytest.approx(0.5, abs=0.05)


def test_neighboring_evaluations_of_a_run_share_noise():
    noise, rng = worlds.RunNoise(1, 0, 0.5, 0.5, 0.5, np.inf, (0, 0, 0)), np.random.default_rng(0)
    runs = np.array([noise.of_run(rng, np.zeros(2)) for _ in range(4000)])
    assert runs.std() == pytest.approx(1, abs=0.05)
    assert np.corrcoef(runs.T)[0, 1] == pytest.approx(0.75, abs=0.04)  # 0.5 + 0.5 * 0.5


@pytest.mark.parametrize("family", worlds.FAMILIES)
def test_the_best_ratio_of_a_question_is_inside_and_on_its_limit_or_a_dip(family):
    world = worlds.draw_world(family, 1)
    size, tokens = world.sizes[-1], world.tokens[-1]
    question = decisions.draw_limit(world.rng, world, tokens)
    assert question is not None
    limit, best = question
    assert limit >= world.loss("general", size, 0, 0)
    assert world.ratios[0] < best < world.ratios[-1]
    fine = np.linspace(world.ratios[0], world.ratios[-1], 30001)
    feasible = world.loss("general", size, tokens, fine) <= limit
    lowest = world.loss("domain", size, tokens, fine[feasible]).min()
    # the grid of the question is 1 / 2,000 of the range fine, and steep losses change by 1 nat over it
    assert world.loss("domain", size, tokens, best) == pytest.approx(lowest, abs=1e-3)


def test_simple_answers_keep_the_measured_limit():
    world = worlds.draw_world("rising", 2)
    last = world.log[world.log["train_tokens"] == world.tokens[-1]]
    last = last[last["model_params"] == world.sizes[-1]]
    general = last[last["eval_corpus"] == "general"].groupby("domain_ratio")["loss"].mean()
    limit = float(general.iloc[:2].max())
    answers = decisions.simple_answers(world, limit)
    assert general[answers["best probed ratio"]] <= limit
    joined = np.interp(answers["straight lines"], general.index, general)
    assert joined <= limit + 1e-9
    none = decisions.simple_answers(world, 0.1)
    assert np.isnan(list(none.values())).all()
