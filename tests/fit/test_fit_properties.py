"""Whatever the log: an answer with coded warnings or one line of refusal, never a crash or silent nonsense.

Logs are drawn by hypothesis, always the same ones. Warnings of numpy are errors here, as everywhere in the tests.
"""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import simulated_log

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.law_fitting import fit_law_model
from cmrplan.fit.noise import Residuals, run_noise
from cmrplan.laws import build_law
from cmrplan.laws.chinchilla import chinchilla_law
from cmrplan.laws.cmr import domain_token_law, general_token_law
from cmrplan.laws.dcpt import SMALLEST_ETA, dcpt_law
from cmrplan.solve.law_fit import Status, fit_law
from cmrplan.solve.multistart import MANY_ROWS
from cmrplan.solve.signed_lstsq import ROWS_AT_ONCE, upper_triangle

NOISE = 0.002
SCALES = [1e-300, 1e-150, 1e-9, 1e9, 1e150, 1e290]

few = settings(max_examples=20, deadline=None, derandomize=True)


def law_log(sizes, tokens, ratios, seeds=1, noise=NOISE, corpora=("general", "domain")):
    """Return a log of the D-CPT law over a grid; sizes and tokens count from their own mean, so any scale will do."""
    rng = np.random.default_rng(len(sizes) + 10 * len(tokens) + 100 * len(ratios))
    size_mean, token_mean = np.exp(np.mean(np.log(sizes))), np.exp(np.mean(np.log(tokens)))
    rows = []
    for size in sizes:
        for ratio in ratios:
            for seed in range(seeds):
                for d in tokens:
                    for corpus in corpora:
                        share = ratio if corpus == "domain" else 1 - ratio
                        loss = 1.2 + 0.5 * (size / size_mean) ** -0.2 + 0.12 / (share + 0.05) ** 0.5
                        loss += 0.3 * share**0.3 * (d / token_mean) ** -0.25
                        loss *= np.exp(noise * rng.standard_normal())
                        run = f"{size!r}-{ratio!r}-{seed}"
                        rows.append((run, float(size), float(d), float(ratio), corpus, loss))
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    return pd.DataFrame(rows, columns=names)


