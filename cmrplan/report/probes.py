"""The next probes in plain text, and as the runs of a sweep file."""

from __future__ import annotations

from cmrplan.design.next_probes import NextProbes
from cmrplan.numbers import compact


def next_text(made: NextProbes) -> str:
    """Return the probes as a table, with the interval before and after them."""
    level = f"{100 * made.asked.confidence:g} % interval"
    lines = [
        f"recommended ratio now     {made.domain_ratio:.3f}   ({level} {made.domain_ratio_low:.3f} to "
        f"{made.domain_ratio_high:.3f}, {made.width:.3f} wide)"
    ]
    if made.probes:
        lines += [
            f"expected after the probes {made.expected_low:.3f} to {made.expected_high:.3f}, "
            f"{made.expected_width:.3f} wide",
            f"{'ratio':>8}{'N':>9}{'tokens':>9}{'seed':>6}{made.unit:>12}{'width after':>13}",
        ]
    lines += [
        f"{probe.domain_ratio:>8g}{compact(probe.model_params):>9}{compact(probe.train_tokens):>9}{probe.seed:>6}"
        f"{probe.cost:>12.3g}{probe.width_after:>13.3f}"
        for probe in made.probes
    ]
    if made.probes:
        lines.append(f"cost                      {made.cost:.4g} of {made.budget:.4g} {made.unit}")
    if made.gpu_flops is not None:
        lines.append(f"one GPU is taken to do    {made.gpu_flops:.3g} FLOP/s (--gpu-flops)")
    lines.append(f"stopped                   {made.stop_reason}")
    return "\n".join(lines)


def runs_text(made: NextProbes) -> str:
    """Return the probes as the part ``probes.runs`` of a sweep file, sizes as parameter counts."""
    lines = [
        "# Put these in place of probes.grid or probes.runs of the sweep file that the log came from, and give each",
        "# size its name there; or give that file as --sweep, and a whole one is written.",
        "probes:",
        "  runs:",
    ]
    lines += [
        f'    - {{domain_ratio: {probe.domain_ratio:g}, size: "{probe.model_params:.0f}", seed: {probe.seed}, '
        f"train_tokens: {probe.train_tokens:.0f}}}"
        for probe in made.probes
    ]
    return "\n".join(lines) + "\n"
