"""Exports: the weights by hand, the text as each framework's file format reads it, and what is refused."""

import ast
import json
import math
import shlex
from pathlib import Path

import pytest
import yaml
from known_mixtures import ASKED, world

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.export.export import TARGETS
from cmrplan.export.sources import levanter_shares
from cmrplan.files import sealed

# One half each of a million tokens; 2.5 passes over the domain, of which three are allowed.
HALVES = {
    "domain_ratio": 0.5,
    "train_tokens": 1e6,
    "asked": {"domain_tokens": 2e5, "max_epochs": 3.0},
}
ROWS = {"general": 400, "domain": 4000}
UNBOUND = {"domain_ratio": 0.5, "train_tokens": 1e6}
KNOWN = {"tokens_per_row": ROWS, "available": {"general": 2e6}}
TARGET_NAMES = list(TARGETS)


@pytest.fixture
def plan_file(tmp_path):
    """Return a function that writes a plan of some content."""

    def write(content, name="plan.json"):
        path = tmp_path / name
        path.write_text(json.dumps(sealed(content)))
        return path

    return write


def assigned(text, **stand_ins):
    """Return what a Python text assigns, with stand-ins for what it imports."""
    lines = [line for line in text.splitlines() if not line.startswith("from ")]
    names = dict(stand_ins)
    exec("\n".join(lines), names)
    return names


def recorded(*positional, **named):
    return named


class _Stream(tuple):
    """What stands for a streamed corpus: path, split, and how often it is repeated."""

    def repeat(self, times):
        return (*self, times)


def token_shares(weights, unit):
    """Return the shares of tokens that weights by row or by pass stand for, by the numbers above."""
    tokens = {"general": 1, "domain": 1}
    if unit == "row":
        tokens = ROWS
    if unit == "pass":
        tokens = {"general": 2e6, "domain": 2e5}
    total = sum(weights[name] * tokens[name] for name in weights)
    return {name: weights[name] * tokens[name] / total for name in weights}


def by_turns(listed):
    return dict(zip(listed[1::2], map(float, listed[::2]), strict=True))


class TestWeights:
    @pytest.mark.parametrize("ratio", [0.5, 0.076, 1 / 3])
    @pytest.mark.parametrize("to", TARGET_NAMES)
    def test_they_give_back_the_asked_share_of_tokens(self, to, ratio, plan_file):
        plan = plan_file(HALVES | {"domain_ratio": ratio})
        exported = cp.export(plan, to, **KNOWN)
        shares = token_shares(exported.weights, exported.unit)
        assert shares == pytest.approx({"general": 1 - ratio, "domain": ratio}, abs=1e-9)

    def test_rows_are_divided_by_their_tokens(self, plan_file):
        # (1/2)/400 to (1/2)/4000 is 10 to 1
        weights = cp.export(plan_file(HALVES), "hf", **KNOWN).weights
        assert weights == pytest.approx({"general": 10 / 11, "domain": 1 / 11}, abs=1e-12)

    def test_passes_are_tokens_over_unique_tokens(self, plan_file):
        exported = cp.export(plan_file(HALVES), "axolotl", **KNOWN)
        assert exported.weights == exported.passes == {"general": 0.25, "domain": 2.5}

    def test_a_share_is_written_as_it_would_be_typed(self, plan_file):
        text = cp.export(plan_file(UNBOUND | {"domain_ratio": 0.924}), "megatron").text
        assert "--data-path 0.076 PATH/TO/general 0.924 PATH/TO/domain\n" in text

    def test_a_path_may_be_an_object(self, plan_file):
        text = cp.export(plan_file(HALVES), "yaml", paths={"general": Path("/data/g")}).text
        assert yaml.safe_load(text)["paths"] == {"general": "/data/g", "domain": "PATH/TO/domain"}

    def test_a_corpus_without_a_share_is_left_out(self, plan_file):
        exported = cp.export(plan_file(HALVES | {"domain_ratio": 0.0}), "megatron")
        assert exported.weights == {"general": 1.0}
        assert "\n--data-path 1.0 PATH/TO/general\n" in exported.text
        assert "Left out, with a share of 0: domain" in exported.text
        plain = cp.export(plan_file(HALVES | {"domain_ratio": 0.0}), "json")
        assert json.loads(plain.text)["left_out"] == ["domain"]

    @pytest.mark.parametrize("to", ["hf", "olmo-core"])
    def test_they_sum_to_one_as_the_framework_checks(self, to, plan_file):
        # numpy's choice takes a sum within 1.5e-8 of 1, OLMo-core one within 1e-5
        shares = {f"c{n}": (n + 1) ** 2 / 9455 for n in range(30)}  # 30 · 31 · 61 / 6 = 9455
        plan = plan_file({"shares": shares, "train_tokens": 1e9})
        tokens = {name: 100 + 7 * n for n, name in enumerate(shares)}
        weights = cp.export(plan, to, tokens_per_row=tokens).weights
        assert math.fsum(weights.values()) == pytest.approx(1, abs=1e-9)


