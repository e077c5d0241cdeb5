"""Evaluation steps and learning rate, against numbers worked out by hand."""

import math

import pytest

from cmrplan.errors import InputError
from probes.training.schedule import (
    Schedule,
    evaluation_steps,
    learning_rate_factor,
    segments,
    trained_steps,
    whole_steps,
)


def factors(steps, **settings):
    return [learning_rate_factor(step, **settings) for step in range(steps)]


def test_tokens_are_rounded_to_whole_steps():
    assert [whole_steps(tokens, 100) for tokens in (1, 149, 151, 1000)] == [1, 1, 2, 10]


def test_evaluations_are_log_spaced_from_a_sixteenth():
    assert evaluation_steps(64_000, 100, evaluations=5) == (40, 80, 160, 320, 640)


def test_first_evaluation_can_be_given():
    assert evaluation_steps(1000, 1, evaluations=3, first_tokens=10) == (10, 100, 1000)


def test_one_evaluation_is_at_the_end():
    assert evaluation_steps(1000, 10, evaluations=1) == (100,)


def test_too_many_evaluations_are_refused():
    with pytest.raises(InputError, match="evaluations 8 do not fit in 5 steps of 100 tokens"):
        evaluation_steps(500, 100, evaluations=8)


def test_warm_up_then_constant():
    assert factors(6, warmup_steps=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert factors(2, warmup_steps=0) == [1.0, 1.0]


def test_decay_falls_to_a_tenth():
    expected = [1.0] * 6 + [0.775, 0.55, 0.325, 0.1]
    rates = factors(10, warmup_steps=0, decay_start=6, decay_end=10)
    assert rates == pytest.approx(expected)


def test_cosine_falls_to_a_tenth():
    rates = factors(4, warmup_steps=0, decay_start=0, decay_end=4, is_cosine=True)
    waves = [(1 + math.cos(math.pi * done)) / 2 for done in (0.25, 0.5, 0.75, 1)]
    assert rates == pytest.approx([0.1 + 0.9 * wave for wave in waves])


def test_constant_legs_end_at_evaluations():
    parts = segments(Schedule("constant", 1.0, 0), (3, 10))
    assert [
        (segment.start, segment.stop, segment.is_cooldown, segment.evaluates) for segment in parts
    ] == [
        (0, 3, False, True),
        (3, 10, False, True),
    ]


def test_the_last_steps_of_each_budget_are_averaged_on_one_trunk():
    """A fifth of 10, 12 and 20 steps is 2, 2 and 4."""
    parts = segments(Schedule("averaged", 1.0, 0, 0.2), (10, 12, 20))
    assert [(one.start, one.stop, one.averages, one.evaluates) for one in parts] == [
        (0, 8, False, False),
        (8, 10, True, True),
        (10, 12, True, True),
        (12, 16, False, False),
        (16, 20, True, True),
    ]
    assert not any(one.is_cooldown for one in parts)
    assert {Schedule("averaged", 0.5, 0, 0.2).rate(step, parts[-1]) for step in (16, 19)} == {0.5}


def test_an_average_reaches_back_to_the_budget_before_at_most():
    parts = segments(Schedule("averaged", 1.0, 0, 0.5), (10, 12))
    assert [(one.start, one.stop) for one in parts if one.averages] == [(5, 10), (10, 12)]


@pytest.mark.parametrize("decay_share", [0.01, 0.2, 0.5, 0.99])
def test_branches_leave_the_trunk_in_order(decay_share):
    budgets = (1, 2, 3, 7, 8, 100)
    parts = segments(Schedule("branches", 1.0, 0, decay_share), budgets)
    trunk = 0
    for segment in parts:
        assert segment.start == trunk
        if segment.is_cooldown:
            assert (segment.decay_start, segment.decay_end) == (segment.start, segment.stop)
        else:
            trunk = segment.stop
    assert tuple(segment.stop for segment in parts if segment.is_cooldown) == budgets
    assert trained_steps(Schedule("branches", 1.0, 0, decay_share), budgets) == sum(
        segment.stop - segment.start for segment in parts
    )


def test_six_doubling_budgets_cost_three_fifths_of_separate_runs():
    """A fifth of each budget decays: 0.8 * 32 + 0.2 * 63 of 63 shares, as worked out by hand."""
    budgets = tuple(100 * 2**doubling for doubling in range(6))
    trained = trained_steps(Schedule("branches", 1.0, 0, 0.2), budgets)
    assert trained == pytest.approx(0.8 * 3200 + 0.2 * 6300)
    assert trained / sum(budgets) < 0.62
    assert trained_steps(Schedule("constant", 1.0, 0), budgets) / sum(budgets) < 0.51
