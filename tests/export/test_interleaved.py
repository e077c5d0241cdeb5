"""What Hugging Face datasets makes of an export: the achieved share of tokens, measured."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cmrplan as cp
from cmrplan.files import sealed

datasets = pytest.importorskip("datasets")

TOKENS = {"general": 400, "domain": 4000}
NUMBERS = {"general": 100_000, "domain": 10_000}


def documents(name, number):
    """Return documents that say how many tokens they have."""
    return {"num_tokens": np.full(number, TOKENS[name], np.int32)}


def exported(ratio, tmp_path, paths):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(sealed({"domain_ratio": ratio, "train_tokens": 4e7})))
    return cp.export(plan, "hf", tokens_per_row=TOKENS, paths=paths).text


def run(text, corpora):
    """Return the stream that a text makes of corpora in memory, by name."""
    names = {
        "interleave_datasets": datasets.interleave_datasets,
        "load_dataset": lambda path, split, streaming: corpora[path].to_iterable_dataset(),
    }
    exec(text.partition("\n\n")[2], names)
    return names["train"]


def domain_share(num_tokens, budget):
    """Return the share of domain tokens among the first ``budget`` tokens."""
    assert sum(num_tokens) >= budget
    within = np.asarray(num_tokens)[np.cumsum(num_tokens) <= budget]
    return within[within == TOKENS["domain"]].sum() / within.sum()


@pytest.fixture(scope="module")
def loaded():
    return {
        name: datasets.Dataset.from_dict(documents(name, number))
        for name, number in NUMBERS.items()
    }


@pytest.mark.parametrize("ratio", [0.5, 0.8])
def test_documents_of_400_and_4000_tokens_give_the_asked_share(ratio, loaded, tmp_path):
    # Of 40 million tokens the share has a standard deviation of 0.004 at one half, and of 0.003 at 0.8.
    train = run(exported(ratio, tmp_path, paths={name: name for name in TOKENS}), loaded)
    tokens = [row["num_tokens"] for row in train.take(90_000)]
    assert domain_share(tokens, budget=4e7) == pytest.approx(ratio, abs=0.01)


def test_a_run_of_more_than_a_pass_over_every_corpus_does_not_end_early(tmp_path):
    """Two million tokens, half each, of corpora of 100,000 and 200,000: ten passes and five."""
    corpora = {
        name: datasets.Dataset.from_dict(documents(name, number))
        for name, number in {"general": 250, "domain": 50}.items()
    }
    train = run(exported(0.5, tmp_path, paths={name: name for name in TOKENS}), corpora)
    tokens = [row["num_tokens"] for row in train.take(2750)]  # of 400 and 4,000, ten to one: 727
    assert sum(tokens) == pytest.approx(2e6, rel=0.1)
    assert tokens.count(TOKENS["domain"]) / len(tokens) == pytest.approx(1 / 11, abs=0.02)


def test_a_plan_of_one_corpus_goes_on_too(tmp_path):
    corpus = {"domain": datasets.Dataset.from_dict(documents("domain", 10))}
    train = run(exported(1.0, tmp_path, paths={"domain": "domain"}), corpus)
    assert len(list(train.take(25))) == 25


def test_without_the_conversion_it_would_not(loaded):
    # 4000 / (4000 + 400) = 0.909 for 0.5
    train = datasets.interleave_datasets(
        list(loaded.values()), probabilities=[0.5, 0.5], seed=0, stopping_strategy="all_exhausted"
    )
    assert domain_share(train["num_tokens"][:], budget=4e7) == pytest.approx(0.909, abs=0.01)


def test_the_text_runs_as_it_is(tmp_path):
    paths = {}
    for name in TOKENS:
        paths[name] = str(tmp_path / name)
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(documents(name, 300)), tmp_path / name / "train.parquet")
    names: dict = {}
    exec(exported(0.5, tmp_path, paths), names)
    num_tokens = [row["num_tokens"] for row in names["train"].take(600)]
    # Of 600 rows one in eleven is of the domain, give or take 7.
    assert 27 < num_tokens.count(TOKENS["domain"]) < 82
