"""Sweeps over checkpoints: from the spec to a fit, and one exact line for every kind of mistake."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from tiny_checkpoints import ROWS, trained_tokenizer, write_checkpoint, write_tokenizer

from cmrplan import cli
from cmrplan.errors import InputError
from probes.design import design_sweep
from probes.models.checkpoint_files import checkpoint_folder
from probes.models.pretrained import load_pretrained, read_pretrained
from probes.spec.file import parse_spec, read_spec, spec_text
from probes.sweep import run_sweep


@pytest.fixture(scope="module")
def runs(checkpoint_spec_path, tmp_path_factory):
    """Return the folder of a sweep over both checkpoints, run by the command line."""
    out = tmp_path_factory.mktemp("sweep") / "runs"
    assert (
        cli.run(["probe", "run", str(checkpoint_spec_path), "--out", str(out), "--workers", "1"])
        == 0
    )
    return out


@pytest.mark.slow
class TestWholeSweep:
    def test_log_and_fit(self, runs, tmp_path):
        assert cli.run(["logs", "collect", str(runs), "--out", str(tmp_path / "log.csv")]) == 0
        log = pd.read_csv(tmp_path / "log.csv")
        # two sizes, three ratios, token 0 and four evaluations, two corpora
        assert len(log) == 2 * 3 * 5 * 2
        assert set(log["base_model"].str.partition("@")[0]) == {"llama", "neox"}
        assert log["tokenizer"].nunique() == 1
        assert sorted(log["model_params"].unique()) == [3920, 9792]
        start = log[log["train_tokens"] == 0].groupby(["model_params", "eval_corpus"])["loss"]
        assert (start.nunique() == 1).all()
        last = log[log["train_tokens"] == log["train_tokens"].max()]
        learned = last[(last["eval_corpus"] == "domain") & (last["domain_ratio"] == 1)]
        assert (learned["loss"] < start.max().max() - 0.5).all()
        arguments = ["fit", str(tmp_path / "log.csv"), "--law", "dcpt", "--bootstrap", "20"]
        assert cli.run([*arguments, "--out", str(tmp_path / "fit.json")]) == 0
        assert (tmp_path / "fit.json").exists()

    def test_status(self, runs, capsys):
        assert cli.run(["probe", "status", str(runs)]) == 0
        assert capsys.readouterr().out.endswith("8 finished; 100% of the work\n")

    def test_bases_leave_no_weights(self, runs):
        assert not list(runs.glob("bases/*/checkpoints/*"))

    def test_a_new_start_does_nothing(self, runs, checkpoint_spec_path):
        before = {path: path.stat().st_mtime_ns for path in runs.rglob("metrics.jsonl")}
        run_sweep(read_spec(checkpoint_spec_path), runs, progress=False)
        assert {path: path.stat().st_mtime_ns for path in before} == before


class TestDesign:
    def test_a_base_costs_its_evaluation_alone(self, checkpoint_spec_path):
        speed = {"llama": 1e3, "neox": 1e3}
        design = design_sweep(read_spec(checkpoint_spec_path), tokens_per_second=speed, workers=1)
        assert design.base_tokens == 0
        assert [size.params_non_embedding for size in design.sizes] == [3920, 9792]
        # two bases evaluate once and six probes four times: two corpora, 24 sequences of 16 tokens
        evaluated = (2 + 6 * 4) * 2 * 24 * 16
        assert design.seconds == pytest.approx((6 * 64 * 48 + evaluated / 3) / 1e3)

    def test_speed_is_measured(self, checkpoint_spec_path, monkeypatch):
        monkeypatch.setattr("probes.calibration.MEASURED_SECONDS", 0.2)
        design = design_sweep(read_spec(checkpoint_spec_path), device="cpu", workers=1)
        assert all(size.tokens_per_second > 0 for size in design.sizes)


class TestSpec:
    def test_checkpoints_bring_their_tokenizer(self, checkpoint_values):
        spec = parse_spec(checkpoint_values)
        assert spec.tokenizer.kind == "checkpoint"
        assert spec.base is None
        assert parse_spec(yaml.safe_load(spec_text(spec))) == spec

    def test_folders_are_relative_to_the_file_and_hub_ids_stay(
        self, make_spec, checkpoint_values, corpora_folder, checkpoints
    ):
        shutil.copytree(checkpoints["llama"], corpora_folder / "mine" / "llama")
        names = ["mine/llama", "EleutherAI/pythia-70m", "./none/here", "gpt2"]
        checkpoint_values["sizes"] = [
            {"name": f"m{number}", "checkpoint": name} for number, name in enumerate(names)
        ]
        folders = [size.checkpoint for size in make_spec(checkpoint_values).checkpoints]
        assert folders == [
            str(corpora_folder / "mine" / "llama"),
            "EleutherAI/pythia-70m",
            str(corpora_folder / "none" / "here"),
            str(corpora_folder / "gpt2"),
        ]

    def mistake(self, values):
        with pytest.raises(InputError) as caught:
            parse_spec(values, origin="s.yaml")
        return str(caught.value)

    def test_shape_of_a_checkpoint(self, checkpoint_values):
        checkpoint_values["sizes"][0]["width"] = 16
        assert self.mistake(checkpoint_values) == (
            "s.yaml: unknown key 'sizes[0].width'; valid keys: name, micro_batch_size, processes, "
            "sharding, checkpoint, revision"
        )

    def test_base_without_need(self, checkpoint_values):
        checkpoint_values["base"] = {"train_tokens": 1000}
        assert self.mistake(checkpoint_values) == (
            "s.yaml: base: every size has a checkpoint, so no base is trained; leave it out"
        )

    def test_shape_without_base(self, values):
        del values["base"]
        message = "s.yaml: key 'base' is missing; the size 'nano' has no checkpoint"
        assert self.mistake(values) == message

    def test_inherited_optimizer(self, checkpoint_values):
        checkpoint_values["probes"]["inherit_optimizer"] = True
        assert self.mistake(checkpoint_values) == (
            "s.yaml: probes.inherit_optimizer: the checkpoint of size 'llama' has no state of an "
            "optimizer; leave it out"
        )

    def test_tokenizer_of_no_checkpoint(self, values):
        values["tokenizer"] = {"kind": "checkpoint"}
        message = "s.yaml: tokenizer: kind checkpoint needs a size with a checkpoint"
        assert self.mistake(values) == message

    def test_end_of_document_of_another_kind(self, values):
        values["tokenizer"] = {"kind": "bytes", "end_of_document": "\n"}
        message = "s.yaml: tokenizer: end_of_document belongs to kind checkpoint"
        assert self.mistake(values) == message


class TestMistakes:
    """Each is refused before the corpora are read; nothing is written."""

    @pytest.fixture
    def refuse(self, make_spec, checkpoint_values, tmp_path):
        """Return a function that gives the message for a spec with other checkpoints."""

        def message(*folders, **changes):
            names = [{"name": f"m{n}", "checkpoint": str(f)} for n, f in enumerate(folders)]
            sizes = {"sizes": names} if names else {}
            with pytest.raises(InputError) as caught:
                run_sweep(make_spec(checkpoint_values | sizes | changes), tmp_path / "runs")
            assert not (tmp_path / "runs").exists()
            assert "\n" not in str(caught.value)
            return str(caught.value)

        return message

    @pytest.fixture
    def llama(self, checkpoints, tmp_path):
        """Return a copy to damage."""
        return shutil.copytree(checkpoints["llama"], tmp_path / "llama")

    def edit(self, folder, **changes):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def test_no_folder(self, refuse, tmp_path):
        assert refuse(tmp_path / "none").startswith(f"{tmp_path}/none: no such folder; give the")

    def test_no_configuration(self, refuse, llama):
        (llama / "config.json").unlink()
        assert refuse(llama).startswith(f"{llama} has no config.json; give a folder that")

    def test_configuration_that_is_no_json(self, refuse, llama):
        (llama / "config.json").write_text("{")
        assert refuse(llama).startswith(f"{llama}/config.json is not JSON (line 1")

    def test_no_weights(self, refuse, llama):
        (llama / "model.safetensors").unlink()
        assert refuse(llama).startswith(f"{llama} has no model.safetensors; copy it there, or")

    def test_pickled_weights(self, refuse, llama):
        (llama / "model.safetensors").rename(llama / "pytorch_model.bin")
        assert "has its weights as pytorch_model.bin (pickle), which is not read" in refuse(llama)

    def test_missing_shard(self, refuse, llama):
        (llama / "model.safetensors").unlink()
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
        (llama / "model.safetensors.index.json").write_text(json.dumps(index))
        assert refuse(llama).startswith(f"{llama} has no model-00001-of-00002.safetensors; copy")

    def test_no_tokenizer(self, refuse, llama):
        (llama / "tokenizer.json").unlink()
        assert refuse(llama).startswith(f"{llama} has no tokenizer.json; write one there with")

    def test_unknown_architecture(self, refuse, llama):
        self.edit(llama, model_type="llamoid")
        assert "model_type 'llamoid' needs an architecture that transformers" in refuse(llama)

    def test_code_of_its_own(self, refuse, llama):
        self.edit(llama, model_type="llamoid", auto_map={"AutoConfig": "configuration.Config"})
        assert "needs code of its own, which is never run" in refuse(llama)

    @pytest.mark.parametrize(
        ("model_type", "architecture"),
        [
            ("bert", "BertForMaskedLM"),
            ("t5", "T5ForConditionalGeneration"),
            ("llama", "LlamaModel"),
        ],
    )
    def test_no_causal_language_model(self, refuse, llama, model_type, architecture):
        self.edit(llama, model_type=model_type, architectures=[architecture])
        assert f"holds a {architecture}, which is no causal language model" in refuse(llama)

    def test_quantized(self, refuse, llama):
        self.edit(llama, quantization_config={"quant_method": "fp8"})
        assert "is quantized and cannot be trained" in refuse(llama)

    def test_more_ids_than_rows(self, refuse, llama, tmp_path):
        num_ids = trained_tokenizer().get_vocab_size()
        small = write_checkpoint(tmp_path / "small", "llama", vocab_size=num_ids - 1)
        assert refuse(small).startswith(
            f"size 'm0': its tokenizer has {num_ids} ids and the embedding of {small} {num_ids - 1} rows; give"
        )

    def test_another_kind_of_tokenizer(self, refuse, checkpoints):
        assert refuse(tokenizer={"kind": "bytes"}) == (
            f"size 'llama': the bytes tokenizer has 257 ids and the embedding of {checkpoints['llama']} "
            f"{ROWS} rows; set tokenizer: {{kind: checkpoint}}"
        )

    def test_different_tokenizers(self, refuse, llama, checkpoints):
        write_tokenizer(llama, trained_tokenizer("another text of other words"))
        message = refuse(checkpoints["neox"], llama)
        assert message.startswith("sizes 'm0' and 'm1' have different tokenizers (checkpoint-")

    def test_longer_than_the_positions(self, refuse):
        assert refuse(sequence_length=65) == (
            "sequence_length 65 is more than the 64 positions of size 'llama'; take 64 or less"
        )

    def test_revision_of_a_folder(self, refuse, checkpoints):
        size = {"name": "a", "checkpoint": str(checkpoints["llama"]), "revision": "main"}
        assert refuse(sizes=[size]).endswith("a folder has no revision main; leave revision out")

    def test_without_transformers(self, refuse, monkeypatch):
        monkeypatch.setitem(sys.modules, "transformers", None)
        message = "a checkpoint needs transformers: pip install 'cmrplan[probes]'"
        assert refuse() == message

    def test_weights_that_are_not_there(self, checkpoints, llama):
        """Found when a run starts, since nothing before reads the weights."""
        self.edit(llama, tie_word_embeddings=False)
        with pytest.raises(
            InputError, match="lacks 1 weights of a LlamaForCausalLM, first lm_head"
        ):
            load_pretrained(read_pretrained(str(llama)))

    def test_settings_that_do_not_go_together(self, llama):
        self.edit(llama, hidden_act="none")
        with pytest.raises(InputError, match="cannot be built"):
            read_pretrained(str(llama))

    def test_torn_weights(self, llama):
        path = llama / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(InputError, match="cannot be loaded"):
            load_pretrained(read_pretrained(str(llama)))

    def test_weights_of_another_shape(self, llama):
        self.edit(llama, hidden_size=32, head_dim=16)
        with pytest.raises(InputError, match="cannot be loaded"):
            load_pretrained(read_pretrained(str(llama)))

    def test_changed_tokenizer_needs_another_folder(
        self, make_spec, checkpoint_values, llama, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("probes.sweep.Scheduler", None)  # nothing is trained
        checkpoint_values["sizes"] = [{"name": "m", "checkpoint": str(llama)}]
        spec = make_spec(checkpoint_values)
        with pytest.raises(TypeError):
            run_sweep(spec, tmp_path / "runs", progress=False)
        write_tokenizer(llama, trained_tokenizer("another text of other words"))
        with pytest.raises(InputError, match="were prepared with the tokenizer checkpoint-"):
            run_sweep(spec, tmp_path / "runs", progress=False)


class TestHub:
    def test_commit_and_files(self, checkpoints, tmp_path, monkeypatch):
        commit = shutil.copytree(checkpoints["llama"], tmp_path / "5c1a")
        asked = []

        def fetch(name, *, revision, allow_patterns):
            asked.append((name, revision))
            assert "*.bin" not in allow_patterns
            assert "model.safetensors" in allow_patterns
            return str(commit)

        monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
        source = read_pretrained("someone/llama", "main")
        assert (source.checkpoint, source.revision) == ("someone/llama", "5c1a")
        assert source.label == f"someone/llama@{source.fingerprint}"
        load_pretrained(source)
        assert asked == [("someone/llama", "main"), ("someone/llama", "5c1a")]

    def test_what_the_hub_says_is_one_line(self, monkeypatch):
        def fetch(*_, **__):
            raise ConnectionError("\nno network\nand more")

        monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
        with pytest.raises(InputError) as caught:
            checkpoint_folder("someone/llama", "v1")
        assert str(caught.value) == (
            "someone/llama is neither a folder beside the spec nor a model that the Hugging Face "
            "hub gave at revision v1: no network"
        )


def test_sweeps_without_checkpoints_do_not_import_transformers():
    code = (
        "import sys, probes.sweep, probes.design, probes.next_sweep, probes.executors.local_worker;"
        "print([m for m in ('transformers', 'tokenizers', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
