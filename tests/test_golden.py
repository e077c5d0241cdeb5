"""Documented commands print what they printed before; renew with tests/reference/golden/renew.py."""

import pytest
from golden_texts import COMMANDS, FOLDER, ROOT, differences, text_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("golden")


@pytest.fixture(scope="module")
def printed():
    return {}


@pytest.mark.parametrize("name", COMMANDS)
def test_prints_what_it_printed(name, call, folder, monkeypatch, printed):
    monkeypatch.chdir(ROOT)
    fits = {fit: str(folder / f"{fit}.json") for fit in ("usage1", "probes")}

    def text(of):
        if of not in printed:
            printed[of] = text_of(call(*COMMANDS[of].format(**fits).split()), folder)
        return printed[of]

    for fit in fits:
        if f"{{{fit}}}" in COMMANDS[name]:
            text(f"fit_{fit}")  # a test that runs alone makes its own fit
    expected = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert differences(expected, text(name)) == []


class TestComparing:
    def test_one_unit_of_the_last_digit_is_the_same(self):
        assert differences("ratio 0.924 (90 %)", "ratio 0.925 (90 %)") == []
        assert differences("D = 1.6M", "D = 1.6M") == []

    def test_two_units_are_not(self):
        assert differences("ratio 0.924", "ratio 0.926")

    def test_other_words_are_not(self):
        assert differences("binds tolerance 0.1", "binds compute 0.1")
        assert differences("one", "one\ntwo")

    def test_exponents_count(self):
        assert differences("1.234e+06 tokens", "1.235e+06 tokens") == []
        assert differences("1.234e+06 tokens", "1.234e+07 tokens")
