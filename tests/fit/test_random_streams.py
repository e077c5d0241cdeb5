"""Whatever is drawn from a seed belongs to a stream of the enum, and each stream stays the one it was."""

import ast
from pathlib import Path

import numpy as np
import pytest

from cmrplan.design.information import noise_beside
from cmrplan.fit.corpus_model import RandomStream

SOURCES = sorted((Path(__file__).parents[2] / "cmrplan").rglob("*.py"))


def philox(key):
    return np.random.Generator(np.random.Philox(key))


def test_no_other_module_makes_a_generator_from_a_seed():
    outside = [
        f"{path.name}:{node.lineno}"
        for path in SOURCES
        if "class RandomStream" not in (source := path.read_text())
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") in ("Philox", "default_rng", "PCG64", "SeedSequence")
        and not all(isinstance(argument, ast.Constant) for argument in node.args)
    ]
    assert outside == []


@pytest.mark.parametrize(
    ("stream", "key"),
    [
        (RandomStream.RESAMPLES, 5),
        (RandomStream.NEW_RUN, [5, 1]),
        (RandomStream.SIZE_EXPONENT, [5, 2]),
        (RandomStream.SIZE_WALK, [5, 3]),
        (RandomStream.NEXT_PROBE, 5),
        (RandomStream.HYPERPARAMETERS, [5, 5]),
        (RandomStream.POSTERIOR, [5, 6]),
        (RandomStream.LATER_BUDGET, [5, 7]),
    ],
)
def test_a_stream_begins_where_it_did(stream, key):
    assert (stream.generator(5).random(8) == philox(key).random(8)).all()


def test_every_stream_is_tried():
    assert len(RandomStream) == 8
    assert len({int(stream) for stream in RandomStream}) == 8


def test_the_noise_of_a_next_probe_is_drawn_from_its_stream(monkeypatch):
    off, covariance = np.arange(8.0).reshape(8, 1) ** 2, np.eye(2)
    expected = noise_beside(off, covariance, seed=3)
    asked = []

    def generator(stream, seed):
        asked.append((stream, seed))
        return philox(seed)

    monkeypatch.setattr(RandomStream, "generator", generator)
    assert (noise_beside(off, covariance, seed=3) == expected).all()
    assert asked == [(RandomStream.NEXT_PROBE, 3)]
