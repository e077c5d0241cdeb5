"""A plan is written as the mixture settings of a trainer.

::

    plan -> PlannedMixture -> ExportRequest -> settings of the target -> Export

The share of a plan is a share of tokens. Where a framework weighs rows, or counts passes, its weights are converted;
the comments above the settings say the asked shares, how far the achieved ones may lie from them, and the passes over
each corpus.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cmrplan._version import __version__
from cmrplan.errors import InputError, printable
from cmrplan.export.blends import BLEND_TARGETS
from cmrplan.export.passes import PASS_TARGETS
from cmrplan.export.plain import PLAIN_TARGETS
from cmrplan.export.planned import PlanOrPath, planned_mixture
from cmrplan.export.request import ACHIEVED_WITHIN, ExportRequest
from cmrplan.export.rows import ROW_TARGETS
from cmrplan.export.sources import SOURCE_TARGETS
from cmrplan.export.target import ExportTarget, TrainerSettings, WeightUnit
from cmrplan.files import write_text
from cmrplan.fit.arguments import named_arguments
from cmrplan.numbers import CountOrText

EXPORT_BEGINS = "# Written by cmrplan export"
"""How the comments above exported settings begin."""

TARGETS = {
    target.name: target
    for target in (*ROW_TARGETS, *BLEND_TARGETS, *SOURCE_TARGETS, *PASS_TARGETS, *PLAIN_TARGETS)
}
_PER_UNIT = {
    "token": "token",
    "sequence": "packed sequence; these have one length, so that is per token",
    "row": "row: the share of tokens divided by the mean tokens of a row",
    "pass": "pass: the planned tokens of a corpus divided by its unique tokens",
}


@dataclass(frozen=True)
class Export:
    """The mixture of a plan as a trainer takes it.

    Parameters
    ----------
    target : str
        The framework.
    text : str
        The settings, with comments; what is pasted or kept as a file.
    unit : {"token", "sequence", "row", "pass"}
        What a weight is per.
    shares : dict of str to float
        Asked share of tokens by corpus.
    weights : dict of str to float
        By corpus, in that unit.
    achieved_shares : dict of str to float
        Shares of tokens that the framework makes of the weights, by its own rounding; draws at random come on top.
    share_tolerance : float
        How far the achieved share may lie from the asked one.
    passes : dict of str to float or None
        Passes over each corpus; None where its unique tokens are not known.
    train_tokens : float
        Tokens of the run.
    plan : str
        Fingerprint of the plan.
    """

    target: str
    text: str
    unit: WeightUnit
    shares: dict[str, float]
    weights: dict[str, float]
    achieved_shares: dict[str, float]
    share_tolerance: float
    passes: dict[str, float | None]
    train_tokens: float
    plan: str

    def __str__(self) -> str:
        return self.text

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, numbers unrounded."""
        return asdict(self)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the settings, atomically.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        write_text(Path(path), self.text)


