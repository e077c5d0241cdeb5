"""A survey of the corpora says before a sweep whether they are there and how often each run would go through them.

Each corpus is read as its preparation reads it, up to a limit; what is counted up to there is the least it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from cmrplan.errors import CmrplanError
from cmrplan.log import CORPORA
from probes.data.build import batches, corpora_of, open_sources
from probes.data.checkpoint_tokenizer import sweep_tokenizer
from probes.data.documents import DocumentSet, document_key, is_validation
from probes.data.sources import Part
from probes.data.tokens import ByteTokenizer, Tokenizer, train_bpe
from probes.design import bases_and_probes
from probes.epoch_check import check_epochs, corpus_epochs
from probes.run_settings import RunSettings
from probes.spec.sweep import SweepSpec

SURVEY_CHARACTERS = 2**25
"""Characters that are read of a corpus at most: 32 million."""

BPE_SURVEY_CHARACTERS = 2**21
"""Characters that a byte-pair encoding is trained on for a survey."""


@dataclass(frozen=True)
class SurveyedCorpus:
    """What was read of a corpus.

    Parameters
    ----------
    name, source : str
        ``general`` or ``domain``, and where it comes from.
    documents : int
        Distinct documents, training and validation.
    train_tokens : int
        Training tokens that a run can use, within the limits of the spec.
    is_whole : bool
        Whether that is all; otherwise there are at least so many.
    """

    name: str
    source: str
    documents: int
    train_tokens: int
    is_whole: bool


@dataclass(frozen=True)
class RunPasses:
    """How often a kind of run goes through the training tokens of each corpus.

    Parameters
    ----------
    stage : str
        ``base`` or ``probe``.
    domain_ratio : float
        Share of domain tokens.
    train_tokens : int
        Tokens of the longest such run.
    general, domain : float
        Passes, at most where a corpus was not read whole.
    """

    stage: str
    domain_ratio: float
    train_tokens: int
    general: float
    domain: float


@dataclass(frozen=True)
class CorpusSurvey:
    """The corpora of a sweep, the passes of its runs, and what ``probe run`` would say to that.

    Parameters
    ----------
    corpora : tuple of SurveyedCorpus
        ``general`` and ``domain``.
    passes : tuple of RunPasses
        The longest base, then every ratio.
    notices : tuple of str
        A sentence for each corpus that repeats, or would be refused.
    """

    corpora: tuple[SurveyedCorpus, ...]
    passes: tuple[RunPasses, ...]
    notices: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the survey as JSON-able values."""
        return asdict(self)


def survey_corpora(
    spec: SweepSpec,
    *,
    say: Callable[[str], None] = lambda line: None,
    most_characters: int = SURVEY_CHARACTERS,
) -> CorpusSurvey:
    """Read the corpora of a sweep up to a limit and work out the passes of its runs.

    Parameters
    ----------
    spec : SweepSpec
        The sweep.
    say : callable
        Hears what is being read.
    most_characters : int
        How much of a corpus is read.

    Raises
    ------
    InputError
        If a source is not there or cannot be read.
    """
    sources = open_sources(spec)
    seen = DocumentSet()
    read = {}
    for name in reversed(CORPORA):  # as preparing them does: what both have stays in the domain
        say(f"reading corpora.{name}")
        read[name] = _read(spec, name, sources[name], seen, most_characters)
    corpora = tuple(read[name] for name in CORPORA)
    bases, probes = bases_and_probes(spec, "cpu")
    runs = [*bases.values(), *probes]
    notices: list[str] = []
    counts = {corpus.name: {"train_tokens": max(corpus.train_tokens, 1)} for corpus in corpora}
    try:
        check_epochs(spec.corpora, runs, counts, notices.append)
    except CmrplanError as error:
        notices.append(f"probe run would refuse this: {error}")
    partly = [corpus.name for corpus in corpora if not corpus.is_whole]
    if partly and notices:
        notices.append(
            f"corpora.{' and corpora.'.join(partly)} was not read to its end: there are more tokens and fewer passes"
        )
    passes = tuple(_passes(runs, corpora))
    return CorpusSurvey(corpora, passes, tuple(notices))


def _read(
    spec: SweepSpec, name: str, parts: list[Part], seen: DocumentSet, most_characters: int
) -> SurveyedCorpus:
    corpus = corpora_of(spec)[name]
    documents = chain.from_iterable(part.read() for part in parts)
    fresh = _distinct(documents, seen)
    tokenizer, fresh = _tokenizer(spec, fresh)
    limits = [corpus.max_tokens, spec.corpora.unique_domain_tokens if name == "domain" else None]
    limit = min((int(limit) for limit in limits if limit is not None), default=None)
    number = tokens = characters = 0
    is_whole = True
    for batch in batches(fresh):
        number += len(batch)
        characters += sum(map(len, batch))
        train = [
            text
            for text in batch
            if not is_validation(document_key(text), spec.corpora.validation_share)
        ]
        tokens += sum(map(len, tokenizer.encode_batch(train)))
        if limit is not None and tokens >= limit:
            break
        if characters >= most_characters:
            is_whole = False
            break
    usable = tokens if limit is None else min(tokens, limit)
    return SurveyedCorpus(name, corpus.source, number, usable, is_whole)


def _distinct(documents: Iterator[str], seen: DocumentSet) -> Iterator[str]:
    for document in documents:
        if document.strip() and seen.add(document_key(document)):
            yield document


def _tokenizer(spec: SweepSpec, documents: Iterator[str]) -> tuple[Tokenizer, Iterator[str]]:
    """Return the tokenizer of a spec, of a byte-pair encoding one like it, and the documents again."""
    if spec.tokenizer.kind == "bpe" and spec.tokenizer.vocab_size:
        first, characters = [], 0
        for document in documents:
            first.append(document)
            characters += len(document)
            if characters >= BPE_SURVEY_CHARACTERS:
                break
        tokenizer = train_bpe(iter(first), vocab_size=spec.tokenizer.vocab_size)
        return tokenizer, chain(first, documents)
    if spec.tokenizer.kind == "checkpoint":
        return sweep_tokenizer(spec), documents
    return ByteTokenizer(), documents


def _passes(runs: list[RunSettings], corpora: tuple[SurveyedCorpus, ...]) -> Iterator[RunPasses]:
    """Yield the passes of the longest base and of the longest probe at each ratio."""
    longest: dict[tuple[str, float], RunSettings] = {}
    for run in runs:
        key = (run.stage, run.domain_ratio)
        if key not in longest or run.train_tokens > longest[key].train_tokens:
            longest[key] = run
    for (stage, ratio), run in sorted(longest.items()):
        general, domain = (
            corpus_epochs(run, corpus.name, max(corpus.train_tokens, 1)) for corpus in corpora
        )
        if stage == "probe" or run.train_tokens:
            yield RunPasses(stage, ratio, run.train_tokens, general, domain)
