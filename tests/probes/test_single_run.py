"""A process a run: the numbers of a whole sweep, whoever starts what, together or again."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from redone import rewrite
from sweeping import tiny_values

from cmrplan.errors import CmrplanError, InputError
from probes import job_scripts, single_run
from probes.collect import collect
from probes.job_scripts import SweepJobs, kubernetes_job, sbatch_script, skypilot_task
from probes.ledger import Event, read_histories
from probes.locks import locked, only_sweep
from probes.runs import RunFolder, RunState, SweepFolder
from probes.single_run import plan_runs, run_single
from probes.training.metrics import read_rows

HOSTILE = ("nano$(touch pwned)", "it's; touch pwned", '`touch pwned`"', "${HOME} *")


@pytest.fixture
def ids(finished_sweep):
    """Return the names of the runs of the tiny sweep, the base first."""
    return [run.path.name for run in SweepFolder(finished_sweep).all_runs()]


@pytest.fixture
def ready(finished_sweep, tmp_path):
    """Return the folder of the tiny sweep with its base finished and no probe begun."""
    out = tmp_path / "runs"
    shutil.copytree(finished_sweep, out)
    shutil.rmtree(out / "probes")
    (out / "ledger.jsonl").unlink()
    return out


def one(spec, out, run_id):
    return run_single(spec, out, run_id, device="cpu", progress=False)


def test_a_probe_alone_trains_its_base_and_gives_the_numbers_of_the_sweep(
    spec, finished_sweep, ids, tmp_path
):
    out = tmp_path / "runs"
    probe = next(run_id for run_id in ids if "r0.3" in run_id)
    assert one(spec, out, probe).state is RunState.FINISHED
    base, trained = out / "bases" / ids[0], out / "probes" / probe
    assert RunFolder(base).state() is RunState.FINISHED
    whole = finished_sweep / "probes" / probe
    assert (trained / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    assert [run.path for run in SweepFolder(out).all_runs()] == [base, trained]
    events = [(row["event"], row["run_id"]) for row in read_rows(out / "ledger.jsonl")]
    assert events == [
        (event, run_id)
        for run_id in (ids[0], probe)
        for event in (Event.PLANNED, Event.STARTED, Event.FINISHED)
    ]


def test_what_has_ended_is_left_alone(spec, ready, ids):
    probe = next(run_id for run_id in ids if "r1" in run_id)
    first = one(spec, ready, probe)
    before = {path: path.stat().st_mtime_ns for path in (ready / "probes").rglob("*.jsonl")}
    again = one(spec, ready, probe)
    assert first.state is again.state is RunState.FINISHED
    assert {path: path.stat().st_mtime_ns for path in (ready / "probes").rglob("*.jsonl")} == before
    assert read_histories(ready / "ledger.jsonl")[probe].attempts == 1


def test_a_failure_that_may_be_mended_is_tried_again_and_one_for_good_is_not(spec, ready, ids):
    probe = next(run_id for run_id in ids if "r1" in run_id)
    one(spec, ready, probe)
    outcome = ready / "probes" / probe / "outcome.json"
    rewrite(outcome, state="failed", reason="loss was nan")
    assert one(spec, ready, probe).state is RunState.FAILED
    rewrite(outcome, retry=True)
    assert one(spec, ready, probe).state is RunState.FINISHED


def test_a_failed_base_is_told_and_leaves_the_probe_open(spec, ready, ids):
    outcome = ready / "bases" / ids[0] / "outcome.json"
    rewrite(outcome, state="failed", reason="loss was nan")
    with pytest.raises(CmrplanError, match=r"base nano-base.* failed: loss was nan"):
        one(spec, ready, ids[1])
    assert not (ready / "probes" / ids[1] / "outcome.json").exists()


def test_a_run_that_another_process_holds_is_waited_for(spec, ready, ids, monkeypatch, capsys):
    monkeypatch.setattr(single_run, "RUN_POLL_SECONDS", 0.05)
    holder = locked(ready / "probes" / ids[1])
    holder.__enter__()
    threading.Timer(0.5, lambda: holder.__exit__(None, None, None)).start()
    result = run_single(spec, ready, ids[1], device="cpu")
    assert result.state is RunState.FINISHED
    assert capsys.readouterr().err.count("another process works on this run") == 1


def test_a_whole_sweep_and_single_runs_do_not_mix(spec, ready, ids, monkeypatch):
    with only_sweep(ready), pytest.raises(InputError, match="a whole sweep runs in this folder"):
        one(spec, ready, ids[1])


def test_an_unknown_run_names_the_nearest(spec, ready, ids):
    with pytest.raises(InputError, match=rf"no run 'nano-base'; did you mean {ids[0]}"):
        one(spec, ready, "nano-base")


def test_unfinished_runs_are_those_without_a_result(spec, ready, ids):
    runs = plan_runs(spec, ready, device="cpu", progress=False)
    assert sorted(run.run_id for run in runs.unfinished()) == sorted(ids[1:])
    assert next(iter(runs.by_id)) == ids[0]


@pytest.fixture
def spec_path(corpora_folder):
    path = corpora_folder / "single.yaml"
    path.write_text(yaml.safe_dump(tiny_values()))
    return path


def start(spec_path, out, run_id, *options):
    command = [sys.executable, "-m", "cmrplan", "probe", "run", spec_path, "--out", out]
    command += ["--device", "cpu", "--only", run_id, *options]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_processes_that_start_together_do_the_sweep(spec_path, finished_sweep, ids, tmp_path):
    out = tmp_path / "runs"
    processes = [start(spec_path, out, run_id, "--json") for run_id in ids]
    answers = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(ids), answers
    assert {json.loads(text)["state"] for text, _ in answers} == {"finished"}
    log, _ = collect(out)
    whole, _ = collect(finished_sweep)
    assert log.equals(whole)


@pytest.mark.slow
def test_a_terminated_run_keeps_its_checkpoint_and_exits_with_1(spec_path, tmp_path):
    values = tiny_values()
    values["probes"]["train_tokens"] = 64 * 40000
    other = tmp_path / "long"
    spec_path.write_text(yaml.safe_dump(values))
    planned = json.loads(
        subprocess.run(
            [sys.executable, "-m", "cmrplan", "probe", "export", "sbatch", str(spec_path),
             "--runs", str(other), "--device", "cpu", "--json"],
            capture_output=True, text=True, check=True,
        ).stdout
    )  # fmt: skip
    probe = next(run_id for run_id in planned["run_ids"] if "r0.3" in run_id)
    process = start(spec_path, other, probe)
    progress = other / "probes" / probe / "progress.json"
    deadline = time.monotonic() + 120
    while not progress.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert f"{probe} stopped: stopped by the user" in out
    assert RunFolder(progress.parent).state() is RunState.STOPPED
    assert read_rows(other / "ledger.jsonl")[-1]["event"] == Event.STOPPED


def test_options_of_whole_sweeps_are_refused(call, spec_path, ready, ids):
    answer = call("probe", "run", spec_path, "--out", ready, "--only", ids[0], "--workers", "2")
    assert answer.code == 2
    assert "--workers is for whole sweeps" in answer.err
    answer = call("probe", "run", spec_path, "--out", ready, "--only", "nano", "--device", "cpu")
    assert answer.code == 2
    assert "has no run 'nano'" in answer.err


# --- files for schedulers -------------------------------------------------------------------------

STUB = """#!/bin/bash
printf '%s\\0' "$@" > "$STUB_OUT"
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Put a cmrplan on the PATH that writes down its words; return a function that runs bash and reads them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "cmrplan").write_text(STUB)
    (folder / "cmrplan").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STUB_OUT", str(tmp_path / "words"))

    def words(script, **environment):
        subprocess.run(
            ["bash", "-c", script], check=True, cwd=tmp_path, env=os.environ | environment
        )
        return (tmp_path / "words").read_text().split("\0")[:-1]

    return words


