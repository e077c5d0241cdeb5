"""The ledger of events: each once, whatever was killed while it was written."""

import json

import pytest

from cmrplan.errors import CmrplanError
from cmrplan.files import write_json
from probes.ledger import Event, Ledger, read_histories
from probes.locks import locked
from probes.runner import write_outcome
from probes.runs import Outcome, RunFolder, RunState
from probes.training.metrics import read_rows

ATTEMPT = {"token": "t", "host": "node7", "pid": 42, "time": "2026-01-01T00:00:00.000+00:00"}


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "nano-r0.5")
    write_json(folder.settings, {})
    return folder


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def happened(path):
    return [row["event"] for row in read_rows(path)]


def test_the_end_of_an_attempt_names_its_worker(path):
    ledger = Ledger(path)
    ledger.write(Event.PLANNED, "a")
    ledger.write(Event.STARTED, "a", attempt=ATTEMPT)
    ledger.write(Event.DIED, "a", reason="killed")
    ledger.write(Event.RETRIED, "a")
    rows = read_rows(path)
    assert [(row["host"], row["pid"]) for row in rows[1:3]] == [("node7", 42)] * 2
    assert rows[3]["pid"] != 42
    history = read_histories(path)["a"]
    assert (history.attempts, history.last, history.reason) == (1, Event.RETRIED, "killed")


@pytest.mark.parametrize("torn", [b'{"time": "2026', b'{"time": 1}', b"\x00\x00\x00\n"])
def test_a_torn_line_is_cut_off_before_the_next_event(path, torn):
    Ledger(path).write(Event.PLANNED, "a")
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert happened(path) == ["planned"]
    ledger = Ledger(path)
    assert path.read_bytes() == whole
    ledger.write(Event.PLANNED, "b")
    assert [json.loads(line)["run_id"] for line in path.read_text().splitlines()] == ["a", "b"]


class TestCatchingUp:
    """What happened while no sweep's process was there to write it."""

    def test_nothing_is_written_twice(self, path, run):
        for _ in range(3):
            Ledger(path).catch_up([run])
        assert happened(path) == ["planned"]

    def test_an_attempt_that_nobody_saw_begin_or_end(self, path, run):
        Ledger(path).catch_up([run])
        write_json(run.attempt, ATTEMPT)
        for _ in range(2):
            Ledger(path).catch_up([run])
        assert happened(path) == ["planned", "started", "died"]
        assert read_rows(path)[2]["reason"] == "the sweep's process ended"

    def test_a_worker_that_lets_go_of_its_run_later(self, path, run):
        """An attempt still in work is left open, and ends where the next one begins."""
        write_json(run.attempt, ATTEMPT)
        with locked(run.path):
            ledger = Ledger(path)
            ledger.catch_up([run])
        assert happened(path) == ["planned", "started"]
        later = ATTEMPT | {"token": "u", "pid": 43, "time": "2026-01-01T00:00:09.000+00:00"}
        ledger.write(Event.STARTED, run.path.name, attempt=later)
        assert happened(path) == ["planned", "started", "died", "started"]
        assert [row["pid"] for row in read_rows(path)[1:]] == [42, 42, 43]
        assert [row["attempt"] for row in read_rows(path)[1:]] == [1, 1, 2]

    def test_a_run_that_finished_by_itself(self, path, run):
        ledger = Ledger(path)
        ledger.catch_up([run])
        ledger.write(Event.STARTED, run.path.name, attempt=ATTEMPT)
        write_outcome(run, Outcome(RunState.FINISHED, "", 1.0))
        for _ in range(2):
            Ledger(path).catch_up([run])
        assert happened(path) == ["planned", "started", "finished"]


def test_a_full_disk_leaves_whole_lines(path):
    resource = pytest.importorskip("resource")
    ledger = Ledger(path)
    ledger.write(Event.PLANNED, "a")
    whole = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, hard))
    try:
        with pytest.raises(
            CmrplanError, match=r"cannot write .*: File too large; what is finished"
        ):
            ledger.write(Event.PLANNED, "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == whole
