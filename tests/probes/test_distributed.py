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
from probes.collect import collect
from probes.executors.local import gpu_groups
from probes.executors.torchrun import execute_distributed
from probes.run_settings import Numerics
from probes.runner import execute_runs
from probes.runs import RunFolder, RunState, SweepFolder
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sharding", "micro_batch_size"), [("replicate", 2), ("replicate", 1), ("shard", 1)]
)
def test_two_processes_equal_one(sweep, alone, tmp_path, sharding, micro_batch_size):
    """Sums of float64 in another order differ by about 1e-16 a term, and 32 steps add it up."""
    run = planned(
        sweep, tmp_path, micro_batch_size=micro_batch_size, processes=2, sharding=sharding
    )
    (outcome,) = execute_distributed(
        sweep, [run.path], checkpoint_seconds=1e9, keep_checkpoints=True
    )
    assert (outcome.state, outcome.reason) == (RunState.FINISHED, "")
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


KILLED = """
import sys
from pathlib import Path
from probes.collect import collect
from probes.executors.local import gpu_groups
from probes.executors.torchrun import execute_distributed
from probes.runs import SweepFolder
sweep, run = SweepFolder(Path(sys.argv[1])), Path(sys.argv[2])
execute_distributed(sweep, [run], checkpoint_seconds=0, keep_checkpoints=True)
"""


@pytest.mark.slow
def test_killed_and_resumed_equals_unbroken(sweep, tmp_path):
    options = {"micro_batch_size": 2, "processes": 2, "sharding": "replicate"}
    unbroken = planned(sweep, tmp_path / "unbroken", **options)
    execute_distributed(sweep, [unbroken.path], checkpoint_seconds=1e9, keep_checkpoints=True)
    killed = planned(sweep, tmp_path / "killed", **options)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(sweep.path), str(killed.path)])
    while not any(killed.path.glob("checkpoints/0003-*")) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert killed.read_outcome() is None
    execute_distributed(sweep, [killed.path], checkpoint_seconds=1e9, keep_checkpoints=True)
    assert killed.metrics.read_bytes() == unbroken.metrics.read_bytes()
    state, other_state = last_state(killed), last_state(unbroken)
    assert all(np.array_equal(state[name], other_state[name]) for name in other_state)


def test_a_run_for_several_processes_says_so(sweep, tmp_path):
    run = planned(sweep, Path(tmp_path), micro_batch_size=2, processes=2, sharding="replicate")
    with pytest.raises(CmrplanError, match="is trained by torchrun, on several processes"):
        execute_runs(sweep, [run.path])


@pytest.mark.slow
def test_a_sweep_whose_size_has_two_processes(make_spec, values, tmp_path):
    values["sizes"][0] |= {"processes": 2}
    values["base"]["train_tokens"] = 64 * 12
    values["probes"] |= {"train_tokens": 64 * 8, "evaluations": 1, "grid": {"domain_ratio": [1]}}
    ledger = run(make_spec(values), tmp_path / "runs", workers=None)
    assert list(ledger["state"]) == ["finished"] * 3
    log, _ = collect(tmp_path / "runs")
    assert set(log["train_tokens"]) == {0, 64 * 8}


def test_processes_must_share_the_batch(make_spec, values):
    values["sizes"][0] |= {"processes": 3}
    with pytest.raises(InputError, match="batch_size 4 must be a multiple of the 3 processes of"):
        make_spec(values)


def test_too_few_gpus_for_a_run():
    assert gpu_groups(["0", "1", "2", "3", "4"], 2) == ["0,1", "2,3"]
    with pytest.raises(InputError, match="needs 4 GPUs and this machine has 2"):
        gpu_groups(["0", "1"], 4)
