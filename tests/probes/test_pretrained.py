"""Models that start from a transformers checkpoint: what they compute, how big they are, how they resume."""

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from killing import Killed, kill_at
from safetensors.torch import load_file, save_file
from tiny_checkpoints import ROWS, write_checkpoint

from cmrplan.errors import InputError
from cmrplan.files import write_json
from probes.data.prepare import prepare_corpora
from probes.data.prepared import load_corpora
from probes.models.build import build_model
from probes.models.pretrained import load_pretrained, read_pretrained, transformers_quietly
from probes.models.source import ModelShape, count_params, flops_per_token, source_from_dict
from probes.planned_runs import sweep_settings
from probes.run_settings import RunSettings
from probes.runner import execute_runs, final_losses, make_trainee
from probes.runs import RunFolder, RunState, SweepFolder
from probes.spec.file import read_spec
from probes.training.metrics import read_rows
from probes.training.schedule import Schedule
from probes.training.trainee import evaluation_batch

KINDS = ("llama", "neox")


@pytest.fixture(scope="session")
def sources(checkpoints):
    return {kind: read_pretrained(str(folder)) for kind, folder in checkpoints.items()}


def random_tokens(*shape):
    return torch.from_numpy(np.random.default_rng(3).integers(ROWS, size=shape))


@pytest.mark.parametrize("kind", KINDS)
class TestModel:
    def test_logits_are_those_of_transformers(self, checkpoints, sources, kind):
        with transformers_quietly() as transformers:
            reference = transformers.AutoModelForCausalLM.from_pretrained(checkpoints[kind])
        tokens = random_tokens(3, 20)
        with torch.no_grad():
            expected = reference(tokens).logits
            model = build_model(sources[kind])
            assert torch.equal(model(tokens), expected)
            assert torch.equal(model.eval()(tokens), expected)

    def test_training_mode_has_no_dropout(self, sources, kind):
        model = build_model(sources[kind])
        assert model.training
        tokens = random_tokens(2, 16)
        assert torch.equal(model(tokens), model(tokens))

    def test_count_is_that_of_the_loaded_model(self, sources, kind):
        model = build_model(sources[kind])
        weights = {name: weight.numel() for name, weight in model.named_parameters()}
        params = count_params(sources[kind])
        assert params.total == sum(weights.values())
        tables = [n for n in weights if "embed" in n or "lm_head" in n]
        assert len(tables) == {"llama": 1, "neox": 2}[kind]  # the head of the first is tied
        assert params.non_embedding == params.total - sum(weights[name] for name in tables)

    def test_gradient_checkpointing_changes_no_gradient(self, sources, kind):
        """The same operations on the same numbers, so equal to the last bit."""
        gradients = []
        for on in (False, True):
            model = build_model(sources[kind], gradient_checkpointing=on)
            model(random_tokens(2, 16)).square().mean().backward()
            gradients.append({name: weight.grad for name, weight in model.named_parameters()})
        for name, gradient in gradients[0].items():
            assert torch.equal(gradient, gradients[1][name])

    def test_gradient_checkpointing_runs_blocks_twice(self, sources, kind):
        model = build_model(sources[kind], gradient_checkpointing=True)
        calls = []
        (norm,) = [
            part for name, part in model.named_modules() if name.endswith("0.input_layernorm")
        ]
        norm.register_forward_hook(lambda *_: calls.append(1))
        model(random_tokens(1, 4)).mean().backward()
        assert len(calls) == 2

    def test_bf16_weights_become_float32(self, tmp_path, kind):
        folder = write_checkpoint(tmp_path, kind, dtype="bfloat16")
        with transformers_quietly() as transformers:
            stored = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        assert stored.dtype is torch.bfloat16
        model = build_model(read_pretrained(str(folder)))
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
        for weight, expected in zip(model.parameters(), stored.parameters(), strict=True):
            assert torch.equal(weight, expected.float())

    def test_source_survives_json(self, sources, kind):
        stored = json.loads(json.dumps(dataclasses.asdict(sources[kind])))
        assert source_from_dict(stored) == sources[kind]


