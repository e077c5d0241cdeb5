"""The probe log: what is accepted, what is refused and in which words, and that nothing is lost.

Messages are written out by hand: they are what a user sees of a mistake.
"""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmrplan.errors import InputError
from cmrplan.log.files import (
    base_losses,
    check_log,
    log_fingerprint,
    read_log,
    training_rows,
    validate_log,
    write_log,
)

HEADER = "run_id,model_params,train_tokens,domain_ratio,eval_corpus,loss"
GOOD = f"""{HEADER}
a,1000000,0,0.3,general,2.86
a,1000000,100000,0.3,general,2.91
a,1000000,100000,0.3,domain,1.73
"""
SUFFIXES = (".csv", ".jsonl", ".parquet")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(text, name="runs.csv"):
    with open(name, "wb") as stream:
        stream.write(text if isinstance(text, bytes) else text.encode())
    return name


def good_frame(**columns):
    frame = pd.DataFrame(
        {
            "run_id": "a",
            "model_params": 1_000_000,
            "train_tokens": [0, 100_000, 100_000],
            "domain_ratio": 0.3,
            "eval_corpus": ["general", "general", "domain"],
            "loss": [2.86, 2.91, 1.73],
        }
    )
    return frame.assign(**columns)


def rows(*lines, header=HEADER):
    return "\n".join([header, *lines]) + "\n"


def shares(*cells):
    return rows(*cells, header=HEADER.replace("domain_ratio", "share_general,share_domain"))


