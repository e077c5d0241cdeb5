"""The short form of `make torture`: faults around a few commands, and that every writing command is in the long one."""

import shutil
import sys
from pathlib import Path

import click
import pytest

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from test_outputs import commands
from torture import MESSAGES, PARTS, Broken, Mounted, Torture, make_read_only
from writers import COMMANDS, Child, as_user, write_rows

from cmrplan.errors import InputError
from probes.callbacks.description import ProbeRun
from probes.callbacks.rows import ProbeLogWriter

SHORT = ("export yaml", "logs import csv")
with_capabilities = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="root is refused nothing, and only Linux can take that from a process",
)


@pytest.fixture(scope="module")
def torture(tmp_path_factory):
    return Torture(tmp_path_factory.mktemp("torture"), seed=0, has_runs=False)


@pytest.mark.parametrize("name", SHORT)
def test_a_command_that_is_killed_leaves_whole_files(torture, name):
    torture.kills(name, 3)
    assert torture.deaths_at_every_step(name) == 4 * len(torture.undisturbed(name))


def test_a_folder_that_vanishes_a_second_process_and_a_clock_that_jumps(torture):
    for name in SHORT:
        torture.vanishing(name, 3)
    torture.two_at_a_time(SHORT[0])
    torture.jumping_clock(SHORT[0])


@pytest.mark.parametrize("name", ["plot pdf", pytest.param("report pdf", marks=pytest.mark.slow)])
def test_a_file_that_finds_no_room_is_refused_in_one_line(torture, name):
    assert max(map(len, torture.undisturbed(name).values())) > MESSAGES / min(PARTS)
    torture.short_of_room(name)


def test_a_full_disk(torture, tmp_path):
    with Mounted(tmp_path / "disk", 256) as disk:
        if disk is None:
            pytest.skip("mounting a small disk needs root")
        torture.full_disk(SHORT[1], disk)


@pytest.fixture
def read_only_folder(tmp_path):
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    return folder


@with_capabilities
@pytest.mark.parametrize("name", [*SHORT, "fit", "logs collect callbacks"])
def test_a_read_only_folder(torture, read_only_folder, name):
    torture.read_only(name, read_only_folder)


def test_a_read_only_disk(torture, tmp_path):
    with Mounted(tmp_path / "disk", 64) as disk:
        if disk is None:
            pytest.skip("mounting a small disk needs root")
        make_read_only(disk)
        for name in SHORT:
            torture.read_only(name, disk)


def test_a_folder_that_can_be_written_to_is_seen(torture, tmp_path):
    with pytest.raises(Broken, match="in a read-only place ended with 0"):
        torture.read_only(SHORT[0], tmp_path)


@with_capabilities
def test_a_callback_in_a_read_only_folder_says_so_in_one_line(torture, read_only_folder):
    ended = torture.start(as_user(lambda: write_rows(read_only_folder))).wait()
    assert "InputError: cannot write" in ended.errors
    assert ended.errors.count("\n") == 1


def test_a_callback_whose_folder_vanishes_does_not_finish(tmp_path):
    run = ProbeRun(run_id="r0.3", domain_ratio=0.3, model_params=1e6)
    writer = ProbeLogWriter(tmp_path / "logs", run)
    writer.write(0, 0.0, {"general": 3.0, "domain": 2.0})
    shutil.rmtree(tmp_path / "logs")
    with pytest.raises(InputError, match=r"cannot write .*r0.3.jsonl"):
        writer.write(1, 1e3, {"general": 3.0, "domain": 2.0})
    with pytest.raises(InputError, match=r"r0.3.jsonl has lost rows"):
        writer.end(1)


def test_the_rows_of_a_callback_survive(torture):
    assert torture.kills_of_rows(4) <= 4


def test_a_file_that_was_cut_is_seen(torture):
    new = torture.undisturbed(SHORT[0])
    torture.clear()
    (file,) = new
    (torture.out / file).write_bytes(new[file][:-1])
    with pytest.raises(Broken, match="no whole file"):
        torture.require_whole(SHORT[0], {})


def test_an_internal_error_is_seen(torture, tmp_path):
    ended = Child(lambda: 1 // 0, tmp_path / "errors.txt").wait()
    assert not ended.is_sound
    with pytest.raises(Broken, match="ZeroDivisionError"):
        torture.require("fit", ended, status=None)


def test_every_command_that_writes_a_file_is_killed():
    writing = {
        " ".join(words)
        for words, command in commands()
        for param in command.params
        if isinstance(param, click.Option) and param.name in ("out", "plot")
    }
    going_on = {"probe run", "quickstart"}  # kills_of_a_run and kills_of_quickstart
    begun = {" ".join(words) for words in COMMANDS.values()}
    assert {
        name for name in writing - going_on if not any(w.startswith(name) for w in begun)
    } == set()
