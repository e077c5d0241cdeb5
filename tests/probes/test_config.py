"""The spec: defaults, odd but right numbers, and one exact line for every kind of mistake."""

import pytest
import yaml

from cmrplan.errors import InputError
from probes.data.prepared import DataIdentity
from probes.planned_probes import planned_probes
from probes.planned_runs import sweep_settings
from probes.spec.file import parse_spec, read_spec, spec_text


def put(values, key, value):
    """Set a dotted key; a number addresses a list entry."""
    *path, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    for part in path:
        values = values[part]
    values[last] = value


def message_of(values):
    with pytest.raises(InputError) as caught:
        parse_spec(values, origin="s.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestReading:
    def test_defaults(self, spec):
        assert spec.tokenizer.kind == "bytes"
        assert spec.probes.learning_rate == 1e-3
        assert spec.sizes[0].tied_embeddings is True

    def test_sources_are_relative_to_the_file(self, spec, corpora_folder):
        assert spec.corpora.general.source == str(corpora_folder / "general")

    def test_embedded_sources_stay(self, make_spec, values):
        put(values, "corpora.general.source", "embedded:english")
        assert make_spec(values).corpora.general.source == "embedded:english"

    @pytest.mark.parametrize("text", ["1e4", "1_0000", "10000.0", '"10000"'])
    def test_numbers_yaml_reads_as_text(self, values, text):
        put(values, "probes.train_tokens", yaml.safe_load(text))
        assert parse_spec(values).probes.train_tokens == 10_000

    def test_resolved_spec_reads_back_equal(self, spec):
        assert parse_spec(yaml.safe_load(spec_text(spec))) == spec

    def test_quickstart_spec_is_packaged_and_valid(self):
        from importlib.resources import files

        spec = read_spec(str(files("probes") / "quickstart.yaml"))
        assert len(planned_probes(spec)) >= 7


class TestPlannedProbes:
    def test_grid_and_controls(self, make_spec, values):
        put(values, "probes.grid", {"domain_ratio": [0.5, 1], "seed": [0, 3]})
        assert planned_probes(make_spec(values)) == [
            ("nano", ratio, seed, 64 * 48) for seed in (0, 3) for ratio in (0.0, 0.5, 1.0)
        ]

    def test_runs_one_by_one(self, make_spec, values):
        values["sizes"].append(values["sizes"][0] | {"name": "micro"})
        values["probes"].pop("grid")
        put(values, "probes.runs", [{"domain_ratio": 0.5, "size": "micro", "seed": 2}])
        expected = [("micro", ratio, 2, 64 * 48) for ratio in (0.0, 0.5, 1.0)]
        assert planned_probes(make_spec(values)) == expected

    def test_a_run_may_have_its_own_tokens(self, make_spec, values):
        values["probes"].pop("grid")
        run = {"domain_ratio": 0.5, "size": "nano"}
        budgets = (64 * 20, 64 * 96, 64 * 96 + 1)  # the last two are the same steps of 64 tokens
        put(values, "probes.runs", [run | {"train_tokens": tokens} for tokens in budgets])
        data = DataIdentity("", "bytes", 257)
        _, probes = sweep_settings(make_spec(values), data)
        # controls are as long as the spec says; all evaluate four times, log-spaced from step 6 on
        assert [(p.domain_ratio, p.evaluation_steps) for p in probes] == [
            (0.0, (6, 12, 24, 48)),
            (0.5, (6, 9, 13, 20)),
            (0.5, (6, 15, 38, 96)),
            (1.0, (6, 12, 24, 48)),
        ]


WRONG_VALUES = [
    ("probes.grid.domain_ratio", [30],
     "probes.grid.domain_ratio[0] must be a fraction in [0, 1], got 30. Percent? Divide by 100."),
    ("probes.grid.domain_ratio", [-0.5], "probes.grid.domain_ratio[0] must be a fraction in [0, 1], got -0.5"),
    ("probes.grid.domain_ratio", ["half"], "probes.grid.domain_ratio[0] must be a number, got 'half'"),
    ("probes.grid.domain_ratio", [True], "probes.grid.domain_ratio[0] must be a number, got true"),
    ("probes.grid.domain_ratio", [], "probes.grid.domain_ratio must have at least one entry"),
    ("probes.grid.domain_ratio", 0.5, "probes.grid.domain_ratio must be a list, got 0.5"),
    ("probes.grid.seed", [-1], "probes.grid.seed[0] must be 0 or more, got -1"),
    ("probes.grid.seed", [0.5], "probes.grid.seed[0] must be a whole number, got 0.5"),
    ("probes.grid.size", ["huge"], "probes names the size 'huge', which sizes does not have: nano"),
    ("probes.train_tokens", -5, "probes.train_tokens must be greater than 0, got -5"),
    ("probes.train_tokens", float("nan"), "probes.train_tokens must be a finite number, got .nan"),
    ("probes.train_tokens", None, "probes.train_tokens must be a number, got nothing"),
    ("probes.first_evaluation_tokens", 9999, "probes: first_evaluation_tokens 9999 is more than train_tokens 3072"),
    ("batch_size", 0, "batch_size must be 1 or more, got 0"),
    ("batch_size", 1e12, "batch_size must be at most 2147483647, got 1000000000000.0"),
    ("probes.train_tokens", 10**400, "probes.train_tokens must be a finite number, got " + "1" + "0" * 59),
    ("batch_size", 2.5, "batch_size must be a whole number, got 2.5"),
    ("name", "../up", "name must be a name of up to 64 letters, digits, '_', '-' and '.', got '../up'"),
    ("name", "..", "name must be a name of up to 64 letters, digits, '_', '-' and '.', got '..'"),
    ("sizes.0.name", "a/b", "sizes[0].name must be a name of up to 64 letters, digits, '_', '-' and '.', got 'a/b'"),
    ("sizes.0.heads", 3, "sizes[0]: width 16 over 3 heads must give an even whole number; make width a multiple of 6"),
    ("sizes.0.tied_embeddings", "yes", "sizes[0].tied_embeddings must be true or false, got 'yes'"),
    ("sizes", [], "sizes must have at least one entry"),
    ("sizes", {"nano": 1}, "sizes must be a list, got {nano: 1}"),
    ("corpora.general", "text", "corpora.general must be a mapping of keys, got 'text'"),
    ("corpora.validation_share", 0, "corpora.validation_share must be between 0 and 1, both excluded, got 0"),
    ("tokenizer", {"kind": "words"}, "tokenizer.kind must be 'bytes', 'bpe' or 'checkpoint', got 'words'"),
    ("tokenizer", {"kind": "bpe"}, "tokenizer: kind bpe needs vocab_size"),
    ("tokenizer", {"kind": "bpe", "vocab_size": 100}, "tokenizer: vocab_size must be 257 to 65536, got 100"),
    ("base", {"seed": 1}, "base: give either train_tokens or tokens_per_param"),
]  # fmt: skip


class TestMistakes:
    @pytest.mark.parametrize(("key", "value", "expected"), WRONG_VALUES)
    def test_wrong_value(self, values, key, value, expected):
        put(values, key, value)
        assert message_of(values) == f"s.yaml: {expected}"

    def test_unknown_key_with_a_near_one(self, values):
        put(values, "base.lerning_rate", 1e-3)
        assert message_of(values) == (
            "s.yaml: unknown key 'base.lerning_rate'; did you mean 'learning_rate'? valid keys: "
            "learning_rate, warmup_steps, weight_decay, gradient_clip, train_tokens, "
            "tokens_per_param, cooldown_share, seed"
        )

    def test_key_that_is_a_number(self, values):
        values["sizes"][0][1] = "a"
        assert message_of(values).startswith("s.yaml: unknown key 'sizes[0][1]'; valid keys: name")

    def test_a_key_with_an_invisible_character_is_written_out(self, values):
        values["na\u202eme"] = 1
        assert message_of(values).startswith(r"s.yaml: unknown key 'na\u202eme'; did you mean")

    def test_a_value_with_an_invisible_character_is_written_out(self, values):
        put(values, "sizes.0.heads", "t\u202ewo")
        assert r"got 't\u202ewo'" in message_of(values)

    def test_unknown_key_inside_a_list(self, values):
        put(values, "sizes.0.colour", 1)
        assert message_of(values) == (
            "s.yaml: unknown key 'sizes[0].colour'; valid keys: "
            "name, micro_batch_size, processes, sharding, width, layers, heads, feedforward, "
            "tied_embeddings"
        )

    def test_misspelt_key_is_named_before_the_missing_one(self, values):
        put(values, "batchsize", values.pop("batch_size"))
        assert message_of(values).startswith("s.yaml: unknown key 'batchsize'; did you mean")

    def test_missing_key(self, values):
        values["sizes"][0].pop("width")
        assert message_of(values) == "s.yaml: key 'sizes[0].width' is missing"

    def test_size_named_twice(self, values):
        values["sizes"] *= 2
        assert message_of(values) == "s.yaml: sizes has the name 'nano' twice"

    def test_averaged_weights_of_a_run_on_several_gpus(self, values):
        values["sizes"][0]["processes"] = 2
        put(values, "probes.schedule", "averaged")
        assert message_of(values) == (
            "s.yaml: probes.schedule averaged, the default, needs runs of one process, and size 'nano' has 2; "
            "take branches or constant"
        )

    def test_grid_and_runs(self, values):
        put(values, "probes.runs", [{"domain_ratio": 0.5, "size": "nano"}])
        assert message_of(values) == "s.yaml: probes: give either grid or runs"

    def test_not_a_mapping(self):
        assert message_of([1, 2]) == "s.yaml: a sweep spec is a mapping of keys, got [1, 2]"


class TestBrokenFiles:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", " is empty; a sweep spec starts with name, corpora, sizes"),
            (b"name: a\nname: b\n", ": line 2, column 1: the key 'name' is there twice"),
            (b"? [a]\n: b\n", ": line 1, column 3: found unhashable key"),
            (b"name: 2020-13-45\n", ": month must be in 1..12"),
            (b"name: [a\n", ": line 2, column 1: expected ',' or ']', but got '<stream end>'"),
            (b"name: caf\xe9\n", " is not UTF-8 text (byte 9 is 0xe9); save it as UTF-8"),
            (
                b"name: !!python/object/apply:os.getcwd []\n",
                ": line 1, column 7: could not determine a constructor for the tag "
                "'tag:yaml.org,2002:python/object/apply:os.getcwd'",
            ),
        ],
    )
    def test_one_line_with_the_place(self, tmp_path, content, expected):
        path = tmp_path / "s.yaml"
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_spec(path)
        assert str(caught.value) == f"{path}{expected}"

    def test_missing_file(self, tmp_path):
        with pytest.raises(InputError, match=r"none\.yaml: no such file$"):
            read_spec(tmp_path / "none.yaml")
