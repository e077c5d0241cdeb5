"""The progress display: what is done, and the time left, by hand."""

from dataclasses import replace

import pytest

from cmrplan.files import write_json
from probes.jobs import Job
from probes.progress import PlainProgress, SweepProgress, TerminalProgress
from probes.run_settings import RunSettings
from probes.runs import RunState, SweepFolder


@pytest.fixture
def jobs(finished_sweep):
    """Return three equal probes of a finished base."""
    run = next(run for run in SweepFolder(finished_sweep).all_runs() if "-r1-" in run.path.name)
    settings = run.read_settings()
    return [Job((replace(settings, seed=seed),)) for seed in (1, 2, 3)]


@pytest.fixture
def sweep(tmp_path):
    return SweepFolder(tmp_path)


def put_at(sweep, settings: RunSettings, part):
    step = round(part * settings.steps)
    tokens = step * settings.step_tokens
    progress = {"step": step, "steps": settings.steps, "train_tokens": tokens, "seconds": 2.0}
    progress["notes"] = []
    write_json(sweep.run(settings).progress, progress)


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still until it is moved."""
    now = [0.0]
    monkeypatch.setattr("probes.progress.time.monotonic", lambda: now[0])
    return now


def test_time_left_counts_workers_and_leaves_out_earlier_work(sweep, jobs, clock):
    put_at(sweep, jobs[0].runs[0], 0.5)  # done by an earlier start
    progress = SweepProgress(sweep, jobs, num_runs=4, workers=2)
    assert progress._seconds_left() is None
    put_at(sweep, jobs[0].runs[0], 0.75)
    put_at(sweep, jobs[1].runs[0], 0.25)
    clock[0] = 10.0
    progress.tick(jobs[:2])
    # a quarter of a run took a worker ten seconds: 10, 30 and 40 seconds of work on two workers,
    # the costliest first in the order of the jobs: 10 beside 30, then 40
    # beside it for 20, and its other 20 with both cores, 2 * 0.9 times as fast
    assert progress._seconds_left() == pytest.approx(10 + 20 + 20 / 1.8)
    assert progress._work_done() == pytest.approx(1 / 3)


def test_plain_line(sweep, jobs, clock, capsys):
    progress = PlainProgress(sweep, jobs[:2], num_runs=4, workers=2)
    put_at(sweep, jobs[0].runs[0], 1.0)
    clock[0] = 5.0
    progress.tick(jobs[:1])
    progress.ended(jobs[0].runs[0], RunState.FINISHED, "")
    progress.ended(jobs[1].runs[0], RunState.FAILED, "loss was nan")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"probe {jobs[0].name} finished, 3,072 tokens, 1,536 tokens/s; 3 of 4 runs, about 5 s left",
        f"probe {jobs[1].name} failed (loss was nan); 4 of 4 runs",
    ]


def test_bars_come_and_go(sweep, jobs, clock, capsys):
    put_at(sweep, jobs[0].runs[0], 0.5)
    with TerminalProgress(sweep, jobs, num_runs=3, workers=2) as progress:
        progress.tick(jobs[:1])
        assert len(progress._display.tasks) == 2
        progress.ended(jobs[0].runs[0], RunState.FAILED, "loss [was] nan")
        assert len(progress._display.tasks) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "failed: loss [was] nan" in err
