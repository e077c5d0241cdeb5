"""What ``probe status`` says of finished, failed, stopped and planned runs."""

import shutil

import pytest
from redone import rewrite

from probes.ledger import Event, Ledger
from probes.runs import RunFolder
from probes.single_run import plan_runs, run_single
from probes.status import read_status
from probes.training.metrics import read_rows


@pytest.fixture
def out(finished_sweep, tmp_path):
    """Return a sweep with two finished runs, one stopped half way and one failed."""
    out = tmp_path / "runs"
    shutil.copytree(finished_sweep, out)
    stopped = RunFolder(next(out.glob("probes/*-r0.3-*")))
    stopped.outcome.unlink()
    rewrite(stopped.progress, step=24, train_tokens=24 * 64, seconds=2.0)
    lines = stopped.metrics.read_bytes().splitlines(keepends=True)
    stopped.metrics.write_bytes(b"".join(lines[:3]))
    failed = RunFolder(next(out.glob("probes/*-r1-*")))
    rewrite(failed.outcome, state="failed", reason="loss was nan at step 7")
    ledger = Ledger(out / "ledger.jsonl")
    attempt = {"token": "t", "host": "node7", "pid": 1, "time": "2026"}
    ledger.write(Event.STARTED, stopped.path.name, attempt=attempt)
    ledger.write(Event.STOPPED, stopped.path.name, reason="the sweep was stopped")
    return out


def test_states_losses_speed_attempts_and_reasons(out):
    status = read_status(out)
    assert status.counts == {"finished": 2, "stopped": 1, "failed": 1}
    by_ratio = {run.domain_ratio: run for run in status.runs if run.stage == "probe"}
    stopped, failed, finished = by_ratio[0.3], by_ratio[1.0], by_ratio[0.0]
    rows = read_rows(next(out.glob("probes/*-r0.3-*/metrics.jsonl")))
    assert (stopped.general_loss, stopped.domain_loss) == (
        rows[-1]["general_loss"],
        rows[-1]["domain_loss"],
    )
    assert (stopped.step, stopped.steps, stopped.tokens_per_second) == (24, 48, 24 * 64 / 2.0)
    assert (stopped.attempts, stopped.host, stopped.reason) == (2, "node7", "the sweep was stopped")
    assert (failed.state, failed.reason) == ("failed", "loss was nan at step 7")
    assert (finished.attempts, finished.reason, finished.seconds_left) == (1, "", None)
    assert status.seconds_left is None  # nothing is in work
    # all but half of one of three equal probes; the failed one counts as far as it came
    assert 0.8 < status.work_done < 1


def test_the_command_prints_a_line_a_run(out, call):
    answer = call("probe", "status", out)
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert len(lines) == 1 + 4 + 1
    assert lines[0].split() == "state run tokens of general domain tok/s left tries".split()
    stopped = next(line for line in lines if line.startswith("stopped"))
    assert stopped.split()[2:4] == ["1.5k", "3.1k"]
    assert stopped.endswith("2  the sweep was stopped")
    assert "2 finished, 1 stopped, 1 failed; " in lines[-1]
    assert len(call("probe", "status", out, "--json").json()["runs"]) == 4


@pytest.mark.parametrize(("changes", "runs"), [({}, 4), ({"separate_runs": True}, 1 + 3 * 4)])
def test_runs_that_nobody_has_begun_wait(make_spec, values, tmp_path, call, changes, runs):
    """So it is after probe export: the corpora are prepared, and a process is to be started for each run."""
    values["probes"] |= changes
    out = tmp_path / "runs"
    spec = make_spec(values)
    planned = plan_runs(spec, out, device="cpu", progress=False)
    assert len(planned.by_id) == runs
    assert (read_status(out).runs, read_status(out).waiting) == ((), runs)
    assert call("probe", "status", out).out == f"{runs} runs wait to be started, none has begun\n"
    base = next(iter(planned.by_id))
    run_single(spec, out, base, device="cpu", progress=False)
    last = call("probe", "status", out).out.splitlines()[-1]
    assert last == f"1 finished; 100% of the work of these; {runs - 1} more wait to be started"
    assert call("probe", "status", out, "--json").json()["waiting"] == runs - 1


def test_no_run_waits_where_each_has_a_folder(out):
    assert read_status(out).waiting == 0
    (out / "spec.yaml").write_text("")
    assert read_status(out).waiting == 0


def test_watching_ends_when_all_runs_have(finished_sweep, call):
    assert call("probe", "status", finished_sweep, "--watch").code == 0
    refused = call("probe", "status", finished_sweep, "--watch", "--json")
    assert (refused.code, "leave it out with --json" in refused.err + refused.out) == (2, True)


def test_watching_goes_on_while_runs_wait(finished_sweep, tmp_path, call, monkeypatch):
    out = tmp_path / "runs"
    shutil.copytree(finished_sweep, out)
    shutil.rmtree(out / "probes")
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        shutil.copytree(finished_sweep / "probes", out / "probes")

    monkeypatch.setattr("cmrplan.cli.probe.time.sleep", sleep)
    answer = call("probe", "status", out, "--watch")
    assert len(waits) == 1
    assert answer.out.splitlines()[-1] == "4 finished; 100% of the work"
