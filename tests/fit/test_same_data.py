"""The same data give the same answer: names of runs, order of rows and the file's format change no digit."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan.log.files import in_canonical_order, validate_log, write_log

ASK = {"model_params": 1e6, "train_tokens": 1e6, "domain_ratio": [0.1, 0.4]}


@pytest.fixture(scope="module")
def log():
    return validate_log(simulated_log())


LAW = ("--law", "dcpt", "--bootstrap", 5)


def new_names(log):
    """Return other names, in another order of the alphabet, for the runs of a log."""
    names = sorted(log["run_id"].unique())
    places = np.random.default_rng(3).permutation(len(names))
    return {name: f"run-{place:03d}" for name, place in zip(names, places, strict=True)}


def permuted(log):
    return log.sample(frac=1.0, random_state=5)


@pytest.mark.parametrize("options", [
    {"law": "dcpt"}, {"law": "cmr"}, {"law": "auto", "residual": "none"}, {"law": "auto"},
], ids=str)  # fmt: skip
def test_renamed_runs_and_permuted_rows_give_the_same_numbers(log, options):
    names = new_names(log)
    renamed = log.assign(run_id=log["run_id"].map(names))
    first, second = (cp.fit(given, bootstrap=20, **options) for given in (log, permuted(renamed)))
    text = json.dumps(first.as_dict())
    for old, new in names.items():
        text = re.sub(rf"\b{re.escape(old)}\b", new, text)
    one, two = json.loads(text), second.as_dict()
    one["provenance"].pop("log_fingerprint"), two["provenance"].pop("log_fingerprint")
    assert one == json.loads(json.dumps(two))
    for corpus in ("general", "domain"):
        sizes = {**ASK, "model_params": float(log["model_params"].max())}
        losses = [fit.predict(corpus, **sizes) for fit in (first, second)]
        assert (losses[0].loss == losses[1].loss).all()
        assert (losses[0].draws == losses[1].draws).all()


def test_a_file_of_permuted_rows_gives_the_same_bytes(log, call, tmp_path):
    files = []
    for number, rows in enumerate((log, permuted(log))):
        rows.to_csv(tmp_path / "log.csv", index=False)
        files.append(tmp_path / f"fit{number}.json")
        answer = call("fit", tmp_path / "log.csv", *LAW, "--out", files[-1])
        assert answer.code == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_csv_jsonl_and_parquet_give_the_same_bytes(log, call, tmp_path):
    written = set()
    for suffix in ("csv", "jsonl", "parquet"):
        write_log(log, tmp_path / f"log.{suffix}")
        out = tmp_path / f"{suffix}.json"
        assert call("fit", tmp_path / f"log.{suffix}", *LAW, "--out", out).code == 0
        written.add(out.read_bytes())
    assert len(written) == 1


@pytest.mark.slow
def test_a_comparison_does_not_know_names_or_order(log):
    budgets = sorted(log["train_tokens"].unique())[1::3]
    of_one_size = log[(log["model_params"] == log["model_params"].max()) & (log["seed"] == 0)]
    few = of_one_size[of_one_size["train_tokens"].isin(budgets)]
    renamed = permuted(few.assign(run_id=few["run_id"].map(new_names(few))))
    first, second = (cp.compare(given) for given in (few, renamed))
    assert first.ranking.equals(second.ranking)
    assert first.errors.equals(second.errors)


def test_the_canonical_order_by_hand():
    rows = [("b", 2.0, "general", 1.0), ("b", 0.0, "general", 3.0), ("a", 2.0, "general", 2.0),
            ("a", 0.0, "general", 3.0), ("b", 0.0, "domain", 3.0)]  # fmt: skip
    frame = {
        "run_id": [row[0] for row in rows], "model_params": 1e6, "train_tokens": [row[1] for row in rows],
        "domain_ratio": [{"a": 0.3, "b": 0.1}[row[0]] for row in rows],
        "eval_corpus": [row[2] for row in rows], "loss": [row[3] for row in rows],
    }  # fmt: skip
    log = in_canonical_order(validate_log(pd.DataFrame(frame)))
    order = [*zip(log["run_id"], log["train_tokens"], log["eval_corpus"], strict=True)]
    of_b = [("b", 0, "domain"), ("b", 0, "general"), ("b", 2, "general")]
    assert order == [*of_b, ("a", 0, "general"), ("a", 2, "general")]


@pytest.mark.parametrize(
    ("tokens", "ratio"), [("2000", "0.5"), ("2e3", "0.50"), ("2000.0", "5e-1")]
)
def test_a_row_that_is_there_twice_is_found_however_it_is_written(tokens, ratio, call, tmp_path):
    lines = ["run_id,model_params,train_tokens,domain_ratio,eval_corpus,loss"]
    lines += [f"r{r},1e6,{t},{r},general,2.{t}" for r in (0.1, 0.5) for t in (1000, 2000)]
    lines.append(f"r0.5,1000000,{tokens},{ratio},general,2.2000")
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    answer = call("logs", "check", tmp_path / "log.csv", "--json")
    assert answer.code == 2
    assert [finding["code"] for finding in answer.json()["findings"]] == ["duplicate_row"]
