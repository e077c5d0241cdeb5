"""What makes a fit or judges laws takes a log or its path, counts as numbers or as text, and names a wrong word."""

import inspect
import typing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan.errors import InputError
from cmrplan.validate.baselines import BASELINES
from cmrplan.validate.predictors import predictors

ROOT = Path(__file__).parents[2]
PROBES = ROOT / "data/probes/log.csv"
FUNCTIONS = ("fit", "compare", "backtest", "fit_mixture", "fit_domains", "predict_new_domain")


@pytest.fixture
def baselines_alone(monkeypatch):
    """Let compare and backtest ask the quick baselines only."""
    quick = {name: answer for name, answer in predictors({}).items() if name in ("linear",)}
    assert set(quick) <= set(BASELINES)
    for module in ("compare", "backtest"):
        monkeypatch.setattr(f"cmrplan.validate.{module}.predictors", lambda base_loss: quick)


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory):
    """Return a log of two sizes and twelve mixtures of two corpora, and its file."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "run_id": f"{size:g}-{run}",
            "model_params": size,
            "train_tokens": tokens,
            "share_code": share,
            "share_web": 1 - share,
            "eval_corpus": "code",
            "loss": 2 + np.exp(-share) - 0.01 * np.log(tokens * size) + 0.001 * rng.normal(),
        }
        for size in (1e8, 2e8)
        for run, share in enumerate(np.linspace(0.05, 0.95, 12))
        for tokens in (1e8, 1e9)
    ]
    log, path = pd.DataFrame(rows), tmp_path_factory.mktemp("mixture") / "log.csv"
    log.to_csv(path, index=False)
    return log, path


@pytest.fixture(scope="module")
def domains():
    """Return the logs and short runs of three domains of one law; K is 1 / k1, the first loss."""
    tokens = np.array([1e7, 2e7, 3e7])
    runs = {f"d{k}": (tokens, k - 1e-9 * tokens) for k in (2.0, 2.2, 2.5)}
    grid = [(r, t) for r in (0.1, 0.3, 0.6, 1.0) for t in (1e8, 3e8, 1e9, 3e9)]
    logs = {
        name: pd.DataFrame(
            {
                "run_id": [f"r{r:g}" for r, _ in grid],
                "model_params": 1e8,
                "train_tokens": [t for _, t in grid],
                "domain_ratio": [r for r, _ in grid],
                "eval_corpus": "domain",
                "loss": [1 + 60 * r**0.2 / t**0.25 + 0.1 * loss[0] / (r + 0.2) for r, t in grid],
            }
        )
        for name, (_, loss) in runs.items()
    }
    return logs, runs


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_signature_has_every_word_with_its_type(name):
    function = getattr(cp, name)
    for word, parameter in inspect.signature(function).parameters.items():
        assert parameter.kind is not inspect.Parameter.VAR_KEYWORD
        assert parameter.annotation not in (inspect.Parameter.empty, typing.Any), word
        assert word in function.__doc__


def test_the_words_of_a_fit_have_the_defaults_of_its_settings():
    parameters = inspect.signature(cp.fit).parameters
    assert set(parameters) == {"log", *vars(cp.fit(PROBES, "dcpt", bootstrap=0).settings)}
    assert parameters["bootstrap"].default == 200
    assert parameters["weights"].default == "equal"


@pytest.mark.parametrize(
    ("name", "word", "nearest"),
    [
        ("fit", "bootstrp", "bootstrap"),
        ("compare", "min_tokens", "min_train_tokens"),
        ("backtest", "max_general_rize", "max_general_rise"),
        ("fit_mixture", "confidance", "confidence"),
        ("fit_domains", "rate_wait", "rate_weight"),
        ("predict_new_domain", "model_parms", "model_params"),
    ],
)
def test_a_wrong_word_is_refused_with_the_nearest(name, word, nearest):
    with pytest.raises(
        InputError, match=f"^{name} has no argument {word}; did you mean {nearest}$"
    ):
        getattr(cp, name)(PROBES, **{word: 1})


@pytest.mark.parametrize(
    ("name", "missing"), [("fit", "log"), ("backtest", "max_general_rise"), ("fit_domains", "logs")]
)
def test_a_missing_word_is_named(name, missing):
    given = {"log": PROBES} if name == "backtest" else {}
    with pytest.raises(InputError, match=f"^{name} needs {missing}$"):
        getattr(cp, name)(**given)


class TestCountsAsText:
    def test_fit(self):
        log = simulated_log(sizes=(3e5, 1e6), seeds=(0,))
        asked = {"law": "dcpt", "bootstrap": 0}
        by_text = cp.fit(log, **asked, model_params="300k", min_train_tokens="0.1M")
        by_number = cp.fit(log, **asked, model_params=3e5, min_train_tokens=1e5)
        assert by_text.settings == by_number.settings
        assert by_text.summary() == by_number.summary()
        at = {"domain_ratio": 0.3}
        np.testing.assert_array_equal(
            by_text.predict("general", model_params="300k", train_tokens="1M", **at).loss,
            by_text.predict("general", model_params=3e5, train_tokens=1e6, **at).loss,
        )

    @pytest.mark.usefixtures("baselines_alone")
    def test_compare_and_backtest(self):
        by_text = cp.compare(PROBES, min_train_tokens="160k")
        by_number = cp.compare(cp.read_log(PROBES), min_train_tokens=160e3)
        pd.testing.assert_frame_equal(by_text.errors, by_number.errors)
        assert by_text.errors["num_rows"].sum() < cp.compare(PROBES).errors["num_rows"].sum()
        asked = {"max_general_rise": "5%"}
        pd.testing.assert_frame_equal(
            cp.backtest(PROBES, min_train_tokens="160k", **asked),
            cp.backtest(cp.read_log(PROBES), min_train_tokens=160e3, **asked),
        )

    def test_fit_mixture(self, mixtures):
        log, path = mixtures
        by_text = cp.fit_mixture(path, bootstrap=0, model_params="100M", min_train_tokens="0.5B")
        by_number = cp.fit_mixture(log, bootstrap=0, model_params=1e8, min_train_tokens=5e8)
        assert by_text.settings == by_number.settings
        mixture = {"code": 0.3, "web": 0.7}
        texts = by_text.predict(mixture, model_params="100M", train_tokens="1B")
        numbers = by_number.predict(mixture, model_params=1e8, train_tokens=1e9)
        np.testing.assert_array_equal(texts["code"].loss, numbers["code"].loss)

    def test_fit_domains(self, domains, tmp_path):
        logs, runs = domains
        paths = {name: tmp_path / f"{name}.csv" for name in logs}
        for name, log in logs.items():
            log.to_csv(paths[name], index=False)
        fit = cp.fit_domains(paths, runs)
        assert fit.coefficients == cp.fit_domains(logs, runs).coefficients
        new = (runs["d2.0"][0], runs["d2.0"][1] + 0.1)
        texts = cp.predict_new_domain(
            fit, new, model_params="100M", train_tokens="2B", domain_ratio=0.3
        )
        numbers = cp.predict_new_domain(
            fit, new, model_params=1e8, train_tokens=2e9, domain_ratio=0.3
        )
        np.testing.assert_array_equal(texts.loss, numbers.loss)

    @pytest.mark.parametrize("given", ["many", "-1", -1, float("nan"), None])
    @pytest.mark.parametrize("name", ["fit", "compare", "backtest", "fit_mixture"])
    def test_what_is_no_count_is_refused(self, name, given):
        needed = {"max_general_rise": "3%"} if name == "backtest" else {}
        with pytest.raises(
            InputError, match=r"^min_train_tokens must be a number, 0 or more.*, got"
        ):
            getattr(cp, name)(PROBES, min_train_tokens=given, **needed)

    @pytest.mark.parametrize("name", ["fit", "fit_mixture"])
    def test_a_size_that_is_none_is_refused(self, name):
        with pytest.raises(InputError, match=r"^model_params: 'big' is not a number above 0"):
            getattr(cp, name)(PROBES, model_params="big")


@pytest.mark.parametrize("name", ["fit", "compare", "backtest", "fit_mixture"])
def test_what_is_neither_a_log_nor_a_path_is_refused(name):
    needed = {"max_general_rise": "3%"} if name == "backtest" else {}
    with pytest.raises(
        InputError, match=r"^log must be a DataFrame or the path of a file, got dict"
    ):
        getattr(cp, name)({"loss": [1.0]}, **needed)
