"""Broken input: exit code 2 or 1, one line that names the place and the remedy, nothing half written.

Each case is a file or an argument that people really get wrong. The words that must appear are written
by hand: the place, the value found, and what would be right.
"""

import json

import pytest

from cmrplan.files import sealed

HEAD = "run_id,model_params,train_tokens,domain_ratio,eval_corpus,loss\n"
ROWS = "".join(
    f"r{ratio},1e6,{tokens},{ratio},{corpus},{2 + ratio / 10}\n"
    for ratio in (0.1, 0.3, 0.5, 0.7)
    for tokens in (0, 1000, 2000, 4000)
    for corpus in ("general", "domain")
)
GOOD = HEAD + ROWS


def edited(row: int, column: str, value: str) -> str:
    """Return the good log with one cell replaced; rows count from 1."""
    lines = GOOD.splitlines()
    cells = lines[row].split(",")
    cells[HEAD.strip().split(",").index(column)] = value
    lines[row] = ",".join(cells)
    return "\n".join(lines) + "\n"


LOGS = {
    "missing column": (GOOD.replace(",loss\n", ",los\n", 1), 2, ["log.csv", "loss"]),
    "ratio in percent": (
        edited(5, "domain_ratio", "30"),
        2,
        ["row 5", "domain_ratio", "30", "100"],
    ),
    "ratio below zero": (edited(5, "domain_ratio", "-0.1"), 2, ["row 5", "domain_ratio", "-0.1"]),
    "NaN loss": (edited(4, "loss", "nan"), 2, ["row 4", "loss", "nan"]),
    "empty loss": (edited(4, "loss", ""), 2, ["row 4", "loss"]),
    "infinite loss": (edited(4, "loss", "inf"), 2, ["row 4", "loss", "inf"]),
    "zero loss": (edited(4, "loss", "0"), 2, ["row 4", "loss", "0"]),
    "negative tokens": (edited(3, "train_tokens", "-5"), 2, ["row 3", "train_tokens", "-5"]),
    "text in a number column": (edited(2, "loss", "low"), 2, ["row 2", "loss", "'low'"]),
    "zero model size": (edited(2, "model_params", "0"), 2, ["row 2", "model_params", "0"]),
    "duplicate row": (GOOD + GOOD.splitlines()[-1] + "\n", 2, ["row 33", "32"]),
    "run that changes its ratio": (edited(8, "domain_ratio", "0.2"), 2, ["r0.1", "domain_ratio"]),
    "duplicate column": (GOOD.replace("loss\n", "loss,loss\n", 1), 2, ["loss"]),
    "ragged row": (GOOD + "a,b,c,d,e,f,g,h\n", 2, ["row 33"]),
    "empty file": ("", 2, ["log.csv", "empty"]),
    "header only": (HEAD, 2, ["log.csv", "row"]),
    "semicolons": (GOOD.replace(",", ";"), 2, ["log.csv", "comma"]),
    "one ratio only": (
        HEAD + "".join(line + "\n" for line in ROWS.splitlines() if line.startswith("r0.3")),
        1,
        ["0.3", "3", "add probes"],
    ),
    "two rows only": (
        HEAD + "a,1e6,1000,0.1,general,2.0\nb,1e6,1000,0.5,general,2.1\n",
        1,
        ["0.1, 0.5", "add probes"],
    ),
    "base rows only": (
        HEAD + "".join(line + "\n" for line in ROWS.splitlines() if ",0,0." in line),
        1,
        ["no rows to fit"],
    ),
    "unknown corpora only": (
        GOOD.replace("general", "wiki").replace("domain,", "law,").replace("law_", "domain_"),
        1,
        ["general or domain"],
    ),
}


@pytest.mark.parametrize("case", LOGS)
def test_broken_log(case, call, tmp_path):
    text, code, words = LOGS[case]
    path, out = tmp_path / "log.csv", tmp_path / "fit.json"
    path.write_text(text)
    refused(call("fit", path, "--out", out), code, words)
    assert [p.name for p in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("log.txt", GOOD.encode(), ["log.txt", ".csv"]),
        ("log.csv", GOOD.replace("r0.1", "ré").encode("latin-1"), ["log.csv", "UTF-8"]),
        ("log.jsonl", b'{"run_id": "a"\n', ["log.jsonl", "line 1"]),
        ("log.parquet", b"not parquet", ["log.parquet"]),
    ],
)
def test_broken_file(name, content, words, call, tmp_path):
    (tmp_path / name).write_bytes(content)
    refused(call("fit", tmp_path / name), 2, words)


def test_missing_file_and_folder(call, tmp_path):
    refused(call("fit", tmp_path / "none.csv"), 2, ["none.csv", "no such file"])
    (tmp_path / "folder.csv").mkdir()
    refused(call("fit", tmp_path / "folder.csv"), 2, ["folder"])


