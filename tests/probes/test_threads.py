"""Threads change how long a run takes, and not one bit of what it finds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from settings_by_hand import BASE
from sweeping import run

from probes.executors.task import file_says_threads
from probes.models.source import ParamCount, Pretrained
from probes.run_settings import Numerics
from probes.runner import make_trainee
from probes.training.threads import EFFICIENCY, most_threads, side_by_side, speedup

SETTINGS = replace(BASE, batch_size=8, numerics=Numerics("fp32", micro_batch_size=3))
"""Passes of 3, 3 and 2 sequences."""

SEQUENCES = np.random.default_rng(0).integers(257, size=(70, 9), dtype=np.uint16)
"""Three slices of an evaluation, the last one shorter."""


CHECKPOINT = Pretrained("folder", "", "print", "llama", ParamCount(10, 8), 257, 8, 1)


def trained(settings, threads, steps=6):
    """Return weights, moments and evaluation losses after some steps."""
    trainee = make_trainee([settings], threads=threads)
    generator = np.random.default_rng(1)
    for _ in range(steps):
        tokens = generator.integers(257, size=(8, 9), dtype=np.uint16)
        trainee.update([tokens], learning_rate=1e-2)
    state = {name: tensor.clone() for name, tensor in trainee.state(0).items()}
    return state | {"losses": torch.from_numpy(trainee.sequence_losses(SEQUENCES))}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_numbers_do_not_depend_on_threads(checkpointing):
    numerics = replace(SETTINGS.numerics, gradient_checkpointing=checkpointing)
    settings = replace(SETTINGS, numerics=numerics)
    granted = iter([1, 3, 2, 2, 1, 3, 2])
    alone = trained(settings, lambda: 1)
    for threads in (lambda: 2, lambda: 3, lambda: 16, lambda: next(granted)):
        threaded = trained(settings, threads)
        assert alone.keys() == threaded.keys()
        assert all(torch.equal(alone[name], threaded[name]) for name in alone)


def test_a_worker_asks_its_file_again(tmp_path, monkeypatch):
    clock = iter([10.0, 10.0, 10.1, 11.0, 11.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    (tmp_path / "threads").write_text("2\n")
    threads = file_says_threads(tmp_path / "threads")
    assert threads() == 2
    (tmp_path / "threads").write_text("1\n")
    assert threads() == 2  # a tenth of a second later
    assert threads() == 1


def test_idle_cores_are_granted(spec, tmp_path, monkeypatch, finished_sweep):
    monkeypatch.setattr("probes.executors.local.usable_cores", lambda: 4)
    run(spec, tmp_path / "runs", workers=2)
    assert (tmp_path / "runs" / "workers" / "threads").read_text() == "2\n"  # the last run, alone
    for path in finished_sweep.glob("*/*/metrics.jsonl"):
        ours = tmp_path / "runs" / path.relative_to(finished_sweep)
        assert ours.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({}, 3),
        ({"device": "cuda"}, 1),
        ({"model": CHECKPOINT}, 1),
        ({"numerics": Numerics("fp32", micro_batch_size=3, compile=True)}, 1),
        ({"numerics": Numerics("fp32", micro_batch_size=2, processes=2)}, 1),
        ({"numerics": Numerics("fp32", micro_batch_size=8)}, 1),
    ],
)
def test_who_can_use_threads(changes, most):
    assert most_threads(replace(SETTINGS, **changes)) == most


def test_speedup_counts_rounds_of_passes():
    # three passes: one round for three threads, two for two
    assert [speedup(SETTINGS, threads) for threads in (1, 2, 3, 8)] == [
        *(1.0, pytest.approx(1.5 * EFFICIENCY)),
        *(pytest.approx(3 * EFFICIENCY), pytest.approx(3 * EFFICIENCY)),
    ]


def test_an_error_in_a_thread_is_an_error():
    def fail(part):
        raise ValueError(f"part {part}")

    with pytest.raises(ValueError, match="part 0"):
        list(side_by_side(fail, range(4), 2))
