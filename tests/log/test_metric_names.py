"""What the name of a metric says of its unit and its corpus."""

import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest

import cmrplan as cp

SAMPLES = Path(__file__).parents[1] / "reference" / "trainer_logs"
KNOWN = ("--set", "model_params=410M", "--set", "domain_ratio=0.3", "--tokens-per-step", "65536")


@pytest.fixture
def imported(call, tmp_path):
    def run(columns, *more):
        cells = ",".join(["0.9"] * (columns.count(",") + 1))
        (tmp_path / "a.csv").write_text(f"step,{columns}\n100,{cells}\n")
        out = tmp_path / "log.csv"
        answer = call(
            "logs", "import", "lightning", tmp_path / "a.csv", *KNOWN, "--out", out, *more
        )
        return answer, cp.read_log(out) if not answer.code else None

    return run


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("val/law/bpb", "bpb"),
        ("val bits/byte", "bpb"),
        ("val_bpc", "bpb"),
        ("val/law_ppl", "ppl"),
        ("law perplexity", "ppl"),
        ("val loss (bits)", "bits"),
        ("val bits/token", "bits"),
    ],
)
def test_a_metric_in_another_unit_is_refused_until_its_unit_is_given(imported, name, unit):
    answer, _ = imported(name, "--map", f"{name}=law")
    assert answer.code == 2
    assert f"--loss-unit {unit}" in answer.err
    _, log = imported(name, "--map", f"{name}=law", "--loss-unit", "nats")
    assert log["loss"].tolist() == [0.9]


def test_bits_per_byte_become_nats(imported):
    given = ("--loss-unit", "bpb", "--bytes-per-token", "4")
    _, log = imported("val/law/bpb", "--map", "val/law/bpb=law", *given)
    assert log["loss"].tolist() == pytest.approx([0.9 * np.log(2) * 4])


def test_losses_in_two_units_are_not_taken_as_one(imported):
    pair = ("val/general/loss,val/law/bpb", "--map", "val/law/bpb=law")
    answer, _ = imported(*pair)
    assert "it takes 'val/general/loss' so too" in answer.err
    answer, _ = imported(*pair, "--loss-unit", "ppl")
    assert answer.code == 2
    assert "'val/law/bpb'" in answer.err
    assert "apart" in answer.err


def test_a_chart_with_names_for_its_metric(call, tmp_path):
    (tmp_path / "c.csv").write_text('"Step","a - val/law/ppl"\n"100","2.7"\n')
    out = tmp_path / "log.csv"
    given = ("--map", "val/law/ppl=law", "--out", out)
    answer = call("logs", "import", "wandb_chart", tmp_path / "c.csv", *KNOWN, *given)
    assert "--loss-unit ppl" in answer.err


def test_two_metrics_on_one_corpus_are_refused(imported):
    """``val`` and ``eval`` sets of one corpus are two evaluation sets."""
    columns = "val/law/loss,eval/law/loss"
    answer, _ = imported(columns)
    assert answer.code == 2
    assert "--map eval/law/loss=law_2" in answer.err
    _, log = imported(columns, "--map", "eval/law/loss=law_2")
    assert log["eval_corpus"].tolist() == ["law", "law_2"]


def test_mlflow_keeps_infinity_as_the_largest_float(call, tmp_path):
    base = sqlite3.connect(tmp_path / "mlflow.db")
    base.executescript((SAMPLES / "mlflow" / "mlflow.sql").read_text())
    base.execute(
        "UPDATE metrics SET value = ? WHERE key = 'eval_domain_loss' AND step = 200",
        [sys.float_info.max],
    )
    base.commit()
    base.close()
    given = ("--set", "model_params=70M", "--out", tmp_path / "log.csv")
    answer = call("logs", "import", "mlflow", tmp_path / "mlflow.db", *given)
    assert answer.code == 2
    assert "loss must be finite, got inf" in answer.err


@pytest.mark.parametrize("name", ["loss_{}_stderr", "loss_stderr_{}"])
def test_the_standard_errors_of_a_table_with_a_column_for_each_corpus(call, tmp_path, name):
    errors = ",".join(name.format(corpus) for corpus in ("general", "law"))
    text = f"run_id,model_params,train_tokens,domain_ratio,loss_general,loss_law,{errors}\n"
    (tmp_path / "t.csv").write_text(f"{text}a,410M,1e8,0.3,2.8,2.0,0.01,0.02\n")
    answer = call("logs", "import", "table", tmp_path / "t.csv", "--out", tmp_path / "log.csv")
    assert answer.code == 0, answer.err
    log = cp.read_log(tmp_path / "log.csv").set_index("eval_corpus")
    assert log["loss"].to_dict() == {"general": 2.8, "law": 2.0}
    assert log["loss_stderr"].to_dict() == {"general": 0.01, "law": 0.02}


def test_lightning_tells_the_mean_of_an_epoch_from_single_batches(imported):
    _, log = imported("val_law_loss_epoch,val_law_loss_step,val_general_loss_epoch")
    assert log["eval_corpus"].tolist() == ["law", "general"]
    columns = [f"val_loss_epoch/dataloader_idx_{k}" for k in (0, 1)]
    answer, _ = imported(",".join(columns))
    assert f"'{columns[0]}' does not say on which corpus the loss is" in answer.err
    names = ("--map", f"{columns[0]}=law", "--map", f"{columns[1]}=general")
    _, log = imported(",".join(columns), *names)
    assert log["eval_corpus"].tolist() == ["law", "general"]


def test_what_is_no_loss_of_a_corpus(imported):
    _, log = imported("val/law/loss,val/law/loss_stderr,best_val_loss")
    assert log["eval_corpus"].tolist() == ["law"]
