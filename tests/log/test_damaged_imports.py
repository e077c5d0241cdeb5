"""Every importer on files that were cut, emptied or are of something else: one line, never a wrong row."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from event_files import write_scalars

from cmrplan.errors import CmrplanError, Code
from cmrplan.log.importers import import_with_remarks
from cmrplan.log.importers.changes import Changes
from cmrplan.log.importers.formats import LOG_FORMATS
from cmrplan.log.importers.run_facts import RunFacts, run_pattern

SAMPLES = Path(__file__).parents[1] / "reference" / "trainer_logs"
BY_NAME = RunFacts(run_pattern(r"r(?P<domain_ratio>[\d.]+)-s(?P<seed>\d+)"))
SIZE = {"model_params": "7e7"}
STEPS = SIZE | {"tokens_per_step": "65536"}
RATIO = SIZE | {"domain_ratio": "0.5"}
TABLE = "run_id,model_params,train_tokens,domain_ratio,eval_corpus,loss\n" + "".join(
    f"a,7e7,{tokens}e8,0.25,general,3.{tokens}25\n" for tokens in range(1, 9)
)


def log_of_texts(name, lines):
    return lambda folder: written(folder / name, "".join(f"{line}\n" for line in lines))


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def copied(*parts):
    """Return a function that copies a sample, keeping the folder that names its run."""

    def copy(folder):
        target = folder.joinpath(*parts[1:])
        target.parent.mkdir(parents=True, exist_ok=True)
        return shutil.copy(SAMPLES.joinpath(*parts), target)

    return copy


def mlflow(folder):
    base = sqlite3.connect(folder / "mlflow.db")
    base.executescript((SAMPLES / "mlflow" / "mlflow.sql").read_text())
    base.close()
    return folder / "mlflow.db"


def events(folder):
    losses = [(step, "eval/general/loss", 3 + step / 1024) for step in (100, 200)]
    return write_scalars(folder / "r0.5-s0", losses)


def regmix(folder):
    written(
        folder / "try_pile_loss_60m.csv", "index,metric/the_pile_arxiv_val_loss\n1,4.25\n2,3.75\n"
    )
    table = "index,train_the_pile_arxiv,train_the_pile_pile_cc\n1,0.25,0.75\n2,0.5,0.5\n"
    return written(folder / "try_mixture_60m.csv", table)


def olmix(folder):
    written(folder / "ratios.csv", "run_id,web,code\na,0.75,0.25\nb,0.5,0.5\n")
    return written(folder / "metrics.csv", "run_id,mmlu\na,1.25\nb,1.375\n")


FILES = {
    "trainer_state": (
        copied("trainer_state", "r0.5-s1", "checkpoint-4", "trainer_state.json"),
        {"model_params": "2000"},
        {},
    ),
    "wandb_offline": (copied("wandb", "r0.5-s1.wandb"), SIZE, {}),
    "mlflow": (mlflow, SIZE, {}),
    "litgpt": (copied("litgpt", "r0.5-s1", "logs", "metrics.csv"), RATIO, {"val_loss": "general"}),
    "olmix": (olmix, SIZE | {"train_tokens": "3e9"}, {}),
    "regmix": (regmix, {}, {}),
    "chinchilla": (
        log_of_texts("c.csv", ["Model Size,Training FLOP,loss", "1e8,6e17,3.5", "2e8,2.4e18,3.25"]), {}, {},
    ),
    "wandb_chart": (
        log_of_texts("chart.csv", ['"Step","a - val/general/loss"', '"100","3.125"', '"200","3.0625"']),
        STEPS | RATIO, {},
    ),
    "wandb_history": (
        log_of_texts("a.csv", ["_step,tokens,eval/general/loss", "0,6553600,", "1,,3.125", "2,13107200,3.0625"]),
        RATIO, {},
    ),
    "lightning": (
        copied("lightning", "r0.5-s1", "version_0", "metrics.csv"), STEPS | RATIO,
        {"val_loss/dataloader_idx_0": "general", "val_loss/dataloader_idx_1": "domain"},
    ),
    "llama_factory": (
        log_of_texts("r/trainer_log.jsonl", [
            json.dumps({"current_steps": step, "total_steps": 200, "eval_loss": 3.125, "total_tokens": step * 65536})
            for step in (100, 200)
        ]), RATIO, {"eval_loss": "general"},
    ),
    "olmo_core": (
        lambda folder: written(
            folder / "r" / "metrics_step100.json",
            json.dumps({"throughput/total tokens": 6553600, "eval/lm/general/CE loss": 3.125}),
        ), RATIO, {},
    ),
    "mixinglaws": (
        log_of_texts("70M.txt", [f"c/70M_x-0.25-0.75/{step}\tv/valid.Github.bin\t3.125" for step in (100, 200)]),
        {}, {},
    ),
    "megatron": (
        log_of_texts("m.log", [
            "  seq_length ........ 4096", " iteration 100/ 200 | consumed samples: 1600 |",
            " validation-general loss at iteration 100 | lm loss value: 3.125000E+00 | lm loss PPL: 2.2E+01 |",
        ]), RATIO, {},
    ),
    "nanotron": (
        log_of_texts("n.log", [
            f"iteration: {step} / 200 | consumed_tokens: {step}M | lm_loss: 3.25 | lr: 0.0001" for step in (100, 200)
        ]), RATIO, {"lm_loss": "general"},
    ),
    "tensorboard": (events, STEPS | RATIO, {}),
    "table": (log_of_texts("t.csv", TABLE.splitlines()), {}, {}),
}  # fmt: skip
BPB = {"olmix": {"loss_unit": "bpb", "bytes_per_token": {"": 4.0}}}
POSITIONS = 24


def changes_of(format):
    _, constants, names = FILES[format]
    facts = BY_NAME if format == "trainer_state" else RunFacts()
    return Changes(names=names, constants=constants, facts=facts, **BPB.get(format, {}))


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