def test_logs_check_lists_every_error(call, tmp_path):
    text = edited(5, "domain_ratio", "30").replace("r0.7,1e6,1000", "r0.7,1e6,-1", 1)
    (tmp_path / "log.csv").write_text(text)
    answer = call("logs", "check", tmp_path / "log.csv")
    assert answer.code == 2
    assert "row 5" in answer.out
    assert "train_tokens" in answer.out


ASK = ["--model-params", "1e6", "--train-tokens", "1e6"]
IMPOSSIBLE = ["--max-general-rise", "0", "--base-loss", "1.4", "--min-ratio", "0.97"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model-params", "0", "--train-tokens", "1e6"], ["--model-params", "'0'", "1.8B"]),
        (["--model-params", "1e6", "--train-tokens", "-3"], ["--train-tokens", "-3"]),
        (["--model-params", "big", "--train-tokens", "1e6"], ["--model-params", "big"]),
        (["--train-tokens", "1e6"], ["--model-params"]),
        ([*ASK, "--max-general-rise", "three"], ["max_general_rise", "three", "3%"]),
        ([*ASK, "--max-general-rise", "-1%"], ["max_general_rise", "-1%"]),
        ([*ASK, "--max-general-rise", "3"], ["percent? write 3%", "--nats"]),
        ([*ASK, "--max-general-rise", "0.51"], ["percent? write 0.51%", "--nats"]),
        ([*ASK, "--max-general-rise", "0.05", "--confidence", "90"], ["--confidence", "90"]),
        ([*ASK, "--max-general-rise", "0.05", "--domain-tokens", "0"], ["--domain-tokens", "0"]),
        ([*ASK, "--max-general-rise", "0.05", "--turning-point", "100"], ["--law cmr"]),
        ([*ASK, "--max-general-raise", "0.05"], ["--max-general-raise"]),
    ],
)
def test_broken_plan_argument(arguments, words, call, fit_path, tmp_path):
    if "--max-general-rise" not in arguments and "--max-general-raise" not in arguments:
        arguments = [*arguments, "--max-general-rise", "0.05"]
    refused(call("plan", fit_path, *arguments, "--out", tmp_path / "plan.json"), 2, words)
    assert not list(tmp_path.iterdir())


def test_ratio_in_percent_on_the_command_line(call, fit_path):
    answer = call("predict", fit_path, *ASK, "--domain-ratio", "30")
    refused(answer, 2, ["--domain-ratio", "30", "Divide by 100, or write 30%"])


def test_impossible_tolerance_says_which_would_do(call, fit_path):
    answer = call("plan", fit_path, *ASK, *IMPOSSIBLE)
    assert answer.code == 1
    assert answer.out.startswith("No domain ratio holds a rise of 0 nats over the base with 90 %")
    assert "smallest feasible tolerance" in answer.err
    assert "base loss 1.4" in answer.err
    assert not [line for line in answer.err.splitlines() if "Traceback" in line]


def test_impossible_tolerance_is_a_whole_answer_in_json(call, fit_path, tmp_path):
    answer = call("plan", fit_path, *ASK, *IMPOSSIBLE, "--out", tmp_path / "plan.json", "--json")
    assert answer.code == 1
    plan = answer.json()
    assert plan == json.loads((tmp_path / "plan.json").read_text())
    assert plan["domain_ratio"] is None
    assert {row["confidence"] for row in plan["levels"]} == {0.5, 0.8, 0.9, 0.95}
    assert plan["least_tolerance"].endswith("nats")


@pytest.mark.parametrize("rise", ["0.5", "3% ", "0.6nats", "0.6 nats", "2ppl"])
def test_a_tolerance_that_needs_no_question(rise, call, fit_path):
    assert call("plan", fit_path, *ASK, "--max-general-rise", rise).code == 0


def test_a_large_tolerance_in_nats_is_said_to_be_one(call, fit_path):
    answer = call("plan", fit_path, *ASK, "--max-general-rise", "0.6", "--nats", "--json")
    assert answer.json()["max_general_rise"] == "0.6 nats"
    assert call("plan", fit_path, *ASK, "--nats", "--max-general-rise", "0.6").code == 0


def test_no_base_row_with_a_relative_tolerance(call, log, tmp_path):
    log[log["train_tokens"] > 0].to_csv(tmp_path / "log.csv", index=False)
    fit = tmp_path / "fit.json"
    assert call("fit", tmp_path / "log.csv", "--out", fit, "--bootstrap", "0").code == 0
    refused(
        call("plan", fit, *ASK, "--max-general-rise", "3%"), 1, ["train_tokens = 0", "--base-loss"]
    )


def test_plan_needs_both_corpora(call, log, tmp_path):
    log[log["eval_corpus"] == "general"].to_csv(tmp_path / "log.csv", index=False)
    fit = tmp_path / "fit.json"
    assert call("fit", tmp_path / "log.csv", "--out", fit, "--bootstrap", "0").code == 0
    refused(call("plan", fit, *ASK, "--max-general-rise", "3%"), 1, ["domain", "eval_corpus"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ["fit.json", "line 1", "not JSON"]),
        ("[1, 2]", ["fit.json", "cmrplan fit"]),
        ('{"cmrplan_fit": 1}', ["fit.json", "cmrplan fit"]),
        ("", ["fit.json"]),
    ],
)
def test_broken_fit_file(text, words, call, tmp_path):
    (tmp_path / "fit.json").write_text(text)
    refused(call("plan", tmp_path / "fit.json", *ASK, "--max-general-rise", "3%"), 2, words)


