"""Other people's logs: tiny files in each layout, with invented numbers, and what must come of them."""

import pytest

import cmrplan as cp

TABLE = """run,tokens_B,code,val/wiki,val/code
a,0,20,2.5,
a,0.3,20,2.6,1.5
b,0.3,40,2.7,1.25
"""
TABLE_OPTIONS = [
    "--map", "run=run_id", "--map", "tokens_B=train_tokens", "--map", "code=domain_ratio",
    "--map", "val/wiki=loss_general", "--map", "val/code=loss_domain",
    "--scale", "train_tokens=1e9", "--scale", "domain_ratio=0.01", "--set", "model_params=1.2e8",
]  # fmt: skip
CHECKPOINTS = "".join(
    f"ckpts/70M_x_{k}-{domain}-{general}/{step}\tdata/valid.{corpus}.bin\t{loss}\n"
    for k, (domain, general) in enumerate(((0.25, 0.75), (0.5, 0.5)))
    for step in (100, 200)
    for corpus, loss in (("Github", 1.5), ("Pile-CC", 3.25))
)
MIXTURE = "index,train_the_pile_arxiv,train_the_pile_pile_cc\n1,0.25,0.751\n2,0.5,0.5\n"
LOSSES = "index,metric/the_pile_pile_cc_val_loss,metric/the_pile_arxiv_val_loss\n2,4.5,3.5\n1,4.25,3.75\n"
PAIR = {"try_mixture_60m.csv": MIXTURE, "try_pile_loss_60m.csv": LOSSES}
CHINCHILLA = "x,Model Size,Training FLOP,loss\n1,100000000.4,6.000000024e17,3.5\n2,99999999.7,1.1999999964e18,3.25\n"


@pytest.fixture
def imported(call, tmp_path):
    """Return a function that imports files and gives the log, or the refusal in one line."""

    def run(format, files, source, *options):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        out = tmp_path / "log.csv"
        out.unlink(missing_ok=True)
        answer = call("logs", "import", format, tmp_path / source, "--out", out, *options)
        if answer.code:
            assert not out.exists()
            assert answer.code == 2
            assert answer.err.count("\n") == 1
            return answer.err
        return cp.read_log(out)

    return run


def losses(log):
    """Return losses by run, tokens and corpus."""
    keys = zip(log["run_id"], log["train_tokens"], log["eval_corpus"], strict=True)
    return dict(zip(keys, log["loss"], strict=True))


