"""Fits with a residual as a whole: their file, their parts, other sizes, refusals, and what the command line says."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan.errors import Code
from cmrplan.files import sealed
from cmrplan.fit.residual import kriged_model
from cmrplan.fit.residual.choice import evidence_weights
from cmrplan.fit.residual.kriging import curve_nodes

PROBES = Path(__file__).parents[3] / "data" / "probes" / "log.csv"
AT = {"model_params": 974208.0, "train_tokens": 8e5}
RATIOS = np.array([0.0, 0.3, 0.75, 1.0])


@pytest.fixture(scope="module")
def probes() -> pd.DataFrame:
    """Return the rows of the two larger sizes, one seed, so that a fit takes a second."""
    log = cp.read_log(PROBES)
    return log[(log["model_params"] > 2e5) & (log["seed"] == 0)]


@pytest.fixture(scope="module")
def fit(probes: pd.DataFrame) -> cp.Fit:
    """Return the fit with a residual."""
    return cp.fit(probes, bootstrap=60, residual="gp")


@pytest.fixture(scope="module")
def path(fit: cp.Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return its file."""
    path = tmp_path_factory.mktemp("residual") / "fit.json"
    cp.write_fit(fit, path)
    return path


@pytest.mark.parametrize("corpus", ["general", "domain"])
def test_it_misses_its_rows_less_than_the_laws_do(
    fit: cp.Fit, probes: pd.DataFrame, corpus: str
) -> None:
    rows = fit.rows(corpus)
    laws = cp.fit(probes, bootstrap=0, residual="none")
    missed = [
        np.mean(np.abs(one.models[corpus].fitted_loss(rows) - rows["loss"])) for one in (fit, laws)
    ]
    assert missed[0] < 0.6 * missed[1]
    assert fit.summary()[corpus]["mae"] == pytest.approx(missed[0])


def test_a_file_gives_the_same_numbers(fit: cp.Fit, path: Path) -> None:
    again = cp.read_fit(path)
    for corpus in ("general", "domain"):
        pair = [one.predict(corpus, domain_ratio=RATIOS, **AT) for one in (fit, again)]
        assert pair[0].loss.tolist() == pair[1].loss.tolist()
        assert pair[0].draws.tolist() == pair[1].draws.tolist()
    question = AT | {"max_general_rise": "8%"}
    assert cp.plan(fit, **question).as_dict() == cp.plan(again, **question).as_dict()


@pytest.mark.parametrize(
    ("part", "value"),
    [("weight", 0.1), ("hyper", [0.0, 1.0]), ("samples", []), ("mean", "no_such_law")],
)
def test_a_file_that_was_edited_is_refused(path: Path, tmp_path: Path, part, value) -> None:
    whole = json.loads(path.read_text())
    whole["state"]["models"]["general"]["members"][0][part] = value
    edited = tmp_path / "edited.json"
    del whole["checksum"]
    edited.write_text(json.dumps(sealed(whole)))
    with pytest.raises(cp.InputError, match="not a whole fit"):
        cp.read_fit(edited)


def test_a_curve_between_nodes_is_the_curve(fit: cp.Fit) -> None:
    """Many ratios at once go through nodes, few are computed each: to 2e-6, far below every noise."""
    many = np.linspace(0, 1, 501)
    assert curve_nodes({"domain_ratio": many}) is not None
    for corpus in ("general", "domain"):
        curve = fit.predict(corpus, domain_ratio=many, **AT)
        some = np.array([0, 1, 7, 150, 333, 499, 500])
        single = fit.predict(corpus, domain_ratio=many[some], **AT)
        assert curve.loss[some] == pytest.approx(single.loss, abs=2e-6)
        assert curve.draws[:, some] == pytest.approx(single.draws, abs=1e-5)


def test_a_draw_is_the_same_curve_wherever_it_is_asked(fit: cp.Fit) -> None:
    whole = fit.predict("domain", domain_ratio=RATIOS, **AT).draws
    alone = fit.predict("domain", domain_ratio=RATIOS[2:3], **AT).draws
    assert whole[:, 2:3] == pytest.approx(alone, rel=1e-10)


def test_parts_add_up_to_the_estimate(fit: cp.Fit) -> None:
    at = AT | {"domain_ratio": 0.4}
    for corpus in ("general", "domain"):
        assert sum(fit.parts(corpus, **at)) == pytest.approx(fit.predict(corpus, **at).loss[0])


def test_a_new_run_is_wider_by_the_noise_of_runs(fit: cp.Fit) -> None:
    """The variance of log losses grows by that of a run, an evaluation and its step."""
    mean, new = (
        fit.predict("general", domain_ratio=0.5, new_run=flag, **AT).draws[:, 0]
        for flag in (False, True)
    )
    noise = fit.models["general"].noise
    grown = np.var(np.log(new)) - np.var(np.log(mean))
    # 60 draws: the standard error of such a variance is a fifth of it
    assert grown == pytest.approx(noise.run**2 + noise.checkpoint**2, rel=0.6)


def test_another_size_starts_from_its_base_loss(fit: cp.Fit) -> None:
    """A base loss a fifth higher is a loss a fifth higher: the rise that is carried is relative."""
    asked = {"model_params": 3e6, "train_tokens": 8e5, "max_general_rise": "40%"}
    one, two = (cp.plan(fit, base_loss=base, **asked) for base in (1.1, 1.32))
    assert two.general_loss.estimate == pytest.approx(1.2 * one.general_loss.estimate)
    assert two.ratio == pytest.approx(one.ratio)
    assert Code.RISE_CARRIED in {finding.code for finding in one.warnings}


