"""Near-duplicates, in texts whose Jaccard similarity is counted by hand.

A text of n different words has n - 4 shingles of five words. Another one that differs in one word in the middle lacks
the 5 shingles over it and has 5 others, so the similarity is (n - 9) / (n + 1): 0.905 for 104 words. Three such words
far apart give (n - 19) / (n + 11): 0.739; ten give 50 / 150 = 0.333.
"""

import re

import pytest
import yaml
from sweeping import tiny_values

from cmrplan.errors import InputError
from probes.data import near_duplicates as module
from probes.data.documents import document_key, is_validation
from probes.data.near_duplicates import NearDuplicateSearch, shingles
from probes.data.prepare import prepare_corpora
from probes.spec.file import read_spec

pytest.importorskip("datasketch")


def text(number, *, words=104, changed=()):
    """Return a text of words that no text of another number has, some of them changed."""
    return " ".join(f"w{number}x{i}" + "new" * (i in changed) for i in range(words))


def similarity(one, other):
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [((), 1.0), ((50,), 95 / 105), ((20, 50, 80), 85 / 115), (range(5, 100, 10), 50 / 150)],
)
def test_the_similarities_of_this_file(changed, expected):
    assert similarity(text(0), text(0, changed=changed)) == pytest.approx(expected)


def searched(tmp_path, validation, training, **limits):
    search = NearDuplicateSearch(tmp_path / "signatures", **({"most_training": 1000} | limits))
    for key, document in enumerate(training):
        search.add(key, document, in_validation=False)
    for key, document in enumerate(validation, start=10_000):
        search.add(key, document, in_validation=True)
    return search.near_duplicates()


def test_near_texts_are_told_and_far_ones_are_not(tmp_path):
    """40 texts at similarity 0.905, four standard errors above 0.8; 40 at 0.333; 40 of other words."""
    validation = [text(number) for number in range(80)]
    training = [text(number, changed=(50,)) for number in range(40)]
    training += [text(number, changed=range(5, 100, 10)) for number in range(40, 80)]
    training += [text(number) for number in range(100, 140)]
    near = searched(tmp_path, validation, training)
    assert near.keys == frozenset(range(40))
    assert near.as_dict() == {
        "documents": 40,
        "checked_documents": 120,
        "rate": 40 / 120,
        "is_whole": True,
    }


def test_capitals_white_space_and_short_texts(tmp_path):
    near = searched(tmp_path, ["Hello  World", text(1)], [text(1).upper(), "hello\nworld", "hello"])
    assert near.keys == {0, 1}


def test_the_cost_is_bounded_and_said(tmp_path):
    training = [text(number, changed=(50,)) for number in range(20)]
    near = searched(tmp_path, [text(19), text(3)], training, most_training=10)
    assert near.keys == {3}
    assert near.checked == 10
    assert not near.is_whole
    near = searched(tmp_path, [text(3), text(19)], training, most_validation=1)
    assert near.keys == {3}
    assert not near.is_whole


@pytest.fixture
def prepare(tmp_path):
    """Return a function that prepares corpora, two domain documents of which have a near copy."""
    documents = [text(number) for number in range(200)]
    held_out = [is_validation(document_key(document), 0.2) for document in documents]
    chosen = [number for number in range(200) if held_out[number]][:2]
    copies = []
    for number in chosen:  # one that is not itself held out
        copies.append(
            next(
                copy
                for i in range(20, 90)
                if not is_validation(document_key(copy := text(number, changed=(i,))), 0.2)
            )
        )
    (tmp_path / "domain.txt").write_text("|".join([*documents, *copies]))
    (tmp_path / "general.txt").write_text("|".join(text(n) for n in range(1000, 1100)))

    def prepared(near_duplicates, folder):
        values = tiny_values()
        values["corpora"] = {
            name: {"source": f"{name}.txt", "separator": "|"} for name in ("general", "domain")
        } | {"validation_share": 0.2, "near_duplicates": near_duplicates}
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(values))
        said = []
        corpora = prepare_corpora(
            read_spec(tmp_path / "spec.yaml"), tmp_path / folder, say=said.append
        )
        return corpora, said

    prepared.copies = copies
    prepared.num_training = sum(not held for held in held_out) + 2
    return prepared


def test_they_are_reported(prepare, tmp_path):
    corpora, said = prepare("report", "report")
    counts = corpora.manifest["corpora"]["domain"]
    assert counts["near_duplicates"]["documents"] == 2
    assert counts["train_documents"] == counts["near_duplicates"]["checked_documents"]
    assert counts["train_documents"] == prepare.num_training
    assert said == [
        f"corpora.domain: 2 of {prepare.num_training} training documents ({2 / prepare.num_training:.2%}) are "
        "near-duplicates of validation documents; validation losses may be too low; near_duplicates: drop leaves "
        "them out"
    ]
    assert not list(tmp_path.glob("report/**/*.signatures"))


def test_they_are_left_out_on_request(prepare):
    kept, _ = prepare("ignore", "ignore")
    dropped, said = prepare("drop", "drop")
    reported, _ = prepare("report", "report")
    counts = {
        name: corpora.manifest["corpora"]["domain"]
        for name, corpora in (("kept", kept), ("dropped", dropped))
    }
    assert counts["kept"]["train_documents"] - counts["dropped"]["train_documents"] == 2
    lost = sum(len(copy) + 1 for copy in prepare.copies)  # bytes, and one token that ends each
    difference = counts["kept"]["train_tokens"] - counts["dropped"]["train_tokens"]
    assert abs(difference - lost) < 2 * 16  # whole sequences of 16
    assert counts["kept"]["validation_tokens"] == counts["dropped"]["validation_tokens"]
    assert re.search(r"corpora\.domain: 2 of .* left out of training", said[0])
    identities = [corpora.identity.data_fingerprint for corpora in (kept, reported, dropped)]
    assert identities[0] == identities[1] != identities[2]


def test_without_the_library_dropping_is_refused_and_reporting_said(prepare, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs datasketch"):
        prepare("drop", "drop")
    _, said = prepare("report", "report")
    assert said[0].startswith("near-duplicates of validation documents were not looked for")
