"""Whole sweeps in real worker processes: skipping, killing, failing, growing."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from redone import rewrite
from sweeping import run, run_here

from cmrplan.errors import CmrplanError, InputError
from probes.collect import collect, read_ledger
from probes.data.prepare import prepare_corpora
from probes.executors.scheduler import RunLimits
from probes.runs import RunFolder, RunState, SweepFolder
from probes.single_run import plan_runs
from probes.training.checkpoint import Checkpoints, Position
from probes.training.metrics import read_rows

START = """
import signal
import sys
from probes.executors.base import ExecutorOptions
from probes.spec.file import read_spec
from probes.sweep import run_sweep
# a shell lets its background jobs ignore an interrupt; here it has to come through
signal.signal(signal.SIGINT, signal.default_int_handler)
executor = ExecutorOptions(workers=int(sys.argv[3]), device="cpu", checkpoint_seconds=0.1)
run_sweep(read_spec(sys.argv[1]), sys.argv[2], executor=executor)
"""


def final_numbers(out):
    """Return every row, sequence loss and checkpoint of a sweep, by file, as bytes."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for pattern in ("metrics.jsonl", "*.npz", "checkpoints/*.safetensors")
        for path in out.rglob(pattern)
    }


@pytest.mark.slow
class TestKilled:
    def test_killed_twice_ends_with_the_same_numbers(
        self, corpora_folder, finished_sweep, tmp_path
    ):
        out = tmp_path / "runs"
        spec = corpora_folder / "unbroken.yaml"

        def start_and_kill(when):
            process = subprocess.Popen(
                [sys.executable, "-c", START, spec, out, "1"],
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            deadline = time.monotonic() + 60
            while not when() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            interrupted = process.poll() is None
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return interrupted

        def base_has_begun():
            return any(out.glob("bases/*/progress.json"))

        def a_probe_has_a_row():
            return any(len(read_rows(path)) > 1 for path in out.glob("probes/*/metrics.jsonl"))

        assert start_and_kill(base_has_begun)
        assert not any(out.glob("probes/*/metrics.jsonl"))
        assert start_and_kill(a_probe_has_a_row)
        assert set(read_ledger(out)["state"]) - {"finished"}
        command = [sys.executable, "-c", START, spec, out, "1"]
        finished = subprocess.run(command, capture_output=True)
        assert finished.returncode == 0, finished.stderr.decode()
        assert finished.stdout == b""
        assert set(read_ledger(out)["state"]) == {"finished"}
        assert final_numbers(out) == final_numbers(finished_sweep)


