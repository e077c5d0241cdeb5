"""Names that differ from the contract's, or from each other, by capitals alone."""

import pytest

import cmrplan as cp

WIDE = (
    "Name,Params,Tokens,Domain_Ratio,SEED,Learning_Rate,Loss_General,LOSS_domain\n"
    "a,70M,10M,0.2,3,1e-4,3.5,2.5\n"
    "b,70M,10M,0.2,4,1e-4,3.6,2.4\n"
)
SPLIT = (
    "run_id,model_params,train_tokens,domain_ratio,eval_corpus,loss\n"
    "a,70M,0,0.2,General,3.0\n"
    "a,70M,20M,0.2,general,3.1\n"
    "a,70M,20M,0.2,Domain,2.5\n"
    "a,70M,0,0.2,Domain,2.9\n"
)


@pytest.fixture
def imported(call, tmp_path):
    """Return a function that imports a table, and gives the answer and the log."""

    def run(format, text, *more):
        (tmp_path / "runs.csv").write_text(text)
        out = tmp_path / "log.csv"
        answer = call("logs", "import", format, tmp_path / "runs.csv", "--out", out, "--yes", *more)
        return answer, cp.read_log(out) if out.exists() else None

    return run


class TestColumns:
    def test_auto_reads_the_contracts_columns_under_any_capitals(self, imported):
        answer, log = imported("auto", WIDE)
        assert answer.code == 0, answer.err
        assert log["seed"].tolist() == [3, 4, 3, 4]
        assert log["learning_rate"].tolist() == [1e-4] * 4
        assert set(log["eval_corpus"]) == {"general", "domain"}
        assert "SEED -> seed" in answer.out

    def test_table_reads_them_too(self, imported):
        text = WIDE.replace("Name,Params,Tokens", "Run_ID,MODEL_PARAMS,Train_Tokens")
        answer, log = imported("table", text)
        assert answer.code == 0, answer.err
        assert log["seed"].tolist() == [3, 4, 3, 4]
        assert log["loss"].tolist() == [3.5, 3.6, 2.5, 2.4]

    def test_what_the_caller_says_goes_before_a_spelling(self, imported):
        head = WIDE.replace("Name,Params,Tokens", "run_id,model_params,train_tokens")
        answer, log = imported("table", head, "--map", "SEED=step", "--set", "seed=7")
        assert answer.code == 0, answer.err
        assert log["seed"].tolist() == [7] * 4
        assert log["step"].tolist() == [3, 4, 3, 4]

    def test_a_column_that_is_there_keeps_its_name(self, imported):
        head = WIDE.replace("Learning_Rate", "seed")
        answer, log = imported("auto", head.replace(",1e-4,", ",9,"))
        assert answer.code == 0, answer.err
        assert log["seed"].tolist() == [9] * 4


class TestCorpora:
    def test_check_and_fit_refuse_a_corpus_of_two_spellings(self, call, tmp_path):
        path = tmp_path / "log.csv"
        path.write_text(SPLIT)
        checked = call("logs", "check", path)
        assert checked.code == 2
        assert "error [corpus_spellings]" in checked.out
        fitted = call("fit", path)
        assert fitted.code == 2
        assert fitted.err.count("\n") == 1
        for words in ("log.csv", "'General' (1 row)", "'general' (1 row)", "logs import table"):
            assert words in fitted.err

    def test_an_import_makes_one_of_them_and_says_so(self, imported):
        answer, log = imported("table", SPLIT)
        assert answer.code == 0, answer.err
        assert log["eval_corpus"].tolist() == ["general", "general", "domain", "domain"]
        assert answer.err.count("corpus_renamed") == 1
        assert "'General' as 'general', 'Domain' as 'domain'" in answer.err

    def test_other_names_keep_the_spelling_in_lower_case_or_the_most_frequent(self, imported):
        text = SPLIT.replace("General", "Wiki").replace("general", "wiki")
        _, log = imported("table", text.replace("Domain", "LAW", 1).replace("Domain", "Law"))
        assert set(log["eval_corpus"]) == {"wiki", "LAW"}

    def test_two_sets_of_one_evaluation_stay_two_and_are_refused(self, imported):
        both = SPLIT + "a,70M,0,0.2,general,3.3\n"
        answer, log = imported("table", both)
        assert answer.code == 2
        assert log is None
        assert "--map General=NAME" in answer.err
