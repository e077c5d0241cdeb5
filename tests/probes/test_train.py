"""The training loop: repeatable, resumable at any moment, and honest about divergence."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cmrplan.errors import InputError
from cmrplan.files import write_json
from probes.data.prepared import load_corpora
from probes.locks import locked
from probes.models.decoder import Decoder
from probes.runner import execute_run, final_losses
from probes.runs import RunFolder, RunState, SweepFolder
from probes.settings import RunSettings
from probes.training import train as loop
from probes.training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from probes.training.metrics import append_row, cut_back, read_rows
from probes.training.train import Diverged, evaluate, make_optimizer, train, training_step


class Killed(BaseException):
    """Stands for a process that ends without saving anything."""


def kill_at(step):
    """Return a should_stop that kills when it is asked before step number ``step``."""
    asked = iter(range(10**9))

    def should_stop():
        if next(asked) == step:
            raise Killed
        return ""

    return should_stop


@pytest.fixture
def sweep(finished_sweep):
    return SweepFolder(finished_sweep)


@pytest.fixture
def probe(sweep):
    """Return the finished probe of ratio 0.3."""
    return next(run for run in sweep.all_runs() if "-r0.3-" in run.path.name)


@pytest.fixture
def settings(probe):
    return probe.read_settings()


@pytest.fixture
def continue_probe(sweep, settings, tmp_path):
    """Return a function that trains the probe in a folder of its own, from where that stands."""
    run = RunFolder(tmp_path / settings.run_id)
    write_json(run.settings, settings.as_dict())

    def go(**options):
        model = Decoder(settings.shape)
        base = sweep.base(settings.base)
        load_weights(base.checkpoint, model)
        corpora = load_corpora(sweep.corpora)
        options = {"start_losses": final_losses(base), "checkpoint_seconds": 1e9} | options
        return run, train(model, settings, corpora, run, **options)

    return go


def result(run):
    """Return everything that a run's numbers are: rows, losses of sequences, final state."""
    losses = {path.name: dict(np.load(path)) for path in (run.path / "losses").iterdir()}
    return run.metrics.read_bytes(), losses, load_file(run.checkpoint)


def assert_same_result(one, other):
    rows, losses, state = result(one)
    other_rows, other_losses, other_state = result(other)
    assert rows == other_rows
    assert losses.keys() == other_losses.keys()
    for name in losses:
        for corpus in ("general", "domain"):
            assert np.array_equal(losses[name][corpus], other_losses[name][corpus])
    assert state.keys() == other_state.keys()
    assert all(torch.equal(state[name], other_state[name]) for name in state)


class TestRepeatability:
    def test_two_runs_are_bitwise_equal(self, continue_probe, probe):
        run, outcome = continue_probe()
        assert outcome.state is RunState.FINISHED
        assert_same_result(run, probe)

    # the evaluations are after steps 6, 12, 24 and 48
    @pytest.mark.parametrize("step", [0, 1, 6, 7, 23, 24, 40, 47])
    def test_killed_and_resumed_equals_unbroken(self, continue_probe, probe, step):
        with pytest.raises(Killed):
            continue_probe(should_stop=kill_at(step))
        run, outcome = continue_probe()
        assert outcome.state is RunState.FINISHED
        assert_same_result(run, probe)

    def test_checkpoints_between_evaluations_change_nothing(self, continue_probe, probe):
        with pytest.raises(Killed):
            continue_probe(should_stop=kill_at(17), checkpoint_seconds=0)
        run, _ = continue_probe(checkpoint_seconds=0)
        assert_same_result(run, probe)

    def test_stopped_run_goes_on_at_its_step(self, continue_probe, probe):
        answers = iter([""] * 15 + ["enough"])
        run, outcome = continue_probe(should_stop=lambda: next(answers))
        assert (outcome.state, outcome.reason) == (RunState.STOPPED, "enough")
        assert run.read_progress()["step"] == 15
        assert run.state() is RunState.STOPPED
        asked = []
        continue_probe(should_stop=lambda: asked.append(1) or "")
        assert len(asked) == 48 - 15
        assert_same_result(run, probe)

    def test_torn_last_row_is_written_again(self, continue_probe, probe, tmp_path):
        with pytest.raises(Killed):
            continue_probe(should_stop=kill_at(30))
        run = RunFolder(tmp_path / probe.path.name)
        with open(run.metrics, "ab") as stream:
            stream.write(b'{"step": 48, "train_tok')
        continue_probe()
        assert_same_result(run, probe)

    def test_row_without_its_checkpoint_is_written_again(self, continue_probe, probe, monkeypatch):
        saves = iter(range(100))

        def dies_on_third(*args, **kwargs):
            if next(saves) == 2:
                raise Killed
            save_checkpoint(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "save_checkpoint", dies_on_third)
            with pytest.raises(Killed):
                continue_probe()
        run, _ = continue_probe()
        assert_same_result(run, probe)


