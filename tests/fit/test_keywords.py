"""Functions that show the fields of a dataclass as their keywords."""

import inspect
from dataclasses import dataclass, field
from typing import TypedDict, Unpack

import pytest

from cmrplan.errors import InputError
from cmrplan.fit.keywords import count_from, request_from, shows_keywords


@dataclass(frozen=True)
class Question:
    tokens: float
    floors: dict[str, float] = field(default_factory=dict)
    confidence: float = 0.9


class QuestionKeywords(TypedDict, total=False):
    tokens: float | str
    floors: dict[str, float]
    confidence: float


@shows_keywords(Question, QuestionKeywords)
def answer(fit, request=None, **keywords: Unpack[QuestionKeywords]):
    """Answer."""
    return request_from(Question, request, keywords)


def test_the_signature_names_every_keyword_with_its_default():
    shown = inspect.signature(answer).parameters
    assert list(shown) == ["fit", "request", "tokens", "floors", "confidence"]
    assert shown["tokens"].default is inspect.Parameter.empty
    assert (shown["floors"].default, shown["confidence"].default) == ({}, 0.9)
    assert {shown[name].kind for name in ("tokens", "floors", "confidence")} == {
        inspect.Parameter.KEYWORD_ONLY
    }
    assert "tokens: float | str, floors: dict[str, float] = {}" in str(inspect.signature(answer))
    assert answer.__doc__ == "Answer."


def test_keywords_or_a_whole_request_ask_the_same():
    assert answer(None, tokens=2.0) == answer(None, Question(2.0)) == Question(2.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tokens": 1.0, "floor": {}}, "answer takes no floor; did you mean floors?"),
        ({"tokens": 1.0, "xyz": 1}, "answer takes no xyz; it takes fit, request, tokens, floors"),
        ({}, "tokens must be given"),
        ({"request": Question(1.0), "confidence": 0.8}, "confidence given beside a whole Question"),
    ],
)
def test_a_wrong_call_is_named(given, words):
    with pytest.raises(InputError, match=words):
        answer(None, **given)


@pytest.mark.parametrize(
    ("given", "count"), [("20B", 2e10), ("1.5e9", 1.5e9), (300, 300.0), ("4k", 4e3), (" 2T", 2e12)]
)
def test_counts_are_read_as_people_write_them(given, count):
    assert count_from("train_tokens", given) == count


@pytest.mark.parametrize("given", ["many", "", "-3", 0, float("nan"), float("inf"), "2X", None])
def test_what_is_no_count_is_refused(given):
    with pytest.raises(InputError, match="train_tokens must be a number above 0"):
        count_from("train_tokens", given)