class TestTable:
    def test_one_loss_column_for_each_corpus(self, imported):
        log = imported("table", {"t.csv": TABLE}, "t.csv", *TABLE_OPTIONS)
        assert losses(log) == {
            ("a", 0, "general"): 2.5,
            ("a", 3e8, "general"): 2.6,
            ("a", 3e8, "domain"): 1.5,  # its cell at 0 tokens is empty: not evaluated then
            ("b", 3e8, "general"): 2.7,
            ("b", 3e8, "domain"): 1.25,
        }
        assert set(log["model_params"]) == {1.2e8}
        assert dict(zip(log["run_id"], log["domain_ratio"], strict=True)) == {"a": 0.2, "b": 0.4}

    def test_the_loss_of_training_is_left_out(self, imported):
        text = TABLE.replace("\n", ",9.5\n").replace("code,9.5\n", "code,loss\n")
        log = imported("table", {"t.csv": text}, "t.csv", *TABLE_OPTIONS)
        assert sorted(log["loss"]) == [1.25, 1.5, 2.5, 2.6, 2.7]

    def test_a_table_without_any_loss(self, imported):
        text = "run_id,model_params,train_tokens,domain_ratio,loss_general\na,1e6,0,0.2,\n"
        assert "every loss_<corpus> cell is empty" in imported("table", {"t.csv": text}, "t.csv")

    def test_one_row_for_each_evaluation(self, imported):
        text = "run_id,N,flops,share_law,share_web,eval_corpus,loss\na,1e6,6e15,0.3,0.7,law,2.5\n"
        options = ["--map", "N=model_params", "--map", "flops=training_flops"]
        log = imported("table", {"t.csv": text}, "t.csv", *options)
        assert log["train_tokens"].tolist() == [1e9]  # 6e15 / (6 x 1e6)
        assert log[["share_law", "share_web"]].iloc[0].tolist() == [0.3, 0.7]

    def test_an_import_of_a_log_changes_nothing(self, imported, log):
        again = imported("table", {"t.csv": log.to_csv(index=False)}, "t.csv")
        assert again.equals(cp.validate_log(log))

    @pytest.mark.parametrize(
        ("text", "left_out", "words"),
        [
            (TABLE, "--scale domain_ratio=0.01", ["row 1, line 2", "--scale domain_ratio=0.01"]),
            (TABLE, "--scale train_tokens=1e9", ["row 2, line 3", "--scale train_tokens=1e9"]),
            (TABLE, "--set model_params=1.2e8", ["--set model_params=VALUE"]),
            (TABLE, "--map run=run_id", ["--map OLD=run_id", "'run'"]),
            (TABLE.replace("1.25", "nan"), "", ["t.csv row 3, line 4", "got nan"]),
            (TABLE.replace("1.25", "low"), "", ["t.csv row 3, line 4", "'low'"]),
            (TABLE.replace("tokens_B", "tok"), "", ["'tokens_B'", "'tok'"]),
            (TABLE.replace("b,0.3,40", "a,0.3,40"), "", ["row 3", "repeats row 2"]),
            (TABLE.replace("b,0.3,40", "a,0.4,40"), "", ["row 3", "domain_ratio 0.2, then 0.4"]),
        ],
    )
    def test_refusals_name_the_place_and_the_option(self, imported, text, left_out, words):
        options = " ".join(TABLE_OPTIONS).replace(left_out, "").split()
        refusal = imported("table", {"t.csv": text}, "t.csv", *options)
        assert all(word in refusal for word in words), refusal

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--map", "run"], ["--map", "OLD=NEW", "'run'"]),
            (["--map", "run=run_id", "--map", "run=step"], ["--map run", "twice"]),
            (["--scale", "code=zero"], ["--scale code", "above 0", "'zero'"]),
            (["--scale", "codes=0.01"], ["'codes'", "'code'"]),
            (["--set", "code=0.3"], ["'code'", "--set code"]),
            (["--map", "run=code"], ["2 columns named 'code'"]),
        ],
    )
    def test_options_that_do_not_fit(self, imported, options, words):
        refusal = imported("table", {"t.csv": TABLE}, "t.csv", *options)
        assert all(word in refusal for word in words), refusal


class TestMixinglaws:
    def test_a_folder(self, imported):
        files = {"70M.txt": CHECKPOINTS, "9M.txt": CHECKPOINTS.replace("70M", "9M")}
        log = imported("mixinglaws", files, "", "--map", "9M=9e6", "--set", "tokens_per_step=1000")
        assert losses(log[log["run_id"] == "70M_x_0-0.25-0.75"]) == {
            ("70M_x_0-0.25-0.75", 100_000, "domain"): 1.5,
            ("70M_x_0-0.25-0.75", 100_000, "general"): 3.25,
            ("70M_x_0-0.25-0.75", 200_000, "domain"): 1.5,
            ("70M_x_0-0.25-0.75", 200_000, "general"): 3.25,
        }
        by_run = log.drop_duplicates("run_id").set_index("run_id")
        assert by_run["domain_ratio"].to_dict() == {
            "70M_x_0-0.25-0.75": 0.25, "70M_x_1-0.5-0.5": 0.5,
            "9M_x_0-0.25-0.75": 0.25, "9M_x_1-0.5-0.5": 0.5,
        }  # fmt: skip
        assert set(by_run["model_params"]) == {18915328, 9e6}  # Pythia's table; what --map gave
        assert set(log["step"]) == {100, 200}

    def test_other_corpora(self, imported):
        files = {"70M.txt": CHECKPOINTS}
        log = imported("mixinglaws", files, "70M.txt", "--map", "Github=code")
        assert set(log["eval_corpus"]) == {"code", "general"}

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("\t1.5\n", "\t0\n", ["70M.txt row 1, line 1", "loss must be > 0"]),
            ("-0.25-0.75/200\t", "-0.25-0.85/200\t", ["line 3", "0.25 and 0.85", "sum to 1"]),
            ("-0.5-0.5/100", "-50-50/100", ["line 5", "fraction", "'50'"]),
            ("/200\t", "/last\t", ["line 3", "/STEP"]),
            ("/200\t", f"/{'9' * 400}\t", ["line 3", "/STEP"]),
            ("/200\t", "/٢٠٠\t", ["line 3", "/STEP"]),
            ("70M_x_1", "3M_x_1", ["line 5", "--map 3M="]),
        ],
    )
    def test_refusals_name_the_line(self, imported, old, new, words):
        refusal = imported("mixinglaws", {"70M.txt": CHECKPOINTS.replace(old, new)}, "70M.txt")
        assert all(word in refusal for word in words), refusal