# what is in runs.csv -> code of the first error, and its message without the leading "runs.csv"
BROKEN = {
    "empty file": (
        "",
        "empty_file",
        "runs.csv is empty; a probe log has one row for each evaluation",
    ),
    "only commas": (
        ",,\n",
        "empty_file",
        "runs.csv is empty; a probe log has one row for each evaluation",
    ),
    "header only": (
        HEADER + "\n",
        "no_rows",
        "runs.csv has a header and no rows; a probe log has one row for each evaluation",
    ),
    "not UTF-8": (
        GOOD.replace("a,", "\xe9,").encode("latin-1"),
        "unreadable_file",
        "runs.csv is not UTF-8 text (byte 63 is 0xe9); save it as UTF-8",
    ),
    "semicolons": (
        GOOD.replace(",", ";"),
        "wrong_delimiter",
        "runs.csv separates its columns with semicolons; save it with commas and decimal points",
    ),
    "open quote": (
        GOOD + '"b,1,2\n',
        "bad_csv",
        "runs.csv line 5 is not CSV (unexpected end of data); check its quotes",
    ),
    "too many cells": (
        rows("a,1,0,0.3,general,2.9", "a,1,10,0.3,general,2,9"),
        "ragged_row",
        "the row has 7 cells where the header has 6 (runs.csv row 2, line 3). "
        "Quote a cell that holds a comma; leave a cell without a value empty.",
    ),
    "too few cells": (
        rows("a,1,0,0.3,general"),
        "ragged_row",
        "the row has 5 cells where the header has 6 (runs.csv row 1, line 2). "
        "Quote a cell that holds a comma; leave a cell without a value empty.",
    ),
    "column twice": (
        rows("a,1,0,0.3,general,2.9,2.9", header=HEADER + ",loss"),
        "duplicate_column",
        "runs.csv has 2 columns named 'loss'; keep one",
    ),
    "no ratio": (
        GOOD.replace("domain_ratio", "ratio"),
        "missing_column",
        "runs.csv has no column domain_ratio (and no share_<corpus> columns); rename 'ratio' to it",
    ),
    "no loss": (
        GOOD.replace("loss", "x"),
        "missing_column",
        "runs.csv has no column loss; it has 'run_id', 'model_params', 'train_tokens', "
        "'domain_ratio', 'eval_corpus', 'x'",
    ),
    "text in a number column": (
        rows("a,1,0,0.3,general,diverged"),
        "not_a_number",
        "loss must be a number, got 'diverged' (runs.csv row 1, line 2). "
        "Write it in digits, such as 2.9 or 1.8e9.",
    ),
    "number with a unit": (
        rows("a,1.8GB,0,0.3,general,2.9"),
        "not_a_number",
        "model_params must be a number, got '1.8GB' (runs.csv row 1, line 2). "
        "Write it out, such as 1.8e9.",
    ),
    "decimal comma": (
        rows('a,1,0,0.3,general,"2,9"'),
        "not_a_number",
        "loss must be a number, got '2,9' (runs.csv row 1, line 2). Write a decimal point.",
    ),
    "signs between thousands": (
        rows('a,"410,000",0,0.3,general,2.9'),
        "not_a_number",
        "model_params must be a number, got '410,000' (runs.csv row 1, line 2). "
        "Write it without signs between thousands: 410000.",
    ),
    "percent sign in some rows": (
        rows("a,1,0,30%,general,2.9", "b,1,0,1,general,2.9"),
        "not_a_number",
        "domain_ratio must be a number, got '30%' (runs.csv row 1, line 2). "
        "Write the percent sign in every row, or divide by 100.",
    ),
    "control characters": (
        rows("a,1,0,\x1b[31m0.3,general,2.9"),
        "not_a_number",
        r"domain_ratio must be a number, got '\x1b[31m0.3' (runs.csv row 1, line 2). "
        "Write it in digits, such as 2.9 or 1.8e9.",
    ),
    "endless text": (
        rows(f"a,1,0,{'x' * 1000},general,2.9"),
        "not_a_number",
        f"domain_ratio must be a number, got '{'x' * 40}…' (runs.csv row 1, line 2). "
        "Write it in digits, such as 2.9 or 1.8e9.",
    ),
    "NaN": (
        rows("a,1,0,0.3,general,nan"),
        "not_finite",
        "loss must be finite, got nan (runs.csv row 1, line 2). "
        "Remove the row: a diverged run belongs in the run ledger.",
    ),
    "infinity": (
        rows("a,1,inf,0.3,general,2.9"),
        "not_finite",
        "train_tokens must be finite, got inf (runs.csv row 1, line 2). "
        "Write the number, or remove the row.",
    ),
    "no loss in a row": (
        rows("a,1,0,0.3,general,2.9", "b,1,0,0.3,general, "),
        "empty_value",
        "loss is empty (runs.csv row 2, line 3). "
        "Remove the row: a run without a loss belongs in the run ledger.",
    ),
    "no name in a row": (
        rows(",1,0,0.3,general,2.9"),
        "empty_value",
        "run_id is empty (runs.csv row 1, line 2). Every row needs one.",
    ),
    "ratio in percent": (
        rows("a,1,0,0.3,general,2.9", "b,1,0,30,general,2.9"),
        "not_a_fraction",
        "domain_ratio must be a fraction in [0, 1], got 30 (runs.csv row 2, line 3). "
        "Percent? Divide by 100.",
    ),
    "negative ratio": (
        rows("a,1,0,-0.3,general,2.9"),
        "not_a_fraction",
        "domain_ratio must be a fraction in [0, 1], got -0.3 (runs.csv row 1, line 2). "
        "Write the share of the training tokens.",
    ),
    "negative tokens": (
        rows("a,1,-5,0.3,general,2.9"),
        "negative",
        "train_tokens must be >= 0, got -5 (runs.csv row 1, line 2). 0 is the base checkpoint.",
    ),
    "tokens in billions": (
        rows("a,1,0.2,0.3,general,2.9"),
        "not_whole",
        "train_tokens must be a whole number, got 0.2 (runs.csv row 1, line 2). "
        "Billions? Multiply by 1e9.",
    ),
    "no parameters": (
        rows("a,0,0,0.3,general,2.9"),
        "not_positive",
        "model_params must be > 0, got 0 (runs.csv row 1, line 2). "
        "Write the number, or remove the row.",
    ),
    "loss of zero": (
        rows("a,1,0,0.3,general,0"),
        "not_positive",
        "loss must be > 0, got 0 (runs.csv row 1, line 2). "
        "Remove the row: a failed run belongs in the run ledger.",
    ),
    "negative standard error": (
        rows("a,1,0,0.3,general,2.9,-0.1", header=HEADER + ",loss_stderr"),
        "negative",
        "loss_stderr must be >= 0, got -0.1 (runs.csv row 1, line 2). Correct the sign.",
    ),
    "base without pre-training": (
        rows("a,1,0,0.3,general,2.9,0", header=HEADER + ",base_tokens"),
        "not_positive",
        "base_tokens must be > 0, got 0 (runs.csv row 1, line 2). Write the number, or remove the row.",
    ),
    "half a seed": (
        rows("a,1,0,0.3,general,2.9,0.5", header=HEADER + ",seed"),
        "not_whole",
        "seed must be a whole number below 2**63, got 0.5 (runs.csv row 1, line 2). "
        "Write it without a fraction.",
    ),
    "unknown counting": (
        rows("a,1,0,0.3,general,2.9,all", header=HEADER + ",params_kind"),
        "unknown_params_kind",
        "params_kind must be non_embedding or total, got 'all' (runs.csv row 1, line 2). "
        "Say whether model_params counts the embeddings.",
    ),
    "invisible character": (
        rows("a\u200b,1,0,0.3,general,2.9"),
        "unprintable",
        r"run_id must not hold control or invisible characters, got 'a\u200b' "
        "(runs.csv row 1, line 2). Write a plain name.",
    ),
    "invisible character in a corpus": (
        shares("a,1,0,0.7,0.3,general,2.9").replace("share_domain", "share_do\u202emain"),
        "unprintable",
        r"runs.csv: column 'share_do\u202emain' must not hold control or invisible characters in its name. "
        "Write a plain one.",
    ),
    "row twice": (
        rows("a,1,10,0.3,general,2.9", "b,1,10,0.3,general,2.9", "a,1,1e1,0.3,general,2.8"),
        "duplicate_row",
        "run_id 'a', train_tokens 10, eval_corpus 'general' repeats row 1 "
        "(runs.csv row 3, line 4). Keep one of them.",
    ),
    "run of two sizes": (
        rows("a,1,10,0.3,general,2.9", "a,2,20,0.3,general,2.9"),
        "run_changes",
        "run_id 'a' has model_params 1.0, then 2.0 (runs.csv row 2, line 3). "
        "Give every training run a run_id of its own.",
    ),
    "run of two ratios": (
        rows("a,1,10,0.3,general,2.9", "a,1,20,0.4,general,2.9"),
        "run_changes",
        "run_id 'a' has domain_ratio 0.3, then 0.4 (runs.csv row 2, line 3). "
        "Give every training run a run_id of its own.",
    ),
    "run of two seeds": (
        rows("a,1,10,0.3,general,2.9,0", "a,1,20,0.3,general,2.9,1", header=HEADER + ",seed"),
        "run_changes",
        "run_id 'a' has seed 0, then 1 (runs.csv row 2, line 3). "
        "Give every training run a run_id of its own.",
    ),
    "shares above 1": (
        shares("a,1,0,0.7,0.4,general,2.9"),
        "share_sum",
        "share_domain, share_general must sum to 1, got 1.1 (runs.csv row 1, line 2). "
        "Write the share of every training corpus.",
    ),
    "rounded shares": (
        shares("a,1,0,0.33,0.67,general,2.9", "a,1,9,0.333,0.666,general,2.8"),
        "share_sum",
        "share_domain, share_general must sum to 1, got 0.999 (runs.csv row 2, line 3). "
        "Rounded? Write more digits, or have the shares of each row divided by their sum: cmrplan logs import "
        "table LOG --normalize-shares --out NEW.",
    ),
    "ratio and replay": (
        rows(
            "a,1,0,0.3,0.3,general,2.9",
            header=HEADER.replace("domain_ratio", "domain_ratio,replay_ratio"),
        ),
        "ratio_disagrees",
        "domain_ratio is 0.3 and replay_ratio says 0.7 (runs.csv row 1, line 2). Keep one of the two.",
    ),
    "replay in percent": (
        rows("a,1,0,70,general,2.9", header=HEADER.replace("domain_ratio", "replay_ratio")),
        "not_a_fraction",
        "replay_ratio must be a fraction in [0, 1], got 70 (runs.csv row 1, line 2). "
        "Percent? Divide by 100.",
    ),
    "replay under another name": (
        rows("a,1,0,0.7,general,2.9", header=HEADER.replace("domain_ratio", "replay")),
        "missing_column",
        "runs.csv has no column domain_ratio (and no share_<corpus> columns); rename 'replay' to replay_ratio if it "
        "is the share of replay, whose complement is read",
    ),
    "shares against the ratio": (
        rows(
            "a,1,0,0.3,0.6,0.4,general,2.9",
            header=HEADER.replace("domain_ratio", "domain_ratio,share_general,share_domain"),
        ),
        "ratio_disagrees",
        "domain_ratio is 0.3 and the shares say 0.4 (runs.csv row 1, line 2). Keep one of the two.",
    ),
}


