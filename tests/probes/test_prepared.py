"""Prepared corpora: what is in the shards, and what happens when sources, disk or process fail."""

import errno
import hashlib
import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
import yaml

from cmrplan.errors import CmrplanError, InputError
from probes.data import build, prepare, shards
from probes.data.prepare import prepare_corpora
from probes.data.prepared import DataIdentity, load_corpora
from probes.data.shards import Sequences, pack, read_shards, write_shards
from probes.epoch_check import check_epochs
from probes.planned_runs import sweep_settings
from probes.spec.file import parse_spec, read_spec

T = 16

KILLED_THRICE = """
import os, signal, sys, time
from pathlib import Path
from probes.data.prepare import prepare_corpora
from probes.spec.file import read_spec
for delay in (0.02, 0.08, 0.2):
    child = os.fork()
    if not child:
        prepare_corpora(read_spec(sys.argv[1]), Path(sys.argv[2]))
        os._exit(0)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def texts(name, count):
    generator = np.random.default_rng(len(name))
    return [f"{name} {n} {'word ' * generator.integers(1, 9)}" for n in range(count)]


GENERAL, DOMAIN = texts("general", 150), texts("domain", 100)


def write_jsonl(path, documents):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))


@pytest.fixture
def sources(tmp_path):
    """Two shards of general documents and one of domain documents."""
    folder = tmp_path / "sources"
    write_jsonl(folder / "general" / "0.jsonl", GENERAL[:80])
    write_jsonl(folder / "general" / "1.jsonl", GENERAL[80:])
    write_jsonl(folder / "domain.jsonl", DOMAIN)
    return folder


@pytest.fixture
def make(sources, values):
    """Return a function that makes a spec with other values of corpora."""

    def make(general=None, domain=None, **other):
        corpora = {
            "general": {"source": str(sources / "general")} | (general or {}),
            "domain": {"source": str(sources / "domain.jsonl")} | (domain or {}),
            "validation_share": 0.3,
        }
        split = {key: other.pop(key) for key in list(other) if key == "unique_domain_tokens"}
        return parse_spec(values | {"corpora": corpora | split, "sequence_length": T} | other)

    return make


def key(text):
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()


def expected_stream(documents, validation, share=0.3):
    """Return the bytes of one part's documents in the order of their hashes, ends included."""
    chosen = [
        text for text in documents if (int(key(text)[:13], 16) < share * 16**13) == validation
    ]
    return [token for text in sorted(set(chosen), key=key) for token in [*text.encode(), 256]]


