"""The scheduler with an executor that does what it is told: order, retries, limits and the ledger."""

import os
import signal
from collections import Counter, deque
from dataclasses import replace

import pytest
from settings_by_hand import BASE

from cmrplan.errors import CmrplanError
from cmrplan.files import write_json
from probes.executors.base import Cause, RunResult, TaskResult
from probes.executors.scheduler import LOST_ATTEMPTS, RunLimits, Scheduler
from probes.jobs import Job
from probes.ledger import Ledger
from probes.progress import SweepProgress
from probes.runner import write_outcome
from probes.runs import Outcome, RunState, SweepFolder
from probes.training.metrics import read_rows

PROBES = [
    replace(BASE, stage="probe", domain_ratio=ratio, base=BASE.run_id)
    for ratio in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
]
DIED = "died"
LOST = "lost"
ENDED_AND_DIED = "ended and died"


class Played:
    """An executor whose tasks end as a script says, one a wait; by default they finish."""

    def __init__(self, sweep, script=(), slots=2):
        self.sweep = sweep
        self.script = {run.run_id: deque(acts) for run, acts in dict(script).items()}
        self.num_slots = slots
        self.running = deque()
        self.most = 0
        self.order = []
        self.closed = []

    def slots(self):
        return self.num_slots

    def submit(self, tasks):
        for task in tasks:
            for path in task.paths:
                self.order.append(path.name)
                attempt = {"token": task.token, "host": "h", "pid": 7}
                write_json(path / "attempt.json", attempt | {"time": f"2026-{len(self.order):04d}"})
        self.running.extend(tasks)
        self.most = max(self.most, len(self.running))

    def wait(self, seconds):
        task = self.running.popleft()
        acts = self.script.get(task.paths[0].name)
        act = acts.popleft() if acts else RunState.FINISHED
        if act is KeyboardInterrupt:
            self.running.appendleft(task)
            os.kill(os.getpid(), signal.SIGTERM)
        if act == ENDED_AND_DIED:
            write_outcome(self.sweep.run(task.job.runs[0]), Outcome(RunState.FINISHED, "", 1.0))
            act = DIED
        if act in (DIED, LOST):
            cause = Cause.DIED if act == DIED else Cause.LOST
            return [TaskResult(task, cause=cause, reason=f"worker {act}")]
        if isinstance(act, RunResult):
            return [TaskResult(task, (act,) * len(task.paths))]
        for run in task.job.runs:
            outcome = Outcome(act, "" if act is RunState.FINISHED else "loss was nan", 1.0)
            write_outcome(self.sweep.run(run), outcome)
        return [TaskResult(task, tuple(RunResult(act, outcome.reason) for _ in task.paths))]

    def shutdown(self, *, cancel):
        self.closed.append(cancel)


@pytest.fixture
def sweep(tmp_path):
    return SweepFolder(tmp_path)


@pytest.fixture
def play(sweep):
    """Return a function that plays a script and returns the executor and the events by run."""

    def run(script=(), *, jobs=None, limits=RunLimits(), slots=2):  # noqa: B008
        jobs = jobs or [Job((run,)) for run in [BASE, *PROBES]]
        for job in jobs:
            for one in job.runs:
                sweep.plan(one)
        ledger = Ledger(sweep.ledger)
        ledger.catch_up(sweep.all_runs())
        executor = Played(sweep, script, slots)
        watcher = SweepProgress(sweep, jobs, num_runs=len(jobs), workers=slots)
        try:
            Scheduler(sweep, executor, ledger=ledger, watcher=watcher, limits=limits).run(jobs)
        finally:
            run.executor = executor
        return executor

    return run


def events(sweep, run):
    return [row["event"] for row in read_rows(sweep.ledger) if row["run_id"] == run.run_id]


def test_base_before_probes_and_never_more_than_the_slots(play, sweep):
    executor = play()
    assert executor.order[0] == BASE.run_id
    assert sorted(executor.order[1:]) == sorted(run.run_id for run in PROBES)
    assert executor.most == 2
    assert executor.closed == [False]
    for run in [BASE, *PROBES]:
        assert events(sweep, run) == ["planned", "started", "finished"]


def test_a_dead_worker_costs_one_attempt_and_says_why(play, sweep):
    play({PROBES[1]: [DIED, DIED]})
    assert events(sweep, PROBES[1]) == [
        *("planned", "started", "died", "retried", "started", "died", "retried"),
        *("started", "finished"),
    ]
    deaths = [row for row in read_rows(sweep.ledger) if row["event"] == "died"]
    assert {(row["reason"], row["host"], row["pid"]) for row in deaths} == {("worker died", "h", 7)}
    assert [row["attempt"] for row in deaths] == [1, 2]