class TestBrokenFiles:
    @pytest.mark.parametrize("kind", BROKEN)
    def test_one_line_names_the_place_and_the_remedy(self, kind):
        text, code, message = BROKEN[kind]
        path = write(text)
        with pytest.raises(InputError) as refusal:
            read_log(path)
        assert str(refusal.value) == message
        assert "\n" not in message
        (finding,) = check_log(path)
        assert (finding.code, finding.severity, finding.message) == (code, "error", message)

    def test_no_such_file(self):
        with pytest.raises(InputError, match=r"^runs\.csv: no such file$"):
            read_log("runs.csv")

    @pytest.mark.parametrize("name", ["runs.xlsx", "runs", "runs.csv.gz"])
    def test_wrong_suffix(self, name):
        suffix = {"runs.xlsx": "'.xlsx'", "runs": "''", "runs.csv.gz": "'.gz'"}[name]
        message = (
            f"{name}: a probe log ends in .csv, .jsonl or .parquet, got {suffix}; "
            "rename or convert it"
        )
        with pytest.raises(InputError) as refusal:
            read_log(write(GOOD, name))
        assert str(refusal.value) == message
        with pytest.raises(InputError) as refusal:
            write_log(good_frame(), name)
        assert str(refusal.value) == message

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_folder(self, tmp_path, suffix):
        (tmp_path / f"runs{suffix}").mkdir()
        with pytest.raises(InputError, match=r"is a folder; cmrplan logs import auto runs\.\w+"):
            read_log(f"runs{suffix}")

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ('{"run_id": ', "column 12: Expecting value"),
            ("[1, 2]", "list found"),
            ("[" * 100_000, "RecursionError"),
        ],
    )
    def test_broken_json_line(self, line, problem):
        with pytest.raises(InputError) as refusal:
            read_log(write(f"{{}}\n\n{line}\n", "runs.jsonl"))
        assert str(refusal.value) == (
            f"runs.jsonl line 3 is not a JSON object ({problem}); JSONL has one object on each line"
        )

    def test_empty_jsonl(self):
        with pytest.raises(InputError, match=r"^runs\.jsonl is empty;"):
            read_log(write("\n \n", "runs.jsonl"))

    def test_json_values_that_are_no_numbers(self):
        record = json.loads(good_frame().to_json(orient="records"))[0]
        lines = [record | {"loss": True}, record | {"run_id": "b", "loss": 10**400}]
        text = "\n".join(map(json.dumps, lines))
        (finding,) = check_log(write(text, "runs.jsonl"))
        assert finding.message == (
            "loss must be a number, got True (runs.jsonl row 1, line 1; also row 2). "
            "Write it in digits, such as 2.9 or 1.8e9."
        )

    def test_not_parquet(self):
        pytest.importorskip("pyarrow")
        with pytest.raises(InputError) as refusal:
            read_log(write(GOOD, "runs.parquet"))
        assert str(refusal.value) == "runs.parquet is not a whole Parquet file; write it again"

    def test_parquet_without_pyarrow_says_what_to_install(self, monkeypatch):
        message = (
            "runs.parquet: Parquet needs pyarrow; pip install 'cmrplan[parquet]', "
            "or use .csv or .jsonl"
        )
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(InputError) as refusal:
            read_log(write("", "runs.parquet"))
        assert str(refusal.value) == message


