"""The runs of a sweep become a file for a scheduler: an sbatch script, a SkyPilot task, a Kubernetes job.

Each starts ``cmrplan probe run SPEC --out RUNS --only RUN_ID`` once a run. Every name goes through the quoting of the
language it stands in, so that no file name or size can become a command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from cmrplan._version import __version__

WRITTEN_FOR_SCHEDULER = "# Written by cmrplan probe export"

GRACE_SECONDS = 120
"""How long a run has to save its checkpoint before it is killed."""


@dataclass(frozen=True)
class SweepJobs:
    """What a scheduler is to start.

    Parameters
    ----------
    name : str
        Name of the sweep.
    spec, out : str
        Absolute paths of the spec and of the sweep's folder, the same on every node.
    device : str
        ``"cpu"`` or ``"cuda"``.
    run_ids : sequence of str
        The runs, bases first.
    processes : int
        Processes, and on ``cuda`` GPUs, of the largest run.
    image, claim : str
        Container image, and the volume claim that is mounted at the sweep's folder; Kubernetes alone.
    """

    name: str
    spec: str
    out: str
    device: str
    run_ids: Sequence[str]
    processes: int = 1
    image: str = ""
    claim: str = ""

    @property
    def label(self) -> str:
        """The sweep's name as every scheduler takes it: small letters, digits and hyphens, 40 at most."""
        plain = re.sub(r"[^a-z0-9]+", "-", f"cmrplan-{self.name}".lower())
        return plain[:40].strip("-")

    def command(self, run_id: str) -> str:
        """Return the shell command of a run; ``run_id`` is written as it is."""
        words = ["cmrplan", "probe", "run", self.spec, "--out", self.out, "--device", self.device]
        return f"{shlex.join(words)} --only {run_id}"


def sbatch_script(jobs: SweepJobs) -> str:
    """Return a script for sbatch: an array with a task a run."""
    last = len(jobs.run_ids) - 1
    gpus = [f"#SBATCH --gpus-per-node={jobs.processes}"] if jobs.device == "cuda" else []
    return _lines(
        "#!/bin/bash",
        f"{WRITTEN_FOR_SCHEDULER} (cmrplan {__version__}): sbatch THIS_FILE; options on its command line win.",
        "# A probe whose base is not finished trains it, or waits for the task that does; a stopped run goes on.",
        f"#SBATCH --job-name={jobs.label}",
        f"#SBATCH --array=0-{last}",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        f"#SBATCH --cpus-per-task={2 * jobs.processes}",
        *gpus,
        "#SBATCH --requeue",
        f"#SBATCH --signal=B:TERM@{GRACE_SECONDS}",
        "set -euo pipefail",
        *_run_array(jobs),
        f"exec {jobs.command(_ELEMENT.format(index='SLURM_ARRAY_TASK_ID'))}",
    )


def skypilot_task(jobs: SweepJobs) -> str:
    """Return a SkyPilot task that is launched once a run, with the run in ``RUN_ID``."""
    resources: dict[str, Any] = {"cpus": f"{2 * jobs.processes}+"}
    if jobs.device == "cuda":
        resources = {"accelerators": f"H100:{jobs.processes}"}
    task = {
        "name": jobs.label,
        "resources": resources,
        "envs": {"RUN_ID": jobs.run_ids[0]},
        "setup": f"pip install 'cmrplan[probes]=={__version__}'\n",
        "run": f"exec {jobs.command(_VARIABLE)}\n",
    }
    launches = [
        f"#   sky jobs launch --yes --detach-run --name {jobs.label}-{number} "
        f"--env RUN_ID={shlex.quote(run_id)} THIS_FILE"
        for number, run_id in enumerate(jobs.run_ids)
    ]
    return _lines(
        f"{WRITTEN_FOR_SCHEDULER} (cmrplan {__version__}).",
        "# Mount storage that all launches share where spec, corpora and runs are (file_mounts), choose the machine,",
        "# and launch every run; a probe whose base is not finished trains it, or waits for the launch that does:",
        *launches,
    ) + _yaml(task)


def kubernetes_job(jobs: SweepJobs) -> str:
    """Return an indexed Kubernetes Job with an index a run; a run that dies is started again."""
    number = len(jobs.run_ids)
    script = _lines(
        "set -euo pipefail",
        *_run_array(jobs),
        f"exec {jobs.command(_ELEMENT.format(index='JOB_COMPLETION_INDEX'))}",
    )
    limits: dict[str, Any] = {"cpu": 2 * jobs.processes}
    if jobs.device == "cuda":
        limits["nvidia.com/gpu"] = jobs.processes
    container = {
        "name": "run",
        "image": jobs.image,
        # Kubernetes itself replaces $(NAME) in a command; $$ is its way to write a dollar.
        "command": ["bash", "-c", script.replace("$(", "$$(")],
        "resources": {"limits": limits},
        "volumeMounts": [{"name": "runs", "mountPath": jobs.out}],
    }
    volume = {"name": "runs", "persistentVolumeClaim": {"claimName": jobs.claim}}
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "containers": [container],
        "volumes": [volume],
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": jobs.label},
        "spec": {
            "completions": number,
            "parallelism": number,
            "completionMode": "Indexed",
            "backoffLimitPerIndex": 3,
            "template": {"spec": pod},
        },
    }
    return _lines(
        f"{WRITTEN_FOR_SCHEDULER} (cmrplan {__version__}): kubectl apply -f THIS_FILE",
        "# The claim has to be shared by all pods (ReadWriteMany); spec and corpora have to be in the pods too.",
    ) + _yaml(job)


WRITERS: dict[str, Callable[[SweepJobs], str]] = {
    "sbatch": sbatch_script,
    "skypilot": skypilot_task,
    "k8s-job": kubernetes_job,
}
"""The text of each kind of file."""

_VARIABLE = '"$RUN_ID"'
_ELEMENT = '"${{RUN_IDS[${index}]}}"'


def _run_array(jobs: SweepJobs) -> list[str]:
    return ["RUN_IDS=(", *(f"  {shlex.quote(run_id)}" for run_id in jobs.run_ids), ")"]


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


def _yaml(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)