class TestTexts:
    """What each framework would read, by the parser of the file's format."""

    def text(self, plan_file, to, **more):
        paths = {"general": "/g", "domain": "/d"}
        return cp.export(plan_file(HALVES), to, **KNOWN, paths=paths, **more).text

    def test_hugging_face(self, plan_file):
        text = self.text(plan_file, "hf", seed=3)
        loaded = lambda path, split, streaming: _Stream((path, split))  # noqa: E731
        given = assigned(
            text,
            interleave_datasets=lambda datasets, **named: named | {"datasets": datasets},
            load_dataset=loaded,
        )["train"]
        assert given == {
            "datasets": [("/g", "train", None), ("/d", "train", None)],
            "probabilities": pytest.approx([10 / 11, 1 / 11], abs=1e-12),
            "seed": 3,
            "stopping_strategy": "all_exhausted",
        }

    def test_llama_factory(self, plan_file):
        text = self.text(plan_file, "llama-factory")
        given = yaml.safe_load(text)
        assert given["dataset"] == "general,domain"
        assert given["mix_strategy"] == "interleave_over"
        assert [float(p) for p in given["interleave_probs"].split(",")] == pytest.approx(
            [10 / 11, 1 / 11], abs=1e-12
        )
        (info,) = [line for line in text.splitlines() if "dataset_info.json" in line]
        entries = json.loads(info.partition(": ")[2])
        # A corpus of documents in `text`, as the data/README.md of LLaMA-Factory has it under Pre-training Dataset.
        columns = {"prompt": "text"}
        assert entries == {
            "general": {"file_name": "/g", "columns": columns},
            "domain": {"file_name": "/d", "columns": columns},
        }

    def test_mosaicml_streaming(self, plan_file):
        names = assigned(
            self.text(plan_file, "mosaicml-streaming"), Stream=recorded, StreamingDataset=recorded
        )
        proportions = [stream["proportion"] for stream in names["streams"]]
        assert proportions == pytest.approx([10 / 11, 1 / 11], abs=1e-12)
        assert names["train"]["epoch_size"] == 1375  # 1e6 tokens over 8000/11 a sample

    def test_megatron(self, plan_file):
        listed = shlex.split(self.text(plan_file, "megatron"), comments=True)
        assert listed[0] == "--data-path"
        assert len(listed) % 2
        assert by_turns(listed[1:]) == {"/g": 0.5, "/d": 0.5}

    def test_a_file_of_arguments_for_megatron_has_no_option_in_it(self, plan_file):
        # get_blend_and_blend_per_split splits the file of --data-args-path at spaces; with the option it would have an
        # odd number of words, which are read as prefixes without weights.
        assert "prefixes alone: no --data-path" in self.text(plan_file, "megatron")

    def test_megatron_bridge(self, plan_file):
        given = yaml.safe_load(self.text(plan_file, "megatron-bridge"))
        assert by_turns(given["dataset"]["data_path"]) == {"/g": 0.5, "/d": 0.5}

    def test_megatron_bridge_for_sft_counts_passes(self, plan_file):
        text = self.text(plan_file, "megatron-bridge-sft")
        given = yaml.safe_load(text)["dataset"]
        assert given["source_weights"] == [0.25, 2.5]
        assert [source["path_or_dataset"] for source in given["source"]] == ["/g", "/d"]
        (manifest,) = [line for line in text.splitlines() if "manifest" in line]
        rows = by_turns(json.loads(manifest.partition(": ")[2])["train"])
        assert rows == pytest.approx({"/g": 10 / 11, "/d": 1 / 11}, abs=1e-12)

    def test_nemo_automodel_keeps_one_order_and_no_weight_of_the_loss(self, plan_file):
        given = yaml.safe_load(self.text(plan_file, "nemo-automodel"))
        domains = given["domain_mixture"]["domains"]
        assert [(d["path"], d["sampling_weight"]) for d in domains] == list(
            by_turns(given["dataset"]["paths"]).items()
        )
        assert all(d["objective_weight"] == d["sampling_weight"] for d in domains)

    def test_nemo_automodel_has_no_mixture_of_one(self, plan_file):
        text = cp.export(plan_file(UNBOUND | {"domain_ratio": 1.0}), "nemo-automodel").text
        given = yaml.safe_load(text)
        assert given == {"dataset": {"paths": ["1.0", "PATH/TO/domain"]}}

    def test_nanotron_has_two_lists(self, plan_file):
        (stage,) = yaml.safe_load(self.text(plan_file, "nanotron"))["data_stages"]
        assert stage["start_training_step"] == 1
        given = stage["data"]["dataset"]
        assert given == {"dataset_folder": ["/g", "/d"], "dataset_weights": [0.5, 0.5]}

    def test_torchtitan(self, plan_file):
        class Loader:
            Config = staticmethod(recorded)

        names = assigned(
            self.text(plan_file, "torchtitan"),
            HFDataSource=recorded,
            InterleavedHuggingFaceTextDataLoader=Loader,
        )
        sources = names["dataloader"]["sources"]
        assert [(s["dataset"], s["dataset_path"], s["weight"]) for s in sources] == [
            ("general", "/g", 0.5),
            ("domain", "/d", 0.5),
        ]
        assert {source["infinite"] for source in sources} == {True}
        assert names["dataloader"]["stopping_strategy"] in ("on_first_exhausted", "all_exhausted")

    def test_olmo_core_may_repeat_as_the_plan_allows(self, plan_file):
        text = self.text(plan_file, "olmo-core")
        general, domain = yaml.safe_load(text)["sources"]
        assert general["max_repetition_ratio"] == 1.0
        assert domain["max_repetition_ratio"] == 3.0
        assert math.fsum([general["target_ratio"], domain["target_ratio"]]) == 1
        assert "requested_tokens=1000000" in text

    def test_olmo_core_takes_a_part_where_less_than_a_pass_is_allowed(self, plan_file):
        limits = {"domain_tokens": 2e6, "max_epochs": 0.5}
        text = cp.export(plan_file(HALVES | {"asked": limits}), "olmo-core").text
        domain = yaml.safe_load(text)["sources"][1]
        assert (domain["max_repetition_ratio"], domain["max_source_fraction"]) == (1.0, 0.5)

    def test_olmo_core_may_repeat_a_corpus_without_a_limit_as_often_as_it_has_to(self, plan_file):
        # 500,000 tokens of 299,000: 1.672... passes
        text = cp.export(plan_file(HALVES), "olmo-core", available={"general": 299_000}).text
        assert yaml.safe_load(text)["sources"][0]["max_repetition_ratio"] == 1.68

    def test_axolotl_lists_a_corpus_again(self, plan_file):
        given = yaml.safe_load(self.text(plan_file, "axolotl"))
        listed = [(entry["path"], entry["weight"]) for entry in given["datasets"]]
        assert listed == [("/g", 0.25), ("/d", 1.0), ("/d", 1.0), ("/d", 0.5)]
        assert given["num_epochs"] == 1

    def test_levanter_says_what_a_block_makes_of_the_shares(self, plan_file):
        # 0.7 * 2048 = 1433.6 and 0.3 * 2048 = 614.4: the larger gets the rest
        exported = cp.export(plan_file(HALVES | {"domain_ratio": 0.3}), "levanter")
        given = yaml.safe_load(exported.text)["data"]
        assert given["train_weights"] == {"general": 0.7, "domain": 0.3}
        assert given["mixture_block_size"] == 2048
        assert exported.achieved_shares == {"general": 1434 / 2048, "domain": 614 / 2048}
        assert "general 0.700195, domain 0.299805" in exported.text

    def test_levanter_takes_a_longer_block_where_2048_sequences_miss(self, plan_file):
        # 29 corpora with 20.99 of 2048 sequences: 20 each leave 1468 to the largest, 0.0140 too much;
        # with 41.98 of 4096, 41 each leave 2907, 0.0069 too much.
        small = {f"c{n}": 20.99 / 2048 for n in range(29)}
        shares = small | {"large": 1 - sum(small.values())}
        exported = cp.export(plan_file({"shares": shares, "train_tokens": 1e9}), "levanter")
        assert yaml.safe_load(exported.text)["data"]["mixture_block_size"] == 4096
        assert exported.achieved_shares["large"] == 2907 / 4096

    def test_levanter_says_that_a_tiny_share_is_never_drawn(self, plan_file):
        exported = cp.export(plan_file(HALVES | {"domain_ratio": 0.0004}), "levanter")
        assert exported.achieved_shares == levanter_shares(
            {"general": 0.9996, "domain": 0.0004}, 2048
        )
        assert exported.achieved_shares["domain"] == 0
        assert "domain: the share is below one sequence" in exported.text

    def test_levanter_refuses_what_no_block_keeps(self, plan_file):
        with pytest.raises(InputError, match=r"within 1e-06: .* larger --share-tolerance"):
            cp.export(plan_file(HALVES | {"domain_ratio": 0.3}), "levanter", share_tolerance=1e-6)

    @pytest.mark.parametrize(("to", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
    def test_plain(self, to, read, plan_file):
        path = plan_file(HALVES)
        given = read(self.text(plan_file, to))
        assert given["plan"] == json.loads(path.read_text())["checksum"]
        assert given["shares"] == {"general": 0.5, "domain": 0.5}
        assert given["share_tolerance"] == 0.01
        assert given["passes"] == {"general": 0.25, "domain": 2.5}
        assert given["max_passes"] == {"general": None, "domain": 3.0}
        assert given["row_weights"]["general"] == pytest.approx(10 / 11, abs=1e-12)


class TestComments:
    @pytest.mark.parametrize("to", [name for name in TARGET_NAMES if name != "json"])
    def test_they_say_shares_tolerance_passes_and_plan(self, to, plan_file):
        path = plan_file(HALVES)
        head = [line for line in cp.export(path, to, **KNOWN).text.splitlines() if line[:1] == "#"]
        assert head[0].startswith("# Written by cmrplan export ")
        assert json.loads(path.read_text())["checksum"] in head[1]
        assert "general 0.5, domain 0.5" in head[2]
        assert "within 0.01" in head[2]
        assert "general 0.25; domain 2.5 (the plan allows 3)" in head[3]

    def test_unknown_passes_are_said_to_be(self, plan_file):
        text = cp.export(plan_file(HALVES), "megatron").text
        assert "domain 2.5 (the plan allows 3); not known of general: give --available" in text

    @pytest.mark.parametrize("to", [name for name in TARGET_NAMES if name != "llama-factory"])
    def test_names_that_would_break_out_of_a_text_do_not(self, to, plan_file):
        names = ["a\nb: 1", "c'\"\\ #", "no", "d\u202e\u00e9 ${x}"]
        shares = dict.fromkeys(names, 0.25)
        exported = cp.export(
            plan_file({"shares": shares, "train_tokens": 1e6}),
            to,
            paths={name: f"/data/{name}" for name in names},
            tokens_per_row=dict.fromkeys(names, 100),
            available=dict.fromkeys(names, "1M"),
        )
        assert list(exported.weights) == names
        paths = {f"/data/{name}" for name in names}
        suffix = TARGETS[to].suffix
        if suffix == ".txt":
            assert set(shlex.split(exported.text, comments=True)[2::2]) == paths
        elif suffix == ".py":
            nodes = ast.walk(ast.parse(exported.text))
            assert paths <= {getattr(node, "value", None) for node in nodes if literal(node)}
        else:
            content = yaml.safe_load(exported.text)
            assert paths <= set(flat(content))
            assert "b" not in content


def literal(node):
    return isinstance(node, ast.Constant)


def flat(value):
    """Return the keys and values of a nested value."""
    if isinstance(value, dict):
        return [one for pair in value.items() for item in pair for one in flat(item)]
    return [one for item in value for one in flat(item)] if isinstance(value, list) else [value]


class TestRefusals:
    def test_more_passes_than_the_plan_allows(self, plan_file):
        with pytest.raises(CmrplanError, match=r"domain would be passed over 5 times.* allows 3"):
            cp.export(plan_file(HALVES), "megatron", available={"domain": "100k"})

    def test_a_plan_that_its_domain_tokens_bind_is_not_refused(self, plan_file):
        limits = {"domain_tokens": 5e5 * (1 - 1e-9), "max_epochs": 1.0}
        assert cp.export(plan_file(HALVES | {"asked": limits}), "megatron").passes["domain"] > 1

    @pytest.mark.parametrize("to", ["hf", "llama-factory", "mosaicml-streaming"])
    def test_rows_without_their_tokens(self, to, plan_file):
        with pytest.raises(InputError, match=rf"{to} weighs rows .* --tokens-per-row general=400"):
            cp.export(plan_file(HALVES), to)
        with pytest.raises(InputError, match=r"a row of domain, such as"):
            cp.export(plan_file(HALVES), to, tokens_per_row={"general": 400})

    @pytest.mark.parametrize("to", ["axolotl", "megatron-bridge-sft"])
    def test_passes_without_unique_tokens(self, to, plan_file):
        with pytest.raises(InputError, match=r"unique tokens of general, such as --available"):
            cp.export(plan_file(HALVES), to)

    def test_names_that_a_framework_cannot_take(self, plan_file):
        plan = plan_file({"shares": {"a,b": 0.5, "weighted": 0.5}, "train_tokens": 1e6})
        with pytest.raises(InputError, match=r"separates names by commas .*'a,b'"):
            cp.export(plan, "llama-factory", tokens_per_row={"a,b": 1, "weighted": 1})
        with pytest.raises(InputError, match="keeps the name 'weighted'"):
            cp.export(plan, "nemo-automodel")

    def test_wrong_names(self, plan_file):
        plan = plan_file(HALVES)
        with pytest.raises(InputError, match="did you mean general"):
            cp.export(plan, "megatron", paths={"genral": "/g"})
        with pytest.raises(InputError, match="did you mean megatron"):
            cp.export(plan, "megatrn")
        with pytest.raises(InputError, match="did you mean tokens_per_row"):
            cp.export(plan, "hf", tokens_per_rows={})

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"tokens_per_row": {"general": 0}}, "tokens_per_row of general"),
            ({"available": {"general": "many"}}, "available of general"),
            ({"share_tolerance": 1.0}, "share_tolerance must be between 0 and 1"),
            ({"seed": -1}, "seed must be 0 or more"),
            ({"seed": 1.5}, "seed must be 0 or more, a whole number, got 1.5"),
            ({"share_tolerance": "1%"}, "share_tolerance must be between 0 and 1, got '1%'"),
            ({"paths": {"general": ["/a", "/b"]}}, "paths: general must have one path"),
        ],
    )
    def test_numbers_out_of_range(self, options, message, plan_file):
        with pytest.raises(InputError, match=message):
            cp.export(plan_file(HALVES), "megatron", **options)


