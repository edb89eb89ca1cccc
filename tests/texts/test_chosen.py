"""Questions by name or as they are, in some languages, the first so many."""

import pytest

from langneurons.errors import InputError
from langneurons.texts.questions import chosen
from langneurons.texts.responses import Question

QUESTIONS = [Question(f"q{i}", lang, f"{lang}{i}?", i) for lang in ("en", "sw") for i in range(3)]


def ids(questions: list[Question]) -> list[str]:
    return [f"{question.lang} {question.id}" for question in questions]


def test_all_of_them_by_default() -> None:
    assert chosen(QUESTIONS) == QUESTIONS


def test_the_same_ones_in_every_language() -> None:
    assert ids(chosen(QUESTIONS, take=2)) == ["en q0", "en q1", "sw q0", "sw q1"]
    assert ids(chosen(QUESTIONS, ("sw",), take=1)) == ["sw q0"]
    assert chosen(QUESTIONS, take=9) == QUESTIONS


def test_a_language_that_none_of_the_first_is_in() -> None:
    apart = [Question(f"{q.lang}_{q.id}", q.lang, q.question, q.answer) for q in QUESTIONS]
    with pytest.raises(InputError, match=r"none of the first 2 questions is there in sw; .*3 of 3"):
        chosen(apart, take=2)
    assert len(chosen(apart, take=4)) == 4


def test_by_name() -> None:
    asked = chosen("nano", ("en", "sw"), take=2)
    assert [question.lang for question in asked] == ["en", "en", "sw", "sw"]
    assert asked[0].id == asked[2].id


def test_a_language_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no question in th"):
        chosen(QUESTIONS, ("en", "th"))
