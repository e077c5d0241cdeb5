"""Counts and fractions as people write them, and what is refused."""

import math

import pytest

from cmrplan.errors import InputError
from cmrplan.numbers import (
    compact,
    parse_count,
    require_confidence,
    require_fraction,
    require_positive,
)


@pytest.mark.parametrize(
    ("given", "count"),
    [("7B", 7e9), ("1.6m", 1.6e6), (" 2k ", 2e3), ("1_000", 1e3), ("1.5e3k", 1.5e6), (3e8, 3e8)],
)
def test_a_count_is_read_from_its_spelling(given, count):
    assert parse_count(given) == count


@pytest.mark.parametrize("given", ["0", "-1", "1g", "B", "", "nan", "1e400", "inf", "1 2", "5%"])
def test_what_is_no_count_is_refused(given):
    with pytest.raises(InputError, match=r"is not a number above 0 such as 1\.8e9, 1\.8B or 300M"):
        parse_count(given)


@pytest.mark.parametrize("count", [450e3, 1.2e6, 7e9, 1.5e12])
def test_a_short_form_is_read_back(count):
    assert parse_count(compact(count)) == count


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_number_that_is_not_positive_is_refused(value):
    with pytest.raises(InputError, match=r"^x must be a number above 0, got "):
        require_positive("x", value)


@pytest.mark.parametrize(
    ("value", "hint"), [(30, r"got 30\. Percent\? Divide by 100\.$"), (-0.1, "got -0.1$")]
)
def test_a_fraction_outside_its_range_is_refused(value, hint):
    with pytest.raises(InputError, match=r"^max_ratio must be a fraction in \[0, 1\], " + hint):
        require_fraction("max_ratio", value)
    require_fraction("max_ratio", 0)
    require_fraction("max_ratio", 1)


@pytest.mark.parametrize("level", [0, 1, 90, math.nan])
def test_a_confidence_is_between_0_and_1(level):
    with pytest.raises(InputError, match="confidence must be between 0 and 1, got "):
        require_confidence(level)
