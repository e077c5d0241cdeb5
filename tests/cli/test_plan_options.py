"""The command ``plan`` with ratios to compare and several confidences, and pictures where no ratio holds the limit."""

import json

import pytest

import cmrplan as cp
from cmrplan.cli.app import run
from cmrplan.cli.plot import PLOT_KINDS

LOG = "data/published/dcpt_usage1_log.csv"
ASKED = ["--model-params", "1.8B", "--train-tokens", "10B"]
KINDS = tuple(kind for kind in PLOT_KINDS if kind not in ("panel", "next"))  # those fit anew


@pytest.fixture(scope="module")
def fit_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "fit.json"
    cp.write_fit(cp.fit(LOG, law="dcpt", bootstrap=20), path)
    return str(path)


def answer(capsys, *arguments):
    code = run([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_ratios_beside_the_recommended_one(fit_file, capsys):
    asked = ["plan", fit_file, *ASKED, "--max-general-rise", "3%", "--compare", "0.95,0.91"]
    _, result = answer(capsys, *asked)
    rows = result["tables"]["compare"]
    ratios = [row["domain_ratio"] for row in rows]
    assert ratios == sorted(ratios)
    assert {0.91, 0.95, result["domain_ratio"]} <= set(ratios)
    losses = {row["domain_ratio"]: row["domain_loss"] for row in rows}
    _, at = answer(capsys, "predict", fit_file, *ASKED, "--domain-ratio", 0.95)
    assert losses[0.95] == pytest.approx(at["domain_loss"])
    cost = next(row["cost"] for row in rows if row["what"] == "recommended")
    assert cost == pytest.approx(0)
    assert run(asked) == 0
    assert "\ncompare\n" in capsys.readouterr().out


def test_ratios_that_nobody_probed_are_refused(fit_file, capsys):
    asked = ["plan", fit_file, *ASKED, "--max-general-rise", "3%", "--compare", "0.3"]
    assert run(asked) == 2
    assert "compare" in capsys.readouterr().err


def test_several_confidences(fit_file, capsys):
    asked = ["plan", fit_file, *ASKED, "--max-general-rise", "3%", "--confidence"]
    _, result = answer(capsys, *asked, "0.5,0.99")
    levels = {level["confidence"]: level["domain_ratio"] for level in result["levels"]}
    assert list(levels) == [0.5, 0.99]
    assert levels[0.5] > levels[0.99]
    _, alone = answer(capsys, *asked, "0.99")
    assert levels[0.99] == pytest.approx(alone["domain_ratio"])


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_where_no_ratio_holds_the_limit(fit_file, tmp_path, kind):
    """The general loss rises by 0.1 nats at the lowest probed ratio already."""
    asked = [*ASKED, "--max-general-rise", "0.001"]
    assert run(["plan", fit_file, *asked]) == 1
    picture = tmp_path / f"{kind}.png"
    assert run(["plot", fit_file, kind, *asked, "--out", str(picture)]) == 0
    assert picture.stat().st_size > 10_000
