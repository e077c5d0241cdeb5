"""The tokenizer of a checkpoint: its own tokens, one end token a document, nothing special in a text."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoints import END, trained_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from cmrplan.errors import InputError
from probes.data.checkpoint_tokenizer import CheckpointTokenizer, read_tokenizer

DEFINITION = trained_tokenizer().to_str()
TOKENIZER = CheckpointTokenizer(DEFINITION, END)


def word_tokenizer(num_words):
    """Return a tokenizer of words with a begin and an end token, which it writes around a text."""
    vocabulary = {"<s>": 0, "</s>": 1, "[UNK]": 2} | {f"w{n}": n for n in range(3, num_words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(["<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return backend


class TestTokens:
    def test_ids_are_those_of_the_library_and_an_end(self):
        text = "the cat sat on a mat"
        expected = trained_tokenizer().encode(text).ids
        assert TOKENIZER.encode(text).tolist() == [*expected, 0]

    @given(st.text())
    def test_round_trip_of_any_text(self, text):
        assert TOKENIZER.decode(TOKENIZER.encode(text)) == text

    @given(st.lists(st.text(max_size=20), max_size=5))
    def test_a_batch_is_its_documents(self, texts):
        together = TOKENIZER.encode_batch(texts)
        assert len(together) == len(texts)
        assert all(map(np.array_equal, together, map(TOKENIZER.encode, texts)))

    def test_a_document_cannot_spell_the_end_token(self):
        assert (TOKENIZER.encode(f"a{END}b") == 0).sum() == 1

    def test_begin_token_stays_and_the_end_is_written_once(self):
        tokenizer = CheckpointTokenizer(word_tokenizer(10).to_str(), "</s>")
        assert tokenizer.encode("w3 w4").tolist() == [0, 3, 4, 1]
        assert tokenizer.encode("").tolist() == [0, 1]

    def test_stored_truncation_and_padding_are_off(self):
        backend = Tokenizer.from_str(DEFINITION)
        backend.enable_truncation(3)
        backend.enable_padding(length=8)
        tokenizer = CheckpointTokenizer(backend.to_str(), END)
        assert tokenizer.encode("the cat sat").tolist() == TOKENIZER.encode("the cat sat").tolist()
        assert tokenizer.identity == TOKENIZER.identity

    @pytest.mark.parametrize(("num_ids", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
    def test_type_holds_all_ids(self, num_ids, dtype):
        tokenizer = CheckpointTokenizer(word_tokenizer(num_ids).to_str(), "</s>")
        assert tokenizer.vocab_size == num_ids
        assert tokenizer.dtype == dtype
        ids = tokenizer.encode(f"w{num_ids - 1}")
        assert (ids.dtype, ids.tolist()) == (dtype, [0, num_ids - 1, 1])


class TestFolder:
    def folder(self, tmp_path, **config):
        (tmp_path / "tokenizer.json").write_text(DEFINITION)
        if config:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return tmp_path

    @pytest.mark.parametrize("end", [END, {"content": END, "lstrip": False}])
    def test_end_token_of_the_configuration(self, tmp_path, end):
        tokenizer = read_tokenizer(self.folder(tmp_path, eos_token=end))
        assert tokenizer.identity == TOKENIZER.identity

    def test_end_token_of_the_spec(self, tmp_path):
        folder = self.folder(tmp_path, eos_token=END)
        tokenizer = read_tokenizer(folder, end_of_document="!")
        assert tokenizer.decode(tokenizer.encode("a")[-1:]) == "!"
        assert tokenizer.identity != TOKENIZER.identity

    def test_identity_names_kind_and_size(self, tmp_path):
        assert TOKENIZER.identity.startswith(f"checkpoint-{TOKENIZER.vocab_size}-")
        assert TOKENIZER.vocab_size == trained_tokenizer().get_vocab_size()

    def test_no_tokenizer(self, tmp_path):
        with pytest.raises(InputError) as caught:
            read_tokenizer(tmp_path)
        assert str(caught.value) == (
            f"{tmp_path} has no tokenizer.json; write one there with "
            "AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        )

    def test_no_end_token(self, tmp_path):
        with pytest.raises(
            InputError, match=r"names no end token in tokenizer_config\.json; say in"
        ):
            read_tokenizer(self.folder(tmp_path))

    def test_unknown_end_token(self, tmp_path):
        with pytest.raises(InputError, match=r"tokenizer.json: it has no token '</s>'; give a"):
            read_tokenizer(self.folder(tmp_path, eos_token="</s>"))

    def test_broken_definition(self, tmp_path):
        folder = self.folder(tmp_path, eos_token=END)
        (folder / "tokenizer.json").write_text(DEFINITION[:100])
        with pytest.raises(InputError, match=r"tokenizer.json: .*; give a tokenizer"):
            read_tokenizer(folder)