class TestAgain:
    def test_finished_runs_are_skipped_and_new_ratios_added(
        self, make_spec, values, finished_sweep, tmp_path
    ):
        out = tmp_path / "runs"
        shutil.copytree(finished_sweep, out)
        before = {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")}
        values["probes"]["grid"]["domain_ratio"] = [0.3, 0.6]
        ledger = run_here(make_spec(values), out)
        assert {path: path.stat().st_mtime_ns for path in before} == before
        assert ledger.loc[ledger["stage"] == "base", "run_id"].size == 1
        probes = ledger[ledger["stage"] == "probe"]
        assert probes["domain_ratio"].tolist() == [0.0, 0.3, 0.6, 1.0]
        assert set(probes["state"]) == {"finished"}

    def test_other_settings_need_another_folder(self, make_spec, values, finished_sweep):
        values["probes"]["learning_rate"] = 5e-4
        with pytest.raises(InputError) as caught:
            run(make_spec(values), finished_sweep)
        assert str(caught.value) == (
            f"{finished_sweep} holds another sweep: probes.learning_rate was 0.001, now it is 0.0005; "
            "choose another output folder"
        )

    def test_a_setting_that_was_not_set_is_told_so(self, make_spec, values, finished_sweep):
        values["numerics"] = {"micro_batch_size": 2, "compile": True}
        with pytest.raises(
            InputError, match=r"numerics\.micro_batch_size was not set, now it is 2;"
        ):
            run(make_spec(values), finished_sweep)
        del values["numerics"]["micro_batch_size"]
        with pytest.raises(InputError, match=r"numerics\.compile was false, now it is true;"):
            run(make_spec(values), finished_sweep)

    def test_changed_corpus_needs_another_folder(self, make_spec, values, corpora_folder, tmp_path):
        shutil.copytree(corpora_folder, tmp_path / "texts")
        for name in ("general", "domain"):
            values["corpora"][name]["source"] = str(tmp_path / "texts" / name)
        spec = make_spec(values)
        prepare_corpora(spec, tmp_path / "corpora")
        (tmp_path / "texts" / "general" / "new.txt").write_text("one more document")
        with pytest.raises(
            InputError, match=r"holds other corpora: \S+new\.txt was not in corpora\.general"
        ):
            prepare_corpora(spec, tmp_path / "corpora")

    def test_output_that_is_a_file(self, spec, tmp_path):
        (tmp_path / "runs").write_text("")
        with pytest.raises(InputError, match="runs is a file; give a folder for the runs"):
            run(spec, tmp_path / "runs")

    def test_too_small_corpus_says_what_is_needed(self, make_spec, values, tmp_path):
        values["evaluation_sequences"] = 100_000
        with pytest.raises(CmrplanError, match=r"100000 are needed \(1600001 tokens\)"):
            run(make_spec(values), tmp_path / "runs")
        assert not any(tmp_path.rglob("manifest.json"))


class TestTrouble:
    def test_diverged_run_is_in_the_ledger_and_not_in_the_log(self, make_spec, values, tmp_path):
        # an update of this size makes the next loss infinite or NaN
        values["probes"]["learning_rate"] = 1e30
        out = tmp_path / "runs"
        ledger = run_here(make_spec(values), out)
        probes = ledger[ledger["stage"] == "probe"]
        assert set(probes["state"]) == {"failed"}
        assert probes["reason"].str.contains(r"(?:loss|norm) was (?:nan|inf) at step \d").all()
        with pytest.raises(CmrplanError, match=r"has no finished probe \(3 failed\)"):
            collect(out)

    def test_one_failed_probe_leaves_the_others(self, finished_sweep, tmp_path):
        out = tmp_path / "runs"
        shutil.copytree(finished_sweep, out)
        failed = next(out.glob("probes/*-r0.3-*"))
        rewrite(failed / "outcome.json", state="failed", reason="loss was nan")
        log, ledger = collect(out)
        assert failed.name not in set(log["run_id"])
        assert log["run_id"].nunique() == 2
        row = ledger.set_index("run_id").loc[failed.name]
        assert (row["state"], row["reason"]) == ("failed", "loss was nan")

    @pytest.mark.slow
    def test_dying_worker_fails_its_run_and_the_next_start_retries_it(
        self, spec, finished_sweep, tmp_path
    ):
        out = tmp_path / "runs"
        shutil.copytree(finished_sweep, out)
        probe = RunFolder(next(out.glob("probes/*-r0.3-*")))
        sound = probe.settings.read_text()
        for path in (probe.outcome, probe.progress):
            path.unlink()
        probe.settings.write_text("{}")  # no worker survives this one
        other = RunFolder(next(out.glob("probes/*-r1-*")))
        for path in (other.outcome, other.progress):
            path.unlink()
        table = run(spec, out, limits=RunLimits(attempts=1)).set_index("run_id")
        assert table.loc[probe.path.name, "state"] == "damaged"
        outcome = probe.read_outcome()
        assert (outcome["state"], outcome["retry"]) == ("failed", True)
        assert outcome["reason"] == "worker process ended with exit code 1: KeyError: 'model'"
        assert other.read_outcome()["state"] == "finished"
        probe.settings.write_text(sound)
        assert set(run_here(spec, out)["state"]) == {"finished"}
        assert final_numbers(out) == final_numbers(finished_sweep)

    def test_checkpoint_of_another_run_is_refused_after_the_others_are_done(
        self, spec, finished_sweep, tmp_path
    ):
        out = tmp_path / "runs"
        shutil.copytree(finished_sweep, out)
        probe, other = (RunFolder(next(out.glob(f"probes/*-{r}-*"))) for r in ("r0.3", "r1"))
        Checkpoints(probe.checkpoints, "other").save(Position(0, 5), {"x": torch.ones(1)})
        probe.outcome.unlink()
        other.outcome.unlink()
        with pytest.raises(CmrplanError, match=r"r0\.3\S+ belongs to other settings"):
            run_here(spec, out)
        assert other.read_outcome()["state"] == "finished"

    def test_interrupted_sweep_keeps_its_state(self, corpora_folder, finished_sweep, tmp_path):
        out = tmp_path / "runs"
        spec = corpora_folder / "unbroken.yaml"
        process = subprocess.Popen(
            [sys.executable, "-c", START, spec, out, "1"], stderr=subprocess.PIPE, text=True
        )
        while not any(out.glob("bases/*/progress.json")) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
        assert "KeyboardInterrupt" in errors
        states = {run.path.name: run.state() for run in SweepFolder(out).all_runs()}
        assert RunState.RUNNING not in states.values()


class TestOrphans:
    def test_worker_ends_when_its_parent_is_gone(self, make_spec, values, tmp_path):
        values["base"]["train_tokens"] = 64 * 100_000  # longer than any test
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(make_spec(values).model_dump()))
        out = tmp_path / "runs"
        process = subprocess.Popen([sys.executable, "-c", START, path, out, "1"])
        while not any(out.glob("bases/*/progress.json")):
            time.sleep(0.01)
        base = next(iter(SweepFolder(out).all_runs()))
        assert base.state() is RunState.RUNNING
        process.kill()
        process.wait()
        deadline = time.monotonic() + 20
        while base.state() is RunState.RUNNING and time.monotonic() < deadline:
            time.sleep(0.05)
        assert base.state() is RunState.STOPPED
        assert any(base.checkpoints.iterdir())


