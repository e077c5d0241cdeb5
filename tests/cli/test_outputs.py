"""What a command may write to: its files are checked before the work begins, and what was there stays."""

import os

import click
import pytest

from cmrplan.cli.app import cli
from cmrplan.cli.outputs import OutputPath

ASK = ("--model-params", "1e6", "--train-tokens", "1e6")
SPEC = """# mine
name: a
corpora: {general: {source: g}, domain: {source: d}}
sequence_length: 16
batch_size: 4
evaluation_sequences: 24
sizes: [{name: s, width: 16, layers: 1, heads: 2, feedforward: 24}]
base: {train_tokens: 3840, learning_rate: 0.003, warmup_steps: 5}
probes: {train_tokens: 3072, evaluations: 4, first_evaluation_tokens: 384, grid: {domain_ratio: [0.3]}}
"""
OTHERS = b"not yours: 1, 2, 3\n"


def commands(group=cli, names=()):
    """Yield every command of the command line with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*names, name))
        else:
            yield (*names, name), command


def test_every_file_a_command_writes_is_checked():
    written = {}
    for words, command in commands():
        for param in command.params:
            if param.name in ("out", "plot") and words not in (("probe", "run"), ("quickstart",)):
                written[words] = param.type
                assert isinstance(param.type, OutputPath), words
                assert any("--force" in other.opts for other in command.params), words
    assert set(written) == {
        ("logs", "collect"), ("logs", "import"), ("fit",), ("plan",), ("next",), ("plot",),
        ("mix", "fit"), ("mix", "plan"), ("export",), ("report",), ("probe", "export"),
    }  # fmt: skip


@pytest.fixture
def fit_copy(fit_path, tmp_path):
    path = tmp_path / "fit.json"
    path.write_bytes(fit_path.read_bytes())
    return path


def refused(answer, path, before, *words):
    assert answer.code == 2, answer.err
    assert answer.err.count("\n") == 1
    assert all(word in answer.err for word in words), answer.err
    assert path.read_bytes() == before


class TestInputs:
    def test_the_log_is_no_place_for_its_import(self, call, log_file):
        before = log_file.read_bytes()
        answer = call("logs", "import", "table", log_file, "--out", log_file, "--force")
        refused(answer, log_file, before, "is the file that is read", "another name")

    def test_the_fit_is_no_place_for_its_plan(self, call, fit_copy, tmp_path):
        before = fit_copy.read_bytes()
        (tmp_path / "link.json").symlink_to(fit_copy)
        os.link(fit_copy, tmp_path / "hard.json")
        for name in ("fit.json", "link.json", "hard.json"):
            asked = ("plan", fit_copy, *ASK, "--max-general-rise", "3%", "--out", tmp_path / name)
            refused(call(*asked), fit_copy, before, "is the file that is read")

    def test_a_log_is_no_place_for_a_fit(self, call, log_file):
        before = log_file.read_bytes()
        answer = call("fit", log_file, "--out", log_file)
        refused(answer, log_file, before, "--out must be a .json file", "log.csv")


CASES = {
    "fit": (("fit", "LOG", "--bootstrap", "0", "--out"), "fit.json"),
    "plan": (("plan", "FIT", *ASK, "--max-general-rise", "3%", "--out"), "plan.json"),
    "plot": (("plot", "FIT", "ratio", "--out"), "plot.svg"),
    "import": (("logs", "import", "table", "LOG", "--out"), "new.csv"),
    "import-jsonl": (("logs", "import", "table", "LOG", "--out"), "new.jsonl"),
    "import-parquet": (("logs", "import", "table", "LOG", "--out"), "new.parquet"),
    "next": (
        (
            "next",
            "FIT",
            *ASK,
            "--max-general-rise",
            "3%",
            "--budget",
            "6Mtokens",
            "--resolution",
            "0",
            "--out",
        ),
        "next.yaml",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_ours_is_overwritten_with_force_only(case, call, log_file, fit_copy, tmp_path):
    words, name = CASES[case]
    path = tmp_path / "out" / name
    path.parent.mkdir()
    path.write_bytes(OTHERS)
    filled = [{"LOG": log_file, "FIT": fit_copy}.get(word, word) for word in words]
    refused(call(*filled, path), path, OTHERS, name, "--force")
    assert call(*filled, path, "--force").code == 0
    ours = path.read_bytes()
    assert ours != OTHERS
    assert call(*filled, path).code == 0, "a file of our own is written again"
    path.write_bytes(b"")
    assert call(*filled, path).code == 0, "an empty file has nothing to lose"
    assert os.listdir(path.parent) == [name]


def test_a_private_file_stays_private(call, log_file, tmp_path):
    path = tmp_path / "fit.json"
    path.touch(mode=0o600)
    assert call("fit", log_file, "--bootstrap", "0", "--out", path).code == 0
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_device_is_refused_before_the_fit(call, tmp_path):
    (tmp_path / "null.json").symlink_to(os.devnull)
    answer = call("fit", tmp_path / "none.csv", "--out", tmp_path / "null.json")
    assert answer.code == 2
    assert "it is a device" in answer.err


def test_quickstart_leaves_other_files_alone(call, tmp_path):
    (tmp_path / "fit.json").write_bytes(OTHERS)
    answer = call("quickstart", "--out", tmp_path)
    refused(answer, tmp_path / "fit.json", OTHERS, "fit.json", "another folder")
    assert os.listdir(tmp_path) == ["fit.json"]


def test_a_sweep_leaves_the_spec_of_a_user_alone(call, tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    before = spec.read_bytes()
    answer = call("probe", "run", spec, "--out", tmp_path)
    refused(answer, spec, before, "belongs to no sweep")
