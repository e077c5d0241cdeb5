"""Tokenizers: nothing is lost, and the same text gives the same tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.data.tokens import END_OF_DOCUMENT, BpeTokenizer, ByteTokenizer, train_bpe

TEXTS = ["the cat sat on the mat " * 20, "def f(x): return x + 1\n" * 20]


TRAINED = train_bpe(TEXTS, vocab_size=280)


@pytest.fixture
def bpe():
    return TRAINED


class TestBytes:
    def test_ids_are_the_utf8_bytes_and_an_end(self):
        assert ByteTokenizer().encode("aé").tolist() == [97, 0xC3, 0xA9, 256]

    @given(st.text())
    def test_round_trip(self, text):
        tokenizer = ByteTokenizer()
        assert tokenizer.decode(tokenizer.encode(text)) == text


class TestBpe:
    @given(st.text())
    def test_round_trip_of_any_text(self, text):
        # its alphabet has all bytes, so no character is unknown to it
        assert TRAINED.decode(TRAINED.encode(text)) == text

    def test_merges_shorten_the_text_it_was_trained_on(self, bpe):
        assert len(bpe.encode(TEXTS[0])) < len(TEXTS[0].encode()) / 2

    def test_same_documents_give_the_same_identity(self, bpe):
        assert train_bpe(TEXTS, vocab_size=280).identity == bpe.identity
        assert train_bpe(TEXTS[:1], vocab_size=280).identity != bpe.identity

    def test_identity_names_kind_and_size(self, bpe):
        assert bpe.identity.startswith("bpe-280-")
        assert bpe.vocab_size == 280

    def test_stored_definition_gives_the_same_tokens(self, bpe):
        again = BpeTokenizer(bpe.definition)
        assert np.array_equal(again.encode(TEXTS[1]), bpe.encode(TEXTS[1]))

    def test_a_document_cannot_spell_the_end_token(self, bpe):
        ids = bpe.encode(f"a{END_OF_DOCUMENT}b")
        assert (ids == bpe.encode("")[-1]).sum() == 1
