"""The sources of prepared corpora are checked for whether they still hold the same documents.

Prepared corpora do not need their sources any more. A sweep that goes on looks at them all the same: a
source that is gone, or a file that was touched and holds the same documents, is worth a notice;
other documents are refused, since the sweep would no longer be what its spec says.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from cmrplan.errors import InputError
from probes.data.documents import TextDigest
from probes.data.sources import Part, open_source
from probes.spec.corpora import EMBEDDED_PREFIX, CorpusSpec


def check_source(
    name: str,
    corpus: CorpusSpec,
    before: list[dict[str, Any]],
    folder: Path,
    say: Callable[[str], None],
) -> bool:
    """Compare a source with the parts that were read from it; stamps in ``before`` are renewed.

    Parameters
    ----------
    name : str
        Name of the corpus.
    corpus : CorpusSpec
        Its source.
    before : list of dict
        Its parts as :func:`probes.data.build.build_corpora` returned them.
    folder : Path
        The prepared corpora, for messages.
    say : callable
        Takes a notice.

    Returns
    -------
    bool
        Whether a stamp was renewed.

    Raises
    ------
    InputError
        If the source holds other documents.
    """
    on = f"the sweep goes on from the tokens in {folder}"
    try:
        now = {part.name: part for part in open_source(corpus)}
    except InputError:
        if any(Path(part["name"]).exists() for part in before):
            raise
        say(f"corpora.{name}: {corpus.source} is gone; {on}")
        return False
    names = [part["name"] for part in before]
    if new := _new_parts(list(now), names, stopped_early=not before[-1]["complete"]):
        raise _other(folder, f"{new[0]} was not in corpora.{name}")
    if missing := [one for one in names if one not in now]:
        say(f"corpora.{name}: {missing[0]} is gone ({len(missing)} of {len(names)} files); {on}")
    renewed = False
    for part in before:
        part_now = now.get(part["name"])
        if part_now is None or list(part_now.stamp) == part["stamp"]:
            continue
        if not _same_documents(part_now, part):
            version = " (another Python version)" * part_now.name.startswith(EMBEDDED_PREFIX)
            raise _other(folder, f"{part_now.name} of corpora.{name} changed{version}")
        say(f"corpora.{name}: {part_now.name} was written again with the same documents; {on}")
        part["stamp"] = list(part_now.stamp)
        renewed = True
    return renewed


def _new_parts(now: list[str], before: list[str], *, stopped_early: bool) -> list[str]:
    """Return the parts that would be read now and were not before."""
    known = set(before)
    if stopped_early:  # what comes after the last part that was read makes no difference
        last = max((number for number, name in enumerate(now) if name in known), default=-1)
        now = now[: last + 1]
    return [name for name in now if name not in known]


def _same_documents(part_now: Part, before: dict[str, Any]) -> bool:
    """Read a part again and compare its documents with those that were read."""
    digest, documents = TextDigest(), 0
    count = before["documents"] + (1 if before["complete"] else 0)
    try:
        for document in islice(part_now.read(), count):
            digest.add(document)
            documents += 1
    except InputError:
        return False
    return [documents, str(digest)] == [before["documents"], before["digest"]]


def _other(folder: Path, what: str) -> InputError:
    return InputError(
        f"{folder} holds other corpora: {what}; put back what it was or choose another output folder"
    )