class TestSeveralErrors:
    def test_reading_tells_the_first_and_how_many_follow(self):
        text = rows("a,1,0,30,general,2.9", "b,1,0,0.3,,0")
        with pytest.raises(InputError) as refusal:
            read_log(write(text))
        assert str(refusal.value) == (
            "domain_ratio must be a fraction in [0, 1], got 30 (runs.csv row 1, line 2). "
            "Percent? Divide by 100. 2 more: cmrplan logs check lists them."
        )

    def test_how_many_follow_stands_apart_from_a_list(self):
        with pytest.raises(InputError, match=r"it has 'run_id', 'x'; \d+ more: cmrplan logs check"):
            read_log(write("run_id,x\na,1\n"))

    def test_checking_tells_all_with_their_places(self):
        text = rows("a,1,0,30,general,2.9", "b,1,0,0.3,,0")
        shown = [
            (finding.code, finding.row, finding.line, finding.column, finding.value)
            for finding in check_log(write(text))
        ]
        assert shown == [
            ("not_a_fraction", 1, 2, "domain_ratio", "30"),
            ("empty_value", 2, 3, "eval_corpus", None),
            ("not_positive", 2, 3, "loss", "0"),
        ]

    def test_one_trouble_in_many_rows_is_one_finding(self):
        text = rows(*(f"r{i},1,0,30,general,2.9" for i in range(30)))
        (finding,) = check_log(write(text))
        assert finding.num_rows == 30
        assert finding.message == (
            "domain_ratio must be a fraction in [0, 1], got 30 (runs.csv row 1, line 2; "
            "also row 2, 3, 4, 5, 6, 7, 8, 9, 10 and 20 more). Percent? Divide by 100."
        )

    def test_lines_count_blank_ones_and_rows_do_not(self):
        text = rows("a,1,0,0.3,general,2.9", "", ",,,,,", '"a', 'b",1,0,30,general,2.9')
        finding = check_log(write(text))[0]
        assert (finding.code, finding.row, finding.line) == ("unprintable", 2, 6)

    def test_findings_are_json(self):
        (finding,) = check_log(write(rows("a,1,0,30,general,2.9")))
        assert json.loads(json.dumps(finding.as_dict())) == {
            "code": "not_a_fraction",
            "message": finding.message,
            "severity": "error",
            "file": "runs.csv",
            "row": 1,
            "line": 2,
            "column": "domain_ratio",
            "value": "30",
            "num_rows": 1,
        }