DAMAGED = {
    "edited": lambda text: text.replace('"train_tokens": 1000000.0', '"train_tokens": 2000000.0'),
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "list": lambda text: "[1, 2]",
    "of something else": lambda text: '{"name": "package", "version": "1.0"}',
    "a fit": lambda text: '{"cmrplan_fit": 2}',
    "share above one": lambda text: '{"domain_ratio": 1.5, "train_tokens": 1}',
    "share of words": lambda text: '{"domain_ratio": "much", "train_tokens": 1}',
    "no tokens": lambda text: '{"domain_ratio": 0.5}',
    "infinite tokens": lambda text: '{"domain_ratio": 0.5, "train_tokens": Infinity}',
    "shares that do not sum to one": lambda text: '{"shares": {"a": 0.5}, "train_tokens": 1}',
    "shares of nothing": lambda text: '{"shares": {}, "train_tokens": 1}',
    "limits of words": lambda text: '{"domain_ratio": 0.5, "train_tokens": 1, "asked": "none"}',
}


class TestPlanFiles:
    def test_a_plan_without_a_ratio_is_no_damaged_file(self, plan_file, call):
        content = {"domain_ratio": None, "is_feasible": False, "reason": "nothing holds 1%"}
        answer = call("export", plan_file(UNBOUND | content), "--to", "json")
        assert answer.code == 1
        assert "recommends no ratio" in answer.err
        assert "nothing holds 1%" in answer.err

    @pytest.mark.parametrize("damage", DAMAGED)
    def test_a_damaged_or_foreign_file_is_one_line(self, damage, plan_file, call):
        path = plan_file(HALVES)
        path.write_text(DAMAGED[damage](path.read_text()))
        answer = call("export", path, "--to", "json")
        assert answer.code == 2, answer.err
        assert answer.out == ""
        assert answer.err.count("\n") == 1
        assert "plan.json" in answer.err
        assert "internal" not in answer.err

    def test_a_missing_file_is_one_line(self, call, tmp_path):
        answer = call("export", tmp_path / "none.json", "--to", "json")
        assert answer.code == 2
        assert "no such file" in answer.err

    def test_a_plan_whose_checksum_was_deleted_is_refused(self, tmp_path):
        """Plans of 0.2.0, which no command of it read, have none either, and nothing in them tells an edit."""
        (tmp_path / "plan.json").write_text(json.dumps(HALVES))
        with pytest.raises(InputError, match=r"plan.json .*its checksum is gone.*cmrplan plan"):
            cp.export(tmp_path / "plan.json", "json")