def test_a_size_that_comes_back_with_another_width_is_named(
    make_spec, values, finished_sweep, tmp_path
):
    """The spec in the folder has no size that was left out, but its base is there."""
    out = tmp_path / "runs"
    shutil.copytree(finished_sweep, out)
    nano = values["sizes"][0]
    values["sizes"] = [nano | {"name": "pico"}]
    plan_runs(make_spec(values), out, device="cpu", progress=False)
    values["sizes"] += [nano | {"width": 8}]
    with pytest.raises(InputError) as caught:
        plan_runs(make_spec(values), out, device="cpu", progress=False)
    assert str(caught.value) == (
        f"{out} holds a base of another size 'nano', from before the spec left it out: width was 16, now it is 8; "
        "give the size another name or choose another output folder"
    )
    values["sizes"][1] = nano | {"micro_batch_size": 1}
    with pytest.raises(InputError, match=r"numerics\.micro_batch_size was 2, now it is 1;"):
        plan_runs(make_spec(values), out, device="cpu", progress=False)
    values["sizes"][1] = nano
    runs = plan_runs(make_spec(values), out, device="cpu", progress=False).by_id
    assert {path.name for path in out.glob("bases/nano-*")} <= runs.keys()


def test_a_folder_of_another_version_is_refused(spec, finished_sweep, tmp_path):
    out = tmp_path / "runs"
    shutil.copytree(finished_sweep, out)
    (base,) = out.glob("bases/*")
    base.rename(base.with_name("nano-base-s0-00000000"))  # as if made from other settings
    before = sorted(path.name for path in out.glob("probes/*"))
    with pytest.raises(InputError) as caught:
        run_here(spec, out)
    assert str(caught.value) == (
        f"{out} was begun by another version of cmrplan: its base nano-base-s0-00000000 would now be {base.name}; "
        "finish it with that version or choose another output folder"
    )
    assert sorted(path.name for path in out.glob("probes/*")) == before