class TestRegmix:
    def test_a_folder(self, imported):
        log = imported("regmix", PAIR, "", "--set", "train_tokens=2e9")
        assert losses(log) == {
            ("try_60m_1", 2e9, "pile_cc"): 4.25,
            ("try_60m_1", 2e9, "arxiv"): 3.75,
            ("try_60m_2", 2e9, "pile_cc"): 4.5,
            ("try_60m_2", 2e9, "arxiv"): 3.5,
        }
        first = log[log["run_id"] == "try_60m_1"].iloc[0]
        # rounded shares of 0.25 and 0.751 are divided by their sum
        assert first["share_arxiv"] == pytest.approx(0.25 / 1.001, rel=1e-15)
        assert first["share_pile_cc"] == pytest.approx(0.751 / 1.001, rel=1e-15)
        assert set(log["model_params"]) == {60e6}

    @pytest.mark.parametrize(
        ("file", "old", "new", "words"),
        [
            ("mixture", "0.751", "0.8", ["mixture_60m.csv row 1, line 2", "sum to 1", "1.05"]),
            ("mixture", "0.5,", "50,", ["mixture_60m.csv row 2, line 3", "train_the_pile_arxiv"]),
            ("mixture", "2,0.5", "1,0.5", ["mixture_60m.csv row 2", "repeats index 1"]),
            ("pile_loss", "4.25", "x", ["pile_loss_60m.csv row 2, line 3", "'x'"]),
            ("pile_loss", "2,4.5", "7,4.5", ["pile_loss_60m.csv row 1", "index 7"]),
        ],
    )
    def test_refusals_name_the_file_and_row(self, imported, file, old, new, words):
        files = {
            name: text.replace(old, new) if file in name else text for name, text in PAIR.items()
        }
        refusal = imported("regmix", files, "try_mixture_60m.csv")
        assert all(word in refusal for word in words), refusal

    def test_a_table_without_its_losses(self, imported):
        refusal = imported("regmix", {"try_mixture_60m.csv": MIXTURE}, "")
        assert "try_pile_loss_60m.csv: no such file" in refusal


class TestChinchilla:
    def test_tokens_from_flops(self, imported):
        log = imported("chinchilla", {"c.csv": CHINCHILLA}, "c.csv")
        assert log["model_params"].tolist() == [1e8, 1e8]  # two readings of one size
        assert log["train_tokens"].tolist() == [1e9, 2e9]  # FLOPs / (6 N), to a whole token
        assert log["loss"].tolist() == [3.5, 3.25]
        assert log["run_id"].nunique() == 2

    def test_columns_of_other_names(self, imported):
        text = CHINCHILLA.replace("Model Size", "N").replace("loss", "L")
        options = ["--map", "N=model_params", "--map", "L=loss"]
        log = imported("chinchilla", {"c.csv": text}, "c.csv", *options)
        assert log["train_tokens"].tolist() == [1e9, 2e9]
        refusal = imported("chinchilla", {"c.csv": text}, "c.csv", "--map", "N=model_params")
        assert "--map OLD=loss" in refusal


