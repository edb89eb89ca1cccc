"""Questions and responses: what a model was asked and what it wrote, and a question's block."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langneurons.errors import InputError


@dataclass(frozen=True, slots=True)
class Response:
    """One text a model wrote to a prompt.

    Attributes:
        question_id: the question's id, the same in every language.
        lang: code of the language it was asked in.
        prompt: the prompt as rendered, to the character; the response follows it directly. May be
            empty.
        response: the text, without the prompt. May be empty: models do write nothing.
        sample: number of this response among those to the same question in the same language, from
            0.
        answer: the question's right answer, where known.
        correct: whether the response reaches it, where known.
    """

    question_id: str
    lang: str
    prompt: str
    response: str
    sample: int = 0
    answer: float | str | None = None
    correct: bool | None = None

    def to_row(self) -> dict[str, Any]:
        """The row of `responses.jsonl`; what is not known is left out."""
        row: dict[str, Any] = {
            "question_id": self.question_id,
            "lang": self.lang,
            "prompt": self.prompt,
            "response": self.response,
            "sample": self.sample,
        }
        if self.answer is not None:
            row["answer"] = self.answer
        if self.correct is not None:
            row["correct"] = self.correct
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Response":
        """A response from a row of `responses.jsonl`; other fields are ignored.

        Raises:
            InputError: for a field that is missing, empty or of the wrong type, naming it.
        """
        sample, correct = row.get("sample", 0), row.get("correct")
        if type(sample) is not int or sample < 0:
            raise InputError(f"field sample is {_seen(sample)}; a whole number from 0 up is needed")
        if correct is not None and type(correct) is not bool:
            raise InputError(f"field correct is {_seen(correct)}; true, false or null is needed")
        return cls(
            question_id=text_field(row, "question_id"),
            lang=text_field(row, "lang"),
            prompt=text_field(row, "prompt", may_be_empty=True),
            response=text_field(row, "response", may_be_empty=True),
            sample=sample,
            answer=_answer(row),
            correct=correct,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """One question in one language.

    Attributes:
        id: its id, the same in every language.
        lang: code of its language.
        question: its text.
        answer: the right answer, where known.
        choices: the answers to choose from, where there are any.
    """

    id: str
    lang: str
    question: str
    answer: float | str | None = None
    choices: tuple[str, ...] = ()

    def to_row(self) -> dict[str, Any]:
        """The row of a JSONL file of questions."""
        row = {"id": self.id, "lang": self.lang, "question": self.question, "answer": self.answer}
        return row | ({"choices": list(self.choices)} if self.choices else {})

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Question":
        """A question from such a row; other fields are ignored.

        Raises:
            InputError: for a field that is missing, empty or of the wrong type, naming it.
        """
        return cls(
            id=text_field(row, "id"),
            lang=text_field(row, "lang"),
            question=text_field(row, "question"),
            answer=_answer(row),
            choices=_choices(row),
        )


def block_of(question_id: str, blocks: int) -> int:
    """Block of a question, in 0 .. blocks - 1.

    It is the same in every language, model, session and machine.

    Raises:
        InputError: when `blocks` is below 1.
    """
    block_rule(blocks)
    return int.from_bytes(hashlib.sha256(question_id.encode()).digest()) % blocks


def block_rule(blocks: int) -> str:
    """The rule of `block_of` in words, as kept with counts: only counts of one rule add up.

    Raises:
        InputError: when `blocks` is below 1.
    """
    if blocks < 1:
        raise InputError(f"blocks {blocks}: questions need at least 1 block; 10 is the default")
    return "one block" if blocks == 1 else f"sha256(question_id) mod {blocks}"


def text_field(row: Mapping[str, Any], name: str, *, may_be_empty: bool = False) -> str:
    """The text in a field of a row.

    Raises:
        InputError: when it is missing, no text, empty where it may not be, or cannot be written as
            UTF-8.
    """
    if name not in row:
        raise InputError(
            f"field {name} is missing; there are {', '.join(map(str, row)) or 'no fields'}"
        )
    value = row[name]
    if not isinstance(value, str):
        raise InputError(f"field {name} is {_seen(value)}; text is needed")
    if not value.strip() and not may_be_empty:
        raise InputError(f"field {name} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"field {name} has half a surrogate pair at character {error.start}; remove it"
        ) from None
    return value


def _answer(row: Mapping[str, Any]) -> float | str | None:
    answer = row.get("answer")
    if answer is None or isinstance(answer, str) or type(answer) is int:  # a bool is no number here
        return answer
    if isinstance(answer, float) and math.isfinite(answer):
        return answer
    raise InputError(f"field answer is {_seen(answer)}; a number, text or null is needed")


def _choices(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The answers that a row gives to choose from."""
    choices = row.get("choices")
    if choices is None:
        return ()
    texts = isinstance(choices, list) and all(
        isinstance(one, str) and one.strip() for one in choices
    )
    if not texts or len(set(choices)) < max(2, len(choices)):
        raise InputError(
            f"field choices is {_seen(choices)}; a list of 2 texts or more is needed, no two alike"
        )
    if row.get("answer") not in (None, *choices):
        raise InputError(f"field answer is {_seen(row['answer'])}, which is not among the choices")
    return tuple(choices)


def _seen(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
