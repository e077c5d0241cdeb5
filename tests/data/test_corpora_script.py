"""The script that gathers text from package registries, on packages that the test writes."""

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from cmrplan.errors import CmrplanError

sys.path.insert(0, str(Path(__file__).parents[2] / "data"))
import corpora

SOURCES = Path(corpora.__file__).with_suffix(".yaml")
PROSE = "A sentence of some words that is long enough to be kept. " * 12


@pytest.fixture
def wheel(tmp_path):
    """Return a function that writes a wheel with files to the folder of packages."""
    (tmp_path / "packages").mkdir()

    def write(name, files):
        folder = tmp_path / "packages" / name
        folder.mkdir()
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)

    return write


def texts(path):
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def test_a_document_that_two_packages_have_is_taken_once(tmp_path, wheel):
    wheel("one", {"one/a.py": PROSE + "a", "one/b.py": PROSE + "b"})
    wheel("two", {"two/a.py": "\n" + PROSE + " a", "two/c.py": PROSE + "c"})
    sources = [{"pip": name, "glob": f"{name}/*.py", "licence": "MIT"} for name in ("one", "two")]
    with pytest.raises(CmrplanError, match=r"two-1\.0-py3-none-any\.whl has no document"):
        corpora.write_corpus(
            tmp_path, "python", [sources[0], sources[1] | {"glob": "x/*.py"}], None
        )
    taken = corpora.write_corpus(tmp_path, "python", sources, None)
    assert texts(tmp_path / "python.jsonl") == [PROSE + "a", PROSE + "b", PROSE + "c"]
    assert taken["documents"] == 3
    assert [one["documents"] for one in taken["sources"]] == [2, 1]
    assert taken["bytes"] == 3 * len(PROSE) + 3


def test_short_pages_and_code_blocks_are_left_out(tmp_path, wheel):
    page = f"<html><head><title>x</title></head><p>{PROSE}</p><pre>x = 1</pre><nav>up</nav></html>"
    wheel("doc", {"doc/long.html": page, "doc/short.html": "<p>Moved.</p>"})
    source = {"pip": "doc", "glob": "doc/*.html", "licence": "MIT"}
    corpora.write_corpus(tmp_path, "general", [source], None)
    assert texts(tmp_path / "general.jsonl") == [PROSE.strip()]


def test_a_manual_page_is_read_as_prose(tmp_path, wheel):
    page = f'.TH LS 1\n.\\" comment\n.SH NOM\nls \\- \\fBliste\\fP\n.PP\n{PROSE}\n'
    wheel("man", {"share/man/fr/man1/ls.1.gz": gzip.compress(page.encode())})
    source = {"pip": "man", "glob": "share/man/fr/*/*.gz", "licence": "GPL-3.0+"}
    corpora.write_corpus(tmp_path, "french", [source], None)
    assert texts(tmp_path / "french.jsonl") == [f"NOM\nls - liste\n{PROSE.strip()}"]


def test_what_a_package_says_of_its_licence_is_kept(tmp_path, wheel):
    wheel("one", {"one/a.py": PROSE, "one-1.0.dist-info/LICENSE": "MIT, by hand"})
    corpora.write_corpus(
        tmp_path, "python", [{"pip": "one", "glob": "one/*.py", "licence": "MIT"}], None
    )
    assert (tmp_path / "licences" / "one" / "LICENSE").read_text() == "MIT, by hand"


def test_a_package_that_cannot_be_had_is_one_line(tmp_path, monkeypatch):
    def refuse(command, **options):
        raise subprocess.CalledProcessError(
            100, command, "", "E: one\nE: Unable to locate package x\n"
        )

    (tmp_path / "packages").mkdir()
    monkeypatch.setattr(corpora.subprocess, "run", refuse)
    monkeypatch.setattr(sys, "argv", ["corpora.py", "--out", str(tmp_path), "--only", "french"])
    with pytest.raises(SystemExit) as stop:
        corpora.main()
    assert stop.value.code == (
        "french: the package manpages-fr cannot be had (E: Unable to locate package x); take another version "
        "in corpora.yaml, and for Debian packages call apt-get update first"
    )
    assert not list((tmp_path / "packages").iterdir())


def test_every_source_names_package_files_and_licence():
    for entries in yaml.safe_load(SOURCES.read_text()).values():
        for source in entries:
            assert {"glob", "licence"} < source.keys()
            assert source.keys() - {"glob", "licence", "entries"} in ({"apt"}, {"pip"})
