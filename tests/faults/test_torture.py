"""The short form of `make torture`: faults around a few commands, and that every writing command is in the long one."""

import sys
from pathlib import Path

import click
import pytest

sys.path.append(str(Path(__file__).parents[1] / "cli"))
from test_outputs import commands
from torture import MESSAGES, PARTS, Broken, Mounted, Torture
from writers import COMMANDS, Child

SHORT = ("export yaml", "logs import csv")


@pytest.fixture(scope="module")
def torture(tmp_path_factory):
    return Torture(tmp_path_factory.mktemp("torture"), seed=0, has_runs=False)


@pytest.mark.parametrize("name", SHORT)
def test_a_command_that_is_killed_leaves_whole_files(torture, name):
    torture.kills(name, 3)
    assert torture.deaths_at_every_step(name) == 4 * len(torture.undisturbed(name))


def test_a_folder_that_vanishes_a_second_process_and_a_clock_that_jumps(torture):
    torture.vanishing(SHORT[0], 1)
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