class TestStart:
    def test_first_row_is_the_evaluation_of_the_base(self, sweep, probe, settings):
        model = Decoder(settings.shape)
        load_weights(sweep.base(settings.base).checkpoint, model)
        losses = evaluate(model, load_corpora(sweep.corpora))
        row = read_rows(probe.metrics)[0]
        assert row["train_tokens"] == 0
        for name in ("general", "domain"):
            assert row[f"{name}_loss"] == float(np.mean(losses[name], dtype=np.float64))

    def test_rows_hold_tokens_and_realized_share(self, probe):
        rows = read_rows(probe.metrics)
        assert [row["train_tokens"] for row in rows] == [0, 6 * 64, 12 * 64, 24 * 64, 48 * 64]
        for row in rows[1:]:
            assert row["realized_domain_ratio"] == row["domain_tokens"] / row["train_tokens"]
            assert abs(row["domain_tokens"] - 0.3 * row["train_tokens"]) <= 2 * 16

    def test_training_lowers_the_loss_of_its_corpus(self, sweep):
        for run in sweep.all_runs():
            if "-r1-" in run.path.name:
                rows = read_rows(run.metrics)
                assert rows[-1]["domain_loss"] < rows[0]["domain_loss"] - 0.1


class TestOptimizer:
    def test_only_matrices_decay(self, settings):
        model = Decoder(settings.shape)
        decayed, plain = make_optimizer(model, settings).param_groups
        assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
        assert {weight.dim() for weight in decayed["params"]} == {2}
        assert {weight.dim() for weight in plain["params"]} == {1}
        counted = len(decayed["params"]) + len(plain["params"])
        assert counted == len(list(model.parameters()))

    def test_gradient_is_clipped_to_the_norm(self, settings):
        model = Decoder(settings.shape)
        optimizer = make_optimizer(model, settings)
        tokens = np.arange(34).reshape(2, 17) % 200
        training_step(model, optimizer, tokens, learning_rate=1e-3, gradient_clip=1e-3)
        norm = math.sqrt(sum(w.grad.square().sum().item() for w in model.parameters()))
        assert norm == pytest.approx(1e-3, rel=1e-3)

    def test_nan_stops_before_the_update(self, settings):
        model = Decoder(settings.shape)
        optimizer = make_optimizer(model, settings)
        with torch.no_grad():
            model.norm.weight[0] = math.nan
        before = {name: weight.clone() for name, weight in model.named_parameters()}
        with pytest.raises(Diverged, match="loss was nan"):
            training_step(
                model,
                optimizer,
                np.ones((2, 17), dtype=int),
                learning_rate=1e-3,
                gradient_clip=1.0,
            )
        for name, weight in model.named_parameters():
            assert torch.equal(weight, before[name]) or name == "norm.weight"

    def test_evaluation_that_is_no_number_is_divergence(self, sweep, settings):
        model = Decoder(settings.shape)
        with torch.no_grad():
            model.norm.weight[0] = math.inf
        with pytest.raises(Diverged, match=r"^general validation loss was (nan|inf)$"):
            evaluate(model, load_corpora(sweep.corpora))


class TestCheckpoint:
    def test_of_other_settings_is_refused(self, probe, settings):
        model = Decoder(settings.shape)
        optimizer = make_optimizer(model, settings)
        with pytest.raises(InputError, match=r"belongs to other settings \(\w{12}, not other\)"):
            load_checkpoint(probe.checkpoint, model, optimizer, settings_fingerprint="other")

    def test_broken_file_is_named(self, settings, tmp_path):
        path = tmp_path / "checkpoint.safetensors"
        path.write_bytes(b"half a file")
        model = Decoder(settings.shape)
        optimizer = make_optimizer(model, settings)
        with pytest.raises(InputError, match=r"checkpoint\.safetensors is not a readable check"):
            load_checkpoint(path, model, optimizer, settings_fingerprint="x")


class TestMetrics:
    def write(self, path, steps):
        for step in steps:
            append_row(path, {"step": step})

    @pytest.mark.parametrize("torn", [b'{"step": 3', b'{"step": 3}', b"\x00\x00\x00\n", b"{"])
    def test_torn_last_line_is_no_row(self, tmp_path, torn):
        path = tmp_path / "metrics.jsonl"
        self.write(path, [1, 2])
        with open(path, "ab") as stream:
            stream.write(torn)
        assert [row["step"] for row in read_rows(path)] == [1, 2]
        cut_back(path, last_step=2)
        self.write(path, [3])
        assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]

    def test_rows_after_the_checkpoint_go(self, tmp_path):
        path = tmp_path / "metrics.jsonl"
        self.write(path, [1, 2, 3])
        assert [row["step"] for row in cut_back(path, last_step=1)] == [1]
        assert [row["step"] for row in read_rows(path)] == [1]

    def test_no_file_has_no_rows(self, tmp_path):
        assert cut_back(tmp_path / "none.jsonl", last_step=5) == []


class TestSettings:
    def test_survive_json(self, settings):
        assert RunSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings

    def test_any_change_changes_the_id(self, settings):
        changed = RunSettings.from_dict(settings.as_dict() | {"gradient_clip": 2.0})
        assert changed.run_id != settings.run_id
        assert settings.run_id.startswith("nano-r0.3-s0-")


class TestLock:
    def test_a_second_process_is_told_to_wait(self, tmp_path, settings):
        run = RunFolder(tmp_path)
        with locked(run.path):
            assert run.state() is RunState.RUNNING
            message = "is being worked on by another process"
            with pytest.raises(InputError, match=message), locked(run.path, patience=0):
                pass
        assert run.state() is RunState.PLANNED

    def test_a_finished_run_is_not_trained_again(self, sweep, probe, monkeypatch):
        monkeypatch.setattr("probes.runner.train", None)
        assert execute_run(sweep, probe.path).state is RunState.FINISHED
