import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langneurons.errors import InputError
from langneurons.texts.responses import Question, Response, block_of, block_rule
from support.places import data

ROW = {
    "question_id": "q1",
    "lang": "zh",
    "prompt": "2+2?\n",
    "response": "四",
    "sample": 3,
    "answer": 4,
    "correct": True,
}
texts = st.text(st.characters(exclude_categories=("Cs",)))
names = texts.filter(str.strip)
answers = (
    st.none()
    | st.text(max_size=5)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
)


@given(
    st.builds(
        Response, names, names, texts, texts, st.integers(0), answers, st.none() | st.booleans()
    )
)
def test_a_response_survives_its_row(response: Response) -> None:
    assert Response.from_row(json.loads(json.dumps(response.to_row()))) == response


@given(st.builds(Question, names, names, names, answers))
def test_a_question_survives_its_row(question: Question) -> None:
    assert Question.from_row(json.loads(json.dumps(question.to_row()))) == question


def test_what_is_not_known_is_not_written() -> None:
    assert list(Response("q1", "zh", "p", "r").to_row()) == [
        "question_id",
        "lang",
        "prompt",
        "response",
        "sample",
    ]
    assert Response.from_row(ROW).to_row() == ROW


def test_other_fields_are_ignored_and_texts_may_be_empty() -> None:
    assert Response.from_row(ROW | {"prompt": "", "response": "", "reward": 1}).response == ""


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"question_id": ""}, "^field question_id is empty$"),
        ({"question_id": 7}, "field question_id is 7; text is needed"),
        ({"lang": "  "}, "field lang is empty"),
        ({"lang": None}, "field lang is None"),
        ({"response": ["a"] * 90}, r"field response is .{39}…; text is needed"),
        ({"response": "ab\ud83d"}, "field response has half a surrogate pair at character 2"),
        ({"sample": -1}, "field sample is -1; a whole number from 0 up"),
        ({"sample": True}, "field sample is True"),
        ({"sample": 1.0}, "field sample is 1.0"),
        ({"answer": float("nan")}, "field answer is nan"),
        ({"answer": [4]}, r"field answer is \[4\]; a number, text or null"),
        ({"answer": True}, "field answer is True"),
        ({"correct": 1}, "field correct is 1; true, false or null"),
    ],
)
def test_a_wrong_field_is_named(change: dict, seen: str) -> None:
    with pytest.raises(InputError, match=seen):
        Response.from_row(ROW | change)


@pytest.mark.parametrize("field", ["question_id", "lang", "prompt", "response"])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(InputError, match=f"field {field} is missing; there are "):
        Response.from_row({name: value for name, value in ROW.items() if name != field})


def test_a_question_without_a_question() -> None:
    with pytest.raises(InputError, match="field question is empty"):
        Question.from_row({"id": "q", "lang": "zh", "question": " "})


def test_blocks_are_the_same_for_ever() -> None:
    """Worked out with sha256sum and long division: today's counts must add to those of then."""
    assert [block_of(f"mgsm-00{i}", 10) for i in range(6)] == [4, 2, 9, 7, 3, 2]
    assert block_of("ΔΘ-ไทย", 1) == 0


@given(st.text(st.characters(exclude_categories=("Cs",))), st.integers(1, 50))
def test_a_block_is_one_of_them(question_id: str, blocks: int) -> None:
    assert 0 <= block_of(question_id, blocks) < blocks


def test_the_rule_in_words() -> None:
    assert [block_rule(1), block_rule(10)] == ["one block", "sha256(question_id) mod 10"]


@pytest.mark.parametrize("blocks", [0, -3])
def test_no_block(blocks: int) -> None:
    for call in (lambda: block_of("q", blocks), lambda: block_rule(blocks)):
        with pytest.raises(InputError, match=f"blocks {blocks}: questions need at least 1 block"):
            call()


def ids_per_block(ids: list[str]) -> list[int]:
    blocks = [block_of(question_id, 10) for question_id in ids]
    return [blocks.count(block) for block in range(10)]


def test_blocks_are_of_similar_size() -> None:
    assert min(ids_per_block([f"question {i}" for i in range(2000)])) > 150


def test_blocks_of_real_questions_are_of_similar_size() -> None:
    file: Path = data("mgsm", "en.jsonl")
    sizes = ids_per_block([json.loads(line)["id"] for line in file.read_text("utf-8").splitlines()])
    assert sum(sizes) == 250
    assert min(sizes) > 10
