"""A sweep small enough for tests: two made-up languages, a model of a few thousand parameters."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sweeping import run_here, tiny_values
from tiny_checkpoints import write_checkpoint

from probes.spec.file import read_spec

# as a worker: with more threads, models this small spend their time waiting for each other
torch.set_num_threads(1)

WORDS = {
    "general": "the cat sat on a mat and saw one more bird near old green hill".split(),
    "domain": "def return x = y + z ( ) : for i in range print not 0 1".split(),
}
NUM_DOCUMENTS = 120


def write_corpora(folder: Path) -> None:
    """Write 120 text files a corpus, each with 60 words of its own language."""
    for number, (name, words) in enumerate(WORDS.items()):
        generator = np.random.default_rng(number)
        (folder / name).mkdir(parents=True)
        for document in range(NUM_DOCUMENTS):
            text = " ".join(generator.choice(words, size=60))
            (folder / name / f"{document:03d}.txt").write_text(text)


@pytest.fixture
def values():
    return tiny_values()


@pytest.fixture(scope="session")
def corpora_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    write_corpora(folder)
    return folder


@pytest.fixture
def make_spec(corpora_folder):
    """Return a function that reads a spec with the given values from a file."""

    def make(values):
        path = corpora_folder / "spec.yaml"
        path.write_text(yaml.safe_dump(values))
        return read_spec(path)

    return make


@pytest.fixture
def spec(make_spec, values):
    return make_spec(values)


@pytest.fixture(scope="session")
def finished_sweep(corpora_folder, tmp_path_factory):
    """Return the folder of an unbroken sweep; tests must not change it."""
    path = corpora_folder / "unbroken.yaml"
    path.write_text(yaml.safe_dump(tiny_values()))
    out = tmp_path_factory.mktemp("unbroken") / "runs"
    run_here(read_spec(path), out)
    return out


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Return the folders of a tiny checkpoint of each kind; tests must not change them."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {kind: write_checkpoint(folder / kind, kind) for kind in ("llama", "neox")}


def checkpoint_values_of(checkpoints):
    """Return the values of a spec whose sizes are the two checkpoints."""
    values = tiny_values()
    del values["base"]
    values["sizes"] = [
        {"name": kind, "checkpoint": str(folder)} for kind, folder in checkpoints.items()
    ]
    return values


@pytest.fixture
def checkpoint_values(checkpoints):
    return checkpoint_values_of(checkpoints)


@pytest.fixture(scope="session")
def checkpoint_spec_path(checkpoints, corpora_folder):
    path = corpora_folder / "checkpoints.yaml"
    path.write_text(yaml.safe_dump(checkpoint_values_of(checkpoints)))
    return path
