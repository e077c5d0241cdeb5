"""The survey of the corpora, on texts whose tokens are counted by hand."""

import pytest
import yaml
from sweeping import tiny_values

from cmrplan.cli.probe_design_text import survey_text
from cmrplan.errors import CmrplanError, InputError
from probes.collect import collect
from probes.corpus_survey import survey_corpora
from probes.data.documents import document_key, is_validation
from probes.data.prepare import prepare_corpora
from probes.data.prepared import load_corpora
from probes.spec.file import read_spec

BYTES_OF_A_DOCUMENT = 10
TOKENS_OF_A_DOCUMENT = BYTES_OF_A_DOCUMENT + 1  # a byte is a token, and one ends the document


@pytest.fixture
def make(tmp_path):
    """Return a function that writes corpora of ten-letter documents and reads a spec that names them."""

    def spec(changes=None, corpora=None, general=400, domain=100):
        texts = {
            "general": [f"g{number:09d}" for number in range(general)],
            "domain": [f"d{number:09d}" for number in range(domain)],
        }
        for name, documents in texts.items():
            (tmp_path / f"{name}.txt").write_text("|".join(documents))
        values = tiny_values() | (changes or {})
        values["corpora"] = {
            name: {"source": f"{name}.txt", "separator": "|"} for name in texts
        } | {"validation_share": 0.2, **(corpora or {})}
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(values))
        return read_spec(path), texts

    return spec


def training_tokens(texts):
    """Return the tokens of whole sequences of 16, each of which needs the first token of the next."""
    documents = sum(not is_validation(document_key(text), 0.2) for text in texts)
    return (TOKENS_OF_A_DOCUMENT * documents - 1) // 16 * 16


def test_tokens_documents_and_passes(make):
    spec, texts = make()
    survey = survey_corpora(spec)
    general, domain = survey.corpora
    assert (general.documents, domain.documents) == (400, 100)
    assert general.train_tokens == training_tokens(texts["general"])
    assert domain.train_tokens == training_tokens(texts["domain"])
    assert general.is_whole
    assert domain.is_whole
    passes = {(one.stage, one.domain_ratio): one for one in survey.passes}
    assert list(passes) == [("base", 0.0), ("probe", 0.0), ("probe", 0.3), ("probe", 1.0)]
    probe = passes["probe", 0.3]
    assert probe.train_tokens == 64 * 48
    assert probe.domain == pytest.approx(0.3 * 64 * 48 / domain.train_tokens)
    assert probe.general == pytest.approx(0.7 * 64 * 48 / general.train_tokens)
    assert passes["base", 0.0].general == pytest.approx(64 * 60 / general.train_tokens)


def test_what_repeats_is_said_and_what_would_be_refused_too(make):
    spec, _ = make()
    repeats = "corpora.domain repeats: nano-r1-s0 goes "
    assert any(line.startswith(repeats) for line in survey_corpora(spec).notices)
    domain = {"source": "domain.txt", "separator": "|", "max_epochs": 2}
    spec, _ = make(corpora={"domain": domain})
    notices = survey_corpora(spec).notices
    assert any("would refuse" in line and "max_epochs is 2" in line for line in notices)


def test_limits_of_the_spec_count(make):
    spec, _ = make(corpora={"unique_domain_tokens": 300})
    assert survey_corpora(spec).corpora[1].train_tokens == 300 // 16 * 16


def test_a_large_corpus_is_read_in_part_and_said(make):
    spec, texts = make(general=3000)
    survey = survey_corpora(spec, most_characters=5000)
    general = survey.corpora[0]
    assert not general.is_whole
    assert general.train_tokens < training_tokens(texts["general"])
    assert any("corpora.general was not read to its end" in line for line in survey.notices)


TOO_LARGE = [{"evaluation_sequences": 320}, {"corpora": {"unique_domain_tokens": 20000}}]