def test_farther_sizes_are_less_certain(fit: cp.Fit) -> None:
    widths = []
    for size in (974208.0, 3e6, 3e7):
        low, high = fit.predict(
            "general", model_params=size, train_tokens=8e5, domain_ratio=0.75
        ).interval(0.9)
        widths.append(float(np.log(high[0] / low[0])))
    assert widths == sorted(widths)
    assert widths[2] > 2 * widths[0]


def test_the_command_line_shows_parts(call, path: Path) -> None:
    at = ("--model-params", "974208", "--train-tokens", "800k", "--domain-ratio", "0.4")
    answer = call("predict", path, *at, "--parts", "--json").json()
    for corpus in ("general", "domain"):
        parts = answer[f"{corpus}_law"] + answer[f"{corpus}_residual"]
        assert parts == pytest.approx(answer[f"{corpus}_loss"])
    assert "residual" in call("predict", path, *at, "--parts").out
    assert "residual" not in call("predict", path, *at).out


def test_other_laws_are_asked_alone(fit: cp.Fit) -> None:
    """The panel asks each law by itself: the CMR laws can have no residual, and the others need none here."""
    plan = cp.plan(fit, **AT, max_general_rise="8%")
    panel = cp.law_panel(fit, plan, laws=["dcpt", "cmr"]).table()
    assert panel["reason"].tolist() == ["", ""]
    alone = cp.fit(fit.log, "dcpt", bootstrap=60)
    expected = cp.plan(alone, **AT, max_general_rise="8%").domain_ratio
    assert panel["domain_ratio"][0] == pytest.approx(expected)


def test_the_command_line_says_by_what_it_predicts(call) -> None:
    answer = call("fit", PROBES, "--residual", "gp", "--bootstrap", "0", "--model-params", "974208")
    assert "with a residual" in answer.out
    assert "average by held-out error" not in answer.out


def test_a_named_law_gets_a_residual_of_its_own(probes: pd.DataFrame) -> None:
    fit = cp.fit(probes, "dcpt", bootstrap=0, residual="gp")
    assert [member["law"] for member in fit.summary()["domain"]["members"]] == ["dcpt"]
    rows = fit.rows("domain")
    law = cp.fit(probes, "dcpt", bootstrap=0)
    with_it, without = (
        np.mean(np.abs(one.models["domain"].fitted_loss(rows) - rows["loss"])) for one in (fit, law)
    )
    assert with_it < 0.6 * without


@pytest.mark.parametrize(
    ("law", "said"),
    [("forgetting", "no log loss"), ("cmr", "another law than cmr"), ("no_such", "must be one of")],
)
def test_what_cannot_have_one_is_refused_in_one_line(call, law: str, said: str) -> None:
    answer = call("fit", PROBES, "--law", law, "--residual", "gp", "--bootstrap", "0")
    assert answer.code in (1, 2)
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_few_rows_are_refused_with_what_would_do() -> None:
    log = simulated_log(sizes=(3e5,), ratios=(0.0, 0.5, 1.0))
    few = log[log["train_tokens"].isin(sorted(set(log["train_tokens"]))[:3])]
    few = few[few["seed"] == 0]
    with pytest.raises(cp.CmrplanError, match=r"too few\s+for a residual|needs|3 or more"):
        cp.fit(few, bootstrap=0, residual="gp")


@pytest.mark.parametrize("wrong", [{"residuals": "raw"}, {"weights": "seeds"}])
def test_it_stands_above_log_losses_of_equal_weight(probes: pd.DataFrame, wrong) -> None:
    with pytest.raises(cp.InputError, match="log losses of equal weight"):
        cp.fit(probes, residual="gp", **wrong)


def test_evidence_weighs_to_the_power() -> None:
    """Two candidates five nats apart: e to the first power of them."""
    weights = evidence_weights(np.array([-10.0, -15.0]))
    assert weights[0] / weights[1] == pytest.approx(np.e, rel=1e-5)
    assert evidence_weights(np.array([0.0, -100.0])).tolist() == [1.0, 0.0]


def test_draws_of_the_domain_loss_miss_a_part_of_the_change_beyond_the_probed_tokens(
    probes: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = float(probes["train_tokens"].max())

    def log_draws(tokens: float) -> np.ndarray:
        at = {"model_params": 974208.0, "train_tokens": tokens, "domain_ratio": np.array([0.5])}
        return np.log(many.predict("domain", **at).draws[:, 0])

    many = cp.fit(probes, bootstrap=400)
    end, late, later = (log_draws(factor * last) for factor in (1, 2, 4))
    monkeypatch.setattr(kriged_model, "FORECAST_SPREAD", {"domain": 0.0, "general": 0.0})
    np.testing.assert_array_equal(log_draws(last), end)
    for factor, drawn in ((2, late), (4, later)):
        part = (drawn - end) / (log_draws(factor * last) - end) - 1
        # normal with 0.2 for a root of ln D; the mean square of 400 draws is within a fifth
        assert np.mean(part**2) == pytest.approx(0.2**2 * np.log(factor), rel=0.2)
