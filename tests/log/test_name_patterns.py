"""A folder of runs whose files do not say the ratio: the message offers what reads it."""

import json
import re
import shlex

import pytest

import cmrplan as cp
from cmrplan.log.importers.name_patterns import pattern_of


@pytest.fixture
def folder(tmp_path):
    def write(*names):
        for name in names:
            path = tmp_path / "runs" / name / "trainer_state.json"
            path.parent.mkdir(parents=True)
            history = [
                {"step": step, "eval_general_loss": 3 + step / 100, "eval_domain_loss": 2.5}
                for step in (10, 20)
            ]
            path.write_text(json.dumps({"log_history": history}))
        return tmp_path / "runs"

    return write


def command(call, folder, *more):
    given = ("--set", "model_params=70M", "--tokens-per-step", "1M", "--yes")
    return call("logs", "import", "auto", folder, "--out", folder / "log.csv", *given, *more)


def test_a_pattern_that_fits_the_names_is_offered_and_works(call, folder):
    runs = folder("r0.1-s0", "r0.5-s0", "r0.5-s1")
    refused = command(call, runs)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "--join" in refused.err
    assert "--map" not in refused.err  # a Trainer logs nothing of the ratio that could be named
    option = re.search(r"--run-pattern '[^']*'", refused.err)[0]
    assert command(call, runs, *shlex.split(option)).code == 0
    log = cp.read_log(runs / "log.csv")
    assert sorted(set(zip(log["domain_ratio"], log["seed"], strict=True))) == [
        (0.1, 0), (0.5, 0), (0.5, 1),
    ]  # fmt: skip


def test_names_that_do_not_say_it_get_an_example(call, folder):
    refused = command(call, folder("base", "long"))
    assert refused.code == 2
    assert r"--run-pattern 'r(?P<domain_ratio>[\d.]+)-s(?P<seed>\d+)'" in refused.err
    assert "'base'" in refused.err


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["a-0.1", "a-0.25"], r"a-(?P<domain_ratio>[\d.]+)"),
        (["0.1_x", "0.25_x"], r"^(?P<domain_ratio>[\d.]+)"),
        (["m70-replay0.9-lr3", "m70-replay0.5-lr3"], r"-replay(?P<replay_ratio>[\d.]+)"),
        (["seed3.r0.1", "seed4.r0.2"], r"seed(?P<seed>\d+)\.r(?P<domain_ratio>[\d.]+)"),
        (["x/r0.1", "y2/r0.25"], r"r(?P<domain_ratio>[\d.]+)"),
        (["r0.3/r0.1", "s/r0.25"], ""),  # the pattern would read the folder
        (["r10", "r20"], ""),  # percent, or something else
        (["r0.1", "s0.2"], ""),
        ([], ""),
    ],
)
def test_patterns_of_names(names, pattern):
    assert pattern_of(names) == pattern
