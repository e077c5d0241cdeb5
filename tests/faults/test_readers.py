"""Every reader takes a sound file, and refuses a damaged one in one line; `make fuzz` goes on for longer.

The sound file is read, as evidence of some number, wherever a target is set up.
"""

import random
from importlib import import_module

import pytest
from fuzz import Target
from importer_files import FILES as IMPORTED
from mutations import edited, mutated
from reached import FOLDER, read_reached, shortest_for_all_lines
from readers import EDITED, READERS

from cmrplan.errors import InputError

FILES = 30
CUTS = 40
EDITS = 12
LONG = (
    "fit",
    "mixture",
    "sealed fit",
    "sealed mixture",
    "tokenizer",
    "import mlflow",
)  # cut in their own tests


def test_every_importer_has_a_reader():
    assert {f"import {form}" for form in IMPORTED} <= READERS.keys()


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_read_or_refused_in_one_line(reader, tmp_path):
    target, generator = Target(reader, tmp_path), random.Random(16)
    for _ in range(FILES):
        data = mutated(target.sound, generator)
        assert not target.fault(data), data[:300]


@pytest.mark.parametrize("reader", READERS)
def test_files_that_reached_far_are_read_or_refused_in_one_line(reader, tmp_path):
    target, files = Target(reader, tmp_path), read_reached(reader)
    assert files
    for data in files:
        assert not target.fault(data), data[:300]


def test_of_files_that_reached_far_those_stay_that_run_lines_of_their_own():
    one, two, three = ("a.py", 1), ("a.py", 2), ("b.py", 1)
    files = [b"long", b"a", b"to", b"tre"]
    reached = [{one, two, three}, {one}, {one}, {two}]
    assert shortest_for_all_lines(files, reached) == [b"a", b"tre", b"long"]


def test_every_kept_file_has_a_reader():
    assert {path.stem for path in FOLDER.iterdir()} == {name.replace(" ", "_") for name in READERS}


@pytest.mark.parametrize("reader", [name for name in READERS if name not in LONG])
def test_a_file_that_was_cut(reader, tmp_path):
    target = Target(reader, tmp_path)
    for length in range(0, len(target.sound), max(1, len(target.sound) // CUTS)):
        assert not target.fault(target.sound[:length]), length


@pytest.mark.parametrize("reader", EDITED)
def test_an_edited_file_is_refused_or_named(reader, tmp_path):
    target, generator = Target(reader, tmp_path), random.Random(16)
    for _ in range(EDITS):
        data = edited(target.sound, generator)
        assert not target.fault(data), data[:300]
        assert not target.was_believed(data), data[:300]


def test_an_edit_that_is_believed_is_seen(tmp_path, monkeypatch):
    planned = import_module("cmrplan.export.planned")

    def kept(where, content, **options):
        if "checksum" not in content:
            raise InputError("the seal is gone")

    monkeypatch.setattr(planned, "require_seal", kept)
    target, generator = Target("plan", tmp_path), random.Random(16)
    assert any(target.was_believed(edited(target.sound, generator)) for _ in range(2000))
