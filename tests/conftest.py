"""Shared: a probe log made from a known law, and a way to call the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
from hypothesis import settings
from simulated import simulated_log

from cmrplan import cli

# a property is not one of the machine's speed
settings.register_profile("no_time_limit", deadline=None)
settings.load_profile("no_time_limit")


@pytest.fixture(scope="session")
def log() -> pd.DataFrame:
    """Two sizes, seven ratios, two seeds, eight token counts and a base row each."""
    return simulated_log()


@pytest.fixture
def log_file(log, tmp_path):
    path = tmp_path / "log.csv"
    log.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def fit_path(log, tmp_path_factory):
    """Return the file of a fit of the simulated log, made by the command line."""
    folder = tmp_path_factory.mktemp("fit")
    log.to_csv(folder / "log.csv", index=False)
    arguments = ["fit", str(folder / "log.csv"), "--out", str(folder / "fit.json")]
    assert cli.run([*arguments, "--bootstrap", "50"]) == 0
    return folder / "fit.json"


@dataclass(frozen=True)
class Answer:
    """What a command printed and how it exited."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return standard output as one JSON value."""
        return json.loads(self.out)


@pytest.fixture
def call(capsys):
    """Return a function that runs the command line in this process."""

    def run(*arguments) -> Answer:
        capsys.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run
