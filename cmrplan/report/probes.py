"""The next probes are shown in plain text, and written as the runs of a sweep file."""

from __future__ import annotations

import math

from cmrplan.design.evaluations import BaseEvaluation
from cmrplan.design.next_probes import NextProbes
from cmrplan.numbers import compact


def next_text(answer: NextProbes) -> str:
    """Return the probes as a table, with the interval before and after them."""
    level = f"{100 * answer.asked.confidence:g} % interval of the best ratio"
    interval = (
        f"{answer.domain_ratio_low:.3f} to {answer.domain_ratio_high:.3f}, {answer.width:.3f} wide"
    )
    best = "none" if math.isnan(answer.domain_ratio) else f"{answer.domain_ratio:.3f}"
    lines = [f"best estimate now         {best}"]
    lines[0] += f"   ({level} {interval})" if answer.has_interval else ", and no interval"
    lines += [_evaluation_text(evaluation) for evaluation in answer.evaluations]
    if answer.probes and not answer.is_trial:
        lines.append(
            f"expected after the probes {answer.expected_low:.3f} to {answer.expected_high:.3f}, "
            f"{answer.expected_width:.3f} wide"
        )
    if answer.probes:
        lines.append(
            f"{'ratio':>8}{'N':>9}{'tokens':>9}{'seed':>6}{answer.unit:>12}{'width after':>13}"
        )
    lines += [
        f"{probe.domain_ratio:>8g}{compact(probe.model_params):>9}{compact(probe.train_tokens):>9}{probe.seed:>6}"
        f"{probe.cost:>12.3g}{probe.width_after:>13.3f}"
        for probe in answer.probes
    ]
    if answer.controls:
        paid = sum(control.cost for control in answer.controls)
        lines.append(
            f"controls                  {len(answer.controls)} runs at ratio 0 or 1 that the log lacks, {paid:.3g} "
            f"{answer.unit}; the sweep trains them"
        )
    if answer.probes:
        lines.append(
            f"cost                      {answer.cost:.4g} of {answer.budget:.4g} {answer.unit}"
        )
    if answer.gpu_flops is not None:
        lines.append(f"one GPU is taken to do    {answer.gpu_flops:.3g} FLOP/s (--gpu-flops)")
    lines.append(f"stopped                   {answer.stop_reason}")
    return "\n".join(lines)


def _evaluation_text(evaluation: BaseEvaluation) -> str:
    """Return a line on a base loss that is worth measuring first."""
    what = f"evaluate first            the base loss of N = {compact(evaluation.model_params)}, no training: "
    if evaluation.spread is None:
        return what + "the log lacks it, so its rises are counted from the law"
    return (
        f"{what}carried there as {evaluation.base_loss:.4f} it may be off by {100 * evaluation.spread:.2g} %, and with "
        f"room for that the interval is {evaluation.low:.3f} to {evaluation.high:.3f}; known, and that, it is "
        f"{evaluation.low_known:.3f} to {evaluation.high_known:.3f}"
    )


def runs_text(answer: NextProbes) -> str:
    """Return the probes as the part ``probes.runs`` of a sweep file, sizes as parameter counts."""
    lines = [
        "# Put these in place of probes.grid or probes.runs of the sweep file that the log came from, and give each",
        "# size its name there; or give that file as --sweep, and a whole one is written.",
        *_control_lines(answer),
        "probes:",
        "  runs:",
    ]
    lines += [
        f'    - {{domain_ratio: {probe.domain_ratio:g}, size: "{probe.model_params:.0f}", seed: {probe.seed}, '
        f"train_tokens: {probe.train_tokens:.0f}}}"
        for probe in answer.probes
    ]
    return "\n".join(lines) + "\n"


def _control_lines(answer: NextProbes) -> list[str]:
    """Return a comment for each control that a sweep adds to the runs by itself."""
    return [
        f"# The sweep also trains the control domain_ratio {control.domain_ratio:g} of size "
        f'"{control.model_params:.0f}", seed {control.seed}.'
        for control in answer.controls
    ]
