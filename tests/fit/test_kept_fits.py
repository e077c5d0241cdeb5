"""Fit files of released versions: what is promised to be read is read, the rest is refused with one line.

The expected losses were printed by the version that wrote the files.
"""

from pathlib import Path

import pytest

import cmrplan as cp
from cmrplan.errors import InputError
from cmrplan.fit.file import read_fit
from cmrplan.mixture.file import read_mixture_fit

KEPT = Path(__file__).parents[1] / "reference" / "fits"


def test_a_fit_of_two_corpora_by_0_2_0_predicts_what_it_did():
    fit = read_fit(KEPT / "0.2.0" / "two_corpora.json")
    losses = fit.predict("general", model_params=1.8e9, train_tokens=1e10, domain_ratio=0.4)
    assert losses.loss == pytest.approx([2.8139502525765865], rel=1e-12)
    assert len(losses.draws) == 20


def test_a_fit_of_many_corpora_by_0_2_0_predicts_what_it_did():
    fit = read_mixture_fit(KEPT / "0.2.0" / "mixture.json")
    shares = {"general": 0.5, "code": 0.3, "law": 0.2}
    losses = fit.predict(shares, model_params=1e8, train_tokens=8e8)
    expected = {"code": 2.4193162038752085, "general": 2.127960965302299, "law": 2.6334838515880015}
    assert {c: float(p.loss[0]) for c, p in losses.items()} == pytest.approx(expected, rel=1e-12)


def test_a_fit_by_0_1_0_is_refused_with_what_to_do():
    with pytest.raises(
        InputError, match=r"file version 1, this one reads 2.*again with cmrplan fit"
    ):
        cp.read_fit(KEPT / "0.1.0" / "two_corpora.json")
