"""A reader who follows a plan goes through few files: the benchmark that prints them counts at most 15."""

import subprocess
import sys
from pathlib import Path

import pytest

import cmrplan as cp
from cmrplan.fit.file import write_fit

ROOT = Path(__file__).parents[2]
MOST_FILES = 15


@pytest.mark.parametrize(
    ("size", "limits"),
    [
        ("300k", ("--max-general-rise", "20%")),
        ("1B", ("--max-general-rise", "0.01%")),
        ("1B", ("--general-weight", "1")),
    ],
    ids=["feasible", "infeasible at another size", "weighed at another size"],
)
def test_the_way_of_a_plan_is_short(fit_path, size, limits):
    assert number_of_files(fit_path, size, limits) <= MOST_FILES


def test_the_way_by_laws_alone_is_short(log, tmp_path):
    write_fit(cp.fit(log, bootstrap=50, residual="none"), tmp_path / "fit.json")
    number = number_of_files(tmp_path / "fit.json", "300k", ("--max-general-rise", "20%"))
    assert number <= MOST_FILES


def number_of_files(fit_path, size, limits):
    """Return how many files a plan on a fit passes through."""
    at = ("--model-params", size, "--train-tokens", "1e6")
    command = [sys.executable, ROOT / "benchmarks/way_of_a_plan.py", fit_path, *at, *limits]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    (number,) = [int(line.split()[0]) for line in lines if " files from " in line]
    return number
