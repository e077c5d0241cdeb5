"""A log where a fit is expected, a fit of the other kind, a folder where a log is: what to do instead is said."""

import pytest

import cmrplan as cp
from cmrplan.mixture import fit_mixture, write_mixture_fit

PLAN = ("--model-params", "400M", "--train-tokens", "10B", "--max-general-rise", "3%")
TAKERS = {
    "plan": PLAN,
    "predict": (*PLAN[:4], "--domain-ratio", "0.25"),
    "plot": ("ratio", "--out", "picture.png"),
    "next": ("--budget", "1e18", *PLAN),
    "report": ("--out", "report.html"),
}
MIXTURES = "run_id,model_params,train_tokens,share_web,share_code,eval_corpus,loss\n" + "".join(
    f"r{share},70M,20M,{share},{1 - share},{corpus},{3 - gain * share}\n"
    for share in (0.125, 0.25, 0.5, 0.75, 0.875, 0.9375)
    for corpus, gain in (("web", 0.5), ("code", -0.25))
)


@pytest.fixture(scope="module")
def mixture_fit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    (folder / "log.csv").write_text(MIXTURES)
    fitted = fit_mixture(cp.read_log(folder / "log.csv"), "data_mixing", bootstrap=0)
    write_mixture_fit(fitted, folder / "mix.json")
    return folder / "mix.json"


@pytest.mark.parametrize("command", TAKERS)
def test_a_log_is_to_be_fitted_first(call, log_file, command):
    answer = call(command, log_file, *TAKERS[command])
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert f"this is a probe log; cmrplan fit {log_file} --out FIT.json first" in answer.err


def test_a_log_of_mixtures_is_to_be_fitted_by_mix_fit(call, tmp_path):
    (tmp_path / "log.csv").write_text(MIXTURES)
    answer = call("mix", "plan", tmp_path / "log.csv", "--train-tokens", "10M")
    assert answer.code == 2
    assert "cmrplan mix fit" in answer.err


def test_a_table_that_is_no_log_is_to_be_imported_first(call, tmp_path):
    (tmp_path / "runs.csv").write_text("run,wiki\na,2.5\n")
    answer = call("plan", tmp_path / "runs.csv", *PLAN)
    assert answer.code == 2
    assert "logs import table" in answer.err


@pytest.mark.parametrize("command", [name for name in TAKERS if name != "report"])
def test_the_fit_of_a_mixture_goes_to_mix_plan(call, mixture_fit, command):
    answer = call(command, mixture_fit, *TAKERS[command])
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert str(mixture_fit) in answer.err
    assert "cmrplan mix plan or cmrplan mix predict" in answer.err


def test_a_fit_of_two_corpora_goes_to_plan(call, fit_path):
    answer = call("mix", "plan", fit_path, "--train-tokens", "10M")
    assert answer.code == 2
    assert "cmrplan plan or cmrplan predict" in answer.err


@pytest.mark.parametrize("command", [("fit",), ("mix", "fit"), ("compare",), ("logs", "check")])
def test_a_folder_of_runs_is_to_be_imported_first(call, tmp_path, command):
    (tmp_path / "runs.csv").mkdir()
    answer = call(*command, tmp_path / "runs.csv")
    assert answer.code == 2
    assert (
        f"cmrplan logs import auto {tmp_path / 'runs.csv'} --out LOG.csv" in answer.err + answer.out
    )
