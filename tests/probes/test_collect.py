"""The probe log and the ledger: columns, values by hand, and a fixed order."""

import json
import math

import numpy as np
import pytest

from cmrplan.errors import InputError
from probes.collect import PROBE_LOG_COLUMNS, collect
from probes.models.source import ModelShape, count_params
from probes.runs import SweepFolder


@pytest.fixture
def tables(finished_sweep):
    return collect(finished_sweep)


def test_one_row_per_probe_evaluation_and_corpus(tables):
    log, _ = tables
    assert tuple(log.columns) == PROBE_LOG_COLUMNS
    assert len(log) == 3 * 5 * 2
    assert not log.duplicated(["run_id", "train_tokens", "eval_corpus"]).any()


def test_rows_are_sorted(tables):
    log, _ = tables
    assert log["domain_ratio"].tolist() == [0.0] * 10 + [0.3] * 10 + [1.0] * 10
    assert log["train_tokens"].tolist()[:10] == [0, 0, 384, 384, 768, 768, 1536, 1536, 3072, 3072]
    assert log["eval_corpus"].tolist()[:2] == ["general", "domain"]


def test_every_probe_starts_at_the_same_base(tables):
    log, _ = tables
    start = log[log["train_tokens"] == 0]
    assert start.groupby("eval_corpus")["loss"].nunique().tolist() == [1, 1]
    assert (start["rise_stderr"] == 0).all()
    assert start["base_model"].nunique() == 1


def test_losses_and_errors_by_hand(tables, finished_sweep):
    log, _ = tables
    probe = next(run for run in SweepFolder(finished_sweep).all_runs() if "-r1-" in run.path.name)
    last, first = (np.load(probe.losses(step))["general"].astype(float) for step in (48, 0))
    row = log[(log["run_id"] == probe.path.name) & (log["step"] == 48)].iloc[0]
    assert row["eval_corpus"] == "general"
    assert row["loss"] == pytest.approx(sum(last) / 24, rel=1e-12)
    for column, values in (("loss_stderr", last), ("rise_stderr", last - first)):
        mean = sum(values) / 24
        variance = sum((value - mean) ** 2 for value in values) / 23
        assert row[column] == pytest.approx(math.sqrt(variance / 24), rel=1e-9)


def test_model_params_leave_embeddings_out(tables):
    log, _ = tables
    count = count_params(ModelShape(16, 1, 2, 24, True, 257))
    assert set(log["model_params"]) == {count.non_embedding}
    assert set(log["params_total"]) == {count.total}
    assert set(log["params_kind"]) == {"non_embedding"}


def test_realized_share_is_missing_at_token_0_only(tables):
    log, _ = tables
    assert log["realized_domain_ratio"].isna().equals(log["train_tokens"] == 0)
    pure = log[log["domain_ratio"].isin([0.0, 1.0]) & (log["train_tokens"] > 0)]
    assert (pure["realized_domain_ratio"] == pure["domain_ratio"]).all()


def test_ledger_has_every_run(tables):
    _, ledger = tables
    assert ledger["stage"].tolist() == ["base"] + ["probe"] * 3
    assert set(ledger["state"]) == {"finished"}
    assert ledger["train_tokens"].equals(ledger["planned_tokens"])
    assert (ledger["seconds"] > 0).all()


@pytest.mark.parametrize("make", [False, True])
def test_folder_without_a_sweep(tmp_path, make):
    if make:
        (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match=r"give the --out of probe run$"):
        collect(tmp_path / "runs")


def test_passes_through_the_domain_corpus_count_tokens(tables, finished_sweep):
    log, _ = tables
    manifest = json.loads((finished_sweep / "corpora" / "manifest.json").read_text())
    unique = manifest["corpora"]["domain"]["train_tokens"]
    assert set(log["unique_domain_tokens"]) == {unique}
    assert (log.loc[log["domain_ratio"] == 0, "domain_epochs"] == 0).all()
    expected = log["realized_domain_ratio"].fillna(0) * log["train_tokens"] / unique
    assert log["domain_epochs"].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-12)


def test_a_probe_says_what_its_base_had_seen(tables):
    log, ledger = tables
    seen = ledger[ledger["stage"] == "base"].set_index("run_id")["train_tokens"]
    assert (log["base_tokens"] == log["base_model"].map(seen)).all()
