"""Documents: what is dropped, which part each belongs to, and that no validation text is trained on."""

import ast
import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.data import documents as module
from probes.data.documents import DocumentSet, TextDigest, document_key, is_validation
from probes.data.embedded import (
    docstring_statements,
    english_documents,
    python_documents,
    split_module,
    standard_library,
)


def normalized(text):
    return " ".join(text.split())


class TestKeys:
    @given(st.text(), st.floats(0.01, 0.99))
    def test_part_depends_on_text_alone_and_larger_shares_keep_it(self, text, share):
        key = document_key(text)
        assert f"{key:016x}" == hashlib.sha256(normalized(text).encode()).hexdigest()[:16]
        if is_validation(key, share):
            assert is_validation(key, min(1.0, share * 1.5))

    def test_share_is_met_within_sampling_error(self):
        held_out = sum(is_validation(document_key(f"text {n}"), 0.1) for n in range(10_000))
        # five standard deviations of a binomial with 10,000 draws
        assert abs(held_out - 1000) < 5 * 30

    @given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40), max_size=200))
    def test_set_tells_what_is_new_as_a_set_of_python_does(self, keys):
        ours, plain = DocumentSet(), set()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_RECENT", 4)
            for key in keys:
                assert ours.add(key) == (key not in plain)
                plain.add(key)
                assert key in ours
        assert len(ours) == len(plain)

    def test_set_takes_about_8_bytes_a_document(self, monkeypatch):
        monkeypatch.setattr(module, "_RECENT", 64)
        seen = DocumentSet()
        for key in np.random.default_rng(0).integers(2**63, size=10_000):
            seen.add(int(key))
        arrays = seen._sorted
        assert sum(keys.nbytes for keys in arrays) <= 8 * 10_000
        assert len(arrays) <= np.log2(10_000 / 64) + 1

    def test_digest_is_the_sum_of_the_hashes(self):
        digest = TextDigest()
        texts = ["a", "b", "b", "é"]
        for text in texts:
            digest.add(text)
        total = sum(int(hashlib.sha256(text.encode()).hexdigest(), 16) for text in texts)
        assert str(digest) == f"{total % 2**256:064x}"


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
        ours = Counter(normalized(text) for prose, _ in standard_library() for text in prose)
        repeated = [text for text, count in ours.items() if count > 1 and len(text) > 60]
        english = normalized(" ".join(english_documents()))
        assert repeated
        assert [english.count(text) for text in repeated] == [1] * len(repeated)

    def test_sizes_are_enough_for_a_sweep(self):
        # characters; both grow from one Python version to the next
        assert sum(map(len, english_documents())) > 1_500_000
        assert sum(map(len, python_documents())) > 5_000_000
