"""The Ray executor on a cluster of two nodes on this machine, one of which is taken away in the middle."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from redone import has_results_of, reopen
from sweeping import run

from probes.runs import RunFolder
from probes.spec.file import read_spec
from probes.training.metrics import read_rows

ray = pytest.importorskip("ray")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's own files and sockets
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

STORE = {"object_store_memory": 80_000_000}


@pytest.fixture
def cluster(monkeypatch):
    """Return a cluster with a head that does no runs, and two nodes with a core each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head = {"num_cpus": 0, "include_dashboard": False} | STORE
    ray_cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [ray_cluster.add_node(num_cpus=1, **STORE) for _ in range(2)]
    ray.init(address=ray_cluster.address, log_to_driver=False, logging_level="ERROR")
    yield ray_cluster, nodes
    ray.shutdown()
    ray_cluster.shutdown()


def node_of(pid, nodes):
    """Return the node whose raylet is the parent of a process."""
    import psutil

    parent = psutil.Process(pid).ppid()
    return next(
        node
        for node in nodes
        if parent in [info.process.pid for info in node.all_processes["raylet"]]
    )


def test_a_node_that_is_taken_away_costs_an_attempt_and_nothing_else(
    cluster, corpora_folder, finished_sweep, tmp_path
):
    ray_cluster, nodes = cluster
    out = tmp_path / "runs"
    shutil.copytree(finished_sweep, out)
    probes = reopen(out, "0.3", "1")
    taken = []

    def take_away():
        """Kill the node that works on the first probe, after its first evaluation."""
        while len(read_rows(probes[0].metrics)) < 2:
            time.sleep(0.001)
        pid = probes[0].read_attempt()["pid"]
        os.kill(pid, signal.SIGSTOP)  # taking a node away takes longer than the rest of the run
        node = node_of(pid, nodes)
        ray_cluster.remove_node(node, allow_graceful=False)
        os.kill(pid, signal.SIGKILL)  # stopped, it would not see that its node is gone
        taken.append(node)

    thread = threading.Thread(target=take_away, daemon=True)
    thread.start()
    spec = read_spec(corpora_folder / "unbroken.yaml")
    table = run(spec, out, name="ray", workers=None)
    thread.join(10)
    assert taken
    assert set(table["state"]) == {"finished"}
    for probe in probes:
        assert has_results_of(probe, RunFolder(finished_sweep / probe.path.relative_to(out)))
    rows = [row for row in read_rows(out / "ledger.jsonl") if row["run_id"] == probes[0].path.name]
    assert [row["event"] for row in rows] == [
        *("planned", "started", "died", "retried", "started", "finished"),
    ]
    assert rows[2]["reason"].startswith("its Ray node is gone: Task failed because the node")
    assert not list((out / "workers").glob("s*-*"))  # neither stop files nor shared-disk probes


@pytest.mark.slow
def test_ray_on_this_machine_listens_on_loopback_alone(tmp_path):
    code = f"""
import json
from pathlib import Path
from probes.executors.base import ExecutorOptions, make_executor
from probes.runs import SweepFolder

options = ExecutorOptions(name="ray", workers=1, device="cpu")
executor = make_executor(SweepFolder(Path({str(tmp_path)!r})), options)
import ray, psutil  # Ray brings psutil along

here = psutil.Process()
processes = [here, *here.children(recursive=True)]
sockets = [one for process in processes for one in process.net_connections(kind="inet")]
print(json.dumps([one.laddr[0] for one in sockets if one.status == "LISTEN"]))
executor.shutdown(cancel=True)
"""
    # The cluster of the other test has set variables of Ray in this process.
    environment = {name: value for name, value in os.environ.items() if "RAY_" not in name}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    addresses = json.loads(done.stdout.splitlines()[-1])
    assert len(addresses) >= 3
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}