class TestAccepted:
    @pytest.mark.parametrize(
        "text",
        [
            GOOD,
            "\ufeff" + GOOD,
            GOOD.replace("\n", "\r\n"),
            GOOD + "\n\n  \n,,,,,\n",
            GOOD.replace(",", ", "),
            GOOD.replace("1000000", "1e6"),
            GOOD.rstrip("\n"),
        ],
        ids=["plain", "BOM", "CRLF", "blank lines", "spaces", "exponents", "no last line end"],
    )
    def test_spelling_of_a_csv_does_not_matter(self, text):
        pd.testing.assert_frame_equal(read_log(write(text)), validate_log(good_frame()))

    def test_columns_come_in_the_order_and_types_of_the_contract(self):
        frame = good_frame(seed=[1, None, 3], run_id=[1, 2, 3], note="x", tokenizer="bytes")
        log = validate_log(frame[frame.columns[::-1]])
        assert log.columns.tolist() == [*HEADER.split(","), "seed", "tokenizer", "note"]
        assert log["run_id"].tolist() == ["1", "2", "3"]
        assert log.dtypes[["model_params", "train_tokens", "loss"]].tolist() == ["float64"] * 3
        assert log["seed"].dtype == "Int64"
        assert log.index.equals(pd.RangeIndex(3))

    def test_the_frame_given_stays_as_it_is(self):
        frame = good_frame(run_id=[1, 1, 1])
        before = frame.copy()
        validate_log(frame)
        pd.testing.assert_frame_equal(frame, before)

    def test_columns_outside_the_contract_are_kept_as_they_are(self):
        text = rows("a,1,0,0.3,general,2.9, 007 ", header=HEADER + ",note")
        assert read_log(write(text))["note"].tolist() == [" 007 "]

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_a_carriage_return_in_a_column_outside_the_contract_survives(self, suffix):
        path = f"runs{suffix}"
        write_log(good_frame(note="one\rtwo\nthree"), path)
        assert set(read_log(path)["note"]) == {"one\rtwo\nthree"}

    def test_ratio_is_derived_from_two_shares(self):
        log = read_log(write(shares("a,1,0,0.7,0.3,general,2.9")))
        assert log["domain_ratio"].tolist() == [0.3]
        assert log.columns.tolist()[3:6] == ["domain_ratio", "share_domain", "share_general"]

    def test_a_replay_share_is_read_as_its_complement(self):
        header = HEADER.replace("domain_ratio", "replay_ratio")
        log = read_log(
            write(
                rows("a,1,0,0.9,general,2.9", "b,1,0,25%,general,2.9", header=header).replace(
                    "0.9", "90%"
                )
            )
        )
        assert log["domain_ratio"].tolist() == [0.1, 0.75]
        assert log.columns.tolist() == HEADER.split(",")

    def test_ratio_and_replay_that_agree_are_one_column(self):
        header = HEADER.replace("domain_ratio", "domain_ratio,replay_ratio")
        log = read_log(write(rows("a,1,0,0.3,0.7,general,2.9", header=header)))
        assert log["domain_ratio"].tolist() == [0.3]
        assert log.columns.tolist() == HEADER.split(",")

    def test_cells_may_name_their_unit(self):
        log = read_log(write(rows("a,70M,1.5B,33.3%,general,2.9", "b,70m,0,0,general,2.9")))
        assert log["model_params"].tolist() == [7e7, 7e7]
        assert log["train_tokens"].tolist() == [1.5e9, 0]
        assert log["domain_ratio"].tolist() == [0.333, 0]

    def test_three_corpora_need_no_ratio(self):
        frame = good_frame(share_general=0.5, share_code=0.3, share_math=0.2)
        log = validate_log(frame.drop(columns="domain_ratio"))
        assert "domain_ratio" not in log

    def test_large_seeds_are_exact(self):
        seed = 2**62 + 1  # float64 would round it
        seeds = pd.array([seed, None, 3], dtype="Int64")
        for suffix in SUFFIXES:
            path = f"runs{suffix}"
            write_log(good_frame(run_id=["a", "b", "c"], seed=seeds), path)
            assert read_log(path)["seed"].tolist() == [seed, pd.NA, 3]

    def test_tokens_with_a_fraction_from_arithmetic(self):
        tokens = 123_456_789.123
        log = validate_log(good_frame(train_tokens=[0, tokens, tokens]))
        assert log["train_tokens"].tolist() == [0, tokens, tokens]

    def test_frames_are_refused_in_the_same_words(self):
        with pytest.raises(InputError) as refusal:
            validate_log(good_frame(domain_ratio=30.0), source="sweep")
        assert str(refusal.value) == (
            "domain_ratio must be a fraction in [0, 1], got 30.0 (sweep row 1; also row 2, 3). "
            "Percent? Divide by 100."
        )

    @pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, ""])
    def test_missing_values_of_any_kind_are_empty(self, nothing):
        frame = good_frame()
        frame["loss"] = pd.Series([2.86, nothing, 1.73], dtype=object)
        (finding,) = check_log(frame)
        assert (finding.code, finding.row, finding.line) == ("empty_value", 2, None)


