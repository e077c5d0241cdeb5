"""Laws whose mixture term changes with tokens and size: by hand, against the published law, and recovered."""

import numpy as np
import pytest

from cmrplan.laws import build_law
from cmrplan.laws.mixing_interactions import bilinear_mixing_law
from cmrplan.laws.mixtures import data_mixing_law
from cmrplan.solve.law_fit import fit_law

CORPORA = ("web", "code", "math")
SIZES, TOKENS = (1e7, 4e7, 1.6e8), (2e8, 6e8, 1.8e9, 5.4e9)
SCALES = {"token_scale": 1e9, "size_scale": 4e7}


def grid_rows(sizes=SIZES, tokens=TOKENS, mixtures=9):
    shares = np.random.default_rng(7).dirichlet(np.ones(3), mixtures)
    n, d, x = np.meshgrid(sizes, tokens, np.arange(mixtures), indexing="ij")
    rows = {"model_params": n.ravel(), "train_tokens": d.ravel()}
    return rows | {f"share_{c}": shares[x.ravel(), j] for j, c in enumerate(CORPORA)}


def interacting_loss(rows, *, a0=0.3, beta=0.4):
    """Write the size mixing law out a second time."""
    d = ((rows["train_tokens"] / 1e9) ** -beta - 1) / -beta
    size = rows["model_params"] / 4e7
    mixed = np.exp(-1.5 * rows["share_web"] + 0.5 * rows["share_code"])
    return 2 + 0.5 * size**-0.35 - 0.1 * d + size**-a0 * (0.8 - 0.05 * d) * mixed


def test_the_size_mixing_law_by_hand():
    law = bilinear_mixing_law(
        corpora=("a", "b"),
        size_levels=3,
        token_levels=3,
        token_scale=2.0,
        size_scale=4.0,
        has_size_power=True,
    )
    assert [term.coefficient for term in law.terms] == ["c", "k", "A", "b", "q"]
    assert [e.name for e in law.exponents] == ["a0", "t_a", "alpha", "beta"]
    # N/N0 = 4 and a0 = 1/2 halve the mixture term, alpha = 1 quarters A; D/D1 = e and beta = 0 make d = 1
    rows = {
        "model_params": np.array([16.0]),
        "train_tokens": np.array([2 * np.e]),
        "share_a": np.array([0.25]),
        "share_b": np.array([0.75]),
    }
    theta = np.array([[0.5, 4.0, 1.0, 0.0]])
    value = law.predict(rows, theta, np.array([[1.0, 3.0, 8.0, -0.2, 1.0]]))[0, 0]
    assert value == pytest.approx(1 + 8 / 4 - 0.2 + (3 + 1) * np.e / 2, rel=1e-14)


@pytest.mark.parametrize("name", ["bilinear_mixing", "size_mixing"])
def test_at_one_budget_and_size_it_says_what_the_data_mixing_law_says(name):
    law, published = build_law(name, {"corpora": CORPORA}), data_mixing_law(corpora=CORPORA)
    assert law.formula == published.formula
    rows = grid_rows(SIZES[:1], TOKENS[:1])
    theta, coefficients = np.array([[0.4, -1.2]]), np.array([[1.5, 0.7]])
    np.testing.assert_array_equal(
        law.predict(rows, theta, coefficients), published.predict(rows, theta, coefficients)
    )


@pytest.mark.parametrize(
    ("budgets", "sizes", "held"),
    [(1, 1, set()), (2, 1, {"beta"}), (3, 1, set()), (3, 2, {"alpha"}), (3, 3, set())],
)
def test_few_levels_reduce(budgets, sizes, held):
    law = build_law(
        "size_mixing",
        {"corpora": CORPORA, "token_levels": budgets, "size_levels": sizes, **SCALES},
    )
    assert {name for name, _ in law.fixed} - {"t_math", "D1", "N0"} == held
    names = {e.name for e in law.exponents}
    assert ("a0" in names) == (sizes > 1)
    assert ("q" in law.parameter_names) == (budgets > 1)


@pytest.mark.parametrize(("a0", "beta"), [(0.3, 0.4), (0.0, 0.9)])
def test_exact_losses_are_carried_to_a_larger_size_and_budget(a0, beta):
    rows, options = grid_rows(), {"corpora": CORPORA, "size_levels": 3, "token_levels": 4, **SCALES}
    fit = fit_law(build_law("size_mixing", options), rows, interacting_loss(rows, a0=a0, beta=beta))
    later = grid_rows((6.4e8,), (2e10,))
    expected = interacting_loss(later, a0=a0, beta=beta)
    # exact losses leave the parameters errors of 1e-6 of themselves, times at most 4 in ln N and ln D
    np.testing.assert_allclose(fit.predict(later), expected, atol=1e-4)


def test_published_laws_cannot_hold_what_these_hold():
    rows = grid_rows()
    loss = interacting_loss(rows)
    published = data_mixing_law(corpora=CORPORA, size_levels=3, token_levels=4)
    # over these tokens the part of the loss that reads the mixture changes by 0.05 |d| e^0.5, up to a tenth of a nat
    assert fit_law(published, rows, loss).mae > 0.005
