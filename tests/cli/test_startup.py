"""What a command imports: help and a typo nothing, a question to a fit only what it uses."""

import os
import subprocess
import sys

import click
import pytest
from click.shell_completion import BashComplete

import cmrplan as cp
from cmrplan import plots
from cmrplan.cli.app import COMMANDS, cli
from cmrplan.cli.plot import PLOT_KINDS
from cmrplan.fit.file import write_fit

HEAVY = (
    "matplotlib",
    "lmfit",
    "sklearn",
    "torch",
    "scipy.stats",
    "scipy.optimize",
)
FOR_A_RESIDUAL = ("cmrplan.fit.residual.kriging",)
PRINT_LOADED = """
import sys
from cmrplan.cli import run
run(sys.argv[2:])
print("LOADED", *(name for name in sys.argv[1].split(",") if name in sys.modules))
"""


def loaded(names, *arguments):
    """Return which modules a command has imported when it ends."""
    command = [sys.executable, "-c", PRINT_LOADED, ",".join(names), *map(str, arguments)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return printed.rsplit("LOADED", 1)[1].split()


@pytest.mark.parametrize("arguments", [("--help",), ("fti",), ("probe", "--help")], ids=str)
def test_help_and_a_typo_import_no_numbers(arguments):
    assert loaded(("numpy", "pandas", "scipy", "pydantic", "rich", *HEAVY), *arguments) == []


@pytest.mark.parametrize(
    "question",
    [("predict", "--domain-ratio", "0.3"), ("plan", "--max-general-rise", "5%")],
    ids=lambda question: question[0],
)
@pytest.mark.parametrize("residual", ["gp", "none"])
def test_a_question_imports_what_it_uses(question, residual, log, tmp_path):
    command, *options = question
    write_fit(cp.fit(log, bootstrap=20, residual=residual), tmp_path / "fit.json")
    at = ("--model-params", "1e6", "--train-tokens", "1e6")
    used = list(FOR_A_RESIDUAL) if residual == "gp" else []
    names = (*HEAVY, *FOR_A_RESIDUAL)
    assert loaded(names, command, tmp_path / "fit.json", *at, *options) == used


def test_the_package_imports_no_numbers():
    code = "import cmrplan, sys; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_the_first_sentence_of_its_help(name):
    command = cli.get_command(click.Context(cli), name)
    assert command.name == name
    assert command.get_short_help_str(200).rstrip(".") == COMMANDS[name].help.rstrip(".")


def test_a_typo_names_the_nearest_command(call):
    answer = call("fti")
    assert answer.code == 2
    assert "Did you mean 'fit'?" in answer.err


class TestCompletion:
    def test_commands_in_the_order_of_the_flow(self):
        names = [item.value for item in cli.shell_complete(click.Context(cli), "p")]
        assert names == ["probe", "profile", "predict", "plan", "plot"]

    @pytest.mark.parametrize(
        ("words", "begun", "expected"),
        [
            (["plot", "fit.json"], "", list(PLOT_KINDS)),
            (["plot", "fit.json"], "r", ["ratio", "residuals", "risk"]),
            (["probe"], "e", ["export"]),
            (["probe", "export"], "s", ["sbatch", "skypilot"]),
            (["plan", "fit.json"], "--max-g", ["--max-general-rise"]),
            (["mix", "p"], "--proj", []),
        ],
        ids=str,
    )
    def test_the_shell_is_told_what_may_come(self, words, begun, expected):
        shell = BashComplete(cli, {}, "cmrplan", "_CMRPLAN_COMPLETE")
        assert [item.value for item in shell.get_completions(words, begun)] == expected

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_the_documented_line_gives_a_script(self, shell):
        environment = os.environ | {"_CMRPLAN_COMPLETE": f"{shell}_source"}
        command = [
            sys.executable,
            "-c",
            "from cmrplan.cli import main; main()",
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert f"_CMRPLAN_COMPLETE={shell}_complete" in done.stdout

    def test_kinds_of_pictures_are_those_of_the_library(self):
        assert list(plots.KINDS) == list(PLOT_KINDS)


class TestPublicNames:
    def test_each_is_there(self):
        for name in cp.__all__:
            assert getattr(cp, name) is not None

    def test_fit_and_plan_stay_functions_whatever_is_imported(self):
        code = (
            "import cmrplan as cp, cmrplan.fit.fit_log, cmrplan.plan.plan; "
            "assert callable(cp.fit) and callable(cp.plan)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_an_unknown_one_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
            cp.fitt  # noqa: B018