def full_log():
    """Return a log that gives no warning: 2 sizes, 4 ratios, 2 seeds, 3 token counts."""
    return pd.DataFrame(
        [
            {
                "run_id": f"{size}-{ratio}-{seed}",
                "model_params": size,
                "train_tokens": tokens,
                "domain_ratio": ratio,
                "eval_corpus": corpus,
                "loss": 2.5 + tokens * ratio * 1e-6 if tokens else 2.5,
                "seed": seed,
                "loss_stderr": 0.001,
                "schedule": "constant",
            }
            for size in (1_000_000, 2_000_000)
            for ratio in (0, 0.01, 0.5, 1)
            for seed in (0, 1)
            for tokens in (0, 1000, 2000)
            for corpus in ("general", "domain")
        ]
    )


class TestWarnings:
    def test_a_full_log_has_none(self):
        assert check_log(full_log()) == []

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda log: log[log["train_tokens"] == 0], {"no_training_rows"}),
            (lambda log: log[log["domain_ratio"] < 0.1], {"few_ratios", "no_control_ratio"}),
            (lambda log: log[log["domain_ratio"] != 1], {"no_control_ratio"}),
            (lambda log: log[log["domain_ratio"] != 0.01], {"no_small_ratio"}),
            (lambda log: log[log["model_params"] == 1e6], {"one_model_size"}),
            (lambda log: log[log["train_tokens"] != 1000], {"one_token_count"}),
            (lambda log: log[log["eval_corpus"] != "domain"], {"missing_corpus"}),
            (lambda log: log[log["train_tokens"] > 0], {"no_base_row"}),
            (lambda log: log.assign(loss=log["loss"] + 1e-3 * log["seed"]), {"base_rows_differ"}),
            (
                lambda log: log.assign(
                    loss=log["loss"].where(
                        ~log["run_id"].str.startswith("1000000-0.5")
                        | (log["train_tokens"] < 2000)
                        | (log["eval_corpus"] == "domain"),  # both would be a run that diverged
                        27.0,
                    )
                ),
                {"loss_unit"},
            ),
            (lambda log: log.assign(loss=log["loss"].where(log.index != 3, 4.0)), {"losses_apart"}),
            (lambda log: log.drop(columns="loss_stderr"), {"no_stderr"}),
            (lambda log: log[log["seed"] == 0].drop(columns="seed"), {"no_repeated_seeds"}),
            (lambda log: log.drop(columns="seed"), {"no_repeated_seeds", "copied_run"}),
            (lambda log: log[log["seed"] == 0], {"no_repeated_seeds"}),
            (lambda log: log.assign(tokenizer=log["eval_corpus"]), {"mixed_settings"}),
            (lambda log: log.assign(base_model=log["run_id"]), {"mixed_settings"}),
            (lambda log: log.assign(schedule="cosine"), {"decaying_schedule"}),
        ],
    )
    def test_each_is_found_alone(self, change, expected):
        findings = check_log(change(full_log()))
        assert {finding.code for finding in findings} == expected
        assert {finding.severity for finding in findings} == {"warning"}

    def test_one_base_model_a_size_is_no_mixture(self):
        log = full_log()
        assert check_log(log.assign(base_model="base-" + log["model_params"].astype(str))) == []

    def test_message_names_the_file_and_what_was_found(self):
        log = full_log()
        findings = check_log(log[log["domain_ratio"] < 0.1], source="sweep.csv")
        assert findings[0].message == (
            "sweep.csv: 2 mixtures; a law of the ratio needs 3 at least, and 5 to be checked"
        )


