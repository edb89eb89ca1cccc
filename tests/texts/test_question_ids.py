"""Ids that are not the same in every language: whom it concerns, and which rule would join them."""

import pytest

from langneurons.texts.question_ids import advice, ids_of, notes, unshared
from langneurons.texts.responses import Question, Response


def test_ids_of_questions_and_of_responses() -> None:
    responses = [
        Response("b", "en", "", ""),
        Response("a", "en", "", ""),
        Response("b", "sw", "", ""),
    ]
    questions = [Question("b", "en", "?"), Question("a", "en", "?"), Question("b", "sw", "?")]
    assert {code: list(ids) for code, ids in ids_of(responses).items()} == {
        "en": ["b", "a"],
        "sw": ["b"],
    }
    assert ids_of(questions) == ids_of(responses)


@pytest.mark.parametrize(
    ("ids", "alone"),
    [
        ({"en": ["0", "1"], "sw": ["1", "2"]}, []),
        ({"en": ["en_0"], "sw": ["sw_0"]}, ["en", "sw"]),
        ({"en": ["0"], "de": ["0"], "sw": ["sw_0"]}, ["sw"]),
        ({"en": ["0"]}, []),
        ({}, []),
    ],
)
def test_languages_that_share_no_question(ids: dict[str, list[str]], alone: list[str]) -> None:
    assert unshared(ids) == alone
    assert len(notes(ids, "x")) == bool(alone)


@pytest.mark.parametrize(
    ("ids", "joined"),
    [
        ({"en": ["en_0", "en_1"], "sw": ["sw_0", "sw_1"]}, "2 of 2"),
        ({"en": ["0-en", "1-en"], "sw": ["0-sw", "2-sw"]}, "1 of 3"),
        ({"en": ["mgsm-en-7"], "sw": ["mgsm-sw-7"], "de": ["mgsm-de-7"]}, "1 of 1"),
        ({"en": ["English/3"], "sw": ["swahili/3"]}, "1 of 1"),
        ({"en": ["en3"], "sw": ["sw3"]}, "1 of 1"),
        ({"en": ["7"], "sw": ["sw.7"]}, "1 of 1"),
        ({"en": ["eng_Latn-7"], "sw": ["swh_Latn-7"]}, "1 of 1"),
        ({"en": ["end-3"], "sw": ["swd-3"]}, None),  # "en" is no word of its own in "end"
        ({"en": ["a1"], "sw": ["b2"]}, None),
        ({"en": ["en-1", "1-en"], "sw": ["sw-1"]}, None),  # two questions would become one
    ],
)
def test_the_rule_that_would_join_them(ids: dict[str, list[str]], joined: str | None) -> None:
    said = advice(ids)
    assert said.startswith("a question needs the same id in every language (there are ")
    if joined is None:
        assert "left off" not in said
    else:
        assert f"with the language left off its id, {joined} questions would be there" in said


def test_the_note_in_words() -> None:
    ids = {"en": ["0"], "de": ["0"], "sw": ["sw_0"]}
    assert notes(ids, "so and so") == [
        "sw shares no question with another language, so so and so; a question needs the same id "
        "in every language (there are 0, 0, sw_0): with the language left off its id, 1 of 1 "
        "questions would be there in two languages or more"
    ]
