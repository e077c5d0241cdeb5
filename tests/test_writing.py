"""The one writer: a file keeps its mode and its links, and what is no plain file is never written."""

import os
import stat

import pytest

from cmrplan.errors import InputError
from cmrplan.files import write_text


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    write_text(path, "new")
    assert (path.read_text(), mode_of(path)) == ("new", mode)


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "new")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "a.txt") == 0o640


def test_a_read_only_file_is_refused_and_stays(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(InputError, match=r"a\.txt: the file is read-only"):
        write_text(path, "new")
    assert (path.read_text(), mode_of(path)) == ("old", 0o444)


def test_links_stay_and_the_file_they_name_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    target, link, second = tmp_path / "far" / "a.txt", tmp_path / "b.txt", tmp_path / "c.txt"
    link.symlink_to("far/a.txt")
    second.symlink_to("b.txt")
    write_text(second, "through two links to a file that was not there")
    write_text(link, "new")
    assert link.is_symlink()
    assert second.is_symlink()
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["a.txt"]


def test_a_ring_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError, match="cannot write"):
        write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").is_symlink()


def test_pipes_devices_and_folders_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to(os.devnull)
    for path in (tmp_path / "pipe", tmp_path / "null", tmp_path):
        with pytest.raises(InputError, match=r"device, a pipe|is a folder"):
            write_text(path, "new")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_name_of_250_bytes_works(tmp_path):
    path = tmp_path / ("ä" * 123 + ".csv")
    assert len(os.fsencode(path.name)) == 250
    write_text(path, "new")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
