"""A sweep's design and the survey of its corpora as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmrplan.numbers import compact

if TYPE_CHECKING:
    from probes.corpus_survey import CorpusSurvey
    from probes.design import SweepDesign


def design_text(design: SweepDesign) -> str:
    """Return what a sweep takes, a line a size and a line a total."""
    lines = [
        f"sweep {design.name} on {design.device}, {design.workers} at a time",
        f"{'size':<12}{'N':>9}{'N total':>9}{'base tok':>10}{'probes':>8}{'probe tok':>11}"
        f"{'FLOPs':>10}{'tok/s':>8}{'eval tok/s':>12}",
    ]
    lines += [
        f"{size.name:<12}{compact(size.params_non_embedding):>9}{compact(size.params_total):>9}"
        f"{compact(size.base_tokens):>10}{size.num_probes:>8}{compact(size.probe_tokens):>11}"
        f"{size.flops:>10.2e}{compact(size.tokens_per_second):>8}"
        f"{compact(size.evaluation_tokens_per_second):>12}"
        + (f"  {size.runs_together} batched" if size.runs_together > 1 else "")
        for size in design.sizes
    ]
    hours = f", {design.gpu_hours:.2g} GPU-hours" if design.gpu_hours else ""
    lines += [
        f"runs     {design.num_bases} base(s) and {design.num_probes} probes, controls at ratio 0 and 1 included",
        f"tokens   {compact(design.base_tokens + design.probe_tokens)} to train on, "
        f"{compact(design.evaluation_tokens)} to evaluate on",
        f"FLOPs    {design.flops:.3g}",
        f"time     about {duration(design.seconds)}{hours}",
        *([f"price    {design.price:.2f}"] if design.price is not None else []),
        f"disk     {design.disk_bytes / 1e6:.0f} MB at most",
        "evaluated at 0, "
        + ", ".join(compact(t) for t in design.evaluation_train_tokens)
        + " tokens",
    ]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return a time in the unit a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def survey_text(survey: CorpusSurvey) -> str:
    """Return what the corpora have and how often runs go through them."""
    lines = [
        f"{corpus.name:<9}{'' if corpus.is_whole else 'at least '}{'about ' if corpus.is_estimate else ''}"
        f"{compact(corpus.train_tokens)} tokens to train on, "
        f"{corpus.documents:,} documents of {corpus.source}"
        for corpus in survey.corpora
    ]
    lines.append(f"{'passes':<9}{'ratio':>7}{'tokens':>9}{'general':>9}{'domain':>9}")
    lines += [
        f"{one.stage:<9}{one.domain_ratio:>7g}{compact(one.train_tokens):>9}{one.general:>9.2f}{one.domain:>9.2f}"
        for one in survey.passes
    ]
    return "\n".join([*lines, *survey.notices])