names = (
    st.text(min_size=1, max_size=8).map(str.strip).filter(lambda text: text and text.isprintable())
)


@st.composite
def logs(draw):
    """Draw a valid log: runs of one mixture each, evaluated at distinct token counts."""
    records = []
    for run_id in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        run = {
            "run_id": run_id,
            "model_params": float(draw(st.integers(1, 10**13))),
            "domain_ratio": draw(st.floats(0, 1)),
            "seed": draw(st.none() | st.integers(-(2**62), 2**62)),
            "params_kind": draw(st.sampled_from(["total", "non_embedding", None])),
        }
        for tokens in draw(st.lists(st.integers(0, 10**13), min_size=1, max_size=3, unique=True)):
            records.append(
                run
                | {
                    "train_tokens": float(tokens),
                    "eval_corpus": draw(names),
                    "loss": draw(st.floats(1e-300, 1e300)),
                    "loss_stderr": draw(st.none() | st.floats(0, 1e300)),
                }
            )
    frame = pd.DataFrame(records)
    return validate_log(frame.assign(seed=pd.array([r["seed"] for r in records], dtype="Int64")))


# the folder is shared between examples on purpose: every example overwrites the same file
shared_folder = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class TestProperties:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @given(log=logs())
    @shared_folder
    def test_what_is_written_reads_back_bit_for_bit(self, suffix, log):
        write_log(log, f"runs{suffix}")
        back = read_log(f"runs{suffix}")
        pd.testing.assert_frame_equal(back, log, check_exact=True)
        for column in ("domain_ratio", "loss", "loss_stderr"):
            assert back[column].to_numpy().tobytes() == log[column].to_numpy().tobytes()
        assert log_fingerprint(back) == log_fingerprint(log)

    @given(log=logs(), random=st.randoms(use_true_random=False))
    @shared_folder
    def test_fingerprint_ignores_the_order_of_rows(self, log, random):
        order = list(range(len(log)))
        random.shuffle(order)
        shuffled = log.iloc[order].reset_index(drop=True)
        assert log_fingerprint(shuffled) == log_fingerprint(log)

    @given(log=logs())
    @shared_folder
    def test_validating_twice_changes_nothing(self, log):
        pd.testing.assert_frame_equal(validate_log(log), log, check_exact=True)

    @given(text=st.text(max_size=200))
    @shared_folder
    def test_no_text_at_all_escapes_the_error_family(self, text):
        data = text.encode("utf-8", "surrogatepass")
        for name, body in (("runs.csv", data), ("runs.jsonl", data)):
            with pytest.raises(InputError):
                read_log(write(body, name))

    @given(cell=st.text(max_size=50), column=st.sampled_from(HEADER.split(",")))
    @shared_folder
    def test_any_cell_is_read_or_refused_in_one_printable_line(self, cell, column):
        record = json.loads(good_frame().to_json(orient="records"))[0] | {column: cell}
        path = write(json.dumps(record) + "\n", "runs.jsonl")
        for finding in check_log(path):
            assert finding.message.isprintable()


