"""A log whose numbers are not what their columns say: the ratio the wrong way round, other units.

The logs are invented: losses in nats that move with the domain ratio as in any sweep, at a size and budgets that
exist. A random one and its twin in other words must give the same log or a refusal in one line.
"""

import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cmrplan as cp
from cmrplan.log.cells import raw_frame
from cmrplan.log.files import check_log
from cmrplan.log.importers.changes import Changes, to_log
from cmrplan.log.units import unit_findings

few = settings(max_examples=12, deadline=None, derandomize=True)
RATIOS = (0.0, 0.1, 0.3, 0.6, 1.0)


def sweep(sizes=(1e8, 4e8), tokens=(2e8, 8e8, 3.2e9), ratios=RATIOS, seed=0, noise=0.002):
    """Return a sweep in nats: the general loss rises with the ratio and the domain loss falls."""
    rng = np.random.default_rng(seed)
    rows = []
    for size, ratio in itertools.product(sizes, ratios):
        level = 2.5 * (1e8 / size) ** 0.076
        for budget in (0.0, *tokens):
            for corpus in ("general", "domain"):
                loss = level + (0.5 if corpus == "general" else 0.2)
                if budget:
                    far = math.log10(budget / 1e8)
                    loss += 0.1 * ratio * far if corpus == "general" else -0.2 * far * ratio**0.3
                    loss += noise * rng.standard_normal()
                rows.append((f"{size:g}-{ratio}", size, budget, ratio, corpus, loss))
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    return pd.DataFrame(rows, columns=names)


def codes(log, severity="error"):
    return {str(one.code) for one in check_log(log) if one.severity == severity}


def imported(log, **changes):
    return to_log(raw_frame(log, "runs.csv"), Changes(**changes)).log


def replay_in(log):
    """Return the log with the share of replay in the column of the domain ratio."""
    return log.assign(domain_ratio=1 - log["domain_ratio"])


sweeps = st.builds(
    sweep,
    sizes=st.sampled_from([(1e8,), (7e7, 1e9), (1e8, 4e8, 7e9)]),
    tokens=st.sampled_from([(1e9,), (2e8, 8e8, 3.2e9)]),
    ratios=st.sampled_from([RATIOS, (0.05, 0.25, 0.5), (0.0, 0.5, 0.9, 1.0)]),
    seed=st.integers(0, 1000),
    noise=st.sampled_from([0.0, 0.002, 0.005]),
)


class TestOrientation:
    @few
    @given(log=sweeps)
    def test_the_right_way_round_is_not_remarked_on(self, log):
        assert not codes(log)
        assert not {"loss_unit", "few_tokens"} & codes(log, "warning")

    @few
    @given(log=sweeps)
    def test_replay_in_the_column_is_an_error_and_its_complement_the_same_log(self, log):
        wrong = replay_in(log)
        assert codes(wrong) == {"replay_as_domain"}
        with pytest.raises(cp.InputError, match="--map domain_ratio=replay_ratio"):
            cp.fit(wrong, bootstrap=0)
        with pytest.raises(cp.InputError, match="--map replay=replay_ratio"):
            imported(
                wrong.rename(columns={"domain_ratio": "replay"}), names={"replay": "domain_ratio"}
            )
        again = imported(wrong, names={"domain_ratio": "replay_ratio"})
        pd.testing.assert_frame_equal(again, cp.validate_log(log))

    @pytest.mark.parametrize(
        "change",
        [
            lambda log: log[log["domain_ratio"].isin([0, 1])],  # by chance one time in four
            lambda log: log.assign(loss=2.5),
            lambda log: log[log["eval_corpus"] == "general"],
            lambda log: log.assign(
                loss=log["loss"].where(log["eval_corpus"] == "domain", 5.4 - log["loss"])
            ),
        ],
        ids=["two ratios", "no change", "one corpus", "both fall"],
    )
    def test_what_is_no_proof(self, change):
        assert not codes(change(replay_in(sweep())))

    def test_a_domain_loss_that_turns_upward_at_large_ratios_is_no_proof(self):
        log = sweep()
        turned = 0.4 * (log["domain_ratio"] - 0.3).clip(lower=0) * (log["eval_corpus"] == "domain")
        assert not codes(log.assign(loss=log["loss"] + turned * (log["train_tokens"] > 0)))

    def test_one_slice_of_noise_does_not_hide_it(self):
        log = replay_in(sweep(sizes=(1e8, 4e8, 1e9, 7e9)))
        first = (log["train_tokens"] == 2e8) & (log["model_params"] == 1e8)
        log.loc[first & (log["eval_corpus"] == "general"), "loss"] = [2.6, 2.61, 2.62, 2.63, 2.64]
        assert codes(log) == {"replay_as_domain"}

    @pytest.mark.parametrize("command", ["check", "fit", "compare", "backtest", "import"])
    def test_every_command_that_reads_it_refuses(self, command, call, tmp_path):
        path, out = tmp_path / "log.csv", tmp_path / "out"
        replay_in(sweep()).to_csv(path, index=False)
        arguments = {
            "check": ["logs", "check", path],
            "import": ["logs", "import", "table", path, "--out", tmp_path / "out.csv"],
        }.get(command, [command, path])
        answer = call(*arguments)
        assert answer.code == 2
        assert "general loss falls and the domain loss rises" in answer.out + answer.err
        assert "--map domain_ratio=replay_ratio" in answer.out + answer.err
        assert not out.exists()