def jobs_with(name="tiny", device="cpu", **others):
    others = {"spec": "/a b/it's $(touch pwned).yaml", "out": "/runs `x`\n/$(HOME)"} | others
    return SweepJobs(name=name, device=device, run_ids=HOSTILE, **others)


def words_of(jobs, run_id):
    return ["probe", "run", jobs.spec, "--out", jobs.out, "--device", jobs.device, "--only", run_id]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_bash_hands_every_name_on_as_it_is(stub, tmp_path, number):
    jobs = jobs_with()
    words = stub(sbatch_script(jobs), SLURM_ARRAY_TASK_ID=str(number))
    assert words == words_of(jobs, HOSTILE[number])
    job = yaml.safe_load(kubernetes_job(jobs))
    shell, flag, script = job["spec"]["template"]["spec"]["containers"][0]["command"]
    # Kubernetes writes $( for $$( and replaces $(NAME) for names it knows; none may be left.
    assert not re.search(r"(?<!\$)\$\(", script)
    assert (shell, flag) == ("bash", "-c")
    script = script.replace("$$(", "$(")
    assert stub(script, JOB_COMPLETION_INDEX=str(number)) == words_of(jobs, HOSTILE[number])
    task = yaml.safe_load(skypilot_task(jobs))
    assert stub(task["run"], RUN_ID=HOSTILE[number]) == words_of(jobs, HOSTILE[number])
    assert not (tmp_path / "pwned").exists()


