"""Commands for several training corpora: mix fit, mix compare, mix backtest, mix predict, mix plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import click
import pandas as pd

from cmrplan.cli.compare import compare
from cmrplan.cli.output import (
    is_on_terminal,
    line_width,
    print_error,
    print_findings,
    print_json,
    show,
    verbosity_options,
    working,
)
from cmrplan.cli.outputs import FIT_FILE, PICTURE, PLAN_FILE, force_option, out_option
from cmrplan.cli.parameters import (
    ASSIGNMENT,
    COUNT,
    FRACTION,
    as_json,
    confidence,
    confidences,
    first_tokens,
    min_train_tokens,
    numbers_of,
    pairs_once,
    per_corpus,
    resamples,
    seed,
    with_parts,
)
from cmrplan.errors import InputError
from cmrplan.files import sealed, write_json
from cmrplan.fit.settings import RESIDUAL_MODELS, ResidualModel
from cmrplan.laws.registry import AUTO, FitKind, names_for
from cmrplan.log.cut_off import cut_off_findings_of
from cmrplan.log.files import read_plausible_log
from cmrplan.mixture import (
    MixtureFit,
    MixturePlan,
    MixturePlanRequest,
    fit_mixture,
    mixture_report,
    plan_mixture,
    read_mixture_fit,
    write_mixture_fit,
)
from cmrplan.mixture.levels import levels_beside
from cmrplan.mixture.remedies import MixtureRemedy, mixture_remedy
from cmrplan.report.mixture import (
    mixture_fit_text,
    mixture_levels_text,
    mixture_plan_text,
    mixture_ways_text,
)
from cmrplan.report.tables import errors_text, plain_rows


@click.group()
def mix() -> None:
    """Several training corpora: fit their losses, find the best mixture.

    For probe logs with a column share_<corpus> for each training corpus. A log of a domain and a general
    corpus goes to `fit` and `plan`, which know more about two.
    """


@mix.command("fit")
@click.argument("log", type=click.Path())
@out_option("the fit (JSON)", FIT_FILE)
@click.option(
    "--law",
    default=AUTO,
    show_default=True,
    metavar="LAW",
    help=f"auto averages laws by their errors; or one of {', '.join(names_for(FitKind.CORPORA))}.",
)
@resamples
@seed
@click.option("--model-params", type=COUNT, help="Fit only the runs of this size.")
@first_tokens
@click.option(
    "--residual",
    type=click.Choice(RESIDUAL_MODELS),
    default="auto",
    show_default=True,
    help="gp: a Gaussian process over mixtures above the laws; none: the laws alone; auto: gp where laws are chosen "
    "and it misses unknown runs by less than the laws miss known ones.",
)
@confidence
@verbosity_options
@as_json
@force_option
def fit_command(
    log: str,
    out: str | None,
    law: str,
    bootstrap: int,
    seed: int,
    model_params: float | None,
    min_train_tokens: float | Literal["auto"] | None,
    residual: ResidualModel,
    confidence: float,
    as_json: bool,
) -> None:
    """Fit the loss on each validation corpus as a law of the mixture.

    auto averages the data mixing law, the additive optimal mixture law and, over several budgets, laws
    whose mixture term changes with tokens and size, by their errors on hidden rows, corpus by corpus.
    """
    with working() as say:
        say("fitting")
        fitted = fit_mixture(
            read_plausible_log(log),
            law,
            bootstrap=bootstrap,
            seed=seed,
            model_params=model_params,
            min_train_tokens=min_train_tokens or 0.0,
            confidence=confidence,
            residual=residual,
        )
    fitted = replace(fitted, warnings=(*cut_off_findings_of(log), *fitted.warnings))
    if out:
        write_mixture_fit(fitted, out)
    if as_json:
        print_json(mixture_report(fitted))
        return
    show(mixture_fit_text(fitted))
    print_findings(fitted.warnings, again="cmrplan mix fit …")
    if out:
        show(f"fit -> {out}")


@mix.command("predict")
@click.argument("fit", type=click.Path())
@per_corpus("--share", "CORPUS=SHARE", "Share of a corpus; absent ones have none.", "shares")
@click.option("--model-params", type=COUNT, help="Parameters N.  [default: the largest fitted]")
@click.option("--train-tokens", type=COUNT, help="Tokens D.  [default: the largest fitted]")
@per_corpus(
    "--available",
    "CORPUS=TOKENS",
    "Unique tokens of a training corpus: code=5B.  [default: those of the probes, where they repeat it]",
    "available",
)
@with_parts
@confidence
@verbosity_options
@as_json
def predict_command(
    fit: str,
    shares: tuple[tuple[str, str], ...],
    model_params: float | None,
    train_tokens: float | None,
    available: tuple[tuple[str, str], ...],
    with_parts: bool,
    confidence: float,
    as_json: bool,
) -> None:
    """Predict the loss on every validation corpus at one mixture."""
    from cmrplan.fit.corpus_model import Interval, interval_as_dict

    fitted = read_mixture_fit(fit)
    at = {
        "model_params": model_params or float(fitted.log["model_params"].max()),
        "train_tokens": train_tokens or float(fitted.log["train_tokens"].max()),
    }
    predicted: dict[str, dict[str, float | None]] = {}
    mixture = numbers_of("--share", shares, FRACTION)
    held = numbers_of("--available", available, COUNT)
    for corpus, losses in sorted(fitted.predict(mixture, available=held, **at).items()):
        loss = Interval.of_draws(float(losses.loss[0]), losses.draws[:, 0], confidence)
        predicted[corpus] = interval_as_dict("loss", loss)
    for corpus, two in (fitted.parts(mixture, available=held, **at) if with_parts else {}).items():
        predicted[corpus] |= dict(zip(("law", "residual"), two, strict=True))
    beyond = fitted.extrapolation_findings(mixture, available=held, **at)
    findings = [*fitted.warnings, *beyond]
    if as_json:
        print_json(
            {"losses": predicted, **at, "warnings": [finding.as_dict() for finding in findings]}
        )
        return
    for corpus, value in predicted.items():
        band = (
            ""
            if value["loss_low"] is None
            else f"  ({value['loss_low']:.4f} to {value['loss_high']:.4f})"
        )
        parts = (
            f"  laws {value['law']:.4f}, residual {value['residual']:+.4f}" if with_parts else ""
        )
        show(f"{corpus:<24}{value['loss']:>8.4f}{band}{parts}")
    print_findings(findings, said=fitted.warnings, again="cmrplan mix predict …")


mix.add_command(compare)


@mix.command("backtest")
@click.argument("log", type=click.Path())
@min_train_tokens
@as_json
def backtest_command(log: str, min_train_tokens: float | None, as_json: bool) -> None:
    """Hide the largest budgets and models, forecast them from the rest, and report the miss.

    In loss, in the order of the mixtures, and in what taking the one that looked best would have cost.
    """
    from cmrplan.validate.mixture_backtest import backtest_mixtures

    with working() as say:
        table = backtest_mixtures(
            read_plausible_log(log), min_train_tokens=min_train_tokens or 0.0, progress=say
        )
    if as_json:
        print_json({"rows": plain_rows(table)})
    else:
        show("target: the largest model at its largest budget; errors in nats per token")
        show(errors_text(table, line_width(err=False)), is_table=True)
    print_findings(cut_off_findings_of(log))


@mix.command("plan")
@click.argument("fit", type=click.Path())
@click.option("--train-tokens", type=COUNT, required=True, help="Budget in tokens: 10B.")
@click.option("--model-params", type=COUNT, help="Parameters N.  [default: the largest fitted]")
@per_corpus(
    "--weight",
    "CORPUS=WEIGHT",
    "Weight of a validation corpus in the sum of losses that is minimized.  [default: 1 for each that is not "
    "protected]",
    "objective",
)
@per_corpus(
    "--protect",
    "CORPUS=RISE",
    "How far the loss on a validation corpus may rise: general=3%, 0.05 (nats per token) or 5%ppl.",
    "protected",
)
@per_corpus(
    "--available", "CORPUS=TOKENS", "Unique tokens of a training corpus: code=5B.", "available"
)
@click.option(
    "--max-epochs",
    "epochs",
    multiple=True,
    metavar="[CORPUS=]PASSES",
    help="Passes allowed over them.  [default: 1]",
)
@per_corpus("--floor", "CORPUS=SHARE", "Least share of a training corpus.", "floors")
@per_corpus("--ceiling", "CORPUS=SHARE", "Largest share of a training corpus.", "ceilings")
@per_corpus("--base-loss", "CORPUS=LOSS", "Loss of the base.  [default: the log's]", "base_loss")
@per_corpus(
    "--reference",
    "CORPUS=SHARE",
    "Count rises from the predicted losses at this mixture instead of the base; once for each corpus.",
    "reference",
)
@confidences
@out_option("the plan (JSON)", PLAN_FILE)
@out_option("a picture of the shares (.png, .svg, .pdf)", PICTURE, name="--plot")
@verbosity_options
@as_json
@force_option
def plan_command(
    fit: str,
    train_tokens: float,
    model_params: float | None,
    objective: tuple[tuple[str, str], ...],
    protected: tuple[tuple[str, str], ...],
    available: tuple[tuple[str, str], ...],
    epochs: tuple[str, ...],
    floors: tuple[tuple[str, str], ...],
    ceilings: tuple[tuple[str, str], ...],
    base_loss: tuple[tuple[str, str], ...],
    reference: tuple[tuple[str, str], ...],
    confidence: list[float],
    out: str | None,
    plot: str | None,
    as_json: bool,
) -> int:
    """Recommend the mixture of a full-scale run.

    The mixture has the lowest weighted sum of losses among those that keep every protected corpus
    within its tolerance, all together with the asked confidence, repeat no corpus too often, and stay within the
    probed share of each. Where none does, that is the answer, with what would do, and the exit code is 1.
    """
    fitted = read_mixture_fit(fit)
    request = MixturePlanRequest(
        train_tokens=train_tokens,
        model_params=model_params,
        objective=numbers_of("--weight", objective, _NUMBER) or None,
        protected=pairs_once("--protect", protected),
        available=numbers_of("--available", available, COUNT),
        max_epochs=_epochs(epochs),
        floors=numbers_of("--floor", floors, FRACTION),
        ceilings=numbers_of("--ceiling", ceilings, FRACTION),
        base_loss=numbers_of("--base-loss", base_loss, COUNT),
        reference=numbers_of("--reference", reference, FRACTION) or None,
        confidence=confidence[0],
    )
    recommended, levels, remedy = _answer_of(fitted, request, confidence)
    result = recommended.as_dict() | {"levels": plain_rows(levels)}
    result = sealed(result | {"remedies": [] if remedy is None else [remedy.as_dict()]})
    if out:
        write_json(out, result)
    if plot:
        from cmrplan.plots import mixture_figure, write_figure

        write_figure(mixture_figure(recommended), plot)
    code = 0 if recommended.is_feasible else 1
    if code and (as_json or not is_on_terminal()):
        print_error(recommended.reason, code)
    if as_json:
        print_json(result)
        return code
    show(_text_of(recommended, levels, remedy))
    print_findings(recommended.warnings, again="cmrplan mix plan …")
    for path, what in ((out, "plan"), (plot, "picture")):
        if path:
            show(f"{what} -> {path}")
    return code


def _text_of(recommended: MixturePlan, levels: pd.DataFrame, remedy: MixtureRemedy | None) -> str:
    """Return a plan with what each confidence allows, where that is known, and what would change a refusal."""
    lines = [mixture_plan_text(recommended)]
    if len(levels):
        lines.append(mixture_levels_text(levels, recommended.num_resamples))
    if not recommended.is_feasible:
        lines.append(f"{'what would change it':<26}{mixture_ways_text(recommended, remedy)}")
    return "\n".join(lines)


def _answer_of(
    fit: MixtureFit, request: MixturePlanRequest, confidence: Sequence[float]
) -> tuple[MixturePlan, pd.DataFrame, MixtureRemedy | None]:
    """Return a plan, what each confidence allows where that is asked for, and what would change a refusal."""
    with working() as say:
        say("searching the best mixture")
        recommended = plan_mixture(fit, request)
        say("what would do")
        levels = levels_beside(fit, recommended, confidence)
        return recommended, levels, mixture_remedy(fit, recommended)


_NUMBER = click.FloatRange(min=0)


def _epochs(given: tuple[str, ...]) -> float | dict[str, float]:
    """Return the passes allowed over every corpus, or over each."""
    named = tuple(ASSIGNMENT.convert(g, None, None) for g in given if "=" in g)
    plain = [g for g in given if "=" not in g]
    if len(plain) > 1 or (plain and named):
        raise InputError(
            "--max-epochs takes one number for all corpora, or CORPUS=PASSES for each, not both"
        )
    if plain:
        return numbers_of("--max-epochs", (("of every corpus", plain[0]),), COUNT)[
            "of every corpus"
        ]
    return numbers_of("--max-epochs", named, COUNT) or 1.0
