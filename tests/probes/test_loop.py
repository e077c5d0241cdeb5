"""The training loop: repeatable, resumable at any moment, and honest about divergence."""

import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from killing import Killed, kill_at
from safetensors.torch import load_file

from cmrplan.errors import CmrplanError, InputError
from cmrplan.files import write_json
from probes.data.prepared import load_corpora
from probes.data.sampling import batch
from probes.locks import locked
from probes.run_settings import RunSettings
from probes.runner import execute_runs, final_losses, final_state, make_trainee
from probes.runs import RunFolder, RunState, SweepFolder
from probes.training.checkpoint import Checkpoints, Position
from probes.training.group import GroupMember, check_finite
from probes.training.loop import train
from probes.training.metrics import append_row, cut_torn, read_rows
from probes.training.schedule import Schedule
from probes.training.trainee import Diverged, Single

SCHEDULES = {
    "constant": Schedule("constant", 1e-3, warmup_steps=10),
    "averaged": Schedule("averaged", 1e-3, warmup_steps=3, decay_share=0.25),
    "branches": Schedule("branches", 1e-3, warmup_steps=3, decay_share=0.25),
    "cosine": Schedule("cosine", 1e-3, warmup_steps=10),
}
BUDGETS = (6, 12, 24, 48)


@pytest.fixture(scope="session")
def sweep(finished_sweep):
    return SweepFolder(finished_sweep)


@pytest.fixture(scope="session")
def probe(sweep):
    """Return the finished probe of ratio 0.3."""
    return next(run for run in sweep.all_runs() if "-r0.3-" in run.path.name)


@pytest.fixture(scope="session")
def settings(probe):
    return probe.read_settings()


def of_kind(settings, kind):
    """Return the settings with another schedule; a cosine has one budget."""
    steps = BUDGETS[-1:] if kind == "cosine" else BUDGETS
    return replace(settings, schedule=SCHEDULES[kind], evaluation_steps=steps)


def train_in(folder, sweep, settings, **options):
    """Train a probe in a folder of its own, from where that stands."""
    run = RunFolder(folder / settings.run_id)
    write_json(run.settings, settings.as_dict())
    base = sweep.base(settings.base)
    member = GroupMember(settings, run, start=final_state(base), start_losses=final_losses(base))
    options = {"checkpoint_seconds": 1e9} | options
    corpora = load_corpora(sweep.corpora)
    (outcome,) = train(make_trainee([settings]), [member], corpora, **options)
    return run, outcome


@pytest.fixture(scope="session")
def unbroken(sweep, settings, tmp_path_factory):
    """Return an unbroken run of each schedule."""
    return {
        kind: train_in(tmp_path_factory.mktemp(kind), sweep, of_kind(settings, kind))[0]
        for kind in SCHEDULES
    }


def last_state(run):
    (path,) = run.checkpoints.iterdir()
    return load_file(path)


def assert_same_result(one, other, *, same_state=True):
    """Compare rows, losses of all sequences and, if both kept it, the last state: bit for bit."""
    assert one.metrics.read_bytes() == other.metrics.read_bytes()
    names = sorted(path.name for path in (one.path / "losses").iterdir())
    assert names == sorted(path.name for path in (other.path / "losses").iterdir())
    for name in names:
        with (
            np.load(one.path / "losses" / name) as mine,
            np.load(other.path / "losses" / name) as others,
        ):
            assert all(np.array_equal(mine[c], others[c]) for c in ("general", "domain"))
    if same_state:
        state, other_state = last_state(one), last_state(other)
        assert state.keys() == other_state.keys()
        assert all(torch.equal(state[name], other_state[name]) for name in state)


