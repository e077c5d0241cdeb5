"""Every reader takes a sound file, and refuses a damaged one in one line; `make fuzz` goes on for longer."""

import random

import pytest
from fuzz import fault
from mutations import mutated
from readers import READERS

FILES = 40


@pytest.mark.parametrize("reader", READERS)
def test_the_seed_is_read(reader):
    seed, read = READERS[reader]
    read(seed)


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_read_or_refused_in_one_line(reader, tmp_path):
    generator, seed = random.Random(16), READERS[reader][0].read_bytes()
    for _ in range(FILES):
        data = mutated(seed, generator)
        assert not fault(reader, data, tmp_path), data[:300]


@pytest.mark.parametrize("reader", [name for name in READERS if name not in ("fit", "mixture")])
def test_a_file_that_was_cut(reader, tmp_path):
    seed = READERS[reader][0].read_bytes()
    for length in range(0, len(seed), max(1, len(seed) // 60)):
        assert not fault(reader, seed[:length], tmp_path), length
