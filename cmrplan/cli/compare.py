"""The command ``cmrplan compare``."""

from __future__ import annotations

import click

from cmrplan.cli.output import line_width, print_findings, print_json, show, working
from cmrplan.cli.parameters import as_json, min_train_tokens
from cmrplan.log.cut_off import cut_off_findings_of
from cmrplan.log.files import read_log_to_fit
from cmrplan.report.tables import errors_text, plain_rows
from cmrplan.validate.compare import compare as run_compare


@click.command()
@click.argument("log", type=click.Path())
@min_train_tokens
@as_json
def compare(log: str, min_train_tokens: float | None, as_json: bool) -> None:
    """Rank every applicable law, and simple baselines, by out-of-sample error.

    Hides each inner ratio (of several corpora a fifth of the mixtures), the largest budgets and the largest model in
    turn.
    """
    rows = read_log_to_fit(log)
    with working() as say:
        comparison = run_compare(rows, min_train_tokens=min_train_tokens or 0.0, progress=say)
    print_findings(cut_off_findings_of(log))
    if as_json:
        print_json(
            {
                "ranking": plain_rows(comparison.ranking),
                "errors": plain_rows(comparison.errors),
                "verdicts": {
                    corpus: {
                        "winner": v.winner,
                        "runner_up": v.runner_up,
                        "margin": v.margin,
                        "margin_stderr": v.margin_stderr,
                        "is_clear": v.is_clear,
                        "best_law": v.best_law,
                    }
                    for corpus, v in comparison.verdicts.items()
                },
                "verdict": comparison.sentence,
                "skipped": comparison.skipped,
            }
        )
        return
    show("mean absolute error on hidden rows, nats per token")
    show(errors_text(comparison.ranking, line_width(err=False)), is_table=True)
    for corpus, verdict in comparison.verdicts.items():
        best = verdict.best_law or "none could answer"
        show(f"{corpus}: {verdict.sentence}; best law {best}")
    if not comparison.ranking["is_whole"].all():
        show(
            "* of the hidden rows alone for which it has a loss (ratios strictly between 0 and 1, sizes and "
            "budgets that it saw), and left out of the verdict"
        )
    show(f"verdict: {comparison.sentence}")
    if comparison.skipped:
        show("left out, by what stays of the log while a part of it is hidden:", err=True)
    for name, corpora, reason in comparison.left_out:
        show(f"  {name} ({', '.join(corpora)}): {reason}", err=True)