@pytest.mark.parametrize("kind", SCHEDULES)
class TestRepeatability:
    def test_two_runs_are_bitwise_equal(self, sweep, settings, unbroken, tmp_path, kind):
        run, outcome = train_in(tmp_path, sweep, of_kind(settings, kind))
        assert outcome.state is RunState.FINISHED
        assert_same_result(run, unbroken[kind])

    # the branches leave the trunk after 4, 9, 18 and 36 steps and the run has 58 steps with them
    @pytest.mark.parametrize(
        ("step", "checkpoint_seconds"),
        [(0, 0), (5, 0), (6, 1e9), (7, 0), (23, 1e9), (29, 0), (30, 1e9), (40, 0), (47, 0)],
    )
    def test_killed_and_resumed_equals_unbroken(
        self, sweep, settings, unbroken, tmp_path, kind, step, checkpoint_seconds
    ):
        go = partial(
            train_in,
            tmp_path,
            sweep,
            of_kind(settings, kind),
            checkpoint_seconds=checkpoint_seconds,
        )
        with pytest.raises(Killed):
            go(should_stop=kill_at(step))
        run, outcome = go()
        assert (outcome.state, outcome.reason) == (RunState.FINISHED, "")
        assert_same_result(run, unbroken[kind])

    def test_stopped_run_goes_on_at_its_step(self, sweep, settings, unbroken, tmp_path, kind):
        asked = []

        def enough():
            asked.append(1)
            return "enough" if len(asked) == 16 else ""

        go = partial(train_in, tmp_path, sweep, of_kind(settings, kind))
        run, outcome = go(should_stop=enough)
        assert (outcome.state, outcome.reason) == (RunState.STOPPED, "enough")
        assert run.state() is RunState.STOPPED
        go(should_stop=lambda: asked.append(1) or "")
        steps_done = len(asked) - 1  # the step that it was stopped before is asked for twice
        assert steps_done == of_kind(settings, kind).trained_tokens / settings.step_tokens
        assert_same_result(run, unbroken[kind])

    def test_torn_last_row_is_written_again(self, sweep, settings, unbroken, tmp_path, kind):
        go = partial(train_in, tmp_path, sweep, of_kind(settings, kind))
        with pytest.raises(Killed):
            go(should_stop=kill_at(30))
        with open(RunFolder(next(tmp_path.iterdir())).metrics, "ab") as stream:
            stream.write(b'{"step": 48, "train_tok')
        run, _ = go()
        assert_same_result(run, unbroken[kind])

    def test_damaged_newest_checkpoint_costs_only_time(
        self, sweep, settings, unbroken, tmp_path, kind
    ):
        go = partial(train_in, tmp_path, sweep, of_kind(settings, kind), checkpoint_seconds=0)
        with pytest.raises(Killed):
            go(should_stop=kill_at(33))
        run = RunFolder(next(tmp_path.iterdir()))
        newest = max(run.checkpoints.glob("*.safetensors"))
        content = bytearray(newest.read_bytes())
        content[-3] ^= 1
        newest.write_bytes(content)
        _, outcome = go()
        assert outcome.state is RunState.FINISHED
        assert "checkpoint of step" in outcome.reason
        assert "was damaged" in outcome.reason
        assert_same_result(run, unbroken[kind])

    def test_evaluations_survive_the_loss_of_every_checkpoint(
        self, sweep, settings, unbroken, tmp_path, kind
    ):
        go = partial(train_in, tmp_path, sweep, of_kind(settings, kind), checkpoint_seconds=0)
        with pytest.raises(Killed):
            go(should_stop=kill_at(40))
        run = RunFolder(next(tmp_path.iterdir()))
        rows = run.metrics.read_bytes()
        for path in run.checkpoints.iterdir():
            path.unlink()
        go()
        assert run.metrics.read_bytes().startswith(rows)
        assert_same_result(run, unbroken[kind])


class TestTrunkAndBranches:
    def test_a_branch_equals_a_run_for_its_budget_alone(self, sweep, settings, unbroken, tmp_path):
        branches = read_rows(unbroken["branches"].metrics)
        for budget in BUDGETS:
            alone = replace(of_kind(settings, "branches"), evaluation_steps=(budget,))
            run, _ = train_in(tmp_path, sweep, alone)
            (row,) = [row for row in branches if row["step"] == budget]
            assert read_rows(run.metrics)[-1] == row

    def test_the_trunk_is_trained_once(self, settings):
        # trunk to 36, and branches of 2, 3, 6 and 12 steps: a quarter of 6, 12, 24 and 48
        assert of_kind(settings, "branches").trained_tokens == (36 + 2 + 3 + 6 + 12) * 64

    def test_rate_falls_to_a_tenth_in_every_branch(self, unbroken):
        rows = read_rows(unbroken["branches"].metrics)
        assert rows[0]["learning_rate"] is None
        assert [row["learning_rate"] for row in rows[1:]] == pytest.approx([1e-4] * 4, rel=1e-12)