UNITS = {
    "params in millions": (
        lambda log: log.assign(model_params=log["model_params"] / 1e6),
        {"size_unit"},
    ),
    "params in billions": (
        lambda log: log.assign(model_params=np.ceil(log["model_params"] / 1e9)),
        {"size_unit"},
    ),
    "tokens in billions": (
        lambda log: log.assign(train_tokens=np.ceil(log["train_tokens"] / 1e9)),
        {"tokens_unit"},
    ),
    "tokens in millions": (
        lambda log: log.assign(train_tokens=log["train_tokens"] / 1e6),
        {"tokens_unit"},
    ),
    "steps of a batch of 512 x 2048": (
        lambda log: log.assign(train_tokens=np.ceil(log["train_tokens"] / 2**20)),
        {"tokens_unit"},
    ),
    "many steps beside their own column": (
        lambda log: log.assign(
            train_tokens=log["train_tokens"] / 100, step=log["train_tokens"] / 100
        ),
        {"tokens_unit"},
    ),
    "perplexity": (lambda log: log.assign(loss=np.exp(log["loss"])), {"loss_not_nats"}),
}


class TestUnits:
    @pytest.mark.parametrize("unit", UNITS)
    def test_what_cannot_be_right_is_refused_in_one_line(self, unit, call, tmp_path):
        change, expected = UNITS[unit]
        log = change(sweep(sizes=(4e8,), tokens=(1e9, 2e9, 4e9)))
        assert codes(log) == expected
        path = tmp_path / "log.csv"
        log.to_csv(path, index=False)
        answer = call("fit", path)
        assert answer.code == 2
        assert answer.err.count("\n") == 1
        assert "cmrplan logs import table" in answer.err

    @pytest.mark.parametrize("size", [1.6e8, 1e9, 7e9])
    @pytest.mark.parametrize("perplexity", [15.0, 10.0, 7.5])
    def test_perplexities_below_20_are_told(self, size, perplexity):
        """Of a base with a general loss of 2 to 2.7 nats; larger models reach the lower ones."""
        log = sweep(sizes=(size,), noise=0)
        general = log.loc[
            (log["eval_corpus"] == "general") & (log["train_tokens"] == 0), "loss"
        ].iloc[0]
        twin = log.assign(loss=np.exp(log["loss"] - general + math.log(perplexity)))
        told = codes(twin) | codes(twin, "warning")
        assert {"loss_not_nats", "loss_unit"} & told

    @pytest.mark.parametrize("corpus", ["general", "domain"])
    def test_perplexities_of_one_corpus_beside_nats_are_told(self, corpus, call, tmp_path):
        """Domain losses of 1.9 to 2.7 nats are perplexities of 6.6 to 15, which a loss may hardly be."""
        log = sweep()
        loss = log["loss"].where(log["eval_corpus"] != corpus, np.exp(log["loss"]))
        path = tmp_path / "log.csv"
        log.assign(loss=loss).to_csv(path, index=False)
        (told,) = unit_findings(cp.read_log(path), "log")
        assert f"on {corpus} is" in told.message.replace("'", "")
        fit = call("fit", path, "--bootstrap", "0", "--out", tmp_path / "fit.json")
        assert f"[{told.code}]" in fit.err or fit.code == 2
        into = call("logs", "import", "table", path, "--out", tmp_path / "again.csv")
        assert f"[{told.code}]" in into.err or into.code == 2

    @few
    @given(log=sweeps)
    def test_bits_are_told(self, log):
        assert "loss_unit" in codes(log.assign(loss=log["loss"] / math.log(2)), "warning")
        assert "loss_unit" in codes(log.assign(loss=log["loss"] / 4.3 / math.log(2)), "warning")

    def test_a_tokenizer_of_bytes_has_low_losses(self):
        log = sweep().assign(tokenizer="bytes")
        assert "loss_unit" not in codes(log.assign(loss=log["loss"] / 4.3), "warning")

    def test_few_tokens_are_asked_about(self):
        log = sweep(sizes=(4e8,))
        log["train_tokens"] /= 2e4  # 160,000 steps of 20,000 tokens
        assert "few_tokens" in codes(log, "warning")
        assert not codes(log)

    def test_the_library_says_what_the_command_refuses(self):
        fit = cp.fit(sweep().assign(loss=lambda log: np.exp(log["loss"])), "dcpt", bootstrap=0)
        assert "loss_not_nats" in {finding.code for finding in fit.warnings}


