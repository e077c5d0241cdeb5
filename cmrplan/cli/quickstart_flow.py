"""The main job, end to end: corpora, probes, log, fit, plan, pictures and a page, on a CPU.

The sweep is probes/quickstart.yaml; everything lands in one folder. Each step writes whole files, and the sweep
goes on where it stopped, so starting again after a kill ends with the same numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pandas as pd

from cmrplan import plots
from cmrplan.cli.output import show
from cmrplan.errors import CmrplanError, InputError
from cmrplan.files import atomic_write, sealed, write_json, write_text
from cmrplan.fit.file import write_fit
from cmrplan.fit.fit import Fit
from cmrplan.fit.fit_log import fit
from cmrplan.log.files import read_log, write_log
from cmrplan.numbers import compact
from cmrplan.plan.plan import Plan, plan
from cmrplan.report.markdown import summary_page
from cmrplan.report.page.formats import write_report
from cmrplan.report.page.two_corpora import report_on
from cmrplan.report.text import plan_text

QUICKSTART_RISE = "3%"
PICTURES = {
    "tradeoff": "What a nat of domain loss costs in general loss, by domain ratio",
    "ratio": "Loss against domain ratio, with the limit and the recommended ratio",
    "curves": "Loss against tokens for the probed ratios",
}

TABLES_AND_MODELS = {
    "log.csv": "the probe log",
    "log.runs.csv": "every run with its state, time and speed",
    "fit.json": "the fitted laws",
    "plan.json": "the plan, numbers unrounded",
}
REPORT_FILES = (
    "report.html",
    *TABLES_AND_MODELS,
    *(f"{kind}.png" for kind in PICTURES),
    "summary.md",
)


@dataclass(frozen=True)
class QuickstartReport:
    """Where the report is and what it says.

    Parameters
    ----------
    folder : str
    plan : Plan
    text : str
        The answer in a few lines.
    """

    folder: str
    plan: Plan
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return the folder and the plan as plain values."""
        return {"folder": self.folder, "plan": self.plan.as_dict()}


def run_quickstart(
    out: str | os.PathLike[str],
    *,
    spec: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    say: Callable[[str], None] | None = None,
) -> QuickstartReport:
    """Run the sweep, fit it, plan from it and write the report folder.

    Parameters
    ----------
    out : path
        The folder; what it already holds of the sweep is used.
    spec : path, optional
        Another sweep than the packaged one.
    workers : int, optional
        Training processes at a time; one a core by default.
    say : callable, optional
        Takes a line of progress; standard error by default.

    Raises
    ------
    InputError
        If the folder holds files of these names that no quickstart wrote.
    CmrplanError
        If probes failed.
    """
    folder = Path(out)
    refuse_other_files(folder)
    say = say or (lambda line: show(line, err=True))
    log = _probe_log(folder, spec, workers, say)
    say("2/4 fit: laws of the general and the domain loss")
    fitted = fit(read_log(folder / "log.csv"))
    write_fit(fitted, folder / "fit.json")

    say(f"3/4 plan: the general loss may rise by {QUICKSTART_RISE}")
    recommended = plan(
        fitted,
        model_params=float(log["model_params"].max()),
        train_tokens=float(log["train_tokens"].max()),
        max_general_rise=QUICKSTART_RISE,
    )
    write_json(folder / "plan.json", sealed(recommended.as_dict()))

    say("4/4 pictures, report and summary")
    for kind in PICTURES:
        plots.write_figure(plots.figure(kind, fitted, plan=recommended), folder / f"{kind}.png")
    content = report_on(fitted, recommended.asked, is_quick=True)
    write_report(content, folder / "report.html", "html")
    write_text(folder / "summary.md", _page(fitted, recommended, log))
    text = f"{plan_text(recommended)}\nreport -> {folder / 'report.html'}"
    return QuickstartReport(str(folder), recommended, text)


def refuse_other_files(folder: Path) -> None:
    """Refuse a folder that has files of the report's names and no runs beside them.

    Raises
    ------
    InputError
        Naming the first of them.
    """
    if (folder / "runs" / "spec.yaml").exists():
        return
    there = [name for name in REPORT_FILES if (folder / name).exists()]
    if there:
        raise InputError(
            f"{folder / there[0]} is not of a quickstart and would be overwritten; give another folder as --out"
        )


def _probe_log(
    folder: Path,
    spec: str | os.PathLike[str] | None,
    workers: int | None,
    say: Callable[[str], None],
) -> pd.DataFrame:
    """Run the sweep and write its log and its ledger; return the log.

    Raises
    ------
    CmrplanError
        If probes failed.
    """
    from probes.collect import collect
    from probes.executors.base import ExecutorOptions
    from probes.planned_probes import planned_probes
    from probes.spec.file import read_spec
    from probes.sweep import run_sweep

    with as_file(files("probes") / "quickstart.yaml") as packaged:
        sweep = read_spec(spec or packaged)
    say(f"1/4 probes: a base and {len(planned_probes(sweep))} probes -> {folder / 'runs'}")
    ledger = run_sweep(sweep, folder / "runs", executor=ExecutorOptions(workers=workers))
    failed = ledger[ledger["state"] == "failed"]
    if len(failed):
        raise CmrplanError(
            f"{len(failed)} run(s) failed, first {failed['run_id'].iloc[0]}: {failed['reason'].iloc[0]}"
        )
    log, ledger = collect(folder / "runs")
    write_log(log, folder / "log.csv")
    with atomic_write(folder / "log.runs.csv") as temporary:
        ledger.to_csv(temporary, index=False)
    return log


def _page(fitted: Fit, recommended: Plan, log: pd.DataFrame) -> str:
    probes = log["run_id"].nunique()
    ratios = ", ".join(f"{ratio:g}" for ratio in sorted(log["domain_ratio"].unique()))
    ran = (
        f"One base of {compact(recommended.model_params)} parameters was trained on English reference prose, then "
        f"continued {probes} times for {compact(recommended.train_tokens)} tokens with a share of Python source of "
        f"{ratios}. Both validation losses were measured on one fixed set of sequences."
    )
    onward = (
        "Plan for other limits from the same fit: `cmrplan plan fit.json --model-params N --train-tokens D "
        "--max-general-rise 0.05`. A model this small shows the method, not your ratio: run the probes on your own "
        "corpora and sizes with `cmrplan probe run`, or fit a log of your own trainer with `cmrplan fit`."
    )
    return summary_page(
        fitted,
        recommended,
        title="English prose continued on Python source",
        notes=[ran, onward],
        pictures=[(f"{kind}.png", caption) for kind, caption in PICTURES.items()],
        files={"report.html": "the same as a page with sliders"} | TABLES_AND_MODELS,
    )
