"""The Ray executor does tasks with Ray: on this machine, or on a cluster whose nodes share the sweep's folder.

Each task is a Ray task with its cores and its part of a GPU. Ray's own retries are off: the scheduler decides what
is tried again, and needs to know whether a process died or a machine went away.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    RayError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cmrplan.errors import InputError
from probes.executors.base import STOP_SECONDS, Cause, ExecutorOptions, Task, TaskResult
from probes.executors.local import usable_cores
from probes.executors.task import (
    do_task,
    prepare_process,
    read_results,
    results_text,
    stop_file_says,
)
from probes.runs import SweepFolder

OBJECT_STORE_BYTES = 100_000_000
"""Ray's shared memory on this machine; nothing but paths and results passes through it."""

CONNECT_SECONDS = 10.0
"""How long to wait for a cluster to answer at all."""

_MACHINE_GONE = (NodeDiedError, LocalRayletDiedError, ObjectLostError)


class RayExecutor:
    """Does tasks as Ray tasks.

    Parameters
    ----------
    sweep : SweepFolder
        The sweep; every node must see its folder under the same path.
    options : ExecutorOptions
        ``workers``, when given, is the most tasks at a time; otherwise the cluster's cores and GPUs
        decide.

    Raises
    ------
    InputError
        If the cluster cannot be reached, has no GPU where one is asked for, or a node does not see
        the folder.
    """

    def __init__(self, sweep: SweepFolder, options: ExecutorOptions) -> None:
        self._path = str(sweep.path.absolute())
        self._options = options
        self._resources: dict[str, Any] = {"num_cpus": options.cpus_per_run}
        if options.device == "cuda":
            self._resources["num_gpus"] = options.processes_per_run / options.per_gpu
        self._tasks: dict[Any, Task] = {}
        sweep.workers.mkdir(parents=True, exist_ok=True)
        self._stop_file = sweep.workers.absolute() / f"stop-{uuid.uuid4().hex}"
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _connect(options)
        try:
            if options.device == "cuda" and not ray.cluster_resources().get("GPU"):
                raise InputError("device cuda: the Ray cluster has no GPU; use --device cpu")
            _check_shared(sweep.workers.absolute())
        except BaseException:
            self.shutdown(cancel=True)
            raise
        self._remote = ray.remote(max_retries=0, **self._resources)(_do_remotely)

    def slots(self) -> int:
        """Return how many tasks the cluster has room for, or ``workers`` if given."""
        if self._options.workers:
            return self._options.workers
        there = ray.cluster_resources()
        room = there.get("CPU", 0.0) // self._options.cpus_per_run
        if self._options.device == "cuda":
            room = min(room, there.get("GPU", 0.0) / self._resources["num_gpus"])
        return int(room)

    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand tasks to Ray."""
        for task in tasks:
            reference = self._remote.remote(
                self._path,
                [str(path) for path in task.paths],
                task.token,
                str(self._stop_file),
                self._options.checkpoint_seconds,
                self._options.run_seconds,
                self._options.cpus_per_run,
            )
            self._tasks[reference] = task

    def wait(self, seconds: float) -> list[TaskResult]:
        """Wait for tasks to end, in whatever way."""
        ready, _ = ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
        more, _ = ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
        return [self._result(reference) for reference in dict.fromkeys([*ready, *more])]

    def _result(self, reference: Any) -> TaskResult:
        task = self._tasks.pop(reference)
        try:
            return TaskResult(task, read_results(ray.get(reference)))
        except _MACHINE_GONE as error:
            return TaskResult(
                task, cause=Cause.LOST, reason=f"its Ray node is gone: {_first(error)}"
            )
        except RayTaskError as error:
            last = str(error).strip().splitlines()[-1]
            return TaskResult(task, cause=Cause.DIED, reason=f"its Ray worker raised {last}")
        except RayError as error:
            return TaskResult(
                task, cause=Cause.DIED, reason=f"its Ray worker died: {_first(error)}"
            )

    def shutdown(self, *, cancel: bool) -> None:
        """Have running tasks save their checkpoints, then leave Ray, or end it if it was started here."""
        if self._tasks and cancel:
            self._stop_file.touch()
            references = list(self._tasks)
            ray.wait(references, num_returns=len(references), timeout=STOP_SECONDS)
            for reference in references:
                ray.cancel(reference, force=True)
        self._tasks.clear()
        self._stop_file.unlink(missing_ok=True)
        if self._is_ours and ray.is_initialized():
            ray.shutdown()


def _connect(options: ExecutorOptions) -> None:
    """Join the cluster at an address, or start Ray on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = options.ray_address or os.environ.get("RAY_ADDRESS", "")
    here: dict[str, Any] = {}
    if not address:
        cores = (options.workers or usable_cores()) * options.cpus_per_run
        here = {
            "num_cpus": cores,
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    elif address not in ("auto", "local"):
        _refuse_silence(address)
    try:
        ray.init(
            address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **here
        )
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise InputError(
            f"--ray-address {address}: no Ray cluster there ({_first(error)})"
        ) from None


def _refuse_silence(address: str) -> None:
    """Refuse an address where nothing listens; Ray itself would try for many minutes.

    Raises
    ------
    InputError
        If so, or if it is no address.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"--ray-address must be auto or HOST:PORT of a running Ray cluster, got '{address}' ({error})"
        ) from None


def _check_shared(folder: Path) -> None:
    """Have every node that can do runs read a new file in a folder.

    Raises
    ------
    InputError
        If one does not see it.
    """
    nonce = uuid.uuid4().hex
    probe = folder / f"shared-{nonce}"
    probe.write_text(nonce)
    look = ray.remote(num_cpus=0, max_retries=0)(_reads)
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    looks = [
        look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(str(probe), nonce)
        for node in nodes
    ]
    try:
        for node, reference in zip(nodes, looks, strict=True):
            if not ray.get(reference):
                raise InputError(
                    f"{folder.parent} is not there on Ray node {node['NodeManagerAddress']}; choose a folder "
                    "that all nodes share"
                )
    finally:
        probe.unlink()


def _reads(path: str, text: str) -> bool:
    """Say whether a file has a text; a network disk may need a moment to show it."""
    for _ in range(20):
        if os.path.exists(path) and Path(path).read_text() == text:
            return True
        time.sleep(0.1)
    return False


def _do_remotely(
    sweep: str,
    paths: list[str],
    token: str,
    stop_file: str,
    checkpoint_seconds: float,
    run_seconds: float | None,
    threads: int,
) -> str:
    """Do a task on a Ray worker; return the results of its runs as JSON."""
    prepare_process()
    results = do_task(
        SweepFolder(Path(sweep)),
        [Path(path) for path in paths],
        token=token,
        asked_to_stop=stop_file_says(Path(stop_file)),
        checkpoint_seconds=checkpoint_seconds,
        run_seconds=run_seconds,
        threads=lambda: threads,
    )
    return results_text(results)


def _first(error: BaseException) -> str:
    """Return the first sentence of an error."""
    return str(error).strip().split("\n")[0].split(". ")[0][:200]