class TestAveraged:
    def test_what_is_evaluated_is_the_mean_of_the_last_weights(self, sweep, settings, unbroken):
        """A quarter of 6 and 12 steps are 2 and 3: after steps 5 and 6, and 10, 11 and 12."""
        asked = of_kind(settings, "averaged")
        corpora = load_corpora(sweep.corpora)
        trainee = make_trainee([asked])
        trainee.restore(0, final_state(sweep.base(asked.base)), moments=False)
        weights = {}
        for step in range(12):
            tokens, _ = batch(
                step,
                corpora.train["general"],
                corpora.train["domain"],
                batch_size=asked.batch_size,
                domain_ratio=asked.domain_ratio,
                stage="probe",
                seed=asked.seed,
            )
            trainee.update([tokens], learning_rate=1e-3 * min(1, (step + 1) / 3))
            state = trainee.state()
            weights[step + 1] = {n: v.double() for n, v in state.items() if n.startswith("model.")}
        rows = {row["step"]: row for row in read_rows(unbroken["averaged"].metrics)}
        for budget, steps in ((6, (5, 6)), (12, (10, 11, 12))):
            mean = {
                name: sum(weights[step][name] for step in steps) / len(steps) for name in weights[1]
            }
            trainee.restore(0, mean, moments=False)
            for name, sequences in corpora.evaluation.items():
                loss = trainee.sequence_losses(sequences).mean(dtype=np.float64)
                # The mean is rounded to float32 in another order: about 1e-7 of a weight.
                assert rows[budget][f"{name}_loss"] == pytest.approx(loss, rel=1e-6)
                assert rows[budget]["learning_rate"] == 1e-3

    def test_the_trunk_is_that_of_a_constant_rate(self, sweep, settings, unbroken, tmp_path):
        asked = of_kind(settings, "averaged")
        constant = replace(
            asked, schedule=replace(asked.schedule, kind="constant", decay_share=0.0)
        )
        run, _ = train_in(tmp_path, sweep, constant)
        state = last_state(run)
        averaged = last_state(unbroken["averaged"])
        assert state.keys() == averaged.keys()
        assert all(torch.equal(state[name], averaged[name]) for name in state)
        assert asked.trained_tokens == constant.trained_tokens


class TestStart:
    def test_first_row_is_the_evaluation_of_the_base(self, sweep, probe, settings):
        base = sweep.base(settings.base)
        trainee = make_trainee([settings])
        trainee.restore(0, final_state(base))
        row = read_rows(probe.metrics)[0]
        assert row["train_tokens"] == 0
        for name, sequences in load_corpora(sweep.corpora).evaluation.items():
            (losses,) = trainee.sequence_losses(sequences)
            assert row[f"{name}_loss"] == float(np.mean(losses, dtype=np.float64))

    def test_rows_hold_tokens_and_realized_share(self, sweep, probe, settings):
        rows = read_rows(probe.metrics)
        assert [row["train_tokens"] for row in rows] == [0, *(64 * step for step in BUDGETS)]
        train_tokens = load_corpora(sweep.corpora).train
        counted = {0: 0}
        for step in range(48):
            _, num_domain = batch(
                step,
                train_tokens["general"],
                train_tokens["domain"],
                batch_size=4,
                domain_ratio=0.3,
                stage="probe",
                seed=0,
            )
            counted[step + 1] = counted[step] + num_domain
        for row in rows[1:]:
            assert row["domain_tokens"] == 16 * counted[row["step"]]
            assert row["realized_domain_ratio"] == row["domain_tokens"] / row["train_tokens"]
            assert abs(row["domain_tokens"] - 0.3 * row["train_tokens"]) <= 2 * 16

    def test_training_lowers_the_loss_of_its_corpus(self, sweep):
        for run in sweep.all_runs():
            if "-r1-" in run.path.name:
                rows = read_rows(run.metrics)
                assert rows[-1]["domain_loss"] < rows[0]["domain_loss"] - 0.1

    def test_inherited_moments_change_the_first_step(self, sweep, settings, unbroken, tmp_path):
        inheriting = replace(of_kind(settings, "constant"), inherits_optimizer=True)
        run, _ = train_in(tmp_path, sweep, inheriting)
        state = last_state(run)
        base_steps = sweep.base(settings.base).read_settings().steps
        assert state["adamw.step"].item() == base_steps + 48
        assert last_state(unbroken["constant"])["adamw.step"].item() == 48
        assert read_rows(run.metrics)[1] != read_rows(unbroken["constant"].metrics)[1]


def tokens_of(settings):
    generator = np.random.default_rng(5)
    return generator.integers(257, size=(settings.batch_size, settings.sequence_length + 1))


