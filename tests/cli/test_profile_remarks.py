"""The command ``profile`` says where its numbers lie outside of the probes, and which law they are of."""

import json

import pytest
from rated_logs import SIZE, TOKENS, rated_log

import cmrplan as cp
from cmrplan.laws.registry import PLAN_LAWS

WHERE = ["--model-params", f"{SIZE:g}", "--domain-ratio", "0.3"]


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """Return the file of a fit by one law, and that of one by laws and a residual."""
    folder, log = tmp_path_factory.mktemp("fits"), rated_log().drop(columns="learning_rate")
    paths = {}
    for name, law in (("one", "dcpt"), ("default", "auto")):
        paths[name] = str(folder / f"{name}.json")
        cp.write_fit(cp.fit(log, law, bootstrap=0), paths[name])
    return paths


def test_a_setting_beyond_the_probes_is_said_as_predict_says_it(fits, call):
    beyond = [*WHERE, "--train-tokens", f"{4 * TOKENS:g}", "--json"]
    said = {
        command: json.loads(call(command, fits["one"], *beyond).out)["warnings"]
        for command in ("profile", "predict")
    }
    far = [one for one in said["profile"] if one["code"] == "extrapolates_tokens"]
    assert far
    assert far[0] in said["predict"]
    answer = call("profile", fits["one"], *beyond[:-1])
    assert "caution [extrapolates_tokens]" in answer.err
    inside = call("profile", fits["one"], *WHERE, "--train-tokens", f"{TOKENS:g}", "--json")
    assert json.loads(inside.out)["warnings"] == []


def test_the_law_is_named_where_predictions_are_of_more(fits, call):
    at = [*WHERE, "--train-tokens", f"{TOKENS:g}"]
    predicted = json.loads(call("predict", fits["default"], *at, "--json").out)
    answer = json.loads(call("profile", fits["default"], *at, "--json").out)
    for interval in answer["intervals"]:
        assert interval["law"] in PLAN_LAWS
        assert interval["estimate"] != predicted[f"{interval['corpus']}_loss"]
    text = " ".join(call("profile", fits["default"], *at).out.split())
    assert text.count("alone, while predict and plan take") == 2
    assert "alone" not in call("profile", fits["one"], *at).out