@pytest.mark.parametrize("asked", TOO_LARGE, ids=["evaluation_sequences", "unique_domain_tokens"])
def test_a_corpus_that_is_too_small_is_refused_in_the_words_of_preparing_it(make, tmp_path, asked):
    spec, _ = make({"evaluation_sequences": 4} | asked, asked.get("corpora"), general=9000)
    with pytest.raises(CmrplanError) as refused:
        prepare_corpora(spec, tmp_path / "corpora")
    notices = survey_corpora(spec).notices
    assert f"probe run would refuse this: {refused.value}" in notices
    assert sum("refuse" in line for line in notices) == 1


def test_reading_goes_on_past_max_tokens_until_there_is_enough_to_evaluate_on(make, tmp_path):
    general = {"source": "general.txt", "separator": "|", "max_tokens": 320}
    spec, _ = make({"evaluation_sequences": 40}, {"general": general}, 4000, 2000)
    prepare_corpora(spec, tmp_path / "corpora")
    survey = survey_corpora(spec)
    assert survey.corpora[0].train_tokens == 320
    assert not any("refuse" in line for line in survey.notices)


def test_a_corpus_that_was_read_in_part_may_be_large_enough(make, tmp_path):
    spec, _ = make({"evaluation_sequences": 60}, general=3000, domain=600)
    prepare_corpora(spec, tmp_path / "corpora")
    assert not any("refuse" in line for line in survey_corpora(spec).notices)
    notices = survey_corpora(spec, most_characters=500).notices
    assert any("may refuse this: corpora.domain (validation part)" in line for line in notices)
    assert any("corpora.domain was not read to its end" in line for line in notices)


def test_a_limit_below_one_sequence_is_refused(make):
    spec, _ = make(corpora={"unique_domain_tokens": 5})
    with pytest.raises(InputError, match="less than one sequence"):
        survey_corpora(spec)


BPE = {"tokenizer": {"kind": "bpe", "vocab_size": 300}, "evaluation_sequences": 4}


def test_a_byte_pair_encoding_is_the_one_that_preparing_trains(make_spec, values, tmp_path):
    spec = make_spec(values | BPE)
    survey = survey_corpora(spec)
    prepared = prepare_corpora(spec, tmp_path / "corpora").manifest["corpora"]
    for corpus in survey.corpora:
        assert corpus.train_tokens == prepared[corpus.name]["train_tokens"]
        assert not corpus.is_estimate
    assert not any("about right" in line for line in survey.notices)


def test_a_byte_pair_encoding_of_a_part_is_said_to_be_about_right(make):
    spec, _ = make(BPE, general=3000)
    survey = survey_corpora(spec, most_characters=5000)
    assert all(corpus.is_estimate for corpus in survey.corpora)
    assert any("about right" in line for line in survey.notices)
    assert "domain   about " in survey_text(survey)
    assert "general  at least about " in survey_text(survey)


def test_near_duplicates_that_are_dropped_make_the_counts_estimates(make):
    domain = {"source": "domain.txt", "separator": "|", "max_epochs": 2}
    spec, _ = make(corpora={"domain": domain, "near_duplicates": "drop"})
    survey = survey_corpora(spec)
    assert all(corpus.is_estimate for corpus in survey.corpora)
    assert any(line.startswith("probe run may refuse this") for line in survey.notices)
    assert any(line.startswith("near-duplicates were not looked for") for line in survey.notices)


def test_a_source_that_is_gone_is_refused(make, tmp_path):
    spec, _ = make()
    (tmp_path / "domain.txt").unlink()
    with pytest.raises(InputError, match=r"corpora\.domain\.source"):
        survey_corpora(spec)


def test_passes_are_those_that_the_sweep_then_makes(spec, finished_sweep):
    counts = load_corpora(finished_sweep / "corpora").manifest["corpora"]
    survey = survey_corpora(spec)
    for corpus in survey.corpora:
        assert corpus.train_tokens == counts[corpus.name]["train_tokens"]
    log, _ = collect(finished_sweep)
    last = log[log["train_tokens"] == 64 * 48].groupby("domain_ratio")["domain_epochs"].first()
    for one in survey.passes:
        if one.stage == "probe":
            assert one.domain == pytest.approx(last[one.domain_ratio], abs=0.05)
