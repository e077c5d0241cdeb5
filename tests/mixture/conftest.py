"""A fit of three corpora, and a plan from it."""

import pytest
from known_mixtures import ASKED, world

import cmrplan as cp


@pytest.fixture(scope="session")
def three():
    return cp.fit_mixture(world(3, 24), bootstrap=40)


@pytest.fixture(scope="session")
def planned(three):
    return cp.plan_mixture(three, **ASKED)
