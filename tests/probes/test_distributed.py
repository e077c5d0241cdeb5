"""Several processes that train one run do what one process does with the same batches."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from sweeping import run

from cmrplan.errors import CmrplanError, InputError
from cmrplan.files import write_json
from probes.data.prepare import prepare_corpora
from probes.executors.local import gpu_groups
from probes.executors.torchrun import execute_distributed
from probes.planned_runs import sweep_settings
from probes.run_settings import Numerics
from probes.runner import execute_runs, write_outcome
from probes.runs import Outcome, RunFolder, RunState, SweepFolder
from probes.training.metrics import read_rows
from probes.training.schedule import Schedule

STEPS = (2, 4, 24)
SCHEDULE = Schedule("branches", 1e-3, warmup_steps=3, decay_share=0.5)


@pytest.fixture(scope="module")
def sweep(finished_sweep):
    return SweepFolder(finished_sweep)


def planned(sweep, folder, **numerics):
    """Return the folder of a probe in float64 with other numerics."""
    settings = next(iter(run for run in sweep.all_runs() if "-r0.3-" in run.path.name))
    changed = replace(
        settings.read_settings(),
        schedule=SCHEDULE,
        evaluation_steps=STEPS,
        numerics=Numerics("fp64", **numerics),
    )
    run = RunFolder(folder / changed.run_id)
    write_json(run.settings, changed.as_dict())
    return run


def last_state(run):
    (path,) = run.checkpoints.iterdir()
    return load_file(path)


@pytest.fixture(scope="module")
def alone(sweep, tmp_path_factory):
    run = planned(sweep, tmp_path_factory.mktemp("alone"), micro_batch_size=4)
    execute_runs(sweep, [run.path], keep_checkpoints=True)
    return run


REPLICATED = {"micro_batch_size": 2, "processes": 2, "sharding": "replicate"}


def train_on_two(sweep, folder, **numerics):
    """Train a probe on two processes and return its folder."""
    run = planned(sweep, folder, **numerics)
    (outcome,) = execute_distributed(
        sweep, [run.path], checkpoint_seconds=1e9, keep_checkpoints=True
    )
    assert (outcome.state, outcome.reason) == (RunState.FINISHED, "")
    return run


@pytest.fixture(scope="module")
def unbroken(sweep, tmp_path_factory):
    return train_on_two(sweep, tmp_path_factory.mktemp("unbroken"), **REPLICATED)


def assert_equal(run, alone):
    """Sums of float64 in another order differ by about 1e-16 a term, and 32 steps add it up."""
    rows, expected = read_rows(run.metrics), read_rows(alone.metrics)
    assert [row["step"] for row in rows] == [0, *STEPS]
    for row, other in zip(rows, expected, strict=True):
        for name in ("general_loss", "domain_loss"):
            # losses of sequences are stored in float32
            assert row[name] == pytest.approx(other[name], abs=1e-7)
    state, other_state = last_state(run), last_state(alone)
    assert state.keys() == other_state.keys()
    for name, tensor in state.items():
        np.testing.assert_allclose(tensor, other_state[name], rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.slow
class TestTwoProcesses:
    def test_one_pass_a_process_equals_one_process(self, unbroken, alone):
        assert_equal(unbroken, alone)

    @pytest.mark.parametrize("sharding", ["replicate", "shard"])
    def test_two_passes_a_process_equal_one_process(self, sweep, alone, tmp_path, sharding):
        numerics = {"micro_batch_size": 1, "processes": 2, "sharding": sharding}
        assert_equal(train_on_two(sweep, tmp_path, **numerics), alone)

    def test_killed_and_resumed_equals_unbroken(self, sweep, unbroken, tmp_path):
        killed = planned(sweep, tmp_path, **REPLICATED)
        command = [sys.executable, "-c", KILLED, str(sweep.path), str(killed.path)]
        process = subprocess.Popen(command)
        while not any(killed.path.glob("checkpoints/0003-*")) and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        process.wait()
        assert killed.read_outcome() is None
        train_on_two(sweep, tmp_path, **REPLICATED)
        assert killed.metrics.read_bytes() == unbroken.metrics.read_bytes()
        state, other_state = last_state(killed), last_state(unbroken)
        assert all(np.array_equal(state[name], other_state[name]) for name in other_state)


KILLED = """
import sys
from pathlib import Path
from probes.executors.torchrun import execute_distributed
from probes.runs import SweepFolder
sweep, run = SweepFolder(Path(sys.argv[1])), Path(sys.argv[2])
execute_distributed(sweep, [run], checkpoint_seconds=0, keep_checkpoints=True)
"""


def test_a_run_for_several_processes_says_so(sweep, tmp_path):
    run = planned(sweep, Path(tmp_path), micro_batch_size=2, processes=2, sharding="replicate")
    with pytest.raises(CmrplanError, match="is trained by torchrun, on several processes"):
        execute_runs(sweep, [run.path])


@pytest.mark.slow
def test_a_sweep_whose_size_has_two_processes(make_spec, values, tmp_path):
    """The base is trained; the probes, which would take as long each, count as finished."""
    values["sizes"][0] |= {"processes": 2}
    values["base"]["train_tokens"] = 64 * 12
    values["probes"] |= {"train_tokens": 64 * 8, "evaluations": 1, "grid": {"domain_ratio": [1]}}
    values["probes"]["schedule"] = "constant"
    spec, sweep = make_spec(values), SweepFolder(tmp_path / "runs")
    corpora = prepare_corpora(spec, sweep.corpora)
    bases, probes = sweep_settings(spec, corpora.identity, device="cpu")
    for probe in probes:
        write_outcome(sweep.plan(probe), Outcome(RunState.FINISHED, "", 1.0))
    table = run(spec, sweep.path)
    assert list(table["state"]) == ["finished"] * 3
    (row,) = read_rows(sweep.run(bases["nano"]).metrics)
    assert row["train_tokens"] == 64 * 12


def test_processes_must_share_the_batch(make_spec, values):
    values["sizes"][0] |= {"processes": 3}
    with pytest.raises(InputError, match="batch_size 4 must be a multiple of the 3 processes of"):
        make_spec(values)


def test_too_few_gpus_for_a_run():
    assert gpu_groups(["0", "1", "2", "3", "4"], 2) == ["0,1", "2,3"]
    with pytest.raises(InputError, match="needs 4 GPUs and this machine has 2"):
        gpu_groups(["0", "1"], 4)
