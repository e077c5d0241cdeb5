"""Sources: every form of a corpus gives its documents, and what is broken is one line."""

import gzip
import json
import subprocess
import sys
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cmrplan.errors import InputError
from probes.data import readers
from probes.data.sources import open_source, read_documents, source_files
from probes.spec.corpora import CorpusSpec, absolute_source

TEXTS = ["one", "two lines\nof text", "drei\u2028é"]


def documents(source, **keys):
    return list(read_documents(CorpusSpec(source=str(source), **keys)))


def jsonl(texts, field="text"):
    return "".join(json.dumps({field: text}) + "\n" for text in texts).encode()


def write_parquet(path, texts, field="text"):
    pq.write_table(pa.table({"id": range(len(texts)), field: texts}), path, row_group_size=2)


def write_arrow(path, texts, kind):
    table = pa.table({"text": texts})
    make = {"file": pa.ipc.new_file, "stream": pa.ipc.new_stream}[kind]
    with make(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


class TestFiles:
    def test_jsonl(self, tmp_path):
        path = tmp_path / "c.jsonl"
        path.write_bytes(b"\xef\xbb\xbf" + jsonl(TEXTS, "body") + b"\n")
        assert documents(path, text_field="body") == TEXTS

    @pytest.mark.parametrize("suffix", [".jsonl.gz", ".ndjson.gz"])
    def test_gzipped_jsonl(self, tmp_path, suffix):
        path = tmp_path / f"c{suffix}"
        path.write_bytes(gzip.compress(jsonl(TEXTS)))
        assert documents(path) == TEXTS

    def test_zstandard_jsonl(self, tmp_path):
        path = tmp_path / "c.jsonl.zst"
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(jsonl(TEXTS))
        assert documents(path) == TEXTS

    def test_parquet(self, tmp_path):
        write_parquet(tmp_path / "c.parquet", TEXTS)
        assert documents(tmp_path / "c.parquet") == TEXTS

    @pytest.mark.parametrize("kind", ["file", "stream"])
    def test_arrow(self, tmp_path, kind):
        write_arrow(tmp_path / "c.arrow", TEXTS, kind)
        assert documents(tmp_path / "c.arrow") == TEXTS

    def test_text_file_is_one_document(self, tmp_path):
        (tmp_path / "c.txt").write_text("a\n\nb")
        assert documents(tmp_path / "c.txt") == ["a\n\nb"]

    @pytest.mark.parametrize("block", [1, 3, 1000])
    def test_separator_splits_text_wherever_blocks_end(self, tmp_path, monkeypatch, block):
        monkeypatch.setattr(readers, "BLOCK_BYTES", block)
        (tmp_path / "c.txt").write_text("aé<|end|>b€c<|end|>")
        assert documents(tmp_path / "c.txt", separator="<|end|>") == ["aé", "b€c", ""]

    def test_reading_holds_a_row_and_not_the_file(self, tmp_path):
        path = tmp_path / "c.jsonl"
        path.write_bytes(jsonl(["x" * 1000] * 20_000))
        tracemalloc.start()
        count = sum(1 for _ in read_documents(CorpusSpec(source=str(path))))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 20_000
        assert peak < 2_000_000  # bytes, a tenth of the file


class TestFolders:
    def test_shards_in_the_order_of_their_paths(self, tmp_path):
        for name, texts in (("b/0.jsonl", ["3"]), ("a.jsonl", ["1"]), ("a2.jsonl", ["2"])):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(jsonl(texts))
        (tmp_path / "README.md").write_text("not a document")
        assert documents(tmp_path) == ["1", "2", "3"]
        assert documents(f"{tmp_path}/*.jsonl") == ["1", "2"]
        assert documents(tmp_path, glob="a?.jsonl") == ["2"]

    def test_a_glob_makes_any_file_text(self, tmp_path):
        (tmp_path / "a.py").write_text("x = 1")
        assert documents(tmp_path, glob="*.py") == ["x = 1"]

    def test_several_kinds_need_a_glob(self, tmp_path):
        (tmp_path / "a.txt").write_text("text")
        (tmp_path / "b.jsonl").write_bytes(jsonl(["row"]))
        with pytest.raises(InputError, match=r"several kinds \(jsonl, text\); set glob to those"):
            documents(tmp_path)
        assert documents(tmp_path, glob="*.txt") == ["text"]

    def test_saved_dataset(self, tmp_path):
        datasets = pytest.importorskip("datasets")
        one = datasets.Dataset.from_dict({"text": TEXTS})
        one.save_to_disk(tmp_path / "one", num_shards=2)
        assert documents(tmp_path / "one") == TEXTS
        both = datasets.DatasetDict({"train": one, "test": one.select([0])})
        both.save_to_disk(tmp_path / "both")
        assert documents(tmp_path / "both", split="test") == TEXTS[:1]
        with pytest.raises(InputError, match="has several splits; set split to one of train, test"):
            documents(tmp_path / "both")
        with pytest.raises(InputError, match="has no split 'dev'; set split to one of train, test"):
            documents(tmp_path / "both", split="dev")


class TestStreaming:
    @pytest.fixture(autouse=True)
    def _library(self, tmp_path, monkeypatch):
        pytest.importorskip("datasets")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    @pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
    def test_folder(self, tmp_path, suffix):
        folder = tmp_path / "set"
        folder.mkdir()
        for split, texts in (("train", TEXTS), ("test", TEXTS[:2])):
            if suffix == "jsonl":
                (folder / f"{split}.jsonl").write_bytes(jsonl(texts, "body"))
            else:
                write_parquet(folder / f"{split}.parquet", texts, "body")
        source = f"datasets:{folder}"
        assert documents(source, text_field="body") == TEXTS
        assert documents(source, text_field="body", split="test") == TEXTS[:2]
        with pytest.raises(
            InputError, match=r"row 1: no field 'text'; fields: .*body; set text_fi"
        ):
            documents(source)
        with pytest.raises(InputError, match=r"split 'dev': .*dev"):
            documents(source, split="dev")

    def test_missing_folder(self, tmp_path):
        with pytest.raises(InputError, match=r"datasets:\S+: no such file or folder; give a fold"):
            documents(f"datasets:{tmp_path}/nowhere")

    def test_missing_library(self, tmp_path, monkeypatch):
        (tmp_path / "a.jsonl").write_bytes(jsonl(TEXTS))
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(InputError, match=r"needs the datasets library: pip install 'cmrplan\["):
            documents(f"datasets:{tmp_path}")

    def test_only_streaming_needs_the_library(self):
        code = "import sys, probes.sweep; assert 'datasets' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                '{"text": "a"}\n{"body": "b"}\n',
                "row 2: no field 'text'; fields: body; set text_field",
            ),
            ('{"text": "a"}\nnot json\n', "row 2: not JSON (Expecting value)"),
            ('{"text": 3}\n', "row 1: field 'text' must be text, got 3"),
            ('{"text": null}\n', "row 1: field 'text' must be text, got null"),
            ("[1]\n", "row 1: expected a JSON object, got [1]"),
            (
                '{"text": "\\ud800"}\n',
                "row 1: field 'text' has a lone surrogate, which is not text",
            ),
        ],
    )
    def test_jsonl_names_the_row(self, tmp_path, content, message):
        path = tmp_path / "c.jsonl"
        path.write_text(content)
        with pytest.raises(InputError) as caught:
            documents(path)
        assert str(caught.value) == f"{path} {message}"

    @pytest.mark.parametrize("line", [b"[" * 10**6, b'{"text": ' + b"9" * 10**4 + b"}"])
    def test_json_beyond_any_bounds(self, tmp_path, line):
        path = tmp_path / "c.jsonl"
        path.write_bytes(line)
        with pytest.raises(InputError, match=r"row 1: not JSON \([^\n]+\)$"):
            documents(path)

    def test_row_that_is_not_utf8(self, tmp_path):
        path = tmp_path / "c.jsonl"
        path.write_bytes(jsonl(["a"]) + b'{"text": "\xe9"}')
        with pytest.raises(InputError, match=r"row 2 is not UTF-8 text \(byte 10 is 0xe9\)"):
            documents(path)

    def test_parquet_names_the_columns(self, tmp_path):
        write_parquet(tmp_path / "c.parquet", ["one"], "body")
        with pytest.raises(InputError, match="no column 'text'; columns: id, body; set text_field"):
            documents(tmp_path / "c.parquet")

    def test_parquet_names_the_row_of_a_null(self, tmp_path):
        write_parquet(tmp_path / "c.parquet", ["one", "two", "three", None])
        with pytest.raises(InputError, match=r"row 4: field 'text' must be text, got null$"):
            documents(tmp_path / "c.parquet")

    @pytest.mark.parametrize("name", ["c.parquet", "c.arrow", "c.jsonl.gz", "c.jsonl.zst"])
    def test_file_that_is_no_such_thing(self, tmp_path, name):
        (tmp_path / name).write_text("no")
        with pytest.raises(InputError, match=rf"{name}(:| is damaged or no \w+ file:) [^\n]+$"):
            documents(tmp_path / name)

    def test_truncated_files(self, tmp_path):
        write_parquet(tmp_path / "whole.parquet", ["text"] * 1000)
        write_arrow(tmp_path / "whole.arrow", ["text"] * 1000, "stream")
        (tmp_path / "whole.jsonl.gz").write_bytes(gzip.compress(jsonl(map(str, range(1000)))))
        for path in list(tmp_path.iterdir()):
            cut = tmp_path / f"cut{path.name.removeprefix('whole')}"
            cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            with pytest.raises(InputError, match=rf"{cut.name}[^\n]+$"):
                documents(cut)

    @pytest.mark.parametrize("separator", [None, "\n"])
    def test_text_that_is_not_utf8(self, tmp_path, separator, monkeypatch):
        monkeypatch.setattr(readers, "BLOCK_BYTES", 2)
        (tmp_path / "a.txt").write_bytes(b"caf\xe9 ")
        with pytest.raises(InputError, match=r"a\.txt is not UTF-8 text \(byte 3 is 0xe9\)"):
            documents(tmp_path, separator=separator)

    def test_empty_folder(self, tmp_path):
        with pytest.raises(InputError, match=r"no file matches \*\.jsonl, .*\*\.txt; set glob to"):
            documents(tmp_path)
        with pytest.raises(InputError, match=r"no file matches glob '\*\.md'; set glob"):
            documents(tmp_path, glob="*.md")
        with pytest.raises(InputError, match=r"\*\.jsonl: no file matches; give a \.jsonl"):
            documents(tmp_path / "*.jsonl")

    def test_missing_source(self, tmp_path):
        with pytest.raises(InputError, match=r"nowhere: no such file or folder; give a \.jsonl"):
            documents(tmp_path / "nowhere")

    def test_other_suffix(self, tmp_path):
        (tmp_path / "c.csv").write_text("text\n")
        with pytest.raises(InputError, match=r"c\.csv: '\.csv' is no form of a corpus; give a"):
            documents(tmp_path / "c.csv")

    def test_unknown_embedded_corpus(self):
        with pytest.raises(InputError, match="embedded corpora: embedded:english, embedded:python"):
            documents("embedded:french")