class TestConversion:
    @few
    @given(log=sweeps)
    def test_every_unit_converts_back_to_the_same_losses(self, log):
        right = cp.validate_log(log)["loss"]
        twins = {
            "ppl": (np.exp(log["loss"]), {}),
            "bits": (log["loss"] / math.log(2), {}),
            "bpb": (log["loss"] / math.log(2) / 4.3, {"bytes_per_token": {"": 4.3}}),
        }
        for unit, (loss, more) in twins.items():
            again = imported(log.assign(loss=loss), loss_unit=unit, **more)
            np.testing.assert_allclose(again["loss"], right, rtol=1e-12)

    def test_by_hand(self):
        log = sweep().assign(loss=8.0, loss_stderr=0.4)
        assert imported(log, loss_unit="ppl")["loss"].iloc[0] == pytest.approx(
            2.0794415, rel=1e-7
        )  # ln 8
        assert imported(log, loss_unit="ppl")["loss_stderr"].iloc[0] == pytest.approx(
            0.05
        )  # 0.4 / 8
        low = log.assign(loss=3.0)
        assert imported(low, loss_unit="bits")["loss"].iloc[0] == pytest.approx(2.0794415)  # 3 ln 2
        assert imported(low, loss_unit="bits")["loss_stderr"].iloc[0] == pytest.approx(0.27725887)
        low = log.assign(loss=0.75)
        by_corpus = {"general": 4.0, "domain": 2.0}
        twin = (
            imported(low, loss_unit="bpb", bytes_per_token=by_corpus)
            .groupby("eval_corpus")["loss"]
            .first()
        )
        assert twin.to_dict() == pytest.approx(
            {"general": 2.0794415, "domain": 1.0397208}
        )  # 3 ln 2, 1.5 ln 2

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--loss-unit", "bpb"], ["--bytes-per-token", "'general'"]),
            (["--loss-unit", "bpb", "--bytes-per-token", "domain=4"], ["'general'"]),
            (
                ["--loss-unit", "bpb", "--bytes-per-token", "0"],
                ["--bytes-per-token", "above 0", "0"],
            ),
            (["--loss-unit", "ppl"], ["perplexity must be above 1", "row 1, line 2"]),
            (["--map", "loss=val_ppl", "--map", "val_ppl=loss"], ["no column 'val_ppl'"]),
        ],
    )
    def test_refusals(self, options, words, call, tmp_path):
        path = tmp_path / "log.csv"
        sweep().assign(loss=0.7).to_csv(path, index=False)
        answer = call("logs", "import", "table", path, "--out", tmp_path / "out.csv", *options)
        assert answer.code == 2
        assert all(word in answer.err for word in words), answer.err

    @pytest.mark.parametrize(
        ("name", "unit"),
        [
            ("val/general_ppl", "ppl"),
            ("Perplexity", "ppl"),
            ("eval.bpb", "bpb"),
            ("bits_per_token", "bits"),
        ],
    )
    def test_a_name_that_says_the_unit_is_taken_at_its_word(self, name, unit):
        log = sweep().rename(columns={"loss": name})
        with pytest.raises(cp.InputError, match=f"--loss-unit {unit}"):
            imported(log, names={name: "loss"})
        again = imported(log, names={name: "loss"}, loss_unit="nats")
        assert again["loss"].equals(cp.validate_log(sweep())["loss"])


class TestBaseApart:
    """The base was evaluated on another set than the runs."""

    def other_set(self, lower):
        log = sweep(sizes=(1e8, 4e8))
        is_base = (log["train_tokens"] == 0) & (log["eval_corpus"] == "general")
        return log.assign(loss=log["loss"] - lower * is_base)

    def test_it_is_said_in_check_fit_and_the_refusal_of_a_plan(self):
        # 3.0 and 2.75 nats; a tenth of either is far more than runs at ratio 0 differ by
        log = self.other_set(0.3)
        assert "base_apart" in codes(log, "warning")
        fit = cp.fit(log, "dcpt", bootstrap=0)
        assert "base_apart" in {finding.code for finding in fit.warnings}
        plan = cp.plan(fit, model_params=4e8, train_tokens=3e9, max_general_rise="3%")
        assert not plan.is_feasible
        (said,) = [finding.message for finding in plan.warnings if finding.code == "base_apart"]
        assert re.search(r"0\.29\d nats or more above .*--rise-over replay", said)

    def test_less_is_re_warming(self):
        assert "base_apart" not in codes(self.other_set(0.05), "warning")


def test_steps_that_are_the_length_of_a_run_say_nothing_of_a_fall():
    """The last evaluation stands first, and the column has the steps of the whole run in each row."""
    log = sweep().assign(step=50_000)
    assert "tokens_unit" not in codes(log[::-1])