class TestRoundTrip:
    def test_from_the_command_of_two_corpora(self, call, fit_path, tmp_path):
        plan, out = tmp_path / "plan.json", tmp_path / "mix.txt"
        asked = ("--model-params", "1e6", "--train-tokens", "1e6", "--max-general-rise", "3%")
        planned = call("plan", fit_path, *asked, "--domain-tokens", "10M", "--json", "--out", plan)
        answer = call("export", plan, "--to", "megatron", "--out", out)
        assert answer.code == 0, answer.err
        assert f"mixture for megatron -> {out}" in answer.out
        listed = shlex.split(out.read_text(), comments=True)
        ratio = planned.json()["domain_ratio"]
        expected = {"PATH/TO/general": 1 - ratio, "PATH/TO/domain": ratio}
        assert by_turns(listed[1:]) == pytest.approx(expected, abs=1e-9)
        assert planned.json()["checksum"] in out.read_text()
        passes = call("export", plan, "--to", "json", "--json").json()["passes"]["domain"]
        assert passes == pytest.approx(planned.json()["domain_epochs"], abs=1e-9)

    def test_from_a_plan_of_many(self, tmp_path):
        fit = cp.fit_mixture(world(3, 24), bootstrap=0)
        plan = cp.plan_mixture(fit, **ASKED)
        exported = cp.export(plan, "yaml")
        assert yaml.safe_load(exported.text)["shares"] == pytest.approx(plan.shares, abs=1e-9)
        assert exported.train_tokens == plan.train_tokens
        (tmp_path / "plan.json").write_text(json.dumps(sealed(plan.as_dict())))
        assert cp.export(tmp_path / "plan.json", "yaml") == exported