def expected_sequences(stream):
    rows = range((len(stream) - 1) // T)
    return [stream[row * T : row * T + T + 1] for row in rows]


def all_of(sequences):
    return sequences[np.arange(len(sequences))].tolist()


class TestContents:
    def test_sequences_are_the_documents_by_hash(self, make, tmp_path):
        prepared = prepare_corpora(make(), tmp_path / "corpora")
        for name, documents in (("general", GENERAL), ("domain", DOMAIN)):
            stream = expected_stream(documents, validation=False)
            assert all_of(prepared.train[name]) == expected_sequences(stream)
            held_out = expected_sequences(expected_stream(documents, validation=True))
            assert len(prepared.evaluation[name]) == 24
            assert all(row in held_out for row in prepared.evaluation[name].tolist())

    @pytest.mark.parametrize("shard_tokens", [T, 5 * T, 7 * T + 3])
    def test_shards_join_to_the_same_sequences(self, make, tmp_path, monkeypatch, shard_tokens):
        whole = prepare_corpora(make(), tmp_path / "whole")
        monkeypatch.setitem(write_shards.__kwdefaults__, "shard_tokens", shard_tokens)
        parts = prepare_corpora(make(), tmp_path / "parts")
        assert len(parts.manifest["corpora"]["general"]["train_shards"]) > 5
        for name in whole.train:
            assert all_of(parts.train[name]) == all_of(whole.train[name])
            assert np.array_equal(parts.evaluation[name], whole.evaluation[name])
        assert parts.identity == whole.identity

    def test_neither_files_nor_order_change_the_data(self, make, sources, tmp_path):
        before = prepare_corpora(make(), tmp_path / "before")
        write_jsonl(sources / "other" / "9.jsonl", GENERAL[100:][::-1])
        write_jsonl(sources / "other" / "a" / "0.jsonl", GENERAL[:100])
        spec = make(general={"source": str(sources / "other")})
        after = prepare_corpora(spec, tmp_path / "after")
        assert all_of(after.train["general"]) == all_of(before.train["general"])
        assert after.identity == before.identity

    def test_fingerprint_sees_one_character_and_the_split(self, make, sources, tmp_path):
        fingerprints = {prepare_corpora(make(), tmp_path / "a").identity.data_fingerprint}
        other = make()
        other = other.model_copy(
            update={"corpora": other.corpora.model_copy(update={"validation_share": 0.31})}
        )
        fingerprints.add(prepare_corpora(other, tmp_path / "b").identity.data_fingerprint)
        write_jsonl(sources / "domain.jsonl", [DOMAIN[0] + "!", *DOMAIN[1:]])
        fingerprints.add(prepare_corpora(make(), tmp_path / "c").identity.data_fingerprint)
        assert len(fingerprints) == 3

    def test_duplicates_are_dropped_and_common_texts_stay_in_the_domain(
        self, make, sources, tmp_path
    ):
        more = [*GENERAL[80:], "  ", GENERAL[3].replace(" ", "\n"), *DOMAIN[:7]]
        write_jsonl(sources / "general" / "1.jsonl", more)
        prepared = prepare_corpora(make(), tmp_path / "corpora")
        stream = expected_stream(GENERAL, validation=False)
        assert all_of(prepared.train["general"]) == expected_sequences(stream)
        counts = prepared.manifest["corpora"]
        assert counts["general"]["duplicate_documents"] == 8
        assert counts["domain"]["duplicate_documents"] == 0
        for name, documents in (("general", GENERAL), ("domain", DOMAIN)):
            entry = counts[name]
            assert entry["train_documents"] + entry["validation_documents"] == len(documents)
            length = len(expected_stream(documents, validation=False))
            assert entry["train_tokens"] == (length - 1) // T * T

    def test_bpe_is_trained_on_training_documents_in_any_order(self, make, sources, tmp_path):
        bpe = {"kind": "bpe", "vocab_size": 300}
        prepared = prepare_corpora(make(tokenizer=bpe, evaluation_sequences=4), tmp_path / "a")
        write_jsonl(sources / "domain.jsonl", DOMAIN[::-1])
        again = prepare_corpora(make(tokenizer=bpe, evaluation_sequences=4), tmp_path / "b")
        assert again.identity == prepared.identity
        assert all_of(again.train["domain"]) == all_of(prepared.train["domain"])
        assert (tmp_path / "a" / "tokenizer.json").exists()

    def test_large_vocabularies_take_32_bits(self, tmp_path):
        stream = np.arange(70_000, 70_000 + 5 * T + 1)
        names = write_shards(
            tmp_path, "x", [stream[:7], stream[7:]], sequences=5, sequence_length=T, dtype="uint32"
        )
        sequences = read_shards(tmp_path, names, sequence_length=T)
        assert sequences.dtype == np.uint32
        assert np.array_equal(sequences[np.arange(5)], pack(stream, sequence_length=T))


class TestLimits:
    def test_max_tokens_stops_reading(self, make, sources, tmp_path, monkeypatch):
        monkeypatch.setattr(build, "BATCH_DOCUMENTS", 4)
        (sources / "general" / "2.jsonl").write_text("never read, or it would be refused")
        prepared = prepare_corpora(
            make(general={"max_tokens": 1000}, evaluation_sequences=4), tmp_path / "corpora"
        )
        assert len(prepared.train["general"]) == 1000 // T
        read = json.loads((tmp_path / "corpora" / "sources.json").read_text())["general"]
        assert [(part["documents"] < 80, part["complete"]) for part in read] == [(True, False)]
        stream = expected_stream(GENERAL[: read[0]["documents"]], validation=False)
        assert all_of(prepared.train["general"]) == expected_sequences(stream)[: 1000 // T]

    def test_unique_domain_tokens_take_the_first_documents_by_hash(self, make, tmp_path):
        prepared = prepare_corpora(make(unique_domain_tokens=40 * T), tmp_path / "corpora")
        stream = expected_stream(DOMAIN, validation=False)
        assert all_of(prepared.train["domain"]) == expected_sequences(stream)[:40]
        entry = prepared.manifest["corpora"]["domain"]
        assert entry["train_tokens"] == 40 * T
        assert entry["available_train_tokens"] == (len(stream) - 1) // T * T
        whole = prepare_corpora(make(), tmp_path / "whole")
        assert np.array_equal(whole.evaluation["domain"], prepared.evaluation["domain"])
        assert whole.identity.data_fingerprint != prepared.identity.data_fingerprint

    def test_more_unique_tokens_than_there_are(self, make, tmp_path):
        available = (len(expected_stream(DOMAIN, validation=False)) - 1) // T * T
        with pytest.raises(CmrplanError) as caught:
            prepare_corpora(make(unique_domain_tokens=1e6), tmp_path / "corpora")
        assert str(caught.value) == (
            f"corpora.unique_domain_tokens is 1e+06, but corpora.domain has {available} training "
            "tokens; lower it or give more text"
        )

    @pytest.mark.parametrize("key", ["general.max_tokens", "unique_domain_tokens"])
    def test_limits_below_one_sequence(self, make, tmp_path, key):
        limit = {"general": {"max_tokens": 5}} if "." in key else {key: 5}
        message = f"^corpora.{key} is 5, less than one sequence of 16 tokens; give more$"
        with pytest.raises(InputError, match=message):
            prepare_corpora(make(**limit), tmp_path / "corpora")

    def test_too_small_corpora(self, make, sources, tmp_path):
        write_jsonl(sources / "domain.jsonl", DOMAIN[:1])
        with pytest.raises(
            CmrplanError, match=r"corpora\.domain has 1 distinct documents and none"
        ):
            prepare_corpora(make(), tmp_path / "corpora")
        write_jsonl(sources / "domain.jsonl", DOMAIN)
        with pytest.raises(
            CmrplanError, match=r"9999 are needed \(159985 tokens\): give more text"
        ):
            prepare_corpora(make(evaluation_sequences=9999), tmp_path / "corpora")


class TestAgain:
    @pytest.fixture
    def notices(self):
        return []

    @pytest.fixture
    def again(self, make, tmp_path, notices):
        """Return a function that prepares the same corpora in the same folder again."""
        first = prepare_corpora(make(), tmp_path / "corpora")

        def again(**changes):
            prepared = prepare_corpora(make(**changes), tmp_path / "corpora", say=notices.append)
            assert prepared.identity == first.identity
            assert all_of(prepared.train["general"]) == all_of(first.train["general"])

        return again

    def test_unchanged_sources_say_nothing(self, again, notices):
        again()
        assert notices == []

    def test_touched_file_goes_on_with_one_notice(self, again, notices, sources):
        os.utime(sources / "domain.jsonl", (1, 1))
        again()
        again()
        assert len(notices) == 1
        assert (
            "domain.jsonl was written again with the same documents; the sweep goes" in notices[0]
        )

    def test_vanished_sources_go_on_with_a_notice(self, again, notices, sources):
        (sources / "general" / "1.jsonl").unlink()
        again()
        assert "1.jsonl is gone (1 of 2 files); the sweep goes on from the tokens" in notices.pop()
        (sources / "general" / "0.jsonl").unlink()
        (sources / "domain.jsonl").unlink()
        again()
        assert [" is gone; the sweep goes on" in notice for notice in notices] == [True, True]

    @pytest.mark.parametrize("change", ["edit", "append", "cut", "add", "damage"])
    def test_other_documents_are_refused(self, again, sources, change):
        path = sources / "general" / "1.jsonl"
        rows = GENERAL[80:]
        changes = {
            "edit": lambda: write_jsonl(path, [*rows[:-1], rows[-1] + "!"]),
            "append": lambda: write_jsonl(path, [*rows, "one more"]),
            "cut": lambda: write_jsonl(path, rows[:-1]),
            "add": lambda: write_jsonl(path.with_name("2.jsonl"), ["one more"]),
            "damage": lambda: path.write_text("not json"),
        }
        changes[change]()
        with pytest.raises(InputError, match=r"holds other corpora: \S+ (of|was not in) [^\n]+$"):
            again()

    def test_what_was_never_read_may_change(self, make, sources, tmp_path, notices):
        spec = make(general={"max_tokens": 100}, evaluation_sequences=4)
        prepare_corpora(spec, tmp_path / "early")
        (sources / "general" / "1.jsonl").write_text("anything")
        prepare_corpora(spec, tmp_path / "early", say=notices.append)
        assert notices == []

    def test_other_settings_are_named(self, again):
        with pytest.raises(InputError, match=r"sequence_length was 16, now it is 8; choose anot"):
            again(sequence_length=8)
        with pytest.raises(InputError, match=r"corpora\.domain\.text_field was text, now it is b"):
            again(domain={"text_field": "body"})

    @pytest.mark.parametrize("damage", ["missing", "cut", "other length"])
    def test_damaged_shards_are_one_line(self, again, tmp_path, damage):
        shard = tmp_path / "corpora" / "shards" / "domain-train-00000.npy"
        if damage == "missing":
            shard.unlink()
        elif damage == "cut":
            shard.write_bytes(shard.read_bytes()[:-10])
        else:
            np.save(shard, np.zeros(3 * T + 1, np.uint16))
        with pytest.raises(InputError, match=r"corpora is damaged \([^\n]+\); remove that folder"):
            again()

    def test_other_version(self, again, tmp_path):
        (tmp_path / "corpora" / "manifest.json").write_text("{}")
        with pytest.raises(InputError, match="was prepared by another version of cmrplan; choose"):
            again()


class TestTrouble:
    def left(self, folder):
        return sorted(path.name for path in folder.iterdir() if path.name != "lock")

    @pytest.mark.parametrize("where", ["spool", "shard", "manifest"])
    def test_full_disk_is_one_line_and_leaves_nothing(self, make, tmp_path, monkeypatch, where):
        def full(*args, **keys):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        if where == "spool":
            monkeypatch.setattr(shards.TokenSpool, "add", full)
        elif where == "shard":
            monkeypatch.setattr(shards.os, "fsync", full)
        else:
            monkeypatch.setattr(prepare, "_write_papers", full)
        folder = tmp_path / "corpora"
        with pytest.raises(CmrplanError, match=r"cannot write prepared corpora to .*No space left"):
            prepare_corpora(make(), folder)
        assert not (folder / "manifest.json").exists()
        assert not list(folder.glob(".*"))
        monkeypatch.undo()
        assert len(prepare_corpora(make(), folder).train["domain"])

    def test_file_size_limit_of_the_system(self, make, tmp_path):
        folder = tmp_path / "corpora"
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # bytes
        try:
            with pytest.raises(CmrplanError, match="File too large; free space there or choose"):
                prepare_corpora(make(), folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert self.left(folder) == []

    def test_source_that_vanishes_or_changes_in_the_middle(
        self, make, sources, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(build, "BATCH_DOCUMENTS", 10)
        take_in = build._take_in
        folder = tmp_path / "corpora"

        def meddle(change):
            def taking(*args):
                change()
                take_in(*args)

            monkeypatch.setattr(build, "_take_in", taking)

        meddle(lambda: (sources / "general" / "1.jsonl").unlink(missing_ok=True))
        with pytest.raises(InputError, match=r"1\.jsonl: no such file$"):
            prepare_corpora(make(), folder)
        assert self.left(folder) == []
        write_jsonl(sources / "general" / "1.jsonl", GENERAL[80:])
        meddle(lambda: os.utime(sources / "domain.jsonl", (1, 1)))
        with pytest.raises(
            InputError, match=r"domain\.jsonl changed while it was read; start again"
        ):
            prepare_corpora(make(), folder)
        assert self.left(folder) == []

    def test_killed_at_any_moment_it_is_done_again(self, make, sources, tmp_path):
        write_jsonl(sources / "domain.jsonl", texts("domain", 4000))
        spec = make()
        whole = prepare_corpora(spec, tmp_path / "whole")
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(spec.model_dump()))
        folder = tmp_path / "killed"
        command = [sys.executable, "-c", KILLED_THRICE, str(path), str(folder)]
        subprocess.run(command, check=True)
        prepared = prepare_corpora(read_spec(path), folder)
        assert prepared.manifest == whole.manifest
        assert self.left(folder) == ["manifest.json", "shards", "sources.json"]
        for name in whole.train:
            assert all_of(prepared.train[name]) == all_of(whole.train[name])


class TestSequences:
    def test_rows_as_of_one_array(self):
        one = np.arange(60).reshape(12, 5)
        parts = Sequences([one[:5], one[5:6], one[6:]])
        rows = np.array([11, 0, 5, 4, 6, 0])
        assert np.array_equal(parts[rows], one[rows])
        assert (len(parts), parts.shape) == (12, (12, 5))
        assert parts[np.empty(0, int)].shape == (0, 5)

    @pytest.mark.parametrize("row", [-1, 12])
    def test_rows_outside(self, row):
        sequences = Sequences([np.zeros((12, 5), np.uint16)])
        with pytest.raises(IndexError, match="sequences are 0 to 11"):
            sequences[np.array([row])]


def test_training_tokens_stay_on_disk(make, tmp_path):
    prepare_corpora(make(), tmp_path / "corpora")
    shard = load_corpora(tmp_path / "corpora").train["general"]._shards[0]
    base = shard
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


class TestEpochs:
    @pytest.fixture
    def check(self, make):
        """Return a function that checks a spec's runs against corpora of some size; notices come back."""

        def check(tokens, **corpora):
            spec = make(**corpora)
            identity = DataIdentity("data", "bytes", 257)
            bases, probes = sweep_settings(spec, identity)
            counts = {name: {"train_tokens": count} for name, count in tokens.items()}
            notices = []
            check_epochs(spec.corpora, [*bases.values(), *probes], counts, notices.append)
            return notices

        return check

    def test_enough_text_says_nothing(self, check):
        # 60 and 48 steps of 64 tokens: no run has more than 3840
        assert check({"general": 3840, "domain": 3072}) == []

    def test_repetition_is_said(self, check):
        general, domain = check({"general": 1920, "domain": 1024})
        rest = "times through its 1920 training tokens"
        assert general == f"corpora.general repeats: nano-base-s0 goes 2 {rest}"
        rest = "times through its 1024 training tokens"
        assert domain == f"corpora.domain repeats: nano-r1-s0 goes 3 {rest}"

    def test_the_rest_of_a_whole_step_is_no_repetition(self, check):
        assert check({"general": 3824, "domain": 3060}) == []
        (general,) = check({"general": 3808, "domain": 3072})
        assert "goes 1.01 times" in general
        with pytest.raises(CmrplanError, match=r"go through them 1\.00418 times; max_epochs is 1:"):
            check({"general": 3824, "domain": 3072}, general={"max_epochs": 1})

    def test_repetition_that_is_not_allowed_is_refused(self, check):
        tokens = {"general": 10_000, "domain": 1024}
        assert len(check(tokens, domain={"max_epochs": 3})) == 1
        message = (
            r"^corpora\.domain has 1024 training tokens, and nano-r1-s0 would go through them 3 times; "
            r"max_epochs is 2\.5: give more text, fewer train_tokens or a larger max_epochs$"
        )
        with pytest.raises(CmrplanError, match=message):
            check(tokens, domain={"max_epochs": 2.5})
