"""Corpora: what is read, what is dropped, and that no validation text is trained on."""

import ast
import hashlib
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmrplan.errors import CmrplanError, InputError
from probes.data.corpora import (
    data_fingerprint,
    document_hash,
    is_validation,
    read_documents,
    split_documents,
)
from probes.data.embedded import (
    docstring_statements,
    english_documents,
    python_documents,
    split_module,
    standard_library,
)

DOCUMENTS = [f"document number {number}" for number in range(200)]


def normalized(text):
    return " ".join(text.split())


class TestReading:
    def test_folder_in_order_of_path(self, tmp_path):
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "1.txt").write_text("second")
        (tmp_path / "a.txt").write_text("first")
        (tmp_path / "a.md").write_text("not a text file")
        assert read_documents(str(tmp_path)) == ["first", "second"]

    def test_glob_chooses_files(self, tmp_path):
        (tmp_path / "a.txt").write_text("text")
        (tmp_path / "a.md").write_text("markdown")
        assert read_documents(str(tmp_path), glob="*.md") == ["markdown"]

    def test_jsonl_field(self, tmp_path):
        path = tmp_path / "c.jsonl"
        path.write_text('{"body": "one"}\n\n{"body": "two\\u2028lines", "text": 3}\n')
        assert read_documents(str(path), text_field="body") == ["one", "two\u2028lines"]

    def test_parquet_column(self, tmp_path):
        path = tmp_path / "c.parquet"
        pq.write_table(pa.table({"id": [1, 2], "text": ["one", "two"]}), path)
        assert read_documents(str(path)) == ["one", "two"]


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
            read_documents(str(path))
        assert str(caught.value) == f"{path} {message}"

    def test_parquet_names_the_columns(self, tmp_path):
        path = tmp_path / "c.parquet"
        pq.write_table(pa.table({"body": ["one"]}), path)
        with pytest.raises(InputError, match=r"no column 'text'; columns: body; set text_field$"):
            read_documents(str(path))

    def test_parquet_names_the_row_of_a_null(self, tmp_path):
        path = tmp_path / "c.parquet"
        pq.write_table(pa.table({"text": ["one", None]}), path)
        with pytest.raises(InputError, match=r"row 2: field 'text' must be text, got null$"):
            read_documents(str(path))

    def test_broken_parquet(self, tmp_path):
        path = tmp_path / "c.parquet"
        path.write_text("no")
        with pytest.raises(InputError, match=r"c\.parquet is not a Parquet file: [^\n]+$"):
            read_documents(str(path))

    def test_not_utf8(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"caf\xe9")
        with pytest.raises(InputError, match=r"a\.txt is not UTF-8 text \(byte 3 is 0xe9\)"):
            read_documents(str(tmp_path))

    def test_empty_folder(self, tmp_path):
        with pytest.raises(InputError, match=r"no file matches glob '\*\*/\*\.txt'; set glob"):
            read_documents(str(tmp_path))

    def test_missing_source(self, tmp_path):
        with pytest.raises(InputError, match="nowhere: no such file or folder; give a folder"):
            read_documents(str(tmp_path / "nowhere"))

    def test_other_suffix(self, tmp_path):
        (tmp_path / "c.csv").write_text("text\n")
        with pytest.raises(InputError, match=r"a \.jsonl or a \.parquet file, not '\.csv'"):
            read_documents(str(tmp_path / "c.csv"))

    def test_unknown_embedded_corpus(self):
        with pytest.raises(InputError, match="embedded corpora: embedded:english, embedded:python"):
            read_documents("embedded:french")


