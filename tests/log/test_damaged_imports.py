"""Every importer on files that were cut, emptied or are of something else: one line, never a wrong row."""

import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from importer_files import FILES, changes_of

from cmrplan.errors import CmrplanError, Code
from cmrplan.log.importers import import_with_remarks
from cmrplan.log.importers.changes import Changes
from cmrplan.log.importers.formats import LOG_FORMATS

POSITIONS = 24


def attempt(format, path):
    """Return what an import gives, or its refusal."""
    try:
        return import_with_remarks(format, path, changes_of(format))
    except CmrplanError as error:
        return str(error)


def rows(log):
    names = ["run_id", "train_tokens", "eval_corpus", "loss"]
    return set(log[names].itertuples(index=False, name=None))


def test_every_format_has_a_file():
    assert set(FILES) == set(LOG_FORMATS) - {"wandb_api"}  # which reads no file


TABLES = [
    *("litgpt", "olmix", "regmix", "chinchilla", "wandb_chart", "wandb_history", "lightning"),
    "table",
]


@pytest.mark.parametrize("format", TABLES)
def test_the_row_numbers_that_pandas_writes_without_a_name_change_nothing(format, tmp_path):
    path = Path(FILES[format][0](tmp_path))
    plain = import_with_remarks(format, path, changes_of(format)).log
    for file in tmp_path.rglob("*.csv"):
        pd.read_csv(file, dtype=str).to_csv(file)
        assert file.read_text().startswith(",")
    numbered = import_with_remarks(format, path, changes_of(format)).log
    pd.testing.assert_frame_equal(numbered, plain)


@pytest.mark.parametrize("format", FILES)
def test_a_file_cut_anywhere_is_told_and_gives_no_wrong_row(format, tmp_path):
    path = Path(FILES[format][0](tmp_path))
    whole = path.read_bytes()
    true = rows(import_with_remarks(format, path, changes_of(format)).log)
    assert true
    for size in {len(whole) * k // POSITIONS for k in range(1, POSITIONS)} | {len(whole) - 1}:
        path.write_bytes(whole[:size])
        imported = attempt(format, path)
        if isinstance(imported, str):
            assert "\n" not in imported
            assert path.name in imported or path.parent.name in imported, (size, imported)
            continue
        if not any(remark.code is Code.CUT_OFF for remark in imported.remarks):
            assert rows(imported.log) <= true, size


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff" * 50,
        b"hello\n",
        b"[" * 100_000,
        b"{}",
        b"a,b\n1,2\n",
        b"PK\x03\x04" + bytes(60),
    ],
    ids=["empty", "bytes", "text", "nested", "object", "table", "archive"],
)
@pytest.mark.parametrize("format", FILES)
def test_an_empty_or_foreign_file_is_refused_in_one_line(format, content, tmp_path, call):
    path = Path(FILES[format][0](tmp_path))
    path.write_bytes(content)
    answer = call(
        "logs", "import", format, path, "--out", tmp_path / "out" / "o.csv", "--loss-unit", "bits"
    )
    assert answer.code == 2, answer.err
    assert answer.err.count("\n") == 1
    assert "internal error" not in answer.err


@pytest.mark.parametrize("format", FILES)
def test_flipped_bytes_end_in_no_traceback(format, tmp_path):
    path = Path(FILES[format][0](tmp_path))
    whole = path.read_bytes()
    for k in range(1, 15):
        flipped = bytearray(whole)
        flipped[len(whole) * k // 15] ^= 0x5A
        path.write_bytes(flipped)
        imported = attempt(format, path)
        assert not isinstance(imported, str) or "\n" not in imported


@pytest.mark.parametrize("format", ["wandb_offline", "tensorboard"])
def test_a_flipped_byte_inside_a_record_is_seen(format, tmp_path):
    """Their records have checksums, so no number that was not written is read."""
    path = Path(FILES[format][0](tmp_path))
    whole = path.read_bytes()
    true = rows(import_with_remarks(format, path, changes_of(format)).log)
    for at in range(20, len(whole) - 20, 37):
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        path.write_bytes(flipped)
        imported = attempt(format, path)
        assert isinstance(imported, str) or rows(imported.log) <= true


def test_a_database_whose_table_is_an_endless_view(tmp_path):
    base = sqlite3.connect(tmp_path / "mlflow.db")
    base.executescript(
        "CREATE TABLE runs (a); CREATE TABLE params (a); CREATE VIEW metrics AS WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS run_uuid FROM n;"
    )
    base.close()
    with pytest.raises(CmrplanError, match="no table metrics"):
        import_with_remarks("mlflow", tmp_path / "mlflow.db", Changes())
