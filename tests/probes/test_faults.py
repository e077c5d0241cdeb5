"""What goes wrong around a sweep: kills, a full disk, missing files, a second sweep; nothing finished is lost."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from redone import has_results_of, reopen
from sweeping import run, run_here

from cmrplan.errors import CmrplanError, InputError
from probes.collect import read_ledger
from probes.executors.base import EXECUTOR_NAMES, Cause, ExecutorOptions, make_executor
from probes.executors.scheduler import RunLimits
from probes.executors.task import disk_is_full, do_task
from probes.locks import only_sweep
from probes.runs import RunFolder, RunState, SweepFolder
from probes.spec.file import spec_text
from probes.training.metrics import read_rows

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import faults


def events(out, run_id):
    return [row["event"] for row in read_rows(out / "ledger.jsonl") if row["run_id"] == run_id]


@pytest.fixture
def reopened(finished_sweep, tmp_path):
    """Return a copy of a finished sweep in which the probe at ratio 1 is to be done again."""
    out = tmp_path / "runs"
    shutil.copytree(finished_sweep, out)
    return out, reopen(out, "1")[0]


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(corpora_folder, finished_sweep, tmp_path):
    out = tmp_path / "runs"
    shutil.copytree(finished_sweep, tmp_path / "unbroken")
    hit = faults.kill_at_random(
        corpora_folder / "unbroken.yaml",
        out,
        {"workers": 1},
        kills=3,
        longest=3.0,
        generator=random.Random(3),
    )
    assert hit.total() == 3
    assert faults.log_bytes(out) == faults.log_bytes(tmp_path / "unbroken")
    assert faults.ledger_problems(out) == []


class TestFullDisk:
    def test_the_sweep_stops_with_the_reason_and_goes_on_later(
        self, corpora_folder, spec, reopened, finished_sweep
    ):
        out, probe = reopened
        other = RunFolder(finished_sweep / probe.path.relative_to(out))
        (checkpoint,) = out.glob("bases/*/checkpoints/*")
        limit = checkpoint.stat().st_size - 1  # every file but a checkpoint fits
        start = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2)\n"
        start += faults.START.replace("checkpoint_seconds=0.5", "checkpoint_seconds=0")
        command = [sys.executable, "-c", start, corpora_folder / "unbroken.yaml", out, "{}"]
        process = subprocess.run(command, capture_output=True, text=True)
        assert (
            f"CmrplanError: no space left on the disk of {out}; what is finished is kept: free space and start"
        ) in process.stderr
        assert events(out, probe.path.name) == ["planned", "started", "stopped"]
        assert probe.state() is not RunState.FAILED
        before = read_rows(probe.metrics)
        assert before == read_rows(other.metrics)[: len(before)]
        assert set(run_here(spec, out)["state"]) == {"finished"}
        assert has_results_of(probe, other)

    def test_too_little_space_is_refused_before_anything_starts(self, spec, tmp_path, monkeypatch):
        usage = shutil._ntuple_diskusage(10**9, 10**9, 10_000)
        monkeypatch.setattr("probes.sweep.shutil.disk_usage", lambda path: usage)
        with pytest.raises(InputError) as caught:
            run(spec, tmp_path / "runs")
        # 4 checkpoints of 9,264 parameters at 12 bytes, and 1 + 3 x 5 evaluations of 2 x 24 fp32 losses
        assert "the runs need about 0.000" in str(caught.value)
        assert "1e-05 GB are free; free space or choose another output folder" in str(caught.value)
        assert not any(tmp_path.rglob("attempt.json"))

    @pytest.mark.parametrize(
        "error",
        [
            OSError(28, "No space left on device"),
            OSError(122, "Disk quota exceeded"),
            RuntimeError("Error while serializing: I/O error: No space left (os error 28)"),
        ],
    )
    def test_it_is_seen_behind_other_errors(self, error):
        above = InputError("cannot write x")
        above.__context__ = error  # as of "raise ... from None"
        assert disk_is_full(above)
        assert not disk_is_full(OSError(2, "No such file or directory"))


def test_a_prepared_corpus_that_vanishes_before_the_start(spec, reopened):
    out, _ = reopened
    shard = out / "corpora" / "shards" / "domain-train-00000.npy"
    shard.unlink()
    with pytest.raises(InputError) as caught:
        run(spec, out)
    assert str(caught.value) == (
        f"{out / 'corpora'} is damaged ([Errno 2] No such file or directory: '{shard}'); remove that folder to "
        "prepare the corpora again"
    )
    shutil.rmtree(out / "corpora")
    assert set(run_here(spec, out)["state"]) == {"finished"}


def test_a_prepared_corpus_that_vanishes_in_the_middle(reopened):
    out, probe = reopened
    shard = out / "corpora" / "shards" / "domain-train-00000.npy"
    shard.unlink()
    (result,) = do_task(
        SweepFolder(out),
        [probe.path],
        token="t",
        asked_to_stop=lambda: "",
        checkpoint_seconds=1.0,
        run_seconds=None,
    )
    assert (result.state, result.cause) == (RunState.STOPPED, Cause.REFUSED)
    assert f"No such file or directory: '{shard}'" in result.reason


def test_a_source_that_vanishes_is_one_line_and_keeps_the_runs(
    make_spec, values, corpora_folder, finished_sweep, tmp_path
):
    shutil.copytree(corpora_folder, tmp_path / "texts")
    shutil.copytree(finished_sweep, tmp_path / "runs")
    for name in ("general", "domain"):
        values["corpora"][name]["source"] = str(tmp_path / "texts" / name)
    spec = make_spec(values)
    shutil.rmtree(tmp_path / "texts" / "domain")
    with pytest.raises(InputError, match="domain"):
        run(spec, tmp_path / "new")
    assert set(read_ledger(tmp_path / "runs")["state"]) == {"finished"}


def test_a_run_over_its_time_keeps_its_checkpoint_and_goes_on_when_allowed(
    spec, reopened, finished_sweep
):
    out, probe = reopened
    ledger = run_here(spec, out, limits=RunLimits(run_seconds=1e-6)).set_index("run_id")
    assert ledger.loc[probe.path.name, "state"] == "failed"
    assert "over the limit of" in ledger.loc[probe.path.name, "reason"]
    assert list(probe.checkpoints.iterdir())
    assert set(run_here(spec, out)["state"]) == {"finished"}
    assert has_results_of(probe, RunFolder(finished_sweep / probe.path.relative_to(out)))


class TestRefused:
    def test_two_sweeps_in_one_folder(self, spec, finished_sweep, tmp_path, monkeypatch):
        out = tmp_path / "runs"
        shutil.copytree(finished_sweep, out)
        with only_sweep(out), pytest.raises(InputError) as caught:
            run(spec, out)
        assert "another sweep runs in this folder (process " in str(caught.value)
        assert set(run_here(spec, out)["state"]) == {"finished"}

    def test_no_gpu_where_one_is_asked_for(self, spec, tmp_path):
        with pytest.raises(InputError, match="device cuda: torch sees no GPU on this machine"):
            run(spec, tmp_path / "runs", device="cuda")
        assert not (tmp_path / "runs" / "spec.yaml").exists()  # another device may be chosen

    @pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
    def test_missing_extra(self, name, package, spec, tmp_path, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(InputError) as caught:
            run(spec, tmp_path / "runs", name=name)
        assert (
            str(caught.value) == f"executor {name} needs {package}: pip install 'cmrplan[{name}]'"
        )

    def test_unknown_executor(self, tmp_path):
        with pytest.raises(InputError, match=f"one of {', '.join(EXECUTOR_NAMES)}, got 'cloud'"):
            make_executor(SweepFolder(tmp_path), ExecutorOptions(name="cloud"))

    def test_slurm_options(self, spec, tmp_path):
        pytest.importorskip("submitit")
        for option, message in [
            ({"partiton": "a"}, "unknown option 'partiton'; did you mean 'partition'?"),
            ({"time": "2h"}, "--slurm time must be a whole number of minutes, got '2h'"),
            ({"cluster": "moon"}, "cluster must be one of slurm, local, debug, got 'moon'"),
        ]:
            with pytest.raises(InputError) as caught:
                run(spec, tmp_path, name="slurm", slurm={"cluster": "local"} | option)
            assert message in str(caught.value)

    def test_a_wrong_slurm_option_is_told_where_slurm_is_not(self, spec, tmp_path, monkeypatch):
        pytest.importorskip("submitit")
        monkeypatch.setattr("shutil.which", lambda name: None)
        with pytest.raises(InputError, match="did you mean 'cluster'"):
            run(spec, tmp_path, name="slurm", slurm={"cluser": "debug"})

    @pytest.mark.parametrize(
        ("where", "option"),
        [
            ({"slurm": {"partition": "gpu"}}, "--slurm is for --executor slurm"),
            ({"name": "ray", "slurm": {"time": "5"}}, "--slurm is for --executor slurm"),
            ({"ray_address": "head:6379"}, "--ray-address is for --executor ray"),
        ],
    )
    def test_options_of_another_executor(self, where, option, spec, tmp_path):
        """They would be left aside, and the runs trained on the machine where the command was typed."""
        with pytest.raises(InputError, match=option):
            run(spec, tmp_path / "runs", **where)
        assert not (tmp_path / "runs").exists()

    def test_slurm_options_of_a_project_file_wait_for_that_executor(self, spec, call, tmp_path):
        (tmp_path / "sweep.yaml").write_text(spec_text(spec))
        (tmp_path / "mine.toml").write_text('[probe.run]\nslurm = ["partition=gpu"]\n')
        told = ("--project", tmp_path / "mine.toml", "probe", "run", tmp_path / "sweep.yaml")
        answer = call(*told, "--out", tmp_path / "runs", "--device", "cuda")
        assert "torch sees no GPU" in answer.err  # refused for that alone
        answer = call(*told, "--out", tmp_path / "runs", "--slurm", "partition=cpu")
        assert "--slurm is for --executor slurm" in answer.err

    def test_a_slurm_option_given_twice(self, spec, call, tmp_path):
        (tmp_path / "sweep.yaml").write_text(spec_text(spec))
        given = ("--executor", "slurm", "--slurm", "time=60", "--slurm", "time=30")
        answer = call("probe", "run", tmp_path / "sweep.yaml", "--out", tmp_path / "runs", *given)
        assert answer.code == 2
        assert "--slurm time was given twice: '60' and '30'" in answer.err

    def test_ray_address_where_nothing_listens(self, spec, tmp_path):
        pytest.importorskip("ray")
        with pytest.raises(InputError, match="--ray-address must be auto or HOST:PORT"):
            run(spec, tmp_path, name="ray", ray_address="localhost:1")


def test_too_many_failures_stop_the_sweep(make_spec, values, tmp_path):
    values["probes"]["learning_rate"] = 1e30
    values["probes"]["grid"]["domain_ratio"] = [0.2, 0.4, 0.6, 0.8]
    with pytest.raises(CmrplanError, match=r"stopped: \d of \d ended runs failed, more than 50%"):
        run_here(make_spec(values), tmp_path / "runs")
    states = read_ledger(tmp_path / "runs")["state"].value_counts()
    assert states["failed"] == 4  # of the first five that ended
    assert states["planned"] == 2
