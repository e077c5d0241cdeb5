"""Texts from files never steer a terminal or a page, and nothing private is in what one would publish."""

import ast
import json
import os
import shutil
import socket
from pathlib import Path

import matplotlib.figure
import pytest

from cmrplan.cli.output import print_error, print_findings, show
from cmrplan.errors import Code, Finding, printable
from cmrplan.log.texts import anonymous
from cmrplan.plots.wording import plain
from cmrplan.report.markdown import escape

ROOT = Path(__file__).parents[2]
CLEAR, RIGHT_TO_LEFT, TITLE, BELL = "\x1b[2J", "\u202e", "\x1b]0;title\x07", "\x07"
HOSTILE = (CLEAR, RIGHT_TO_LEFT, TITLE, BELL, "\r", "\x9b31m", "\u200b", "\x00")
HEAD = "run_id,model_params,train_tokens,domain_ratio,eval_corpus,loss\n"


def steers(text):
    """Tell whether a text has a character that is neither shown nor a line's end."""
    return any(not (letter.isprintable() or letter in "\n\t") for letter in text)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_nothing_that_is_printed_steers_the_terminal(text, capsys):
    show(f"a{text}b")
    print_findings([Finding(Code.OUTLIER_RUN, f"run a{text}b")])
    print_error(f"{text} is no file", 2)
    out, err = capsys.readouterr()
    assert not steers(out + err)
    assert "a" in out


def test_every_command_prints_by_the_functions_that_see_to_it():
    for path in (ROOT / "cmrplan" / "cli").glob("*.py"):
        calls = [
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        ]
        # app.py prints its own help, and smoke_plan.py is a process whose JSON the doctor reads
        allowed = {"output.py", "app.py", "smoke_plan.py"}
        assert path.name in allowed or not {"click.echo", "print"} & set(calls), path.name


@pytest.mark.parametrize("text", HOSTILE[:-1], ids=ascii)
@pytest.mark.parametrize("place", ["run_id", "loss", "header", "file", "json", "yaml", "fit"])
def test_a_hostile_text_in_a_file_is_shown_as_an_escape(place, text, call, tmp_path):
    rows = {
        "run_id": f"{HEAD}a{text},1e6,1000,0.1,general,2.0\n",
        "loss": f"{HEAD}a,1e6,1000,0.1,general,{text}2\n",
        "header": f"{HEAD.strip()},x{text}\na,1e6,1000,0.1,general\n",
    }
    path = tmp_path / "log.csv"
    commands = [("logs", "check", path), ("fit", path)]
    if place == "file":
        commands = [
            ("fit", tmp_path / f"no{text}.csv"),
            ("predict", tmp_path / f"no{text}.json", "--model-params", "1", "--train-tokens", "1"),
        ]
    elif place in ("json", "fit"):
        path = tmp_path / "fit.json"
        state = {"cmrplan_fit": 2, "kind": "two_corpora", f"key{text}": text}
        path.write_text(json.dumps(state) if place == "fit" else f"{{{text}")
        commands = [("predict", path, "--model-params", "1", "--train-tokens", "1")]
    elif place == "yaml":
        path = tmp_path / "spec.yaml"
        path.write_text(json.dumps({f"na{text}me": text}))
        commands = [("probe", "design", path)]
    else:
        path.write_text(rows[place])
    for words in commands:
        answer = call(*words)
        assert answer.code in (1, 2)
        assert not steers(answer.out + answer.err), ascii(answer.out + answer.err)


def test_a_damaged_run_with_a_hostile_name_is_one_line(finished_sweep_copy, call):
    (finished_sweep_copy / "probes" / f"x{CLEAR}\nnano finished").mkdir()
    (finished_sweep_copy / "probes" / f"x{CLEAR}\nnano finished" / "settings.json").write_text("{}")
    answer = call("probe", "status", finished_sweep_copy)
    assert answer.code == 0
    assert not steers(answer.out)
    assert len(answer.out.splitlines()) == 1 + 5 + 1


@pytest.fixture
def finished_sweep_copy(tmp_path):
    """Return a folder that looks like a sweep: a spec, and four folders of runs without sound settings."""
    for number in range(4):
        (tmp_path / "runs" / "probes" / f"p{number}").mkdir(parents=True)
        (tmp_path / "runs" / "probes" / f"p{number}" / "settings.json").write_text("{}")
    (tmp_path / "runs" / "spec.yaml").write_text("name: a\n")
    return tmp_path / "runs"


@pytest.mark.parametrize("cell", ["1_000", "1_0.5", "２.5", "٣", "1e1_0"])
def test_what_only_python_reads_as_a_number_is_none(cell, call, tmp_path):
    (tmp_path / "log.csv").write_text(
        f"{HEAD}a,1e6,1000,0.1,general,2.0\nb,1e6,1000,0.1,general,{cell}\n", encoding="utf-8"
    )
    answer = call("logs", "check", tmp_path / "log.csv", "--json")
    assert answer.code == 2
    (finding,) = (one for one in answer.json()["findings"] if one["severity"] == "error")
    assert (finding["code"], finding["row"], finding["column"]) == ("not_a_number", 2, "loss")