class TestSingle:
    def test_only_matrices_decay(self, settings):
        decayed, plain = make_trainee([settings]).optimizer.param_groups
        assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
        assert {weight.dim() for weight in decayed["params"]} == {2}
        assert {weight.dim() for weight in plain["params"]} == {1}
        counted = len(decayed["params"]) + len(plain["params"])
        assert counted == len(list(make_trainee([settings]).model.parameters()))

    def test_gradient_is_clipped_to_the_norm(self, settings):
        trainee = make_trainee([replace(settings, gradient_clip=1e-3)])
        trainee.update([tokens_of(settings)], learning_rate=1e-3)
        norm = math.sqrt(sum(w.grad.square().sum().item() for w in trainee.model.parameters()))
        assert norm == pytest.approx(1e-3, rel=1e-3)

    def test_nan_stops_before_the_update(self, settings):
        trainee = make_trainee([settings])
        with torch.no_grad():
            trainee.model.norm.weight[0] = math.nan
        before = {name: tensor.clone() for name, tensor in trainee.state().items()}
        trainee.update([tokens_of(settings)], learning_rate=1e-3)
        assert trainee.trouble() == ["loss was nan"]
        assert trainee.trouble() == [""]
        for name, tensor in trainee.state().items():
            assert torch.equal(tensor, before[name]) or name == "model.norm.weight"

    def test_accumulated_gradients_are_those_of_the_batch(self, settings):
        """In float64 the sum over micro-batches differs by rounding alone: about 1e-16 a term."""
        states = []
        for size in (4, 3, 1):
            numerics = replace(settings.numerics, precision="fp64", micro_batch_size=size)
            trainee = make_trainee([replace(settings, numerics=numerics)])
            for _ in range(3):
                trainee.update([tokens_of(settings)], learning_rate=1e-3)
            states.append(trainee.state())
        for state in states[1:]:
            for name, tensor in state.items():
                assert torch.allclose(tensor, states[0][name], rtol=0, atol=1e-12)

    def test_state_goes_to_another_trainee_and_back(self, settings):
        one, other = make_trainee([settings]), make_trainee([replace(settings, seed=9)])
        one.update([tokens_of(settings)], learning_rate=1e-3)
        other.restore(0, one.state())
        assert isinstance(other, Single)
        for trainee in (one, other):
            trainee.update([tokens_of(settings)], learning_rate=1e-3)
        for name, tensor in one.state().items():
            assert torch.equal(tensor, other.state()[name])

    def test_evaluation_that_is_no_number_is_divergence(self):
        losses = {"general": np.array([1.0, math.inf]), "domain": np.array([1.0, 1.0])}
        with pytest.raises(Diverged, match=r"^general validation loss was inf$"):
            check_finite(losses)


class TestCheckpoints:
    def test_of_other_settings_is_refused(self, tmp_path):
        Checkpoints(tmp_path, "mine").save(Position(0, 5), {"x": torch.ones(2)})
        with pytest.raises(InputError, match=r"belongs to other settings \(mine, not other\)"):
            Checkpoints(tmp_path, "other").load(Position(0, 5))

    def test_newest_first(self, tmp_path):
        checkpoints = Checkpoints(tmp_path, "mine")
        positions = [Position(0, 5), Position(1, 3), Position(1, 30), Position(10, 1)]
        for position in positions:
            checkpoints.save(position, {"x": torch.ones(2)})
        assert checkpoints.positions() == positions[::-1]
        checkpoints.keep(positions[:2])
        assert checkpoints.positions() == positions[1::-1]

    @pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty"])
    def test_damaged_file_is_set_aside(self, tmp_path, damage):
        checkpoints = Checkpoints(tmp_path, "mine")
        checkpoints.save(Position(0, 5), {"x": torch.arange(100.0), "y": torch.ones(())})
        path = checkpoints.path(Position(0, 5))
        content = bytearray(path.read_bytes())
        if damage == "flip":
            content[-50] ^= 4
        cut = {"cut": content[:-7], "text": b"half a file", "empty": b""}
        path.write_bytes(cut.get(damage, content))
        assert checkpoints.load(Position(0, 5)) is None
        assert checkpoints.positions() == []
        assert path.with_suffix(".damaged").exists()

    def test_base_without_checkpoint_says_what_to_do(self, sweep, settings, tmp_path):
        base = RunFolder(tmp_path)
        write_json(base.settings, settings.as_dict())
        with pytest.raises(CmrplanError, match="delete that folder to train this base anew"):
            final_state(base)


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
        assert [row["step"] for row in cut_torn(path)] == [1, 2]
        self.write(path, [3])
        assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]

    def test_no_file_has_no_rows(self, tmp_path):
        assert cut_torn(tmp_path / "none.jsonl") == []


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
        (outcome,) = execute_runs(sweep, [probe.path])
        assert outcome.state is RunState.FINISHED
