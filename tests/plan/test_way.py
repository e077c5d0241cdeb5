"""A reader who follows a plan goes through few files: the benchmark that prints them counts at most 15."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_FILES = 15


@pytest.mark.parametrize(
    "limits",
    [("--max-general-rise", "20%"), ("--max-general-rise", "0.01%"), ("--general-weight", "1")],
    ids=["feasible", "infeasible", "weighed"],
)
@pytest.mark.parametrize("size", ["300k", "1B"])
def test_the_way_of_a_plan_is_short(fit_path, size, limits):
    at = ("--model-params", size, "--train-tokens", "1e6")
    command = [sys.executable, ROOT / "benchmarks/way_of_a_plan.py", fit_path, *at, *limits]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    (number,) = [int(line.split()[0]) for line in lines if " files from " in line]
    assert number <= MOST_FILES, lines