def test_the_launches_of_skypilot_are_one_a_run():
    text = skypilot_task(jobs_with())
    launched = [shlex.split(line[1:]) for line in text.splitlines() if "--env" in line]
    runs = [words[words.index("--env") + 1] for words in launched]
    assert runs == [f"RUN_ID={run_id}" for run_id in HOSTILE]
    assert all(words[:3] == ["sky", "jobs", "launch"] for words in launched)


@pytest.mark.parametrize("name", ["x\n#SBATCH --wrap=evil", "Größe 1", "a" * 200, "- -"])
def test_a_label_is_one_that_every_scheduler_takes(name):
    jobs = jobs_with(name=name)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", jobs.label)
    directives = [line for line in sbatch_script(jobs).splitlines() if line.startswith("#SBATCH")]
    assert f"#SBATCH --job-name={jobs.label}" in directives
    assert f"#SBATCH --array=0-{len(HOSTILE) - 1}" in directives
    assert not any("wrap" in line.split("=")[0] for line in directives)


def test_gpus_are_asked_for_where_runs_need_them():
    jobs = jobs_with(device="cuda", processes=4, image="ours:1", claim="shared")
    assert "#SBATCH --gpus-per-node=4" in sbatch_script(jobs)
    assert yaml.safe_load(skypilot_task(jobs))["resources"] == {"accelerators": "H100:4"}
    pod = yaml.safe_load(kubernetes_job(jobs))["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "shared"}


def test_export_writes_the_runs_that_are_left(call, spec_path, ready, ids, tmp_path):
    file = tmp_path / "sweep.sh"
    answer = call(
        "probe", "export", "sbatch", spec_path, "--runs", ready, "--device", "cpu", "--out", file
    )
    assert answer.code == 0, answer.err
    assert answer.out == f"3 runs -> {file}\n"
    written = file.read_text()
    assert written.startswith("#!/bin/bash\n" + job_scripts.WRITTEN_FOR_SCHEDULER)
    assert [run_id for run_id in ids if run_id in written] == ids[1:]
    assert call("probe", "export", "k8s-job", spec_path, "--runs", ready).code == 2
    mounted = call(
        "probe", "export", "k8s-job", spec_path, "--runs", "/a:b", "--image", "i", "--claim", "c"
    )
    assert (mounted.code, "no ':'" in mounted.err) == (2, True)


def test_the_written_script_does_a_run(call, spec_path, ready, ids, tmp_path, monkeypatch):
    answer = call("probe", "export", "sbatch", spec_path, "--runs", ready, "--device", "cpu")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(answer.out.splitlines()[-1])
    assert words[:2] == ["exec", "cmrplan"]
    assert Path(words[words.index("--out") + 1]) == ready
    assert Path(words[words.index("run") + 1]) == spec_path
