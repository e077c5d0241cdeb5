"""The sweep spec: what one YAML file can say, with every default and every check.

A spec names two corpora, a tokenizer, model sizes, how the base models are pre-trained and which
probes continue them. :func:`probes.config_file.read_spec` reads one from a file; the models here
hold the values and check them. Unknown keys are refused everywhere.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from probes.tokens import SMALLEST_BPE_VOCABULARY

NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""Names that may become part of a file name."""

LARGEST_COUNT = 2**31 - 1
"""Bound of whole numbers, so that a slip of the pen is refused and not tried."""


def _number(value: Any) -> float:
    """Accept numbers and numeric text (YAML reads ``1e-3`` as text), but no booleans."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("must be a number") from None
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


def _positive(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError("must be greater than 0")
    return number


def _not_negative(value: Any) -> float:
    number = _number(value)
    if number < 0:
        raise ValueError("must be 0 or more")
    return number


def _natural(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError("must be a whole number")
    if not 0 <= number <= LARGEST_COUNT:
        raise ValueError("must be 0 or more" if number < 0 else f"must be at most {LARGEST_COUNT}")
    return int(number)


def _count(value: Any) -> int:
    number = _natural(value)
    if number < 1:
        raise ValueError("must be 1 or more")
    return number


def _fraction(value: Any) -> float:
    number = _number(value)
    if not 0 <= number <= 1:
        hint = ". Percent? Divide by 100." if 1 < number <= 100 else ""
        raise ValueError(f"must be a fraction in [0, 1], got {value}{hint}")
    return number + 0.0  # -0.0 becomes 0.0


def _validation_share(value: Any) -> float:
    number = _fraction(value)
    if not 0 < number < 1:
        raise ValueError("must be between 0 and 1, both excluded")
    return number


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME_PATTERN.fullmatch(value):
        raise ValueError("must be a name of up to 64 letters, digits, '_', '-' and '.'")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


Positive = Annotated[float, BeforeValidator(_positive)]
NotNegative = Annotated[float, BeforeValidator(_not_negative)]
Count = Annotated[int, BeforeValidator(_count)]
Natural = Annotated[int, BeforeValidator(_natural)]
Fraction = Annotated[float, BeforeValidator(_fraction)]
Name = Annotated[str, BeforeValidator(_name)]
Text = Annotated[str, BeforeValidator(_text)]
Flag = Annotated[bool, BeforeValidator(_flag)]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CorpusSpec(_Spec):
    """Where the documents of one corpus come from; see :func:`probes.corpora.read_documents`."""

    source: Text
    """``embedded:english``, ``embedded:python``, a folder, a ``.jsonl`` or ``.parquet`` file."""
    text_field: Text = "text"
    """JSONL field or Parquet column with the text."""
    glob: Text = "**/*.txt"
    """Which files of a folder are documents."""


class CorporaSpec(_Spec):
    """The two corpora and how they are split."""

    general: CorpusSpec
    domain: CorpusSpec
    validation_share: Annotated[float, BeforeValidator(_validation_share)] = 0.08
    """Expected share of documents that are held out for validation."""


class TokenizerSpec(_Spec):
    """Bytes, or a byte-pair encoding trained on the training documents of both corpora."""

    kind: Literal["bytes", "bpe"] = "bytes"
    vocab_size: Count | None = None
    """Token ids of a BPE, end-of-document token included."""

    @model_validator(mode="after")
    def _vocabulary_goes_with_bpe(self) -> TokenizerSpec:
        if self.kind == "bytes" and self.vocab_size is not None:
            raise ValueError("vocab_size belongs to kind bpe; the bytes tokenizer has 257 ids")
        if self.kind == "bpe":
            if self.vocab_size is None:
                raise ValueError("kind bpe needs vocab_size")
            if not SMALLEST_BPE_VOCABULARY <= self.vocab_size <= 2**16:
                raise ValueError(
                    f"vocab_size must be {SMALLEST_BPE_VOCABULARY} to 65536, got {self.vocab_size}"
                )
        return self


class SizeSpec(_Spec):
    """One model size; see :class:`probes.model.ModelShape`."""

    name: Name
    width: Count
    layers: Count
    heads: Count
    feedforward: Count
    tied_embeddings: Flag = True

    @model_validator(mode="after")
    def _heads_divide_width(self) -> SizeSpec:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} over {self.heads} heads must give an even whole number; "
                f"make width a multiple of {2 * self.heads}"
            )
        return self


class TrainingSpec(_Spec):
    """What base models and probes have in common: AdamW with a linear warm-up."""

    learning_rate: Positive
    warmup_steps: Natural
    weight_decay: NotNegative = 0.1
    """Applied to matrices, not to the gains of norms."""
    gradient_clip: Positive = 1.0
    """Largest norm of the gradient of all parameters together."""


class BaseSpec(TrainingSpec):
    """How one base model per size is pre-trained on the general corpus."""

    train_tokens: Positive | None = None
    """Tokens of every base; or give ``tokens_per_param``."""
    tokens_per_param: Positive | None = None
    """Tokens per non-embedding parameter, so that larger bases see more."""
    learning_rate: Positive = 2e-3
    warmup_steps: Natural = 40
    cooldown_share: Fraction = 0.0
    """Last share of the steps, over which the learning rate falls linearly to a tenth."""
    seed: Natural = 0

    @model_validator(mode="after")
    def _one_way_to_give_tokens(self) -> BaseSpec:
        if (self.train_tokens is None) == (self.tokens_per_param is None):
            raise ValueError("give either train_tokens or tokens_per_param")
        return self


class GridSpec(_Spec):
    """Every combination of ratios, sizes and seeds is a probe."""

    domain_ratio: Annotated[list[Fraction], Field(min_length=1)]
    seed: Annotated[list[Natural], Field(min_length=1)] = [0]
    size: Annotated[list[Name], Field(min_length=1)] | None = None
    """Names of sizes; all of them when left out."""


class ProbeSpec(_Spec):
    """One probe of ``probes.runs``."""

    domain_ratio: Fraction
    size: Name
    seed: Natural = 0
    train_tokens: Positive | None = None
    """Tokens of this probe; ``probes.train_tokens`` when left out."""


class ProbesSpec(TrainingSpec):
    """How the probes continue their base, and which probes there are."""

    train_tokens: Positive
    """Tokens of each probe, domain and general together."""
    evaluations: Count = 8
    """Evaluations after token 0, at log-spaced token counts."""
    first_evaluation_tokens: Positive | None = None
    """The earliest of them; a sixteenth of ``train_tokens`` when left out."""
    learning_rate: Positive = 1e-3
    warmup_steps: Natural = 10
    grid: GridSpec | None = None
    """The probes as all combinations."""
    runs: Annotated[list[ProbeSpec], Field(min_length=1)] | None = None
    """The probes one by one, instead of a grid."""

    @model_validator(mode="after")
    def _grid_or_runs(self) -> ProbesSpec:
        if (self.grid is None) == (self.runs is None):
            raise ValueError("give either grid or runs")
        first = self.first_evaluation_tokens
        if first is not None and first > self.train_tokens:
            raise ValueError(
                f"first_evaluation_tokens {first:g} is more than train_tokens {self.train_tokens:g}"
            )
        return self


class SweepSpec(_Spec):
    """A whole sweep: the content of one YAML file."""

    name: Name
    corpora: CorporaSpec
    tokenizer: TokenizerSpec = TokenizerSpec()
    sequence_length: Count
    """Tokens predicted in one sequence."""
    batch_size: Count
    """Sequences in one training step."""
    evaluation_sequences: Count = 256
    """Validation sequences per corpus, the same ones for every run and size."""
    sizes: Annotated[list[SizeSpec], Field(min_length=1)]
    base: BaseSpec
    probes: ProbesSpec

    @model_validator(mode="after")
    def _size_names(self) -> SweepSpec:
        names = [size.name for size in self.sizes]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"sizes has the name '{twice}' twice")
        if self.probes.grid is not None:
            used = self.probes.grid.size or []
        else:
            used = [probe.size for probe in self.probes.runs or []]
        if unknown := next((name for name in used if name not in names), None):
            raise ValueError(
                f"probes names the size '{unknown}', which sizes does not have: {', '.join(names)}"
            )
        return self

    @property
    def step_tokens(self) -> int:
        """Tokens of one training step."""
        return self.batch_size * self.sequence_length
