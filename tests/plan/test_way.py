"""A reader who follows a plan goes through few files: the benchmark that prints them counts at most 15."""

import subprocess
import sys
from pathlib import Path

import pytest

from cmrplan import cli

ROOT = Path(__file__).parents[2]
MOST_FILES = 15
MOST_WITH_A_LAW_ALONE = 18  # where a published law is among the means of a residual


@pytest.fixture(scope="module")
def law_fit_path(log, call_once, tmp_path_factory):
    """Return the file of a fit of the simulated log by laws alone."""
    folder = tmp_path_factory.mktemp("laws")
    log.to_csv(folder / "log.csv", index=False)
    arguments = ["fit", folder / "log.csv", "--out", folder / "fit.json", "--bootstrap", "50"]
    assert call_once(*arguments, "--residual", "none") == 0
    return folder / "fit.json"


@pytest.fixture(scope="module")
def call_once():
    """Return a function that runs the command line in this process and returns its exit code."""
    return lambda *arguments: cli.run([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    "limits",
    [("--max-general-rise", "20%"), ("--max-general-rise", "0.01%"), ("--general-weight", "1")],
    ids=["feasible", "infeasible", "weighed"],
)
@pytest.mark.parametrize("size", ["300k", "1B"])
def test_the_way_of_a_plan_is_short(law_fit_path, size, limits):
    assert number_of_files(law_fit_path, size, limits) <= MOST_FILES


def test_the_way_with_a_residual_is_short(fit_path):
    number = number_of_files(fit_path, "300k", ("--max-general-rise", "20%"))
    assert number <= MOST_WITH_A_LAW_ALONE


def number_of_files(fit_path, size, limits):
    """Return how many files a plan on a fit passes through."""
    at = ("--model-params", size, "--train-tokens", "1e6")
    command = [sys.executable, ROOT / "benchmarks/way_of_a_plan.py", fit_path, *at, *limits]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    (number,) = [int(line.split()[0]) for line in lines if " files from " in line]
    return number
