"""Evaluation sets that are not called general and domain: what is said of them, and how they get their names."""

import io
import shlex

import pandas as pd
import pytest

import cmrplan as cp

HEAD = "run_id,model_params,train_tokens,domain_ratio,eval_corpus,loss\n"
LONG = HEAD + "".join(
    f"r{ratio},70M,{tokens * 10**6},{ratio},{corpus},{level + slope * ratio - tokens / 100}\n"
    for ratio in (0.1, 0.3, 0.5, 0.7)
    for tokens in (0, 10, 20, 40)
    for corpus, level, slope in (("law", 3.0, -0.5 * (tokens > 0)), ("wiki", 3.25, tokens / 80))
)
WIDE = "run_id,model_params,train_tokens,domain_ratio,epoch,law,wiki\n" + "".join(
    f"r{ratio},70M,20M,{ratio},0.5,{3 - ratio},{3.2 + ratio}\n" for ratio in (0.1, 0.3, 0.5)
)


@pytest.fixture
def table(tmp_path):
    def write(text, name="runs.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.fixture
def imported(call, table, tmp_path):
    def run(text, *more, format="table"):
        out = tmp_path / "log.csv"
        answer = call(
            "logs", "import", format, table(text), "--out", out, "--force", "--yes", *more
        )
        return answer, out

    return run


class TestFit:
    def test_a_refusal_names_the_file_its_corpora_and_a_command_that_works(self, call, table):
        path = table(LONG)
        refused = call("fit", path)
        assert refused.code == 1
        assert refused.err.count("\n") == 1
        for words in (str(path), "general or domain", "'law', 'wiki'"):
            assert words in refused.err
        command = refused.err.split("name them: ")[1].split(" (")[0]
        assert command.endswith("--map wiki=general --map law=domain")  # wiki rises with the ratio
        new = path.with_name("NEW.csv")
        arguments = shlex.split(command.replace("NEW.csv", str(new)))
        assert call(*arguments[1:]).code == 0
        assert call("fit", new, "--bootstrap", "0").code == 0

    def test_the_library_says_it_of_a_frame(self):
        with pytest.raises(cp.CmrplanError, match=r"log\.replace\(\{'eval_corpus': \{'wiki'"):
            cp.fit(_frame(LONG))

    @pytest.mark.parametrize("command", ["compare", "backtest"])
    def test_comparisons_refuse_it_in_the_same_words(self, call, table, command):
        path = table(LONG)
        refused = call(command, path)
        assert (refused.code, refused.err) == (1, call("fit", path).err)

    def test_a_backtest_names_the_one_that_is_missing(self, call, table):
        path = table(LONG.replace("law", "domain"))
        refused = call("backtest", path)
        assert refused.code == 1
        assert f"{path} has no loss on the corpus general, only on" in refused.err
        assert refused.err.rstrip().endswith("--map wiki=general")
        assert call("fit", path, "--bootstrap", "0").code == 0  # one loss can be fitted

    def test_a_backtest_that_leaves_out_every_row_says_so(self, call, table):
        path = table(LONG.replace("law", "domain").replace("wiki", "general"))
        asked = ("--base-loss", "3", "--min-train-tokens", "900B")
        refused = call("backtest", path, *asked)
        assert "min_train_tokens = 9e+11 leaves none of general" in refused.err

    def test_a_name_that_has_the_word_goes_before_the_trend(self, call, table):
        """Here the loss that rises with the ratio is on a set of the domain."""
        refused = call("fit", table(LONG.replace("law", "general-2").replace("wiki", "my_domain")))
        assert "--map general-2=general --map my_domain=domain" in refused.err
        refused = call("fit", table(LONG.replace("wiki", "domain_set")))
        assert "--map law=general --map domain_set=domain" in refused.err

    def test_a_name_with_the_word_for_the_other_corpus_is_not_taken(self, call, table):
        rows = LONG.replace("wiki", "general-b") + LONG.removeprefix(HEAD).replace("law", "general")
        checked = call("logs", "check", table(rows.replace("wiki", "general-c")))
        assert "--map law=domain" in checked.out
        rows = LONG.replace("law", "general").replace("wiki", "general-b")
        assert "=domain" not in call("logs", "check", table(rows)).out

    def test_check_says_the_remedy(self, call, table):
        checked = call("logs", "check", table(LONG.replace("law", "domain")))
        assert "--map wiki=general" in checked.out
        assert "--map law" not in checked.out


def _frame(text):
    return pd.read_csv(io.StringIO(text)).assign(model_params=70e6)


class TestLabels:
    def test_corpora_of_a_long_table_get_new_names(self, imported):
        answer, out = imported(LONG, "--map", "wiki=general", "--map", "law=loss_domain")
        assert answer.code == 0, answer.err
        log = cp.read_log(out)
        assert log["eval_corpus"].tolist() == ["domain", "general"] * 16

    def test_and_where_the_column_is_guessed(self, imported):
        answer, out = imported(
            LONG.replace("eval_corpus", "Eval Set"), "--map", "wiki=general", format="auto"
        )
        assert answer.code == 0, answer.err
        assert "corpus     wiki -> general" in answer.out
        assert set(cp.read_log(out)["eval_corpus"]) == {"general", "law"}

    def test_each_of_two_files_may_have_one_of_them(self, call, table, tmp_path):
        lines = LONG.splitlines()[1:]
        files = [
            table(HEAD + "\n".join(line for line in lines if name in line) + "\n", f"{name}.csv")
            for name in ("wiki", "law")
        ]
        names = ["--map", "wiki=general", "--map", "law=domain"]
        answer = call("logs", "import", "table", *files, "--out", tmp_path / "log.csv", *names)
        assert answer.code == 0, answer.err
        assert set(cp.read_log(tmp_path / "log.csv")["eval_corpus"]) == {"general", "domain"}

    @pytest.mark.parametrize(
        ("text", "option", "words"),
        [
            (LONG, "news=general", ["no column 'news'", "rows on 'law', 'wiki'"]),
            (LONG, "law=wiki", ["rows on 'wiki' already", "--map wiki=NAME"]),
            (LONG, "law=seed", ["cannot make a column of 'law'", "--map law=general"]),
            (
                LONG.replace("loss\n", "loss,law\n", 1).replace("\nr", ",7\nr").replace(",7", "", 1)
                .rstrip("\n") + ",7\n",
                "law=domain",
                ["may mean the column 'law'", "another name"],
            ),
            (
                LONG.replace("eval_corpus", "code").replace(",law,", ",2.25,").replace(",wiki,", ",2.5,"),
                "code=eval_corpus",
                ["'code'", "numbers such as 2.25", "--map code=loss_domain"],
            ),
        ],
    )  # fmt: skip
    def test_what_cannot_be_meant_is_refused(self, imported, text, option, words):
        answer, out = imported(text, "--map", option)
        assert answer.code == 2
        assert answer.err.count("\n") == 1
        assert not out.exists()
        for word in words:
            assert word in answer.err

    def test_numbers_that_all_get_names_are_names(self, imported):
        text = LONG.replace("eval_corpus", "set").replace(",law,", ",1,").replace(",wiki,", ",0,")
        names = ("--map", "set=eval_corpus", "--map", "0=general", "--map", "1=domain")
        answer, out = imported(text, *names)
        assert answer.code == 0, answer.err
        assert set(cp.read_log(out)["eval_corpus"]) == {"general", "domain"}


class TestWide:
    @pytest.mark.parametrize("format", ["table", "auto"])
    def test_columns_that_look_like_losses_are_named(self, imported, format):
        answer, out = imported(WIDE, format=format)
        assert answer.code == 2
        assert "--map law=loss_domain --map wiki=loss_general" in answer.err
        assert "epoch=" not in answer.err
        options = ("--map", "law=loss_domain", "--map", "wiki=loss_general")
        assert imported(WIDE, *options)[0].code == 0
        assert set(cp.read_log(out)["eval_corpus"]) == {"general", "domain"}

    def test_a_column_of_losses_that_is_called_domain_is_no_name_of_corpora(self, imported):
        answer, _ = imported(
            WIDE.replace("law", "domain").replace("wiki", "general"), format="auto"
        )
        assert answer.code == 2
        assert "--map domain=loss_domain --map general=loss_general" in answer.err