def test_after_its_attempts_a_run_has_failed_until_the_next_start(play, sweep):
    play({PROBES[1]: [DIED] * 3})
    outcome = sweep.run(PROBES[1]).read_outcome()
    assert (outcome["state"], outcome["retry"], outcome["reason"]) == (
        "failed",
        True,
        "worker died",
    )
    assert events(sweep, PROBES[1])[-2:] == ["died", "failed"]


def test_lost_machines_are_not_charged_to_the_run(play, sweep):
    play({PROBES[1]: [LOST] * (LOST_ATTEMPTS - 1)}, limits=RunLimits(attempts=1))
    assert sweep.run(PROBES[1]).state() is RunState.FINISHED
    assert Counter(events(sweep, PROBES[1]))["retried"] == LOST_ATTEMPTS - 1


def test_a_diverged_run_is_not_tried_again(play, sweep):
    play({PROBES[1]: [RunState.FAILED]})
    assert events(sweep, PROBES[1]) == ["planned", "started", "failed"]
    assert not sweep.run(PROBES[1]).read_outcome()["retry"]


def test_a_run_over_time_has_failed_until_the_next_start(play, sweep):
    play({PROBES[1]: [RunResult(RunState.FAILED, "over the limit", Cause.TIME_LIMIT)]})
    outcome = sweep.run(PROBES[1]).read_outcome()
    assert (outcome["state"], outcome["retry"], outcome["reason"]) == (
        *("failed", True),
        "over the limit",
    )


def test_probes_of_a_failed_base_fail_with_it(play, sweep):
    executor = play({BASE: [RunState.FAILED]})
    assert executor.order == [BASE.run_id]
    reason = f"its base {BASE.run_id} failed: loss was nan"
    assert all(sweep.run(run).read_outcome()["reason"] == reason for run in PROBES)
    assert events(sweep, PROBES[0]) == ["planned", "failed"]


class TestFailureRate:
    def test_a_bad_sweep_is_stopped(self, play, sweep):
        # base and probes one at a time: 1 good, then bad ones; 4 of 5 is the first look, at 5 ended runs
        script = {run: [RunState.FAILED] for run in PROBES}
        with pytest.raises(CmrplanError) as caught:
            play(script, slots=1)
        assert str(caught.value) == (
            "stopped: 4 of 5 ended runs failed, more than 50%; the last: loss was nan; mend the cause and start "
            "again, or allow more with --max-failures"
        )
        assert sum(run.state() is RunState.PLANNED for run in map(sweep.run, PROBES)) == 2

    def test_as_many_as_allowed_may_fail(self, play, sweep):
        script = {run: [RunState.FAILED] for run in PROBES}
        play(script, slots=1, limits=RunLimits(failures=0.9))
        assert sum(sweep.run(run).state() is RunState.FAILED for run in PROBES) == 6

    def test_half_is_not_more_than_half(self, play, sweep):
        # in order: base, two failures, two good ones, and the third failure makes 3 of 6
        play({PROBES[i]: [RunState.FAILED] for i in (0, 1, 4)}, slots=1)
        assert sweep.run(PROBES[5]).state() is RunState.FINISHED


def test_no_space_stops_the_sweep_and_nothing_is_failed(play, sweep):
    full = RunResult(RunState.STOPPED, "no space left on the disk of X", Cause.DISK_FULL)
    with pytest.raises(
        CmrplanError, match="no space left on the disk of X; what is finished is kept"
    ):
        play({PROBES[0]: [full]})
    assert events(sweep, PROBES[0])[-1] == "stopped"
    assert sweep.run(PROBES[0]).read_outcome() is None


def test_sigterm_stops_as_ctrl_c_does(play, sweep):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        play({PROBES[0]: [KeyboardInterrupt]})
    in_work = [run for run in PROBES if "started" in events(sweep, run)]
    assert events(sweep, PROBES[0])[-1] == "stopped"
    assert {events(sweep, run)[-1] for run in in_work} <= {"stopped", "finished"}
    assert signal.getsignal(signal.SIGTERM) is before


def test_runs_of_one_job_start_and_end_together(play, sweep):
    jobs = [Job((BASE,)), Job(tuple(PROBES[:3])), Job(tuple(PROBES[3:]))]
    executor = play({PROBES[0]: [DIED]}, jobs=jobs)
    assert executor.order.count(PROBES[2].run_id) == 2
    for run in PROBES[:3]:
        assert Counter(events(sweep, run))["died"] == 1
    for run in [BASE, *PROBES]:
        assert events(sweep, run).count("finished") == 1


def test_a_run_that_finished_before_its_worker_died_is_not_counted_as_dead(play, sweep):
    play({BASE: [ENDED_AND_DIED]})
    assert events(sweep, BASE) == ["planned", "started", "finished"]