# What GitHub's Markdown would make of these is a link, an image, a tag, a table cell, a mention or code.
@pytest.mark.parametrize("name", [
    "[a](http://x.org)", "![a](b.png)", "<script>alert(1)</script>", "a | b", "`rm -rf`", "**a**",
    "http://x.org", "www.x.org", "&lt;b&gt;", "@someone", "# title", "~~a~~", "a\n\n# b",
])  # fmt: skip
def test_a_name_is_text_in_markdown(name):
    from markdown_it import MarkdownIt

    source = f"name {escape(name)}."
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    (paragraph,) = [token for token in parser.parse(source) if token.children]
    kinds = {child.type for child in paragraph.children} - {"text_special"}
    assert kinds == {"text"}
    text = "".join(child.content for child in paragraph.children)
    assert text == f"name {' '.join(name.split())}."
    assert not [sign for sign in ("://", "www.") if sign in source], "GitHub makes a link of these"


def test_a_formula_in_a_name_is_text_in_a_picture(tmp_path):
    figure = matplotlib.figure.Figure()
    figure.text(0, 0, plain(r"$\frac{1}{0$ \input{x} " + CLEAR))
    figure.savefig(tmp_path / "a.svg")
    assert CLEAR not in (tmp_path / "a.svg").read_text()


def test_paths_machines_and_users_by_hand():
    text = "~ann/x and /home/ann/my-runs/probes/r0.3/metrics.jsonl: gpu7.lab.org said 10.1.2.3:6379 (by ann)"
    shown = anonymous(text, ["ann", "gpu7.lab.org", "gpu7"])
    assert shown == "x and metrics.jsonl: NAME said ADDRESS:6379 (by NAME)"
    assert (
        anonymous("loss was nan at step 7/8; 3% and a/b stay")
        == "loss was nan at step 7/8; 3% and a/b stay"
    )


def test_an_anonymous_ledger_names_no_folder_and_no_machine(call, tmp_path):
    from probes.callbacks import ProbeLogWriter, ProbeRun

    for ratio in (0.1, 0.5):
        run = ProbeRun(run_id=f"r{ratio}", domain_ratio=ratio, model_params=1e6)
        writer = ProbeLogWriter(tmp_path / "logs", run, planned_steps=1)
        writer.write(0, 0, {"general": 2.5})
        writer.end(1)
    (tmp_path / "logs" / "r0.5.jsonl").write_text("")
    for option in ((), ("--anonymous",)):
        answer = call("logs", "collect", tmp_path / "logs", "--out", tmp_path / "log.csv", *option)
        assert answer.code == 0
    ledger = (tmp_path / "log.runs.csv").read_text()
    assert "r0.5.jsonl is not what its run wrote" in ledger
    for private in (str(tmp_path), socket.gethostname(), "/"):
        assert private not in ledger


def test_what_one_would_publish_names_no_folder_user_or_secret(
    call, log_file, tmp_path, monkeypatch
):
    monkeypatch.setenv("SOME_API_TOKEN", "s3cr3t-9f8e7d")
    folder = tmp_path / "home" / "deeply-private"
    folder.mkdir(parents=True)
    shutil.copy(log_file, folder / "log.csv")
    monkeypatch.chdir(folder)
    ask = ("--model-params", "1e6", "--train-tokens", "1e6", "--max-general-rise", "3%")
    for words in (
        (
            "fit",
            folder / "log.csv",
            "--law",
            "dcpt",
            "--bootstrap",
            "5",
            "--out",
            folder / "fit.json",
        ),
        ("plan", folder / "fit.json", *ask, "--out", folder / "plan.json"),
        (
            "plot",
            folder / "fit.json",
            "ratio",
            "--max-general-rise",
            "3%",
            "--out",
            folder / "ratio.svg",
        ),
        (
            "plot",
            folder / "fit.json",
            "ratio",
            "--max-general-rise",
            "3%",
            "--out",
            folder / "ratio.png",
        ),
        ("logs", "import", "table", folder / "log.csv", "--out", folder / "log.parquet"),
    ):
        assert call(*words).code == 0
    private = ["deeply-private", "s3cr3t-9f8e7d", str(Path.home()) + os.sep]
    written = sorted(path for path in folder.iterdir() if path.name != "log.csv")
    assert len(written) == 5
    for path in written:
        content = path.read_bytes()
        assert not [name for name in private if name.encode() in content], path.name


def test_printable_leaves_other_scripts_alone():
    assert printable("größe 模型 ✓\n") == "größe 模型 ✓\n"
