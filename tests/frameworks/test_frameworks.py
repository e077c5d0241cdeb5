"""Opt-in, ``make frameworks``: exports are read back by the frameworks' own parsers, each in an environment of its own.

So are the job files of a sweep, by Kubernetes' schema and by SkyPilot.

The environments are made in the folder that CMRPLAN_FRAMEWORKS names, some minutes and gigabytes each; without it
nothing here runs.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from environments import NEEDS_PYTHON, interpreter_of, python_of

import cmrplan as cp
from cmrplan.export.export import TARGETS
from cmrplan.files import sealed
from probes.job_scripts import SweepJobs, kubernetes_job, skypilot_task

FOLDER = os.environ.get("CMRPLAN_FRAMEWORKS")
pytestmark = pytest.mark.skipif(FOLDER is None, reason="make frameworks runs these")

# Of 4 million tokens 1,504,000 are of the domain, which has 500,000: 3.008 passes.
RATIO = 0.376
PLAN = {
    "domain_ratio": RATIO,
    "train_tokens": 4e6,
    "asked": {"domain_tokens": 5e5, "max_epochs": 4.0},
}
TOKENS_PER_ROW = {"general": 400, "domain": 4000}
UNIQUE_TOKENS = {"general": 5_000_000, "domain": 500_000}
# Rows: 0.624/400 to 0.376/4000 is 0.00156 to 0.000094.
ROWS = {"general": 0.00156 / 0.001654, "domain": 0.000094 / 0.001654}
PASSES = {"general": 0.4992, "domain": 3.008}
SHARES = {"general": 1 - RATIO, "domain": RATIO}
EXPECTED = {"row": ROWS, "pass": PASSES, "sequence": SHARES, "token": SHARES}

# The environment, and the target that is read in it.
PAIRS = [
    ("megatron", "megatron"),
    ("megatron", "megatron-bridge"),
    ("torchtitan", "torchtitan"),
    ("olmo-core", "olmo-core"),
    ("llama-factory", "llama-factory"),
    ("axolotl", "axolotl"),
    ("mosaicml-streaming", "mosaicml-streaming"),
    ("nemo-automodel", "nemo-automodel"),
    ("levanter", "levanter"),
]

JOBS = SweepJobs(
    name="Tiny sweep",
    spec="/data/a b/it's $(x).yaml",
    out="/data/runs",
    device="cuda",
    run_ids=["tiny-base-s0-1", "tiny-r0.5-s0-2"],
    processes=2,
    image="registry.example/cmrplan:1",
    claim="shared",
)


def test_kubernetes_has_every_field_of_a_job_file(tmp_path):
    (tmp_path / "job.yaml").write_text(kubernetes_job(JOBS))
    read = read_back("kubernetes", tmp_path / "job.yaml")
    assert read == {"name": "cmrplan-tiny-sweep", "gpus": {"cpu": 4, "nvidia.com/gpu": 2}}


def test_skypilot_reads_a_task(tmp_path):
    (tmp_path / "task.yaml").write_text(skypilot_task(JOBS))
    read = read_back("skypilot", tmp_path / "task.yaml")
    assert read["name"] == "cmrplan-tiny-sweep"
    assert read["gpus"] == {"H100": 2}
    assert read["envs"] == {"RUN_ID": "tiny-base-s0-1"}
    assert read["run"] == f"exec {JOBS.command(chr(34) + '$RUN_ID' + chr(34))}\n"


@pytest.fixture
def corpora(tmp_path):
    """Return files of 16-bit tokens, which OLMo-core counts; the others read their names."""
    paths = {}
    for name, number in UNIQUE_TOKENS.items():
        paths[name] = str(tmp_path / f"{name}.npy")
        with open(paths[name], "wb") as stream:
            stream.truncate(2 * number)
    return paths


@pytest.mark.parametrize(("environment", "to"), PAIRS, ids=[to for _, to in PAIRS])
def test_the_framework_reads_the_asked_shares(environment, to, corpora, tmp_path):
    if interpreter_of(environment) is None:
        pytest.skip(f"{environment} needs Python {NEEDS_PYTHON[environment]} on the PATH")
    plan, file = tmp_path / "plan.json", tmp_path / f"mixture{TARGETS[to].suffix}"
    plan.write_text(json.dumps(sealed(PLAN)))
    exported = cp.export(
        plan, to, paths=corpora, tokens_per_row=TOKENS_PER_ROW, available=UNIQUE_TOKENS
    )
    exported.write(file)
    read = read_back(environment, file)
    expected = {corpora[name]: value for name, value in EXPECTED[exported.unit].items()}
    print(f"\n{to}: {read}")
    assert read["weights"] == pytest.approx(expected, abs=1e-6)
    if "achieved" in read:
        assert read["achieved"] == pytest.approx(expected, abs=0.01)


# The framework, how to find and read its files, and how exact its log is.
LOGS = [
    ("llama-factory", "*/trainer_log.jsonl", ["--map", "eval_loss=general"], 1e-12),
    ("olmo-core", "*/metrics_step*.json", [], 1e-12),
    (
        "nanotron",
        "*.log",
        ["--map", "lm_loss=general", "--tokens-per-step", str(64 * 2048)],
        5e-3,
    ),
    (
        "megatron-bridge",
        "*.log",
        ["--map", "lm loss=general", "--set", "sequence_length=4096"],
        1e-6,
    ),
]
IMPORTED_AS = {"megatron-bridge": "megatron"}


@pytest.mark.parametrize(
    ("framework", "files", "told", "rounding"), LOGS, ids=[name for name, *_ in LOGS]
)
def test_a_log_of_the_framework_is_read_as_it_was_written(
    framework, files, told, rounding, call, tmp_path
):
    logged = run_in(framework, "framework_writers.py", tmp_path)
    pattern = r"r(?P<domain_ratio>[\d.]+)-s(?P<seed>\d+)"
    known = ["--run-pattern", pattern, "--set", "model_params=1M"]
    arguments = [*sorted(tmp_path.glob(files)), *told, *known]
    out = tmp_path / "log.csv"
    layout = IMPORTED_AS.get(framework, framework).replace("-", "_")
    answer = call("logs", "import", layout, *arguments, "--out", out)
    assert answer.code == 0, answer.err
    log = cp.read_log(out).sort_values("train_tokens")
    assert log["eval_corpus"].unique().tolist() == ["general"]
    assert log["domain_ratio"].unique().tolist() == [0.3]
    assert log["train_tokens"].tolist() == [tokens for _, tokens, _ in logged]
    assert log["loss"].tolist() == pytest.approx([loss for *_, loss in logged], rel=rounding)


def read_back(environment, file):
    """Return what the reader of a framework prints."""
    return run_in(environment, "framework_readers.py", file)


def run_in(environment, script, argument):
    """Return what a script prints in the environment of a framework."""
    python = python_of(environment, Path(FOLDER))
    command = [python, Path(__file__).parent / script, environment, argument]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
