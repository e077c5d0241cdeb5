"""Defaults from cmrplan.toml: what they give, what wins, and what a wrong file is told."""

import pytest

PLAN = """
[plan]
model-params = "1e6"
train-tokens = 1000000
max-general-rise = "3%"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that writes the project file of the working folder."""
    monkeypatch.chdir(tmp_path)
    return lambda text, name="cmrplan.toml": (tmp_path / name).write_text(text)


def test_a_plan_without_options_is_the_one_with_them(call, fit_path, project):
    given = call(
        "plan", fit_path, "--model-params", "1e6", "--train-tokens", "1e6",
        "--max-general-rise", "3%", "--json",
    ).json()  # fmt: skip
    assert call("plan", fit_path, "--json").code == 2
    project(PLAN)
    answer = call("plan", fit_path, "--json")
    assert answer.code == 0, answer.err
    assert "cmrplan.toml has defaults for plan" in answer.err
    told = answer.json()
    assert told.pop("project_file")["options"] == {
        "model-params": "1e6",
        "train-tokens": 1000000,
        "max-general-rise": "3%",
    }
    assert told == given


def test_the_command_line_wins(call, fit_path, project, tmp_path):
    project(PLAN)
    answer = call("plan", fit_path, "--max-general-rise", "1%", "--json").json()
    assert answer["project_file"]["path"] == str(tmp_path / "cmrplan.toml")
    assert answer["project_file"]["options"].keys() == {"model-params", "train-tokens"}
    project('[plan]\nmax-general-rise = "1%"', "other.toml")
    ask = ("--model-params", "1e6", "--train-tokens", "1e6")
    other = call("--project", "other.toml", "plan", fit_path, *ask, "--json").json()
    assert other["domain_ratio"] == answer["domain_ratio"]
    assert other["project_file"]["options"] == {"max-general-rise": "1%"}


def test_flags_and_lists(call, fit_path, project):
    project('[predict]\njson = true\n[mix.plan]\nprotect = ["general=2%"]\n')
    ask = ("--model-params", "1e6", "--train-tokens", "1e6", "--domain-ratio", "0.3")
    assert call("predict", fit_path, *ask).json()["project_file"]["options"] == {"json": True}


def test_only_the_working_folder_is_looked_into(call, fit_path, project, tmp_path, monkeypatch):
    project(PLAN)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert call("plan", fit_path, "--json").code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[plna]", "unknown table plna; did you mean plan?"),
        ("[mix.plna]", "unknown table mix.plna; did you mean plan?"),
        ("[plan]\nmax-general-ris = 1", "[plan] unknown key max-general-ris; did you mean max-general-rise?"),
        ("[plan]\nfit = 'a'", "[plan] unknown key fit"),
        ("plan = 3", "plan must be a table, [plan]"),
        ("[plan]\nmin-ratio = [1]", "[plan] min-ratio must be a text or a number, got [1]"),
        ("[plan]\nmin-ratio = true", "[plan] min-ratio must be a text or a number, got True"),
        ("[fit]\nbootstrap = 50.5", "[fit] bootstrap must be a whole number, got 50.5"),
        ("[plan]\njson = 'yes'", "[plan] json must be true or false, got 'yes'"),
        ("[mix.plan]\nprotect = 'a=1'", "[mix.plan] protect must be a list"),
        ("[plan]\nout = 'a.json'", "[plan] out cannot stand in a file"),
        ("[plan]\nforce = true", "[plan] force cannot stand in a file"),
        ("[plan", "is no TOML"),
        ("[plan]\nconfidence = 3", "cmrplan.toml: Invalid value for '--confidence'"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line(call, fit_path, project, text, words):
    project(text)
    answer = call("plan", fit_path, "--json")
    assert answer.code == 2
    assert answer.out == ""
    assert words in answer.err
    assert "cmrplan.toml" in answer.err
    assert [line for line in answer.err.splitlines() if line.startswith("error")] == [
        answer.err.splitlines()[-1]
    ]


def test_a_file_that_is_not_there_is_told(call, fit_path, project):
    assert "none.toml" in call("--project", "none.toml", "plan", fit_path).err


def test_help_needs_no_sound_file(call, project):
    project("[plan")
    answer = call("--help")
    assert answer.code == 0
    assert "cmrplan.toml" in answer.out