def test_json(call, tmp_path):
    (tmp_path / "t.csv").write_text(CHINCHILLA)
    out = tmp_path / "log.jsonl"
    answer = call("logs", "import", "chinchilla", tmp_path / "t.csv", "--out", out, "--json").json()
    assert (answer["log"], answer["format"], answer["eval_corpora"]) == (
        str(out), "chinchilla", ["general"],
    )  # fmt: skip
    assert (answer["n_rows"], answer["n_runs"]) == (2, 2)
    assert {"one_model_size", "no_base_row"} <= {w["code"] for w in answer["warnings"]}


@pytest.mark.parametrize("format", ["table", "mixinglaws", "regmix", "chinchilla"])
def test_a_source_that_is_not_there(call, tmp_path, format):
    answer = call("logs", "import", format, tmp_path / "no.csv", "--out", tmp_path / "log.csv")
    assert answer.code == 2
    assert "no.csv: no such file" in answer.err


def test_an_unknown_format_is_refused(call, tmp_path):
    answer = call("logs", "import", "excel", tmp_path / "t.xlsx", "--out", tmp_path / "log.csv")
    assert answer.code == 2
    assert "mixinglaws" in answer.err


class TestNothingSilent:
    """What an import leaves out, merges or renames is said, or refused."""

    TWO_METRICS = "n,d,metric,loss\n3e8,2e9,accuracy,0.41\n3e8,2e9,nll,2.75\n6e8,2e9,nll,2.6\n"
    NAMES = ("--map", "n=model_params", "--map", "d=train_tokens")

    def test_two_metrics_are_not_one_law(self, imported):
        refusal = imported("chinchilla", {"t.csv": self.TWO_METRICS}, "t.csv", *self.NAMES)
        for word in ("0.41 and 2.75", "'metric' ('accuracy', 'nll')", "row 1, line 2; also row 2"):
            assert word in refusal
        assert "--map metric=eval_corpus" in refusal

    def test_two_metrics_as_two_corpora(self, imported):
        options = (*self.NAMES, "--map", "metric=eval_corpus")
        log = imported("chinchilla", {"t.csv": self.TWO_METRICS}, "t.csv", *options)
        assert log["eval_corpus"].tolist() == ["accuracy", "nll", "nll"]

    def test_two_metrics_that_no_column_names(self, imported):
        text = self.TWO_METRICS.replace("accuracy", "nll")
        refusal = imported("chinchilla", {"t.csv": text}, "t.csv", *self.NAMES)
        assert "0.41 and 2.75" in refusal

    def test_repeated_runs_stay(self, imported):
        text = self.TWO_METRICS.replace("accuracy,0.41", "nll,2.76")
        assert len(imported("chinchilla", {"t.csv": text}, "t.csv", *self.NAMES)) == 3

    def test_two_metrics_in_a_log_are_remarked_on(self, call, tmp_path):
        text = "run_id,model_params,train_tokens,domain_ratio,eval_corpus,loss\n"
        text += "a,3e8,2e9,0,general,0.41\nb,3e8,2e9,0,general,2.75\n"
        (tmp_path / "log.csv").write_text(text)
        answer = call("logs", "check", tmp_path / "log.csv")
        assert "warning [losses_apart]" in answer.out
        assert "0.41 and 2.75 on 'general'" in answer.out

    @pytest.mark.parametrize(("value", "is_refused"), [("NaN", True), ("null", False)])
    def test_a_number_that_is_none_is_no_empty_cell(self, value, is_refused, call, tmp_path):
        line = '{{"run_id":1, '
        line += '"model_params":1e8,"train_tokens":{},"domain_ratio":0.1,"loss_general":{},"loss_domain":2}}'
        lines = [line.format(0, "3.01"), line.format("1e9", value)]
        (tmp_path / "t.jsonl").write_text("\n".join(lines))
        out = tmp_path / "out.csv"
        answer = call("logs", "import", "table", tmp_path / "t.jsonl", "--out", out)
        if is_refused:
            assert answer.code == 2
            assert "loss must be finite, got NaN" in answer.err
            assert "row 2, line 2" in answer.err
            assert not out.exists()
        else:
            assert answer.code == 0
            assert "[cells_left_out]: 1 empty cells of loss_general gave no row" in answer.err
            assert len(cp.read_log(out)) == 3

    def test_new_names_of_runs_are_said(self, call, tmp_path):
        (tmp_path / "t.csv").write_text(CHINCHILLA)
        arguments = [
            "logs",
            "import",
            "chinchilla",
            tmp_path / "t.csv",
            "--out",
            tmp_path / "o.csv",
        ]
        assert "[runs_named]" in call(*arguments).err
        for name, text in PAIR.items():
            (tmp_path / name).write_text(text)
        arguments = [
            "logs",
            "import",
            "regmix",
            tmp_path / "try_mixture_60m.csv",
            "--out",
            tmp_path / "o.csv",
        ]
        assert "runs are called 'try_60m_2' to 'try_60m_1'" in call(*arguments).err


