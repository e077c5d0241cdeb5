"""The published tables: they parse, say where they come from, and hold what the papers print."""

import csv
import math
from pathlib import Path

import pandas as pd
import pytest

from cmrplan.log.files import base_losses, check_log, read_log, training_rows

FOLDER = Path(__file__).parents[2] / "data" / "published"
LOGS = sorted(FOLDER.glob("*_log.csv"))
TABLES = sorted(set(FOLDER.glob("*.csv")) - set(LOGS))


def table(name):
    return pd.read_csv(FOLDER / name)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_row_is_whole_and_names_its_source(path):
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    for row in rows:
        assert None not in row
        assert row["source"].startswith("arXiv:")
        assert row["mark"] in {"paper", "second-hand", "worked out"}


@pytest.mark.parametrize("path", [*TABLES, *LOGS], ids=lambda path: path.stem)
def test_the_readme_tells_of_every_file(path):
    assert f"`{path.name}`" in (FOLDER.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_logs_have_no_errors(path):
    assert {finding.severity for finding in check_log(path)} <= {"warning"}


class TestPrintedNumbers:
    def test_cmr_table2(self):
        rows = table("cmr_table2.csv")
        assert len(rows) == 20
        # the five ratios of 460M, added by hand
        assert rows.loc[rows["size"] == "460M", "domain_loss"].sum() == pytest.approx(7.5542)
        assert rows["domain_loss_predicted"].sum() == pytest.approx(
            1.5566 + 1.4546 + 1.3999 + 1.3303
        )

    def test_cmr_table2_log_leaves_the_quarter_out(self):
        rows = training_rows(read_log(FOLDER / "cmr_table2_log.csv"), "domain")
        assert sorted(rows["domain_ratio"].unique()) == [1 / 3, 0.5, 0.75, 1.0]
        assert sorted(rows["model_params"].unique()) == [460e6, 940e6, 1.6e9, 3.1e9]
        last = rows[(rows["model_params"] == 3.1e9) & (rows["domain_ratio"] == 1)]
        assert last["loss"].tolist() == [1.2585]

    def test_cmr_table5_gives_the_printed_critical_ratios(self):
        law = table("cmr_table5.csv").set_index("size")
        printed = table("cmr_critical_ratio.csv").query("domain == 'finance'").set_index("size")
        ratio = law["alpha4"] * printed["cmr_t"] ** law["s4"] + law["beta3"]
        # printed as a percentage with two digits
        assert (ratio - printed["critical_ratio"]).abs().max() < 0.5e-4

    def test_dcpt_usage1(self):
        rows = table("dcpt_usage1.csv").set_index("domain_ratio")
        assert rows.loc[0.924, "general_loss"] == 2.9445
        assert rows["domain_loss"].sum() == pytest.approx(12.0999)
        limit = 2.8602 * 1.03
        assert rows["general_loss_limit"].unique() == pytest.approx([limit], abs=5e-5)

    def test_dcpt_usage1_log_holds_the_measured_rows(self):
        log = read_log(FOLDER / "dcpt_usage1_log.csv")
        printed = table("dcpt_usage1.csv")
        assert base_losses(log, "general") == {1.8e9: 2.8602}
        for corpus in ("general", "domain"):
            rows = training_rows(log, corpus)
            assert rows["domain_ratio"].tolist() == pytest.approx(printed["domain_ratio"].tolist())
            assert rows["loss"].tolist() == pytest.approx(printed[f"{corpus}_loss"].tolist())
            assert set(rows["train_tokens"]) == {1e10}

    def test_dcpt_usage2_recommends_the_smallest_measured_loss(self):
        rows = table("dcpt_usage2.csv")
        best = rows.loc[rows["domain_loss"].idxmin()]
        assert (best["domain_ratio"], best["is_recommended"]) == (0.732, "yes")

    def test_lr_law_fits_give_the_worked_values(self):
        fits = table("lr_law_fits.csv").set_index("eval_corpus")
        for row in table("lr_law_worked.csv").to_dict("records"):
            fit = fits.loc[row["eval_corpus"]]
            area = row["S1_pt"] + row["S1_cpt"]
            shift = fit["B"] * (1 - (1 + fit["E"] * row["S1_cpt"]) ** -fit["beta"])
            loss = fit["L0"] + fit["A"] * area ** -fit["alpha"] + shift
            assert loss == pytest.approx(row["loss"], abs=5e-5)  # four digits printed

    def test_repetition_constant_gives_the_printed_worth(self):
        constants = table("repetition_constants.csv").set_index("name")["value"]
        scale = constants["R_D_star"]
        for row in table("repetition_worth.csv").itertuples():
            worth = (1 + scale * (1 - math.exp(-(row.epochs - 1) / scale))) / row.epochs
            assert worth == pytest.approx(row.worth_of_a_token, abs=5e-4)  # three digits printed

    def test_more_replay_keeps_more_general_ability(self):
        for _, sweep in table("replay_sweeps.csv").groupby("domain_corpus"):
            assert sweep["replay_ratio"].is_monotonic_increasing
            assert sweep["general_loss"].is_monotonic_decreasing
            assert sweep["domain_loss"].is_monotonic_increasing
