"""Completions: one text asked of a model and what came back: what all engines take and give."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

from langneurons.config import SampleConfig


class Request(NamedTuple):
    """One completion to ask for.

    Attributes:
        prompt: the text to go on from, to the character.
        seed: whole number in [0, 2**64) that its random numbers are drawn from, see `seed_of`.
    """

    prompt: str
    seed: int


class Completion(NamedTuple):
    """What a model wrote.

    Attributes:
        place: position of its request among those asked.
        text: the text, without the prompt, the end token or the stop string.
        finish: `stop` where the model ended or came to a stop string, `length` where it was cut,
            `none` where the prompt left no room for an answer.
    """

    place: int
    text: str
    finish: Literal["stop", "length", "none"]


class Engine(Protocol):
    """What writes completions."""

    def complete(
        self, requests: Sequence[Request], config: SampleConfig, done: Collection[int] = ()
    ) -> Iterator[Completion]:
        """Completions of these requests but for those at the places in `done`, in any order.

        Some that are done may come again; they are the same.
        """


def seed_of(seed: int, question_id: str, lang: str, sample: int) -> int:
    """The seed of one response, from the seed of the run and what the response is: nothing else matters to it."""
    name = json.dumps([seed, question_id, lang, sample])
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string in it, and whether there is one."""
    found = [at for word in stop if (at := text.find(word)) >= 0]
    return (text[: min(found)], True) if found else (text, False)