class TestDescription:
    def test_llama_by_hand(self, sources):
        # attention: q and o 16*16, k and v 16*8; gate, up and down 16*24; two norms of 16
        block = 2 * 256 + 2 * 128 + 3 * 16 * 24 + 2 * 16
        assert count_params(sources["llama"]).non_embedding == 2 * block + 16
        assert count_params(sources["llama"]).total == 2 * block + 16 + ROWS * 16
        assert sources["llama"].vocab_size == ROWS
        matrices = 2 * block + 16 + ROWS * 16
        assert flops_per_token(sources["llama"], 32) == 6 * matrices + 6 * 2 * 16 * 32

    def test_neox_by_hand(self, sources):
        # qkv, out and two layers of 48, all with biases; two norms with gain and bias
        block = 24 * 72 + 72 + 24 * 24 + 24 + 2 * 24 * 48 + 48 + 24 + 2 * 48
        assert count_params(sources["neox"]).non_embedding == 2 * block + 2 * 24
        assert count_params(sources["neox"]).total == 2 * block + 2 * 24 + 2 * ROWS * 24

    def test_positions_count_as_embeddings(self, tmp_path):
        gpt2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": ROWS}
        gpt2 |= {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
        (tmp_path / "config.json").write_text(json.dumps(gpt2))
        save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
        # qkv, out and two layers of 4 * 32, all with biases; two norms with gain and bias
        block = 32 * 96 + 96 + 32 * 32 + 32 + 2 * 32 * 128 + 128 + 32 + 4 * 32
        pretrained = read_pretrained(str(tmp_path))
        assert count_params(pretrained).non_embedding == 2 * block + 2 * 32
        assert count_params(pretrained).total == 2 * block + 2 * 32 + (ROWS + 64) * 32  # tied
        assert (pretrained.width, pretrained.layers) == (32, 2)

    def test_label_names_folder_and_content(self, sources):
        assert sources["llama"].label == f"llama@{sources['llama'].fingerprint}"

    def test_fingerprint_follows_the_content(self, sources, tmp_path):
        copy = write_checkpoint(tmp_path / "copy", "llama")
        assert read_pretrained(str(copy)).fingerprint == sources["llama"].fingerprint
        other = write_checkpoint(tmp_path / "other", "llama", dtype="bfloat16")
        assert read_pretrained(str(other)).fingerprint != sources["llama"].fingerprint

    def test_changed_weights_are_refused(self, tmp_path):
        folder = write_checkpoint(tmp_path, "llama")
        source = read_pretrained(str(folder))
        with open(folder / "model.safetensors", "r+b") as stream:
            stream.seek(-1, 2)
            stream.write(b"\x01")
        with pytest.raises(InputError, match="has changed since the sweep was planned"):
            load_pretrained(source)

    def test_shards_are_read(self, checkpoints, tmp_path):
        with transformers_quietly() as transformers:
            model = transformers.AutoModelForCausalLM.from_pretrained(checkpoints["neox"])
            model.save_pretrained(tmp_path, max_shard_size="60KB")
        assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
        tokens = random_tokens(1, 8)
        with torch.no_grad():
            again = build_model(read_pretrained(str(tmp_path)))
            assert torch.equal(again(tokens), model(tokens).logits)


class TestShapeCheckpointing:
    def test_gradient_checkpointing_of_the_decoder(self):
        """The same operations on the same numbers, so equal to the last bit."""
        shape = ModelShape(32, 2, 2, 48, True, ROWS)
        gradients = []
        for on in (False, True):
            model = build_model(shape, gradient_checkpointing=on)
            calls = []
            model.blocks[0].attention_norm.register_forward_hook(
                lambda *_, calls=calls: calls.append(1)
            )
            model(random_tokens(2, 16)).square().mean().backward()
            assert len(calls) == 1 + on
            gradients.append([weight.grad for weight in model.parameters()])
        assert all(map(torch.equal, *gradients))


SCHEDULES = {
    "constant": (Schedule("constant", 1e-3, warmup_steps=4), (3, 6, 12)),
    "branches": (Schedule("branches", 1e-3, warmup_steps=3, decay_share=0.25), (3, 6, 12)),
    "cosine": (Schedule("cosine", 1e-3, warmup_steps=4), (12,)),
}


@pytest.fixture(scope="module")
def planned(checkpoint_spec_path, tmp_path_factory):
    """Return a sweep folder with finished bases, and the settings of a probe of each kind."""
    spec = read_spec(checkpoint_spec_path)
    sweep = SweepFolder(tmp_path_factory.mktemp("planned"))
    corpora = prepare_corpora(spec, sweep.corpora)
    bases, probes = sweep_settings(spec, corpora.identity)
    for base in bases.values():
        (outcome,) = execute_runs(sweep, [sweep.plan(base).path])
        assert outcome.state is RunState.FINISHED
    return sweep, {probe.size: probe for probe in probes if probe.domain_ratio == 0.3}


def probe_in(folder, settings, schedule):
    rates, steps = SCHEDULES[schedule]
    changed = replace(settings, schedule=rates, evaluation_steps=steps)
    run = RunFolder(folder / changed.run_id)
    write_json(run.settings, changed.as_dict())
    return run


def results(run):
    """Return rows, losses and the tensors of the last state."""
    losses = {path.name: dict(np.load(path)) for path in (run.path / "losses").iterdir()}
    (state,) = run.checkpoints.iterdir()
    return read_rows(run.metrics), losses, load_file(state)


class TestRuns:
    def test_base_is_evaluated_and_not_trained(self, planned):
        sweep, probes = planned
        base = sweep.base(probes["llama"].base)
        assert base.read_settings().train_tokens == 0
        assert [row["step"] for row in read_rows(base.metrics)] == [0]
        assert not list(base.checkpoints.glob("*"))

    @pytest.mark.parametrize("kind", KINDS)
    def test_probe_starts_with_the_losses_of_the_checkpoint(self, planned, kind, tmp_path):
        sweep, probes = planned
        run = probe_in(tmp_path, probes[kind], "cosine")
        execute_runs(sweep, [run.path])
        stored = np.load(run.losses(0))
        for name, losses in final_losses(sweep.base(probes[kind].base)).items():
            assert np.array_equal(stored[name], losses)
        # and the weights are those: with the model of transformers and its own loss
        with transformers_quietly() as transformers, torch.no_grad():
            reference = transformers.AutoModelForCausalLM.from_pretrained(
                probes[kind].model.checkpoint
            )
            corpora = load_corpora(sweep.corpora)
            tokens = torch.from_numpy(corpora.evaluation["general"][:1].astype(np.int64))
            loss = reference(tokens, labels=tokens).loss.item()
        # float32 sums in another order
        assert stored["general"][0] == pytest.approx(loss, rel=1e-5)

    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("kind", KINDS)
    def test_resumed_equals_unbroken(self, planned, tmp_path, kind, schedule):
        sweep, probes = planned
        options = {"checkpoint_seconds": 0, "keep_checkpoints": True}
        unbroken = probe_in(tmp_path / "unbroken", probes[kind], schedule)
        execute_runs(sweep, [unbroken.path], **options)
        broken = probe_in(tmp_path / "broken", probes[kind], schedule)
        for step in (4, 5):  # counted from each start
            with pytest.raises(Killed):
                execute_runs(sweep, [broken.path], should_stop=kill_at(step), **options)
        execute_runs(sweep, [broken.path], **options)
        rows, losses, state = results(unbroken)
        rows_again, losses_again, state_again = results(broken)
        assert rows == rows_again
        assert losses.keys() == losses_again.keys()
        for name, values in losses.items():
            assert all(np.array_equal(values[c], losses_again[name][c]) for c in values)
        assert state.keys() == state_again.keys()
        assert all(torch.equal(state[name], state_again[name]) for name in state)

    @pytest.mark.parametrize("kind", KINDS)
    def test_accumulated_gradients_are_those_of_the_batch(self, planned, kind):
        """In float64 the sum over micro-batches differs by rounding alone: about 1e-16 a term.

        Norms and rotations of these models round to float32 on the way, each sequence by itself.
        """
        _, probes = planned
        tokens = random_tokens(4, 17).numpy()
        states = []
        for size in (4, 3, 1):
            numerics = replace(probes[kind].numerics, precision="fp64", micro_batch_size=size)
            trainee = make_trainee([replace(probes[kind], numerics=numerics)])
            for _ in range(3):
                trainee.update([tokens], learning_rate=1e-3)
            states.append(trainee.state())
        for state in states[1:]:
            for name, tensor in state.items():
                assert torch.allclose(tensor, states[0][name], rtol=0, atol=1e-12)

    def test_evaluation_of_a_large_vocabulary_takes_few_sequences_at_once(self, planned):
        _, probes = planned
        large = replace(probes["llama"].model, vocab_size=128_000, width=2048)
        # two GiB over 512 tokens of 12 bytes a logit and 4 bytes for each of 26 * 2048 activations
        assert 2**31 / (512 * (12 * 128_000 + 4 * 26 * 2048)) == pytest.approx(2.398, abs=1e-3)
        assert evaluation_batch(replace(probes["llama"], model=large, sequence_length=512)) == 2

    def test_tied_head_is_stored_once(self, planned):
        _, probes = planned
        trainee = make_trainee([probes["llama"]])
        names = [name for name in trainee.state() if name.startswith("model.")]
        assert not any("lm_head" in name for name in names)
        other = make_trainee([probes["llama"]])
        trainee.update([random_tokens(4, 17).numpy()], learning_rate=1e-2)
        other.restore(0, trainee.state())
        lm = other.model.lm
        assert lm.get_output_embeddings().weight is lm.get_input_embeddings().weight
        tokens = random_tokens(1, 8)
        with torch.no_grad():
            assert torch.equal(other.model(tokens), trainee.model(tokens))

    def test_settings_survive_json(self, planned):
        _, probes = planned
        for settings in probes.values():
            stored = json.loads(json.dumps(settings.as_dict()))
            assert RunSettings.from_dict(stored) == settings