class TestCommand:
    def test_text_goes_to_standard_output(self, call, plan_file):
        path = plan_file(HALVES)
        answer = call("export", path, "--to", "hf", "--tokens-per-row", "general=400",
                      "--tokens-per-row", "domain=4k", "--path", "domain=/a=b")  # fmt: skip
        assert answer.code == 0, answer.err
        expected = cp.export(path, "hf", tokens_per_row=ROWS, paths={"domain": "/a=b"}).text
        assert answer.out == expected

    def test_tokens_of_a_row_come_from_prepared_corpora(self, call, plan_file, tmp_path):
        folder = tmp_path / "runs" / "corpora"
        folder.mkdir(parents=True)
        counts = {
            "general": {"train_documents": 50, "available_train_tokens": 20_000},
            "domain": {"train_documents": 5, "available_train_tokens": 20_000},
        }
        (folder / "manifest.json").write_text(json.dumps({"corpora": counts}))
        for given in (folder, folder.parent):
            asked = ("export", plan_file(HALVES), "--to", "hf", "--corpora", given, "--json")
            weights = call(*asked).json()["weights"]
            assert weights == pytest.approx({"general": 10 / 11, "domain": 1 / 11}, abs=1e-12)
        weights = call(*asked, "--tokens-per-row", "general=4000").json()["weights"]
        assert weights == {"general": 0.5, "domain": 0.5}
        (folder / "manifest.json").write_text('{"corpora": {"general": {}}}')
        answer = call(*asked)
        assert answer.code == 2
        assert "no prepared corpora that count tokens and documents" in answer.err

    def test_beyond_the_passes_it_exits_1(self, call, plan_file):
        asked = ("export", plan_file(HALVES), "--to", "json", "--available", "domain=100k")
        answer = call(*asked)
        assert answer.code == 1
        assert "--max-epochs" in answer.err

    def test_a_file_of_another_kind_is_refused(self, call, plan_file, tmp_path):
        asked = ("export", plan_file(HALVES), "--to", "olmo-core", "--out")
        answer = call(*asked, tmp_path / "mix.json")
        assert answer.code == 2
        assert "--out must be a .yaml file for olmo-core" in answer.err
        assert call(*asked, tmp_path / "mix.yml").code == 0
        assert call(*asked, tmp_path / "mix.yml").code == 0, "our own file is written again"
        (tmp_path / "mine.yaml").write_text("seed: 1\n")
        assert call(*asked, tmp_path / "mine.yaml").code == 2
        assert (tmp_path / "mine.yaml").read_text() == "seed: 1\n"
