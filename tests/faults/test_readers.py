"""Every reader takes a sound file, and refuses a damaged one in one line; `make fuzz` goes on for longer.

The sound file is read, as evidence of some number, wherever a target is set up.
"""

import random

import pytest
from fuzz import Target
from importer_files import FILES as IMPORTED
from mutations import mutated
from readers import READERS

FILES = 30
CUTS = 40
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


@pytest.mark.parametrize("reader", [name for name in READERS if name not in LONG])
def test_a_file_that_was_cut(reader, tmp_path):
    target = Target(reader, tmp_path)
    for length in range(0, len(target.sound), max(1, len(target.sound) // CUTS)):
        assert not target.fault(target.sound[:length]), length
