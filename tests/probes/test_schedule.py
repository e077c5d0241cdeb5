"""Evaluation steps and learning rate, against numbers worked out by hand."""

import pytest

from cmrplan.errors import InputError
from probes.training.schedule import evaluation_steps, learning_rate_factor, whole_steps


def factors(**settings):
    return [learning_rate_factor(step, **settings) for step in range(settings["steps"])]


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
    assert factors(steps=6, warmup_steps=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert factors(steps=2, warmup_steps=0) == [1.0, 1.0]


def test_cool_down_falls_to_a_tenth():
    expected = [1.0] * 6 + [0.775, 0.55, 0.325, 0.1]
    assert factors(steps=10, warmup_steps=0, cooldown_share=0.4) == pytest.approx(expected)