@st.composite
def logs(draw):
    """A small log: few or equal levels, extreme units, near-singular ratios, repeated runs, one corpus or both."""
    unit = st.sampled_from([1.0, 1e3, 1e9, 1e30, 1e150, 1e290])
    sizes = np.array(
        draw(st.sampled_from([[3], [3, 4], [3, 10, 40], [1000, 1001, 1002]])), dtype=float
    )
    tokens = np.array(
        draw(st.sampled_from([[2], [2, 9], [1, 2, 4, 8, 16], [1e6, 1e6 + 1, 1e6 + 2]]))
    )
    ratios = draw(
        st.sampled_from(
            [
                [0.3],
                [0, 1],
                [0, 0.5, 1],
                [0.1, 0.3, 0.5, 0.9],
                [0, 0.01, 0.1, 0.4, 0.8, 1],
                [0.5, 0.5 + 1e-9, 0.5 + 2e-9],
                [1e-300, 1e-9, 2e-9, 3e-9],
                [1 - 3e-9, 1 - 1e-9, 1 - 2e-9],
            ]
        )
    )
    corpora = draw(st.sampled_from([("general", "domain"), ("general",), ("domain",)]))
    log = law_log(
        sizes * draw(unit), tokens * draw(unit), ratios, draw(st.integers(1, 2)), corpora=corpora
    )
    kind = draw(st.sampled_from(["law", "law", "law", "equal", "rough", "one off"]))
    if kind == "equal":
        log["loss"] = 2.5
    elif kind == "rough":
        log["loss"] = np.random.default_rng(len(log)).uniform(0.1, 10, len(log))
    elif kind == "one off":
        log.loc[len(log) // 2, "loss"] = draw(st.sampled_from([1e-300, 1e300]))
    log["loss"] *= draw(st.sampled_from([1.0, 1.0, 1e-9, 1e9]))
    if draw(st.booleans()):
        log = log[log["run_id"] == log["run_id"].iloc[0]]
    return log, kind


def check(fit, log, kind):
    """Check that predictions and intervals at the fitted rows are numbers in order, and that doubt is said."""
    json.dumps(fit.summary(), allow_nan=False)
    for corpus, model in fit.models.items():
        rows = fit.rows(corpus)
        figures = model.summary(0.9)
        assert figures["status"] in list(Status)
        if model.law == "cmr":
            continue
        predicted = []
        for row in rows.drop_duplicates(
            ["model_params", "train_tokens", "domain_ratio"]
        ).itertuples():
            found = fit.predict(
                corpus,
                model_params=row.model_params,
                train_tokens=row.train_tokens,
                domain_ratio=row.domain_ratio,
            )
            low, high = found.interval(0.9)
            assert np.isfinite(found.loss).all()
            assert (found.loss > 0).all()
            assert np.isfinite([low, high]).all()
            assert (low <= high).all()
            here = rows[
                (rows["model_params"] == row.model_params)
                & (rows["train_tokens"] == row.train_tokens)
                & (rows["domain_ratio"] == row.domain_ratio)
            ]
            predicted.append(np.abs(np.log(here["loss"] / found.loss[0])).to_numpy())
        # the law that made the data fits them to their noise, said to be identified or not; 3 noises allow for
        # repeats and for rows that the Huber loss gives up
        if (kind == "law" and model.law == "dcpt") or kind == "equal":
            assert np.mean(np.concatenate(predicted)) < 3 * NOISE
        if kind == "equal":
            assert figures["unidentified"]
        codes = {finding["code"] for finding in fit.summary()[corpus]["warnings"]}
        assert ("unidentified" in codes) == bool(figures["unidentified"])


@pytest.mark.parametrize("law", ["dcpt", "dcpt_exp", "cmr", "auto"])
def test_any_log_gives_an_answer_or_one_line(law):
    answers, refusals = [], []

    @few
    @given(logs())
    def run(drawn):
        log, kind = drawn
        try:
            fit = cp.fit(log, law, bootstrap=4)
            fit.summary()  # the ratio law of the CMR laws is fitted here
        except CmrplanError as error:
            refusals.append(str(error))
            return
        answers.append(kind)
        check(fit, log, kind)

    run()
    assert answers  # both happen, so both are tested
    assert refusals
    assert not any("\n" in line for line in refusals)


@pytest.fixture(scope="module")
def plain():
    log = simulated_log(sizes=(3e5, 1e6, 4e6), seeds=(0,))
    return log, cp.fit(log, "dcpt", bootstrap=5)


WHERE = {"model_params": 1e6, "train_tokens": 4e5, "domain_ratio": [0.0, 0.02, 0.3, 1.0]}
# Rounding of scaled losses moves where a descent ends by the root of the precision, 1.5e-8; resamples
# stop at a gradient of 1e-4 of the noise of 2e-3, so theirs by some 1e-7.
ENDS = 1e-7


def same(fit, reference, *, factor=1.0, where=WHERE):
    for corpus in ("general", "domain"):
        first = reference.predict(corpus, **WHERE)
        second = fit.predict(corpus, **where)
        np.testing.assert_allclose(second.loss / factor, first.loss, rtol=ENDS)
        np.testing.assert_allclose(second.draws / factor, first.draws, rtol=10 * ENDS)


@pytest.mark.parametrize("factor", SCALES)
def test_losses_in_another_unit_scale_the_predictions(plain, factor):
    log, reference = plain
    fit = cp.fit(log.assign(loss=log["loss"] * factor), "dcpt", bootstrap=5)
    same(fit, reference, factor=factor)
    fit.summary()


@pytest.mark.parametrize("column", ["model_params", "train_tokens"])
@pytest.mark.parametrize("factor", [1e3, 1e30, 1e150, 1e290])
def test_counts_in_another_unit_change_nothing(plain, column, factor):
    log, reference = plain
    fit = cp.fit(log.assign(**{column: log[column] * factor}), "dcpt", bootstrap=5)
    same(fit, reference, where=WHERE | {column: WHERE[column] * factor})


def test_order_of_rows_and_names_of_runs_change_nothing(plain):
    log, reference = plain
    shuffled = log.sample(frac=1, random_state=3)
    same(cp.fit(shuffled, "dcpt", bootstrap=5), reference)
    renamed = log.assign(run_id="x" + log["run_id"])  # the same order of names
    same(cp.fit(renamed, "dcpt", bootstrap=5), reference)


@pytest.mark.parametrize("law", [domain_token_law(), general_token_law()], ids=lambda law: law.name)
@pytest.mark.parametrize("factor", [1e-140, 1e-9, 1e9, 1e140])
def test_laws_of_differences_scale_too(law, factor):
    tokens = np.arange(1.0, 21) * 1e9
    rise = 0.3 * (tokens / 1e10) ** 0.5 - 0.2 * tokens / 1e10
    rise += 1e-3 * np.random.default_rng(0).standard_normal(20)
    inputs = {"train_tokens": tokens}
    for delta in (2e-3, None):
        first, second = (
            fit_law(law, inputs, rise * scale, delta=None if delta is None else delta * scale)
            for scale in (1.0, factor)
        )
        miss = np.abs(second.predict(inputs) / factor - first.predict(inputs)).max()
        # a knee from the noise comes from an end that is known to a gradient of 1e-5, so it and what
        # follows from it hold to some 1e-4 of the noise of 1e-3
        assert miss < (1e-4 * 1e-3 if delta is None else ENDS * np.abs(rise).max())
        assert second.delta / factor == pytest.approx(first.delta, rel=1e-4)
        assert second.objective / factor / factor == pytest.approx(first.objective, rel=1e-4)


def test_differences_beyond_float64_are_refused():
    tokens = np.arange(1.0, 21) * 1e9
    with pytest.raises(CmrplanError, match="divide them by a constant"):
        fit_law(domain_token_law(), {"train_tokens": tokens}, 1e200 * tokens**-0.5)


@few
@given(
    st.floats(0.1, 1.0),
    st.floats(0.1, 1.0),
    st.floats(0.1, 1.5),
    st.floats(-2, 0),
    st.floats(0.05, 1),
)
def test_noise_free_data_come_back(alpha, beta, gamma, offset, eta):
    """Losses of a law without noise are found again, at the rows and between them."""
    size, tokens, share = (
        a.ravel()
        for a in np.meshgrid([1e8, 1e9, 7e9], np.geomspace(1e8, 2e10, 6), np.linspace(0, 1, 9))
    )

    def truth(n, d, r):
        mixture = 0.4 * r**eta / (d / 2e9) ** beta
        return 1.5 + 0.5 / (n / 1e9) ** alpha + mixture + 0.1 / (r + 10**offset) ** gamma

    law = dcpt_law()
    inputs = {"model_params": size, "train_tokens": tokens, "share": share}
    fit = fit_law(law, inputs, truth(size, tokens, share))
    between = {
        "model_params": np.full(5, 3e9),
        "train_tokens": np.geomspace(2e8, 1e10, 5),
        "share": np.array([0.03, 0.3, 0.55, 0.7, 0.97]),
    }
    # the knee stops at 1e-6 and optimality at the root of the precision: 1e-6 of the loss
    np.testing.assert_allclose(fit.predict(between), truth(*between.values()), rtol=1e-6)


def test_eta_stays_above_zero_where_rows_have_no_share():
    """At eta = 0 exactly 0^0 = 1 makes it another law, and the objective jumps."""
    by_name = {e.name: e for e in dcpt_law(smallest_share=0.0).exponents}
    assert by_name["eta"].lower == SMALLEST_ETA
    by_name = {e.name: e for e in dcpt_law(smallest_share=0.1).exponents}
    assert by_name["eta"].lower == 0.0


@pytest.mark.parametrize("seed", range(8))
def test_merged_exponents_are_no_worse_than_any_separate_pair_and_are_named(seed):
    """The two powers of the general token law, against a grid of pairs solved by numpy."""
    rng = np.random.default_rng(seed)
    x = np.arange(5, 101, 5) / 50
    s = rng.uniform(-1.2, 1.2)
    near = seed % 2 == 0
    loss = 2.5 + 0.1 * x**s * (np.log(x) if near else 1) - (0 if near else 0.1 * x ** (s / 3))
    loss += 1e-3 * rng.standard_normal(len(x))
    fit = fit_law(general_token_law(), {"train_tokens": x}, loss, delta=np.inf)
    grid = np.linspace(-2, 2, 60)
    best = np.inf
    for k, first in enumerate(grid):
        for second in grid[:k]:
            columns = np.stack([x**first, x**second, np.ones_like(x)], axis=1)
            solution, *_ = np.linalg.lstsq(columns, loss, rcond=1e-14)
            best = min(best, float(np.sum((loss - columns @ solution) ** 2)))
    assert 2 * fit.objective <= best * (1 + 1e-6)
    if abs(fit.params["s2"] - fit.params["s3"]) < 0.01:
        assert {"alpha2", "alpha3"} <= set(fit.unidentified)


def test_an_option_that_a_repetition_law_does_not_know_is_named():
    for name in ("dcpt_repetition", "chinchilla_repetition", "dcpt_exp_repetition"):
        with pytest.raises(InputError, match="repeat_scal"):
            build_law(name, {"repeat_scal": 2.0})
        assert build_law(name, {"repeat_scale": 2.0}).fixed[-1] == ("repeat_scale", 2.0)


def test_a_law_without_inputs_says_so():
    law = chinchilla_law(size_levels=1, token_levels=1)
    assert law.inputs == ()
    with pytest.raises(InputError, match="no inputs"):
        fit_law(law, {}, np.full(5, 2.0))


class TestManyRows:
    def many(self, count):
        """Rows of one loss, every token count its own, one of them at a ratio of its own."""
        rng = np.random.default_rng(0)
        size, ratio = rng.choice([1e8, 1e9, 7e9], count), rng.choice([0, 0.1, 0.3, 0.6, 1], count)
        ratio[0] = 0.9
        tokens = np.round(rng.uniform(1e8, 2e10, count))
        loss = 1.5 + 0.4 / (size / 1e9) ** 0.3 + 0.3 * ratio**0.4 / (tokens / 2e9) ** 0.3
        loss += 0.1 / (ratio + 0.05) ** 0.5
        loss *= np.exp(NOISE * rng.standard_normal(count))
        return pd.DataFrame(
            {
                "run_id": [f"r{k % 50}" for k in range(count)],
                "model_params": size,
                "train_tokens": tokens,
                "domain_ratio": ratio,
                "eval_corpus": "domain",
                "loss": loss,
            }
        )

    def test_the_optimum_is_that_of_all_rows(self):
        """Starts race on some rows; the end is an optimum of all, as near to the law as noise lets it."""
        rows = self.many(3 * MANY_ROWS)
        fit = fit_law_model(rows, "domain").fit
        assert fit.status == Status.CONVERGED
        assert len(fit.residual) == len(rows)
        assert np.sqrt(np.mean(fit.residual**2)) == pytest.approx(NOISE, rel=0.05)

    def test_blocks_give_the_triangle_of_the_whole(self):
        rng = np.random.default_rng(0)
        stacked = rng.standard_normal((2, 3 * ROWS_AT_ONCE + 7, 4))
        found = upper_triangle(stacked)
        gram = np.einsum("snk,snl->skl", stacked, stacked)
        np.testing.assert_allclose(
            np.einsum("snk,snl->skl", found, found), gram, rtol=1e-12, atol=1e-9
        )

    def test_the_noise_of_long_runs_costs_no_square_of_their_rows(self):
        """With 30,000 rows the hat matrix alone would take 7 GB."""
        rng = np.random.default_rng(0)
        design = rng.standard_normal((30_000, 4))
        runs = [f"run{k % 20}" for k in range(30_000)]
        noise = 0.3 * rng.standard_normal(20)[np.arange(30_000) % 20] + rng.standard_normal(30_000)
        solution, *_ = np.linalg.lstsq(design, noise, rcond=None)
        found = run_noise([Residuals(noise - design @ solution, design, runs)])
        # 30,000 rows know the one to 0.4 %, 20 runs the other to 16 %: five standard errors
        assert found.checkpoint == pytest.approx(1.0, rel=0.02)
        assert found.run == pytest.approx(0.3, rel=0.8)


COMMANDS = {
    "equal losses": lambda log: log.assign(loss=2.5),
    "losses of 1e300": lambda log: log.assign(loss=log["loss"] * 1e299),
    "losses of 1e-300": lambda log: log.assign(loss=log["loss"] * 1e-300),
    "tokens of 1e300": lambda log: log.assign(train_tokens=log["train_tokens"] * 1e290),
    "one run": lambda log: log[log["run_id"] == log["run_id"].iloc[0]],
    "ratios 1e-9 apart": lambda log: log.assign(domain_ratio=0.5 + 1e-9 * log["domain_ratio"]),
    "one loss of 1e-300": lambda log: log.assign(loss=log["loss"].where(log.index != 9, 1e-300)),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_the_command_line_answers_or_refuses_in_one_line(case, log, call, tmp_path):
    COMMANDS[case](log).to_csv(tmp_path / "log.csv", index=False)
    out = tmp_path / "fit.json"
    answer = call("fit", tmp_path / "log.csv", "--bootstrap", "5", "--out", out)
    assert "Traceback" not in answer.err
    if answer.code == 0:
        first = fitted_rows(COMMANDS[case](log), "general", 0.0).iloc[0]
        asked = [str(first[name]) for name in ("model_params", "train_tokens", "domain_ratio")]
        answer = call(
            "predict", out, "--model-params", asked[0], "--train-tokens", asked[1],
            "--domain-ratio", asked[2], "--json",
        )  # fmt: skip
        assert answer.code == 0, answer.err
        assert answer.json()["general_loss"] > 0
        assert answer.json()["general_loss_low"] <= answer.json()["general_loss_high"]
    else:
        assert answer.code in (1, 2)
        assert [line.startswith("error: ") for line in answer.err.splitlines()].count(True) == 1
        assert not out.exists()