def test_a_fit_file_with_other_numbers_is_refused(call, fit_path, tmp_path):
    text = fit_path.read_text().replace('"kind": "law"', '"kind": "sphere"', 1)
    content = {k: v for k, v in json.loads(text).items() if k != "checksum"}
    (tmp_path / "fit.json").write_text(json.dumps(sealed(content)))
    answer = call("plan", tmp_path / "fit.json", *ASK, "--max-general-rise", "3%")
    refused(answer, 2, ["fit.json", "state.models"])


def test_unknown_plot_kind_and_suffix(call, fit_path, tmp_path):
    refused(call("plot", fit_path, "pie", "--out", tmp_path / "a.png"), 2, ["pie", "tradeoff"])
    refused(call("plot", fit_path, "ratio", "--out", tmp_path / "a.gif"), 2, [".gif", ".png"])
    assert not list(tmp_path.iterdir())


def test_output_that_cannot_be_written(call, log_file, tmp_path):
    (tmp_path / "file").write_text("")
    answer = call("fit", log_file, "--bootstrap", "0", "--out", tmp_path / "file" / "fit.json")
    refused(answer, 2, ["fit.json", "cannot write"])
    answer = call("fit", log_file, "--bootstrap", "0", "--out", tmp_path)
    refused(answer, 2, ["is a folder"])


SPEC = """
name: small
corpora:
  general: {{source: {general}}}
  domain: {{source: {domain}}}
sequence_length: 32
batch_size: 4
evaluation_sequences: 8
sizes:
  - {{name: tiny, width: 16, layers: 1, heads: 2, feedforward: 32}}
base: {{train_tokens: 512, learning_rate: 1.0e-3}}
probes:
  train_tokens: 512
  evaluations: 2
  learning_rate: 1.0e-3
  grid: {{domain_ratio: [0, 0.5, 1], seed: [0]}}
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "learning_rate: 1.0e-3\n  grid",
            "learning_rat: 1.0e-3\n  grid",
            ["learning_rat", "learning_rate"],
        ),
        ("[0, 0.5, 1]", "[0, 30, 1]", ["domain_ratio", "30", "Divide by 100"]),
        ("batch_size: 4", "batch_size: four", ["batch_size", "four"]),
        ("sequence_length: 32", "sequence_length: -32", ["sequence_length", "-32"]),
        ("name: small", "name: ../up", ["name", "../up"]),
        ("sizes:", "sizes: [", ["spec.yaml", "line"]),
        ("{general}", "nowhere", ["corpora.general.source", "nowhere"]),
    ],
)
def test_broken_spec(old, new, words, call, tmp_path):
    text = SPEC.replace(old, new) if old in SPEC else SPEC
    assert text != SPEC
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for k in range(40):
        (corpus / f"{k}.txt").write_text(
            f"document {k} says {k * k} and more words about {k}\n" * 4
        )
    text = text.replace("{{", "{").replace("}}", "}")
    text = text.replace("{general}", str(corpus)).replace("{domain}", str(corpus))
    (tmp_path / "spec.yaml").write_text(text)
    answer = call("probe", "run", tmp_path / "spec.yaml", "--out", tmp_path / "runs")
    refused(answer, 2, words)
    assert not (tmp_path / "runs").exists()


def test_corpus_too_small(call, tmp_path):
    for name in ("general", "domain"):
        (tmp_path / name).mkdir()
        for number in range(40 if name == "general" else 1):
            text = f"the {name} text of number {number} "
            (tmp_path / name / f"{number}.txt").write_text(text * 40)
    text = SPEC.format(general=tmp_path / "general", domain=tmp_path / "domain")
    (tmp_path / "spec.yaml").write_text(text)
    answer = call("probe", "run", tmp_path / "spec.yaml", "--out", tmp_path / "runs")
    refused(answer, 1, ["corpora.domain", "1 distinct documents", "give more documents"])


def test_no_runs_folder(call, tmp_path):
    refused(call("probe", "status", tmp_path / "none"), 2, ["none"])
    refused(call("logs", "collect", tmp_path / "none", "--out", tmp_path / "log.csv"), 2, ["none"])


def refused(answer, code: int, words: list[str]) -> None:
    """Check the exit code and that standard error ends in one line holding all the words."""
    assert answer.code == code, answer
    assert answer.out == ""
    said = ("caution [", "note [", "corpora: ")  # remarks and progress before the error
    lines = [line for line in answer.err.splitlines() if not line.startswith(said)]
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in answer.err
    for word in words:
        assert word in lines[0]
