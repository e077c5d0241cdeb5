"""The command ``cmrplan report``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmrplan.cli.output import print_json, show, working
from cmrplan.cli.outputs import REPORT, force_option, out_option
from cmrplan.cli.parameters import as_json
from cmrplan.errors import InputError
from cmrplan.files import read_json

if TYPE_CHECKING:
    from cmrplan.report.page.content import ReportContent
    from cmrplan.report.page.formats import ReportFormat

REPORT_FORMATS: tuple[ReportFormat, ...] = ("html", "md", "json", "pdf")


@click.command()
@click.argument("fit", type=click.Path())
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(),
    help="The plan (JSON of cmrplan plan --out, or mix plan --out) that the report answers.  [default: the largest "
    "probed run, a rise of 3%]",
)
@out_option("the report", REPORT, required=True)
@click.option(
    "--format",
    "kind",
    type=click.Choice(REPORT_FORMATS),
    help="What to write.  [default: by the suffix of --out]",
)
@click.option(
    "--quick", is_flag=True, help="Leave out the law panel and the backtest, which fit anew."
)
@as_json
@force_option
def report(
    fit: str, plan_file: str | None, out: str, kind: ReportFormat | None, quick: bool, as_json: bool
) -> None:
    """Write a report on a fit: one page with the answer, what it rests on, and sliders for other settings.

    The page is a single file that needs no network. FIT is a fit of two corpora or of several.
    """
    from cmrplan.report.page.formats import write_report  # takes half a second to import

    suffix = Path(out).suffix.lower().removeprefix(".")
    if kind is not None and kind != suffix:
        raise InputError(f"--out {out} is not a .{kind} file, which --format {kind} writes")
    chosen = next(one for one in REPORT_FORMATS if one == suffix)
    with working() as say:
        say("report")
        content = _content(fit, plan_file, say, is_quick=quick)
    write_report(content, out, chosen)
    if as_json:
        print_json(
            {"file": out, "format": chosen, "title": content.title, "answer": content.answer}
        )
        return
    show(content.answer)
    for caution in content.cautions:
        show(f"caution: {caution}", err=True)
    show(f"report -> {out}")


def _content(
    fit: str, plan_file: str | None, say: Callable[[str], None], *, is_quick: bool
) -> ReportContent:
    """Return the report on a fit of either kind."""
    from cmrplan.fit.file import read_fit, require_no_log

    require_no_log(fit)
    content = read_json(fit)
    if isinstance(content, dict) and content.get("kind") == "mixture":
        from cmrplan.mixture import read_mixture_fit
        from cmrplan.report.page.mixtures import read_mixture_request, report_on_mixture

        mixed = read_mixture_fit(fit)
        question = None if plan_file is None else read_mixture_request(plan_file, mixed)
        return report_on_mixture(mixed, question)
    from cmrplan.fit.planned_schedule import under_schedule
    from cmrplan.report.page.two_corpora import read_request, read_schedule, report_on

    fitted = read_fit(fit)
    if plan_file is None:
        return report_on(fitted, is_quick=is_quick, progress=say)
    asked, schedule = read_request(plan_file, fitted), read_schedule(plan_file, fitted)
    if schedule is not None:
        fitted = under_schedule(fitted, schedule.name, peak_rate=schedule.peak_rate)
    return report_on(fitted, asked, schedule=schedule, is_quick=is_quick, progress=say)
