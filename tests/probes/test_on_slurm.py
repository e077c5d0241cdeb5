"""The Slurm executor on submitit's stand-ins: jobs as processes of this machine, and in this process."""

import os
import shutil
import signal
import threading
import time

import pytest
from redone import has_results_of, reopen
from sweeping import run

from probes.runs import RunFolder
from probes.spec.file import read_spec
from probes.training.metrics import read_rows

pytest.importorskip("submitit")


@pytest.fixture
def spec(corpora_folder):
    return read_spec(corpora_folder / "unbroken.yaml")


@pytest.fixture
def reopened(finished_sweep, tmp_path):
    """Return a copy of a finished sweep in which the probe at ratio 1 is to be done again."""
    out = tmp_path / "runs"
    shutil.copytree(finished_sweep, out)
    return out, reopen(out, "1")[0]


def run_on(cluster, spec, out):
    slurm = {"cluster": cluster, "time": "5"}
    return run(spec, out, name="slurm", slurm=slurm, workers=None)


def same(probe, out, finished_sweep):
    return has_results_of(probe, RunFolder(finished_sweep / probe.path.relative_to(out)))


@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO")  # submitit's own log files
def test_in_this_process(spec, reopened, finished_sweep):
    out, probe = reopened
    assert set(run_on("debug", spec, out)["state"]) == {"finished"}
    assert same(probe, out, finished_sweep)
    assert not list((out / "workers" / "slurm").glob("results-*"))


@pytest.mark.slow
def test_a_job_whose_node_is_taken_away_is_queued_again_and_goes_on(spec, reopened, finished_sweep):
    out, probe = reopened
    seen = []

    def warn():
        """Send the signal that Slurm sends, once the run is in its first steps."""
        while len(read_rows(probe.metrics)) < 2:
            time.sleep(0.01)
        seen.append(probe.read_attempt()["pid"])
        os.kill(seen[0], signal.SIGUSR2)

    thread = threading.Thread(target=warn, daemon=True)
    thread.start()
    assert set(run_on("local", spec, out)["state"]) == {"finished"}
    thread.join(1)
    assert same(probe, out, finished_sweep)
    rows = [row for row in read_rows(out / "ledger.jsonl") if row["run_id"] == probe.path.name]
    assert [row["event"] for row in rows] == ["planned", "started", "requeued", "finished"]
    assert [row["attempt"] for row in rows] == [0, 1, 1, 1]
    assert rows[1]["pid"] == seen[0] != rows[2]["pid"] == rows[3]["pid"]
