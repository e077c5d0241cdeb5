"""A fit file that was edited or cut is refused with one line; one from before there were checksums is read in full."""

import json
from pathlib import Path

import pytest

import cmrplan as cp
from cmrplan.errors import InputError
from cmrplan.files import sealed
from cmrplan.mixture.file import read_mixture_fit, write_mixture_fit

KEPT = Path(__file__).parents[1] / "reference" / "fits" / "0.2.0"


def paths_in(value, path=()):
    """Yield the path of every number, text and null in a JSON value."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from paths_in(part, (*path, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from paths_in(part, (*path, number))
    else:
        yield path


def changed(value):
    """Return another value of the same type."""
    if isinstance(value, bool) or value is None:
        return "x" if value is None else not value
    return value + "x" if isinstance(value, str) else value * 1.5 + 1


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """Return the content of a fit of two corpora and of many, written anew with a checksum."""
    folder = tmp_path_factory.mktemp("fits")
    cp.write_fit(cp.read_fit(KEPT / "two_corpora.json"), folder / "two_corpora.json")
    write_mixture_fit(read_mixture_fit(KEPT / "mixture.json"), folder / "mixture.json")
    return {path.stem: path.read_text() for path in folder.iterdir()}


READERS = {"two_corpora": cp.read_fit, "mixture": read_mixture_fit}


@pytest.mark.parametrize("kind", READERS)
def test_every_edit_of_a_value_is_refused(kind, fits, tmp_path):
    file = tmp_path / "fit.json"
    paths = list(paths_in(json.loads(fits[kind])))
    for path in paths[:: max(1, len(paths) // 150)]:
        value = part = json.loads(fits[kind])
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = changed(part[path[-1]])
        file.write_text(json.dumps(value))
        with pytest.raises(InputError) as refusal:
            READERS[kind](file)
        assert str(refusal.value).startswith(str(file)), path
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", READERS)
def test_every_cut_is_refused(kind, fits, tmp_path):
    file = tmp_path / "fit.json"
    text = fits[kind].rstrip()
    for end in range(0, len(text), len(text) // 40):
        file.write_text(text[:end])
        with pytest.raises(InputError):
            READERS[kind](file)


@pytest.mark.parametrize("kind", READERS)
def test_a_checksum_that_was_deleted_is_missed(kind, fits, tmp_path):
    file, value = tmp_path / "fit.json", json.loads(fits[kind])
    del value["checksum"]
    file.write_text(json.dumps(value))
    with pytest.raises(InputError, match="its checksum is gone"):
        READERS[kind](file)
    value["provenance"]["code_version"] = "0.3.0"
    for part, entry in (("settings", "residual"), ("state", "resampled_in_order")):
        file.write_text(json.dumps(value))
        with pytest.raises(InputError, match="its checksum is gone"):
            READERS[kind](file)
        del value[part][entry]
    file.write_text(json.dumps(value))
    with pytest.raises(InputError, match="its checksum is gone"):
        READERS[kind](file)


def test_a_later_fit_in_the_dress_of_an_old_one_is_read_in_full(fits, tmp_path):
    """What 0.2.0 did not write is taken out as well, so that nothing tells the file from one of that version."""
    file, value = tmp_path / "fit.json", json.loads(fits["mixture"])
    del value["checksum"], value["settings"]["residual"], value["state"]["resampled_in_order"]
    file.write_text(json.dumps(value))
    read_mixture_fit(file)
    value["state"]["models"]["code"]["coefficients"][0][0] *= 1.01
    file.write_text(json.dumps(value))
    with pytest.raises(InputError, match="stderr of 'code'"):
        read_mixture_fit(file)


def without(*keys):
    def edit(state):
        part = state
        for key in keys[:-1]:
            part = part[key]
        del part[keys[-1]]

    return edit


def put(value, *keys):
    def edit(state):
        part = state
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value(part[keys[-1]]) if callable(value) else value

    return edit


def cut_rows(state):
    state["log"] = {name: cells[:-1] for name, cells in state["log"].items()}


LAW = ("models", "general", "members", 0)
# Edits of the state of a file of 0.2.0, which has no checksum, and a word of the message.
EDITS = {
    "a scale too many": (put({"train_tokens": 1e9}, *LAW, "fit", "scales"), "scales"),
    "a parameter changed": (put(lambda x: 1.01 * x, *LAW, "fit", "coefficients", 0), "residuals"),
    "base loss below zero": (put(-2.0, "base_loss", 0, "loss"), "base losses"),
    "base loss changed": (put(2.9, "base_loss", 0, "loss"), "base losses"),
    "base loss gone": (put(lambda rows: rows[:0], "base_loss"), "base losses"),
    "rows cut": (cut_rows, "rows"),
    "a column cut": (without("log", "loss"), "loss"),
    "cells of one column cut": (put(lambda cells: cells[:-1], "log", "loss"), "length"),
    "a loss changed": (put(lambda x: 1.01 * x, "log", "loss", -1), "residuals"),
    "a loss below zero": (put(-1.0, "log", "loss", -1), "loss"),
    "a ratio of 3": (put(3.0, "log", "domain_ratio", -1), "domain_ratio"),
    "text among the losses": (put("low", "log", "loss", -1), "loss"),
    "weights that sum to 2": (put(lambda ws: [2 * w for w in ws], "models", "general", "weights"), "sum to 2"),
    "a negative weight": (put([1.5, -0.5], "models", "general", "weights"), "weights"),
    "resamples cut": (put(lambda draws: draws[:-1], *LAW, "search"), "resamples"),
    "an unknown law": (put("no_law", *LAW, "fit", "law"), "no_law"),
    "an unknown parameter": (put(["zeta"], *LAW, "fit", "at_bound"), "parameters"),
    "residuals cut": (put(lambda values: values[:-1], *LAW, "fit", "residual"), "residuals"),
    "a law left out": (put(lambda laws: laws[:-1], "models", "general", "members"), "weights"),
    "a corpus swapped": (
        lambda state: state["models"].update(general=state["models"]["domain"]),
        "residuals",
    ),
    "rows counted wrongly": (put(99, *LAW, "num_rows"), "99 rows"),
    "a resample changed": (put(lambda x: 1.01 * x, *LAW, "coefficients", 0, 0), "stderr"),
    "shown parameter changed": (put(lambda x: 1.01 * x, "general", "params", "E"), "params"),
    "shown interval changed": (put(lambda x: 1.01 * x, "domain", "interval", "E", 1), "interval"),
    "shown figures gone": (put(None, "domain"), "TypeError"),
    "a figure below zero": (put(-0.1, *LAW, "fit", "mae"), "figures"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_an_old_file_is_refused(name, tmp_path, call):
    edit, word = EDITS[name]
    content = json.loads((KEPT / "two_corpora.json").read_text())
    edit(content if name.startswith("shown") else content["state"])
    file = tmp_path / "fit.json"
    file.write_text(json.dumps(content))
    answer = call(
        "predict",
        file,
        "--model-params",
        "1.8e9",
        "--train-tokens",
        "1e10",
        "--domain-ratio",
        "0.4",
    )
    assert answer.code == 2, answer.err
    assert word in answer.err
    assert answer.err.count("\n") == 1
    assert "internal" not in answer.err


@pytest.fixture(scope="module")
def law_content(log):
    """Return the content of a fit of two sizes and eight budgets by one law, before it gets its checksum."""
    return cp.fit(log, "dcpt", bootstrap=0).as_dict()


@pytest.mark.parametrize("scales", [{}, {"train_tokens": 1e9}, {"model_params": 1e9}])
def test_scales_that_were_removed_are_refused(law_content, tmp_path, scales):
    content = json.loads(json.dumps(law_content))
    content["state"]["models"]["domain"]["fit"]["scales"] = scales
    (tmp_path / "fit.json").write_text(json.dumps(sealed(content)))
    with pytest.raises(InputError, match="scales of the law"):
        cp.read_fit(tmp_path / "fit.json")


def test_a_scale_that_was_changed_is_refused(law_content, tmp_path):
    content = json.loads(json.dumps(law_content))
    content["state"]["models"]["domain"]["fit"]["scales"]["train_tokens"] *= 1.01
    (tmp_path / "fit.json").write_text(json.dumps(sealed(content)))
    with pytest.raises(InputError, match="residuals of the law"):
        cp.read_fit(tmp_path / "fit.json")


def test_more_resamples_than_memory_holds_are_refused_at_once(tmp_path):
    content = json.loads((KEPT / "two_corpora.json").read_text())
    content["settings"]["bootstrap"] = 10**12
    (tmp_path / "fit.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="bootstrap"):
        cp.read_fit(tmp_path / "fit.json")


def test_resamples_of_the_cmr_laws_are_those_the_file_was_written_with(log, tmp_path):
    names = {name: f"{number * 7 % 32:02d}" for number, name in enumerate(log["run_id"].unique())}
    fit = cp.fit(log.assign(run_id=log["run_id"].map(names)), "cmr", bootstrap=20)
    asked = {"model_params": 1e6, "train_tokens": 1e6, "domain_ratio": [0.1]}
    draws = fit.predict("domain", **asked).draws
    content = fit.as_dict()
    for in_order in (True, False):
        content["state"]["resampled_in_order"] = in_order
        (tmp_path / "fit.json").write_text(json.dumps(sealed(content)))
        again = cp.read_fit(tmp_path / "fit.json").predict("domain", **asked).draws
        assert (again == draws).all() == in_order


def test_a_plan_holds_the_checksum_of_its_content(call, fit_path):
    asked = ("--model-params", "1e6", "--train-tokens", "1e6", "--max-general-rise", "3%", "--json")
    plan = call("plan", fit_path, *asked).json()
    assert list(plan)[-1] == "checksum"
    assert plan["checksum"].startswith("sha256:")
    assert len(plan["checksum"]) == len("sha256:") + 64
