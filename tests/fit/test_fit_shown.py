"""How a fit shows itself: short, and as a table."""

from pathlib import Path

import pytest

import cmrplan as cp
from cmrplan.mixture.file import read_mixture_fit

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fit():
    return cp.fit(
        cp.read_log(ROOT / "data/published/dcpt_usage1_log.csv"), law="dcpt", bootstrap=20
    )


def test_a_fit_is_short_in_a_terminal(fit):
    lines = repr(fit).splitlines()
    assert lines[0] == "Fit of 8 runs"
    assert len(lines) < 15
    assert "general" in lines[1]
    assert "dcpt" in lines[1]
    assert "few_sizes" in lines[-1]


def test_many_corpora_are_short_too():
    shown = repr(read_mixture_fit(ROOT / "tests/reference/fits/0.2.0/mixture.json")).splitlines()
    assert shown[0].startswith("MixtureFit of")
    assert len(shown) < 15


def test_the_table_has_a_row_a_parameter(fit):
    table = fit.table()
    figures = fit.summary()["general"]
    one = table[(table["corpus"] == "general") & (table["parameter"] == "E")].iloc[0]
    assert one["estimate"] == figures["params"]["E"]
    assert [one["low"], one["high"]] == figures["interval"]["E"]
    assert set(table["corpus"]) == {"general", "domain"}


def test_the_table_names_the_law_whose_parameters_it_shows():
    averaged = cp.fit(ROOT / "data/published/dcpt_usage1_log.csv", bootstrap=0)
    assert averaged.law.startswith("average(")
    assert set(averaged.table()["law"]) <= {"dcpt", "dcpt_exp", "dcpt_product_exp"}


def test_notebooks_get_the_table(fit):
    assert fit._repr_html_().count("<tr") == len(fit.table()) + 1


def test_a_path_may_stand_for_a_log(fit):
    again = cp.fit(ROOT / "data/published/dcpt_usage1_log.csv", law="dcpt", bootstrap=20)
    assert again.table().equals(fit.table())


def test_a_loss_that_never_changes_has_no_r_squared(fit):
    log = cp.read_log(ROOT / "data/published/dcpt_usage1_log.csv").assign(loss=2.0)
    assert "R² not defined" in repr(cp.fit(log, law="dcpt", bootstrap=0))