def test_file_that_goes_away_after_listing(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_bytes(jsonl([name]))
    parts = open_source(CorpusSpec(source=str(tmp_path)))
    (tmp_path / "b.jsonl").unlink()
    with pytest.raises(InputError, match=r"b\.jsonl: no such file$"):
        [list(part.read()) for part in parts]


def test_relative_sources_start_at_the_folder_of_the_spec(tmp_path):
    (tmp_path / "set").mkdir()
    assert absolute_source("texts/*.txt", tmp_path) == f"{tmp_path}/texts/*.txt"
    assert absolute_source("embedded:english", tmp_path) == "embedded:english"
    assert absolute_source("datasets:set", tmp_path) == f"datasets:{tmp_path}/set"
    assert absolute_source("datasets:owner/name", tmp_path) == "datasets:owner/name"
    (tmp_path / "a.txt").write_text("")
    assert source_files(CorpusSpec(source=f"{tmp_path}/*.txt")) == [tmp_path / "a.txt"]


@pytest.mark.parametrize("name", ["one.txt.gz", "one.jsonl.gz"])
@pytest.mark.parametrize("separator", [None, "END"])
def test_a_compressed_document_without_end_is_refused(name, separator, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MOST_DOCUMENT_BYTES", 2**22)
    path = tmp_path / name
    path.write_bytes(gzip.compress(bytes(2**26)))  # 64 MiB of zeros in 64 KiB
    tracemalloc.start()
    with pytest.raises(InputError, match=r"one.*a document has more than 4 MiB unpacked"):
        list(readers.read_file(path, text_field="text", separator=separator))
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()