class TestCutOff:
    HEAD = "run_id,model_params,train_tokens,domain_ratio,eval_corpus,loss\n"
    ROWS = "".join(
        f"r{k},100000000,{tokens},0.{k},{corpus},{2.5 + k / 10:.4f}\n"
        for k in (1, 3, 5)
        for tokens in (0, 1_000_000_000)
        for corpus in ("general", "domain")
    )

    @pytest.mark.parametrize("gone", [2, 3, 4, 5])
    def test_the_last_number_may_lack_digits(self, gone, call, tmp_path):
        (tmp_path / "log.csv").write_text((self.HEAD + self.ROWS)[:-gone])
        answer = call("logs", "check", tmp_path / "log.csv")
        assert answer.code == 0
        assert "[cut_off]" in answer.out
        assert "row 12, line 13" in answer.out

    def test_base_losses_of_few_digits_do_not_hide_it(self, call, tmp_path):
        """They stand beside every run, and were a third of the cells."""
        rows = "".join(
            f"r{k},100000000,{tokens},0.{k},{corpus},{2.7 if tokens == 0 else f'{2.5123 + k / 9:.4f}'}\n"
            for k in range(1, 8)
            for tokens in (0, 1_000_000_000)
            for corpus in ("general", "domain")
        )
        (tmp_path / "log.csv").write_text((self.HEAD + rows)[:-3])
        assert "[cut_off]" in call("logs", "check", tmp_path / "log.csv").out

    @pytest.mark.parametrize(
        "text", [ROWS, ROWS[:-1], ROWS[:-2] + "\n"], ids=["whole", "open", "short"]
    )
    def test_a_whole_file_is_not_remarked_on(self, text, call, tmp_path):
        (tmp_path / "log.csv").write_text(self.HEAD + text)
        assert "[cut_off]" not in call("logs", "check", tmp_path / "log.csv").out

    @pytest.mark.parametrize("gone", [2, 3, 4])
    def test_base_losses_without_their_zeros_do_not_hide_it(self, gone, call, tmp_path):
        """One base loss, written short, stands in a quarter of the rows; only fit and check see the end of the file."""
        rows = [
            f"r{k},100000000,{tokens:g},{k / 4:g},{corpus},{2.5 if tokens == 0 else loss - 3e-11 * tokens:.6g}"
            for k in range(5)
            for tokens in (0, 5e8, 1e9, 2e9)
            for corpus, loss in (("general", 2.51237 + k / 11), ("domain", 2.71234 - k / 11))
        ]
        (tmp_path / "log.csv").write_text((self.HEAD + "\n".join(rows))[: 1 - gone])
        assert "[cut_off]" in call("logs", "check", tmp_path / "log.csv").out
        fit = call("fit", tmp_path / "log.csv", "--bootstrap", "0", "--out", tmp_path / "fit.json")
        assert fit.code == 0
        assert "[cut_off]" in fit.err
        assert "cut_off" in [str(one.code) for one in cp.fit(tmp_path / "log.csv").warnings]
