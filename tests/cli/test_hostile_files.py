"""Files that never end, nest without end or say they are huge are refused with one line, at once."""

import json
import os
import time

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cmrplan.errors import InputError
from cmrplan.log.files import read_log
from cmrplan.log.importers.mapping_file import read_mapping

HEAD = "run_id,model_params,train_tokens,domain_ratio,eval_corpus,loss"


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def huge(path):
    with open(path, "wb") as stream:
        stream.truncate(2**40)


NOT_FILES = {"pipe": (pipe, "pipe"), "device": (device, "device"), "huge": (huge, "bytes")}
COMMANDS = {
    "fit.csv": ("fit",),
    "fit.jsonl": ("logs", "check"),
    "fit.parquet": ("logs", "check"),
    "fit.json": ("predict", "--model-params", "1e6", "--train-tokens", "1e6", "--domain-ratio", "0.1"),
    "mix.json": ("mix", "predict", "--share", "a=1"),
    "plan.json": ("export", "--to", "json"),
    "spec.yaml": ("probe", "design"),
    "import.csv": ("logs", "import", "table", "--out", "OUT"),
    "laws.txt": ("logs", "import", "mixinglaws", "--out", "OUT"),
    "chinchilla.csv": ("logs", "import", "chinchilla", "--out", "OUT"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NOT_FILES)
@pytest.mark.parametrize("name", COMMANDS)
def test_what_never_ends_is_refused(name, kind, call, tmp_path):
    make, word = NOT_FILES[kind]
    path = tmp_path / name
    make(path)
    words = [str(tmp_path / "out.csv") if word == "OUT" else word for word in COMMANDS[name]]
    answer = call(*words, path)
    text = answer.err + answer.out
    assert answer.code == 2, text
    assert text.count("\n") <= 2
    assert name in text
    if not (kind == "huge" and name == "fit.parquet"):
        assert word in text
    assert not (tmp_path / "out.csv").exists()


def test_a_corpus_that_is_a_device_is_refused(tmp_path):
    from cmrplan.errors import InputError
    from probes.data.readers import read_file

    device(tmp_path / "corpus.txt")
    with pytest.raises(InputError, match="a device"):
        list(read_file(tmp_path / "corpus.txt", text_field="text", separator=None))


LOGS = {
    "columns.csv": ",".join(f"c{n}" for n in range(120_000)) + "\n" + "1," * 119_999 + "1\n",
    "columns.jsonl": "\n".join(json.dumps({f"c{n}": n}) for n in range(60_000)),
    "nested.jsonl": "[" * 500_000,
    "digits.jsonl": '{"loss": ' + "9" * 5000 + "}",
    "digits.csv": f"{HEAD}\na,1e6,1000,0.1,general,{'9' * 5000}\n",
    "seed.csv": f"{HEAD},seed\na,1e6,1000,0.1,general,2.0,{'9' * 5000}\n",
}


@pytest.mark.parametrize("name", LOGS)
def test_a_log_that_asks_for_much_is_refused_at_once(name, call, tmp_path):
    path = tmp_path / name
    path.write_text(LOGS[name])
    began = time.process_time()
    answer = call("fit", path)
    assert time.process_time() - began < 2
    assert answer.code == 2, answer.err
    assert len(answer.err) < 1000
    assert "internal" not in answer.err


def test_a_parquet_file_of_billions_of_rows_is_refused(call, tmp_path):
    path = tmp_path / "log.parquet"
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int8()), ["a"])
    with pq.ParquetWriter(path, pa.schema([("run_id", column.type)])) as writer:
        for _ in range(60):
            writer.write_table(pa.table({"run_id": column}))
    assert path.stat().st_size < 1e6
    answer = call("logs", "check", path)
    assert answer.code == 2
    assert "6,000,000 rows" in answer.out


def test_parquet_columns_of_lists_are_refused(call, tmp_path):
    frame = pd.DataFrame({name: [[1.0, 2.0]] for name in HEAD.split(",")})
    frame.to_parquet(tmp_path / "log.parquet")
    answer = call("fit", tmp_path / "log.parquet")
    assert answer.code == 2
    assert "internal" not in answer.err


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a": ' * 100_000, f'{{"cmrplan_fit": {"9" * 5000}}}']
)
def test_json_bombs_are_refused(text, call, tmp_path):
    (tmp_path / "fit.json").write_text(text)
    answer = call(
        "plan",
        tmp_path / "fit.json",
        "--model-params",
        "1e6",
        "--train-tokens",
        "1e6",
        "--max-general-rise",
        "3%",
    )
    assert answer.code == 2
    assert "fit.json is not JSON that can be read" in answer.err


def test_a_small_parquet_file_does_not_unpack_to_gigabytes(tmp_path, monkeypatch):
    monkeypatch.setattr("cmrplan.log.parquet.MOST_PARQUET_BYTES", 2**24)
    path = tmp_path / "log.parquet"
    repeated = pa.array(["x" * 2**14]).take(pa.array([0] * 4096))
    pq.write_table(pa.table({"run_id": repeated}), path)
    assert path.stat().st_size < 2**17  # 64 MiB of names, each of which stands there once
    with pytest.raises(InputError, match=r"takes more than .* GiB of memory"):
        read_log(path)


MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{k}: &a{k}\n  <<: [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (MERGES, "a mapping has sections of names, without aliases"),
        ("map: " + "[" * 100_000, "a mapping has"),
        ("map: {a: " + "9" * 5_000 + "}", "neither JSON nor YAML"),
        ("a" * 300_000, "more than 250,000 bytes"),
    ],
    ids=["merge keys", "nested", "digits", "long"],
)
def test_a_bomb_in_the_place_of_a_mapping_is_refused_at_once(text, word, tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(InputError, match=word):
        read_mapping(path)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("text", "word"),
    [("a=" + "[" * 5_000, "nested too deeply"), ("a=" + "9" * 5_000, "5000 digits")],
    ids=["nested", "digits"],
)
def test_a_bomb_in_the_place_of_a_project_file_is_refused(text, word, call, tmp_path):
    path = tmp_path / "cmrplan.toml"
    path.write_text(text)
    answer = call("--project", path, "fit", "log.csv")
    assert answer.code == 2
    assert word in answer.err
    assert answer.err.count("\n") == 1
    assert "internal" not in answer.err
