"""Engine: what every engine that writes completions is asked, and what it gives."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from langneurons.config import SampleConfig

STOP, LENGTH, NO_ROOM = "stop", "length", "none"
"""How a text ended: the model ended it or came to a stop string; it was cut; the prompt left no
room for an answer. Servers know more ways (`content_filter`, `tool_calls`); they stay as they are
called there."""


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
        finish: how it ended: `STOP`, `LENGTH`, `NO_ROOM`, or a server's word.
    """

    place: int
    text: str
    finish: str


@runtime_checkable
class Engine(Protocol):
    """What writes completions: `local.InProcess`, `server.Server`."""

    def complete(
        self, requests: Sequence[Request], config: SampleConfig, done: Collection[int] = ()
    ) -> Iterator[Completion]:
        """Completions of these requests but for those at the places in `done`, in any order.

        Some that are done may come again; they are the same.
        """


def seed_of(seed: int, question_id: str, lang: str, sample: int) -> int:
    """The seed of one response, from that of the run and what the response is: nothing else."""
    name = json.dumps([seed, question_id, lang, sample])
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def until_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string in it, and whether there is one."""
    places = [text.find(word) for word in stop if word in text]
    return (text[: min(places)], True) if places else (text, False)
