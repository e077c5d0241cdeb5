"""Logs of trainer callbacks are evidence too: one that was cut or edited is left out by name, the others are read."""

import json

import pytest

from cmrplan.errors import CmrplanError, InputError
from probes.callbacks import ProbeLogWriter, ProbeRun
from probes.callbacks.folder import collect_logs


def write_run(folder, ratio):
    """Write a finished run of three evaluations, at 0, 1 and 2 million tokens."""
    run = ProbeRun(run_id=f"r{ratio}", domain_ratio=ratio, model_params=1e6)
    writer = ProbeLogWriter(folder, run, planned_steps=2)
    for step in range(3):
        writer.write(step, 1e6 * step, {"general": 2.8 + ratio / 10, "domain": 3.0 - step / 20})
    writer.end(2)


@pytest.fixture
def folder(tmp_path):
    for ratio in (0.1, 0.3, 0.5):
        write_run(tmp_path / "logs", ratio)
    return tmp_path / "logs"


def without_checksum(folder):
    """Make the state as version 0.2 wrote it."""
    edit_state(folder, lambda state: [state.pop(name) for name in ("rows_checksum", "checksum")])


def edit_state(folder, change):
    path = folder / "r0.3.run.json"
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))


def edit_rows(folder, change):
    path = folder / "r0.3.jsonl"
    path.write_text(change(path.read_text()))


EDITS = {
    "loss edited": (lambda f: edit_rows(f, lambda t: t.replace("2.95", "2.85")), ["r0.3.jsonl", "edited"]),
    "rows cut": (lambda f: edit_rows(f, lambda t: t[: len(t) // 2]), ["r0.3.jsonl", "cut or edited"]),
    "log gone": (lambda f: (f / "r0.3.jsonl").unlink(), ["r0.3.jsonl", "cut or edited"]),
    "ratio of the state edited": (
        lambda f: edit_state(f, lambda state: state["run"].update(domain_ratio=0.4)),
        ["r0.3.run.json", "its checksum is of other content"],
    ),
    "tokens of the state edited": (
        lambda f: edit_state(f, lambda state: state.update(train_tokens=3e6)),
        ["r0.3.run.json", "its checksum is of other content"],
    ),
    "checksum of the state gone": (
        lambda f: edit_state(f, lambda state: state.pop("checksum")),
        ["r0.3.run.json", "its checksum is gone"],
    ),
    "checksum of the rows gone": (
        lambda f: edit_state(f, lambda state: state.pop("rows_checksum")),
        ["r0.3.run.json", "its checksum is of other content"],
    ),
    "old state, ratio of the state edited": (
        lambda f: (without_checksum(f), edit_state(f, lambda s: s["run"].update(domain_ratio=0.4))),
        ["r0.3.jsonl", "domain_ratio", "0.4"],
    ),
    "state renamed": (
        lambda f: edit_state(f, lambda state: state["run"].update(run_id="r0.4")),
        ["r0.3.run.json is of run 'r0.4'"],
    ),
    "state of another form": (
        lambda f: (f / "r0.3.run.json").write_text("[1]"),
        ["r0.3.run.json is damaged"],
    ),
    "state cut": (lambda f: (f / "r0.3.run.json").write_text('{"st'), ["r0.3.run.json is not JSON"]),
    "old state, rows cut": (
        lambda f: (without_checksum(f), edit_rows(f, lambda t: t[: len(t) // 2])),
        ["r0.3.jsonl ends at", "tokens"],
    ),
    "old state, loss without sense": (
        lambda f: (without_checksum(f), edit_rows(f, lambda t: t.replace("2.95", "-2.95"))),
        ["r0.3.jsonl", "loss", "-2.95"],
    ),
    "old state, ratio of rows edited": (
        lambda f: (
            without_checksum(f),
            edit_rows(f, lambda t: t.replace('"domain_ratio": 0.3', '"domain_ratio": 0.35')),
        ),
        ["r0.3.jsonl", "domain_ratio", "0.3"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_a_log_that_was_changed_is_left_out_and_the_others_are_read(name, folder):
    edit, words = EDITS[name]
    whole, _ = collect_logs(folder)
    edit(folder)
    log, ledger = collect_logs(folder)
    assert log.equals(whole[whole["run_id"] != "r0.3"].reset_index(drop=True))
    states = ledger.set_index("run_id")["state"].to_dict()
    assert states == {"r0.1": "finished", "r0.3": "damaged", "r0.5": "finished"}
    (reason,) = ledger.loc[ledger["state"] == "damaged", "reason"]
    assert all(word in reason for word in words), reason


def test_a_log_of_0_2_without_a_checksum_is_read(folder):
    whole, _ = collect_logs(folder)
    without_checksum(folder)
    assert collect_logs(folder)[0].equals(whole)


@pytest.mark.parametrize("state", ["stopped", "failed", "unfinished"])
def test_a_run_that_did_not_end_cannot_be_made_a_finished_one(state, folder):
    edit_state(folder, lambda kept: kept.update(state=state))
    _, ledger = collect_logs(folder)
    assert ledger.set_index("run_id")["state"]["r0.3"] == "damaged"


def test_a_run_does_not_go_on_from_a_state_that_was_edited(folder):
    edit_state(folder, lambda state: state.update(state="unfinished"))
    with pytest.raises(InputError, match=r"r0.3.run.json is not what was written"):
        write_run(folder, 0.3)


def test_a_run_goes_on_from_a_state_of_0_2(folder):
    edit_state(folder, lambda state: state.update(state="unfinished"))
    without_checksum(folder)
    write_run(folder, 0.3)
    assert set(collect_logs(folder)[1]["state"]) == {"finished"}


def test_logs_that_are_all_damaged_say_why(folder):
    for path in folder.glob("*.jsonl"):
        path.write_text("")
    with pytest.raises(CmrplanError, match=r"3 damaged\); .*cut or edited"):
        collect_logs(folder)