class TestSplit:
    def test_every_document_is_in_exactly_one_part(self):
        split = split_documents({"general": DOCUMENTS}, validation_share=0.3)["general"]
        assert sorted(split.train + split.validation) == sorted(DOCUMENTS)

    def test_adding_documents_moves_none(self):
        few = split_documents({"general": DOCUMENTS[:100]}, validation_share=0.3)["general"]
        many = split_documents({"general": DOCUMENTS}, validation_share=0.3)["general"]
        assert set(few.validation) == set(many.validation) & set(DOCUMENTS[:100])

    def test_share_is_met_within_sampling_error(self):
        documents = [f"text {number}" for number in range(10_000)]
        split = split_documents({"general": documents}, validation_share=0.1)["general"]
        # five standard deviations of a binomial with 10,000 draws
        assert abs(len(split.validation) - 1000) < 5 * 30

    def test_duplicates_up_to_white_space_are_dropped(self):
        documents = [*DOCUMENTS, " document  number 7\n", DOCUMENTS[3], "  "]
        split = split_documents({"general": documents}, validation_share=0.3)["general"]
        assert len(split.train) + len(split.validation) == 200
        assert split.duplicates == 2

    def test_a_text_of_both_corpora_stays_in_the_domain_only(self):
        splits = split_documents(
            {"general": DOCUMENTS[:120], "domain": DOCUMENTS[100:]}, validation_share=0.3
        )
        general = set(splits["general"].train + splits["general"].validation)
        assert general == set(DOCUMENTS[:100])
        assert list(splits) == ["general", "domain"]

    @given(st.text(), st.floats(0.01, 0.99))
    def test_part_depends_on_text_alone_and_larger_shares_keep_it(self, text, share):
        key = document_hash(text)
        assert key == hashlib.sha256(normalized(text).encode()).hexdigest()
        if is_validation(key, share):
            assert is_validation(key, min(1.0, share * 1.5))

    def test_order_of_documents_changes_nothing(self):
        forward = split_documents({"general": DOCUMENTS}, validation_share=0.3)
        backward = split_documents({"general": DOCUMENTS[::-1]}, validation_share=0.3)
        assert data_fingerprint(forward) == data_fingerprint(backward)

    def test_too_few_documents(self):
        message = "corpora.general has 1 distinct documents and none for"
        with pytest.raises(CmrplanError, match=message):
            split_documents({"general": ["only one"]}, validation_share=0.5)


class TestStripping:
    def test_docstrings_are_cleaned_and_in_order(self):
        source = '"A."\nclass B:\n    """B.\n\n    More.\n    """\ndef f():\n    "C."\n'
        assert split_module(source)[0] == ["A.", "B.\n\nMore.", "C."]

    def test_layout_and_comments_stay(self):
        source = (
            '"""Module."""\n# comment\nimport os  # why\n\n\nclass A:\n    """Class.\n\n'
            '    More.\n    """\n\n    x = "kept"\n\n    def f(self):\n        "Only a docstring."\n'
        )
        assert split_module(source)[1] == (
            '# comment\nimport os  # why\n\n\nclass A:\n\n    x = "kept"\n\n'
            "    def f(self):\n        pass\n"
        )

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ('def f(): "doc"\n', "def f(): pass\n"),
            ('def f():\n    "doc"; return 1\n', "def f():\n    pass; return 1\n"),
            ('def f():\n    "one"\n    "two"\n    return 1\n', "def f():\n    return 1\n"),
            ('def f():\n    "dé"  # é\n    return 1\n', "def f():\n    pass  # é\n    return 1\n"),
            ('def f():\n    "a" "b"\n    return 1\n', "def f():\n    return 1\n"),
        ],
    )
    def test_docstrings_in_awkward_places(self, source, expected):
        assert split_module(source)[1] == expected


class TestEmbedded:
    def test_python_is_valid_and_has_no_docstring(self):
        for source in python_documents()[::5]:  # every fifth module, for speed
            assert not list(docstring_statements(ast.parse(source)))

    def test_no_english_docstring_stands_in_the_python_corpus(self):
        code = normalized(" ".join(python_documents()))
        prose = [normalized(p) for text in english_documents() for p in text.split("\n\n")]
        long = sorted({paragraph for paragraph in prose if len(paragraph) > 200})[::8]
        assert len(long) > 100
        # licence notes and usage texts may stand in a docstring here and a comment there
        assert sum(paragraph in code for paragraph in long) <= 0.005 * len(long)

    def test_each_docstring_once(self):
        found = Counter(normalized(text) for prose, _ in standard_library() for text in prose)
        repeated = [text for text, count in found.items() if count > 1 and len(text) > 60]
        english = normalized(" ".join(english_documents()))
        assert repeated
        assert [english.count(text) for text in repeated] == [1] * len(repeated)

    def test_no_validation_document_is_trained_on(self):
        splits = split_documents(
            {"general": english_documents(), "domain": python_documents()}, validation_share=0.08
        )
        train = {document_hash(text) for split in splits.values() for text in split.train}
        held_out = {document_hash(text) for split in splits.values() for text in split.validation}
        assert len(held_out) > 40
        assert not train & held_out

    def test_sizes_are_enough_for_a_sweep(self):
        # characters; both grow from one Python version to the next
        assert sum(map(len, english_documents())) > 1_500_000
        assert sum(map(len, python_documents())) > 5_000_000
