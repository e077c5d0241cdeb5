"""The registry: which fits take a law, and that the command line, the docs and the library say the same of it."""

import re
from pathlib import Path

import pytest

import cmrplan as cp
from cmrplan.errors import InputError
from cmrplan.laws import build_law
from cmrplan.laws.registry import (
    AUTO,
    PLAN_LAWS,
    REGISTRY,
    FitKind,
    averaged_names,
    choices_for,
    names_for,
    require_choice,
)

ROOT = Path(__file__).parents[2]
LOG = ROOT / "data/published/dcpt_usage1_log.csv"
# By what takes them, as docs/laws.md describes the families.
TAKEN = {
    "cmrplan fit": {
        *("dcpt", "dcpt_no_mixture", "dcpt_sum", "dcpt_exp", "dcpt_product_exp", "dcpt_sum_exp"),
        *("bilinear", "bilinear_exp", "bilinear_dip", "relearning", "size_law"),
        *("cmr", "cmr_domain_tokens", "cmr_general_tokens"),
        *("chinchilla", "chinchilla_repetition", "dcpt_repetition", "dcpt_exp_repetition"),
        *("learning_rate", "learning_rate_replay", "forgetting"),
    },
    "cmrplan mix fit": {
        *("data_mixing", "optimal_mixture", "bimix", "autoscale"),
        *("bilinear_mixing", "size_mixing"),
    },
    "cp.fit_domains": {"cross_domain"},
    "a part of cmr": {"cmr_ratio"},
}
KINDS = {
    "cmrplan fit": (FitKind.RUNS, FitKind.BUDGETS),
    "cmrplan mix fit": (FitKind.CORPORA,),
    "cp.fit_domains": (FitKind.DOMAINS,),
}
AVERAGED = {
    "cmrplan fit": {"dcpt", "dcpt_exp", "dcpt_product_exp"},
    "cmrplan mix fit": {"data_mixing", "optimal_mixture", "bilinear_mixing", "size_mixing"},
}


class TestEntries:
    def test_every_law_is_taken_once(self):
        assert sorted(name for names in TAKEN.values() for name in names) == sorted(REGISTRY)

    @pytest.mark.parametrize("name", REGISTRY)
    def test_an_entry_says_what_takes_it(self, name):
        entry = REGISTRY[name]
        assert entry.name == name
        taker = f"a part of {entry.part_of}" if entry.part_of else entry.kind.command
        assert name in TAKEN[taker]

    @pytest.mark.parametrize("taker", KINDS)
    def test_fits_take_their_laws_by_name(self, taker):
        assert set(names_for(*KINDS[taker])) == TAKEN[taker]
        assert choices_for(*KINDS[taker]) == (AUTO, *names_for(*KINDS[taker]))
        for name in choices_for(*KINDS[taker]):
            require_choice(name, *KINDS[taker])

    @pytest.mark.parametrize("taker", AVERAGED)
    def test_auto_averages_some_of_them(self, taker):
        names = {name for kind in KINDS[taker] for name in averaged_names(kind)}
        assert names == AVERAGED[taker]
        assert names <= TAKEN[taker]

    @pytest.mark.parametrize("name", REGISTRY)
    def test_the_laws_an_entry_points_to_exist(self, name):
        entry = REGISTRY[name]
        others = {entry.instead, entry.plain, entry.part_of} - {""}
        assert others <= set(REGISTRY) - {name}
        # a law of one ratio names one of several, and a law of repeats the law without them
        assert not entry.instead or REGISTRY[entry.instead].fewest_ratios > entry.fewest_ratios
        assert not entry.plain or not REGISTRY[entry.plain].columns
        assert not entry.part_of or not REGISTRY[entry.part_of].part_of

    def test_a_plan_asks_laws_that_cp_fit_takes(self):
        assert set(PLAN_LAWS) <= {AUTO, *TAKEN["cmrplan fit"]}


class TestTheyAgree:
    @pytest.mark.parametrize("taker", ["cmrplan fit", "cmrplan mix fit"])
    def test_the_help_of_a_command_lists_its_laws(self, call, taker):
        shown = " ".join(call(*taker.split()[1:], "--help").out.split())
        listed = re.search(r"--law LAW auto averages .*?; or one of (.*?)\.", shown)[1]
        assert set(listed.split(", ")) == TAKEN[taker]

    def test_the_table_in_the_docs_has_a_row_a_law(self):
        table = re.search(
            r"<!-- laws -->\n(.*?)<!-- /laws -->", (ROOT / "docs/laws.md").read_text(), re.DOTALL
        )
        rows = [
            [cell.strip() for cell in line.split("|")[1:-1]] for line in table[1].splitlines()[2:]
        ]
        taken_by = {row[0].strip("`"): row[-1].replace("`", "") for row in rows}
        assert taken_by == {
            name: taker + (", auto" if name in AVERAGED.get(taker, ()) else "")
            for taker, names in TAKEN.items()
            for name in names
        }


class TestRefusals:
    @pytest.mark.parametrize(
        ("function", "taker"), [("fit", "cmrplan fit"), ("fit_mixture", "cmrplan mix fit")]
    )
    def test_a_law_of_another_fit_is_told_where_it_belongs(self, function, taker):
        for other, names in TAKEN.items():
            for name in names if other != taker else ():
                whole = "cmr" if other == "a part of cmr" else name
                to = "call cp.fit_domains" if "domains" in other else f"use .*--law {whole}$"
                with pytest.raises(InputError, match=f"^the law {name} .*; {to}"):
                    getattr(cp, function)(LOG, name)

    @pytest.mark.parametrize(
        ("function", "typo", "nearest"),
        [
            ("fit", "dpct", "dcpt"),
            ("fit", "chinchila", "chinchilla"),
            ("fit", "avto", "auto"),
            ("fit_mixture", "data_mixin", "data_mixing"),
        ],
    )
    def test_a_name_that_is_no_law_is_refused_with_the_nearest(self, function, typo, nearest):
        with pytest.raises(InputError, match=rf"got '{typo}'\. Did you mean {nearest}\?$"):
            getattr(cp, function)(LOG, typo)

    def test_a_name_like_no_law_is_refused_with_the_laws(self):
        with pytest.raises(InputError, match=r"^law must be one of auto, dcpt, .*, got 'zzz'\.$"):
            cp.fit(LOG, "zzz")

    def test_a_declaration_of_no_law_names_the_nearest(self):
        with pytest.raises(InputError, match=r"unknown law 'bimx'.*[Dd]id you mean bimix\?$"):
            build_law("bimx", {})
