"""Run folders are evidence: one that was cut, edited or damaged is refused by name, and the others are read."""

import json
import shutil

import numpy as np
import pytest

from cmrplan.errors import CmrplanError
from cmrplan.files import write_json
from probes.collect import collect
from probes.locks import locked
from probes.runs import RunFolder


@pytest.fixture
def out(finished_sweep, tmp_path):
    shutil.copytree(finished_sweep, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def probe(out):
    return RunFolder(next(out.glob("probes/*-r0.3-*")))


def edit_json(path, **values):
    write_json(path, json.loads(path.read_text()) | values)


def edit_row(run, number, **values):
    lines = run.metrics.read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | values)
    run.metrics.write_text("\n".join(lines) + "\n")


def edit_losses(run, step, change):
    with np.load(run.losses(step)) as stored:
        losses = {name: stored[name].copy() for name in stored.files}
    change(losses)
    np.savez(run.losses(step), **losses)


def swap_first(losses):
    losses["general"][0] += 0.01


def rename(run):
    run.path.rename(run.path.with_name("nano-r0.4-s0-01234567"))


def lines_of(run):
    return run.metrics.read_bytes().splitlines(keepends=True)


# What is done to a run, and words of the reason. The tiny sweep evaluates after the steps 6, 12, 24 and 48.
EDITS = {
    "last rows cut": (
        lambda run: run.metrics.write_bytes(b"".join(lines_of(run)[:3])),
        ["metrics.jsonl", "[0, 6, 12]", "[0, 6, 12, 24, 48]"],
    ),
    "cut within a row": (
        lambda run: run.metrics.write_bytes(run.metrics.read_bytes()[:-7]),
        ["metrics.jsonl", "steps"],
    ),
    "a row left out": (
        lambda run: run.metrics.write_bytes(b"".join(lines_of(run)[:2] + lines_of(run)[3:])),
        ["metrics.jsonl", "[0, 6, 24, 48]"],
    ),
    "a loss edited": (
        lambda run: edit_row(run, 4, general_loss=2.5),
        ["metrics.jsonl", "general_loss 2.5", "step 48", "losses of the sequences"],
    ),
    "a loss moved in the 9th digit": (
        lambda run: edit_row(
            run, 2, domain_loss=json.loads(lines_of(run)[2])["domain_loss"] * (1 + 1e-9)
        ),
        ["metrics.jsonl", "domain_loss", "step 12"],
    ),
    "tokens edited": (
        lambda run: edit_row(run, 1, train_tokens=385),
        ["train_tokens 385", "settings say 384"],
    ),
    "a rate edited": (lambda run: edit_row(run, 3, learning_rate=1.0), ["learning_rate 1.0"]),
    "a column added": (lambda run: edit_row(run, 3, note="x"), ["note 'x'"]),
    "an entry that is null renamed": (
        lambda run: run.metrics.write_text(run.metrics.read_text().replace("learning_", "l_", 1)),
        ["metrics.jsonl", "l_rate"],
    ),
    "a loss as text": (lambda run: edit_row(run, 4, general_loss="2.5"), ["general_loss '2.5'"]),
    "losses of sequences edited": (
        lambda run: edit_losses(run, 24, swap_first),
        ["metrics.jsonl", "general_loss", "step 24"],
    ),
    "losses of too few sequences": (
        lambda run: edit_losses(run, 24, lambda losses: losses.update(general=np.ones(3))),
        ["step-00000024.npz is damaged", "(3,)"],
    ),
    "losses of sequences cut": (
        lambda run: run.losses(48).write_bytes(run.losses(48).read_bytes()[:-40]),
        ["step-00000048.npz is damaged"],
    ),
    "losses of sequences gone": (lambda run: run.losses(6).unlink(), ["step-00000006.npz", "not there"]),
    "a ratio edited": (
        lambda run: edit_json(run.settings, domain_ratio=0.35),
        ["settings.json", "was edited or moved"],
    ),
    "a ratio as text": (lambda run: edit_json(run.settings, domain_ratio="0.3"), ["settings.json"]),
    "settings without a model": (
        lambda run: run.settings.write_text("{}"),
        ["settings.json is damaged", "model"],
    ),
    "settings cut": (
        lambda run: run.settings.write_text(run.settings.read_text()[:50]),
        ["settings.json is not JSON"],
    ),
    "settings gone": (lambda run: run.settings.unlink(), ["settings.json", "no such file"]),
    "settings nested too deeply": (
        lambda run: run.settings.write_text("[" * 100_000),
        ["settings.json is not JSON", "nested"],
    ),
    "renamed": (rename, ["nano-r0.4-s0-01234567", "was edited or moved"]),
    "an outcome of another form": (
        lambda run: run.outcome.write_text("[]"),
        ["outcome.json is damaged"],
    ),
    "an outcome without sense": (
        lambda run: edit_json(run.outcome, state="done"),
        ["outcome.json is damaged (state is 'done')"],
    ),
    "a version that runs on into the checksum": (
        lambda run: edit_json(run.outcome, code_version="0.2.0a84685f4ffb60d6907e"),
        ["outcome.json is damaged (code_version is '0.2.0a8468"],
    ),
    "seconds below zero": (
        lambda run: edit_json(run.outcome, seconds=-1),
        ["outcome.json is damaged (seconds is -1)"],
    ),
    "seconds edited": (
        lambda run: edit_json(run.outcome, seconds=1.5),
        ["outcome.json is not what was written"],
    ),
    "tokens of the progress edited": (
        lambda run: edit_json(run.progress, train_tokens=64),
        ["progress.json is not what was written"],
    ),
    "progress as text": (
        lambda run: edit_json(run.progress, train_tokens="many"),
        ["progress.json is damaged"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_a_run_that_was_changed_is_refused_and_the_others_are_read(
    name, out, probe, finished_sweep, tmp_path, call
):
    edit, words = EDITS[name]
    whole, _ = collect(finished_sweep)
    edit(probe)
    log, ledger = collect(out)
    others = whole[whole["run_id"] != probe.path.name].reset_index(drop=True)
    assert log.equals(others)
    assert len(ledger) == 4
    damaged = ledger[ledger["state"] == "damaged"]
    assert len(damaged) == 1
    assert all(word in damaged["reason"].iloc[0] for word in words), damaged["reason"].iloc[0]
    answer = call("logs", "collect", out, "--out", tmp_path / "log.csv", "--json")
    assert answer.code == 0
    (warning,) = answer.json()["warnings"]
    assert warning["code"] == "damaged_run"
    assert damaged["run_id"].iloc[0] in warning["message"]
    assert call("probe", "status", out).code == 0


def test_a_sweep_whose_runs_are_all_damaged_says_why(out):
    for path in out.glob("probes/*"):
        edit_row(RunFolder(path), 1, general_loss=1.0)
    with pytest.raises(CmrplanError, match=r"3 damaged\); .*general_loss 1.0"):
        collect(out)


@pytest.mark.parametrize("text", ["[]", "{}", '{"corpora": 3}'])
def test_a_damaged_manifest_is_one_line(out, call, tmp_path, text):
    (out / "corpora" / "manifest.json").write_text(text)
    answer = call("logs", "collect", out, "--out", tmp_path / "log.csv")
    assert answer.code == 2
    assert "manifest.json is damaged" in answer.err


def test_an_edited_token_count_of_the_corpora_is_refused(out):
    path = out / "corpora" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["corpora"]["domain"]["train_tokens"] *= 10
    write_json(path, manifest)
    with pytest.raises(CmrplanError, match=r"manifest\.json is damaged"):
        collect(out)


def test_runs_on_other_data_are_refused(out):
    edit_json(out / "corpora" / "manifest.json", data_fingerprint="0123456789ab")
    with pytest.raises(CmrplanError, match="trained on other data"):
        collect(out)


def test_clean_up_deletes_only_what_our_writer_leaves(tmp_path):
    ours = tmp_path / "losses" / ".cmrplan-k2j3h4"
    theirs = [tmp_path / ".notes", tmp_path / "losses" / ".cmrplan"]
    (tmp_path / ".ipynb_checkpoints").mkdir()
    ours.parent.mkdir()
    for path in (ours, *theirs):
        path.write_text("x")
    with locked(tmp_path):
        assert not ours.exists()
    assert all(path.exists() for path in (*theirs, tmp_path / ".ipynb_checkpoints"))


def test_shards_that_no_sweep_wrote_are_left_alone(spec, tmp_path):
    from probes.data.prepare import prepare_corpora

    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "mine.jsonl").write_text("x")
    with pytest.raises(CmrplanError, match=r"mine\.jsonl, which no sweep wrote"):
        prepare_corpora(spec, tmp_path)
    (tmp_path / "shards" / "mine.jsonl").rename(tmp_path / "shards" / "domain-train-00000.npy")
    prepare_corpora(spec, tmp_path)
    assert (tmp_path / "manifest.json").exists()