class TestFingerprint:
    def test_is_stable_across_versions(self):
        assert log_fingerprint(read_log(write(GOOD))) == "02e03e153980"

    @pytest.mark.parametrize(
        "change",
        [{"loss": 2.5}, {"run_id": "b"}, {"seed": 1}, {"eval_corpus": ["general", "general", "x"]}],
    )
    def test_changes_with_what_the_log_says(self, change):
        changed = log_fingerprint(validate_log(good_frame(**change)))
        assert changed != log_fingerprint(validate_log(good_frame()))

    @pytest.mark.parametrize("change", [{"note": "x"}, {"loss_stderr": np.nan}])
    def test_stays_with_what_says_nothing(self, change):
        changed = log_fingerprint(validate_log(good_frame(**change)))
        assert changed == log_fingerprint(validate_log(good_frame()))


class TestWriting:
    def test_csv_is_plain(self, tmp_path):
        write_log(good_frame(), "runs.csv")
        assert (tmp_path / "runs.csv").read_text() == GOOD

    def test_jsonl_says_null_for_what_is_missing(self, tmp_path):
        write_log(good_frame(seed=[1, 1, 1], loss_stderr=[0.5, None, None]), "runs.jsonl")
        lines = (tmp_path / "runs.jsonl").read_text().splitlines()
        assert lines[1] == (
            '{"run_id": "a", "model_params": 1000000, "train_tokens": 100000, '
            '"domain_ratio": 0.3, "eval_corpus": "general", "loss": 2.91, "seed": 1, '
            '"loss_stderr": null}'
        )

    def test_a_frame_that_is_no_log_leaves_the_old_file(self, tmp_path):
        write_log(good_frame(), "runs.csv")
        with pytest.raises(InputError, match=r"^loss must be > 0, got -1"):
            write_log(good_frame(loss=-1), "runs.csv")
        assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]
        assert (tmp_path / "runs.csv").read_text() == GOOD

    @pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
    def test_a_foreign_column_that_does_not_fit_leaves_nothing(self, tmp_path, suffix):
        frame = good_frame(note=pd.Series([{1}, 2, "x"], dtype=object))
        with pytest.raises(InputError, match=r"a column outside the contract does not fit"):
            write_log(frame, f"runs{suffix}")
        assert list(tmp_path.iterdir()) == []


class TestAccessors:
    def test_base_losses_are_means_for_each_size(self):
        log = pd.concat(
            [
                good_frame(),
                good_frame(run_id="b", loss=[2.88, 2.9, 1.7]),
                good_frame(run_id="c", model_params=500_000, loss=[3.0, 3.1, 2.0]),
            ]
        )
        losses = base_losses(validate_log(log), "general")
        assert list(losses) == [5e5, 1e6]
        assert losses == pytest.approx({5e5: 3.0, 1e6: 2.87})
        assert base_losses(validate_log(log), "domain") == {}

    def test_training_rows_are_those_after_the_base(self):
        rows_on_general = training_rows(validate_log(good_frame()), "general")
        assert rows_on_general["loss"].tolist() == [2.91]
        assert rows_on_general.index.tolist() == [0]