@named_arguments
def export(
    plan: PlanOrPath,
    to: str,
    *,
    paths: Mapping[str, str | os.PathLike[str]] | None = None,
    tokens_per_row: Mapping[str, CountOrText] | None = None,
    available: Mapping[str, CountOrText] | None = None,
    share_tolerance: float = ACHIEVED_WITHIN,
    seed: int = 0,
) -> Export:
    """Return the mixture of a plan as the settings of a training framework.

    Parameters
    ----------
    plan : Plan, MixturePlan or path
        A plan of two corpora or of many, or its file.
    to : str
        The framework: one of ``hf``, ``llama-factory``, ``mosaicml-streaming``, ``megatron``, ``megatron-bridge``,
        ``nemo-automodel``, ``nanotron``, ``torchtitan``, ``olmo-core``, ``levanter``, ``axolotl``,
        ``megatron-bridge-sft``, ``json``, ``yaml``.
    paths : mapping of str to path, optional
        Where each corpus is; a placeholder stands for an absent one.
    tokens_per_row : mapping of str to float or str, optional
        Mean tokens of a row of each corpus, for frameworks that draw rows.
    available : mapping of str to float or str, optional
        Unique tokens of each corpus; they stand above those of the plan. Frameworks that count passes need them.
    share_tolerance : float
        How far the achieved share of tokens may lie from the asked one.
    seed : int
        Of the draws of the trainer.

    Raises
    ------
    InputError
        If an argument is wrong, the file is not a whole plan, or the framework needs what was not given.
    CmrplanError
        If a corpus would be passed over more often than the plan allows.

    Examples
    --------
    >>> import cmrplan as cp
    >>> fit = cp.fit(cp.read_log("data/published/dcpt_usage1_log.csv"), bootstrap=0)
    >>> plan = cp.plan(fit, model_params="1.8B", train_tokens="10B", max_general_rise="3%", max_ratio=0.9)
    >>> cp.export(plan, "hf", tokens_per_row={"general": 400, "domain": 4000}).weights
    {'general': 0.526315789474, 'domain': 0.473684210526}
    """
    target = target_named(to)
    request = ExportRequest(
        planned_mixture(plan),
        paths=paths or {},
        tokens_per_row=tokens_per_row or {},
        available=available or {},
        share_tolerance=share_tolerance,
        seed=seed,
    )
    return exported(request, target)


def exported(request: ExportRequest, target: ExportTarget) -> Export:
    """Return :func:`export` for a request that was put together before."""
    settings = target.settings(request)
    shares, passes = request.shares, request.passes
    comments = "" if target.suffix == ".json" else comments_above(request, target, settings)
    return Export(
        target=target.name,
        text=comments + settings.text,
        unit=target.unit,
        shares=shares,
        weights=dict(settings.weights),
        achieved_shares=shares if settings.achieved is None else dict(settings.achieved),
        share_tolerance=request.share_tolerance,
        passes={name: passes.get(name) for name in shares},
        train_tokens=request.planned.train_tokens,
        plan=request.planned.fingerprint,
    )


def target_named(name: str) -> ExportTarget:
    """Return the target of that name.

    Raises
    ------
    InputError
        If there is none, with the nearest.
    """
    if name not in TARGETS:
        near = get_close_matches(str(name), TARGETS, n=1)
        hint = f"; did you mean {near[0]}" if near else ""
        raise InputError(f"to must be one of {', '.join(TARGETS)}, got {name!r}{hint}")
    return TARGETS[name]


def comments_above(request: ExportRequest, target: ExportTarget, settings: TrainerSettings) -> str:
    """Return the comment lines that stand above the settings; names in them stay on their line."""
    tokens = f"{request.planned.train_tokens:,.0f}"
    tolerance = f"{request.share_tolerance:g}"
    lines = [
        f" {__version__} --to {target.name}: {target.title}",
        f"Plan {request.planned.fingerprint}, {tokens} tokens",
        f"Asked share of tokens: {_listed(request.shares)}; the achieved share is to lie within {tolerance} of it",
        passes_text(request),
        f"Weights are per {_PER_UNIT[target.unit]}",
        *settings.notes,
    ]
    if target.unit == "row":
        lines.insert(4, f"Mean tokens of a row: {_listed(request.row_tokens)}")
    if request.left_out:
        lines.append(f"Left out, with a share of 0: {', '.join(request.left_out)}")
    first, *rest = [printable(line, keep="") for line in lines]
    return "\n".join([EXPORT_BEGINS + first, *(f"# {line}" for line in rest)]) + "\n"


def passes_text(request: ExportRequest) -> str:
    """Return how often each corpus is passed over, and what would tell it where it is not known."""
    passes = request.passes
    texts = []
    for name, number in passes.items():
        allowed = request.planned.max_epochs.get(name)
        bound = "" if allowed is None else f" (the plan allows {allowed:g})"
        texts.append(f"{name} {number:.4g}{bound}")
    unknown = [name for name in request.shares if name not in passes]
    if unknown:
        texts.append(f"not known of {', '.join(unknown)}: give --available {unknown[0]}=TOKENS")
    return f"Passes over each corpus: {'; '.join(texts)}"


def _listed(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number:.6g}" for name, number in numbers.items())
