"""A survey of the corpora says before a sweep whether they are there and how often each run would go through them.

Each corpus is read as its preparation reads it, up to a limit; what is counted up to there is the least it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from math import inf
from typing import Any

from cmrplan.errors import CmrplanError
from cmrplan.log import CORPORA
from probes.data.build import batches, corpora_of, make_tokenizer, open_sources
from probes.data.corpus_size import (
    PartSize,
    check_corpus_size,
    training_limits,
    training_sequences,
)
from probes.data.documents import DocumentSet, document_key, is_validation
from probes.data.sources import Part
from probes.data.tokens import Tokenizer
from probes.design import bases_and_probes
from probes.epoch_check import check_epochs, corpus_epochs
from probes.run_settings import RunSettings
from probes.spec.sweep import SweepSpec

SURVEY_CHARACTERS = 2**25
"""Characters that are read of a corpus at most: 32 million."""

BPE_SURVEY_CHARACTERS = 2**23
"""Characters of a corpus that a byte-pair encoding is trained on for a survey at most: 8 million."""


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
    is_estimate : bool
        Whether there are only about so many: preparing the corpora trains a byte-pair encoding on more
        text, or leaves near-duplicates out.
    """

    name: str
    source: str
    documents: int
    train_tokens: int
    is_whole: bool
    is_estimate: bool


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
        A sentence for each corpus that repeats, or is too small, or would be repeated more often than allowed.
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
        If a source is not there or cannot be read, or a limit is less than a sequence.
    """
    sources = open_sources(spec)
    for name in CORPORA:
        training_limits(spec, name)  # refused before anything is read
    tokenizer = make_tokenizer(spec, most_characters=min(BPE_SURVEY_CHARACTERS, most_characters))
    seen = DocumentSet()
    readings = {}
    for name in reversed(CORPORA):  # as preparing them does: what both have stays in the domain
        say(f"reading corpora.{name}")
        readings[name] = _read(spec, name, sources[name], tokenizer, seen, most_characters)
    reasons = _estimated(spec, readings)
    corpora = tuple(
        _surveyed(spec, name, readings[name], is_estimate=bool(reasons)) for name in CORPORA
    )
    bases, probes = bases_and_probes(spec, "cpu")
    runs = [*bases.values(), *probes]
    notices = [
        line for corpus in corpora for line in _notices(spec, corpus, readings[corpus.name], runs)
    ]
    partly = [corpus.name for corpus in corpora if not corpus.is_whole]
    if partly and notices:
        notices.append(
            f"corpora.{' and corpora.'.join(partly)} was not read to its end: there are more tokens and fewer passes"
        )
    notices += reasons
    passes = tuple(_passes(runs, corpora))
    return CorpusSurvey(corpora, passes, tuple(notices))


@dataclass
class _SurveyReading:
    """What was read of a corpus: characters, its training and validation part, and whether that is all."""

    characters: int = 0
    training: PartSize = field(default_factory=PartSize)
    validation: PartSize = field(default_factory=PartSize)
    has_ended: bool = False


def _read(
    spec: SweepSpec,
    name: str,
    parts: list[Part],
    tokenizer: Tokenizer,
    seen: DocumentSet,
    most_characters: int,
) -> _SurveyReading:
    """Read a corpus to its end, to where preparing it stops, or up to so many characters."""
    limit = corpora_of(spec)[name].max_tokens
    held_out = spec.evaluation_sequences * spec.sequence_length
    reading = _SurveyReading()
    for batch in chain.from_iterable(batches(part.read()) for part in parts):
        reading.characters += sum(map(len, batch))
        fresh: tuple[list[str], list[str]] = ([], [])
        for text in batch:
            if text.strip() and seen.add(key := document_key(text)):
                fresh[is_validation(key, spec.corpora.validation_share)].append(text)
        reading.training = _grown(reading.training, tokenizer, fresh[0])
        reading.validation = _grown(reading.validation, tokenizer, fresh[1])
        has_enough = (
            limit and reading.training.tokens > limit and reading.validation.tokens > held_out
        )
        if has_enough or reading.characters >= most_characters:
            return reading
    reading.has_ended = True
    return reading


def _grown(part: PartSize, tokenizer: Tokenizer, texts: list[str]) -> PartSize:
    tokens = sum(map(len, tokenizer.encode_batch(texts)))
    return PartSize(part.documents + len(texts), part.tokens + tokens)


def _estimated(spec: SweepSpec, readings: dict[str, _SurveyReading]) -> list[str]:
    """Return a sentence for each reason why preparing the corpora counts other tokens than a survey."""
    reasons = []
    if spec.tokenizer.kind == "bpe" and any(
        not reading.has_ended or reading.characters >= BPE_SURVEY_CHARACTERS
        for reading in readings.values()
    ):
        reasons.append(
            "tokens and passes are about right: probe run may train its byte-pair encoding on more text"
        )
    if spec.corpora.near_duplicates == "drop":
        reasons.append(
            "near-duplicates were not looked for: near_duplicates: drop leaves them out, so there may be fewer "
            "tokens to train on and more passes"
        )
    return reasons


def _surveyed(
    spec: SweepSpec, name: str, reading: _SurveyReading, *, is_estimate: bool
) -> SurveyedCorpus:
    corpus = corpora_of(spec)[name]
    sequences = training_sequences(spec, name, reading.training.tokens)
    has_all = reading.training.tokens > min(training_limits(spec, name).values(), default=inf)
    has_enough = reading.validation.tokens > spec.evaluation_sequences * spec.sequence_length
    return SurveyedCorpus(
        name,
        corpus.source,
        reading.training.documents + reading.validation.documents,
        sequences * spec.sequence_length,
        is_whole=reading.has_ended or (has_all and has_enough),
        is_estimate=is_estimate,
    )


def _notices(
    spec: SweepSpec, corpus: SurveyedCorpus, reading: _SurveyReading, runs: list[RunSettings]
) -> list[str]:
    """Return what ``probe run`` would say to a corpus, and why it would refuse it."""
    notices: list[str] = []
    count = {corpus.name: {"train_tokens": max(corpus.train_tokens, 1)}}
    checks = (
        lambda: check_corpus_size(spec, corpus.name, reading.training, reading.validation),
        lambda: check_epochs(spec.corpora, runs, count, notices.append),
    )
    is_sure = corpus.is_whole and not corpus.is_estimate
    for check in checks:
        try:
            check()
        except CmrplanError as error:
            notices.append(f"probe run {'would' if is_sure else 'may'} refuse this: {error}")
    return notices


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
