"""Replies: what servers reply to a request for completions, and what they mean by it.

Servers that speak OpenAI's completions differ in how they say that a text has ended, that a prompt
is too long, and what they do not take. All that is known of their words is here.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

FINISHES: Mapping[str, str] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_length": "length",
    "model_length": "length",
}
"""What the words for a finish mean, in small letters; any other word stays as it is."""

UNFINISHED = frozenset(
    (
        "abort",
        "aborted",
        "cancelled",
        "canceled",
        "error",
        "timeout",
        "network_error",
        "system_error",
        "insufficient_system_resource",
    )
)
"""Words for a text that was broken off: asked for again, and taken where that does not help."""

WITHHELD = frozenset(("content_filter", "safety", "recitation", "blocklist", "prohibited_content"))
"""Words for a text that may be kept back as a whole."""

UNSAID = "no reason"
"""Finish of a text that comes without one."""

_TOO_LONG = re.compile(
    r"""
    context[ _-]?(length|size|window) | max_model_len | prompt_too_long
    | string_above_max_length | maximum[ ](input|prompt|sequence)
    | (input|prompt|sequence)([ ]is)?[ ]too[ ]long | too[ ]many[ ](input[ ]|prompt[ ])?tokens
    | longer[ ]than[ ]the[ ](model|maximum) | `inputs`[ ](tokens|must[ ]have)
    | (tokens?|length|prompt|input|context)\b[^.]{0,40}[ ]exceeds?([ ]the)?[ ](model|max|available)
    """,
    re.IGNORECASE | re.VERBOSE,
)

_CONTEXT = re.compile(
    r"(?:context (?:length|size|window)|max_model_len|must be)\D{0,24}?(\d[\d,]*)", re.IGNORECASE
)


class Choice(NamedTuple):
    """A text that a server gave.

    Attributes:
        text: the text.
        finish: how it ended, in our words where there is one (see `FINISHES`), else in the
            server's.
    """

    text: str
    finish: str


class Reply(NamedTuple):
    """What a server replies to one request.

    Attributes:
        model: the name it gives its model.
        choices: the texts that have ended.
        unfinished: the texts that were broken off.
    """

    model: str
    choices: list[Choice]
    unfinished: list[Choice]


class Listed(NamedTuple):
    """A model in a server's list.

    Attributes:
        id: the name it goes by there.
        root: the folder or id that it was loaded from, where the server says (vLLM, SGLang).
        parent: the `id` of the model that it adapts, where it is an adapter.
    """

    id: str
    root: str | None
    parent: str | None


class ErrorReplyError(ValueError):
    """A reply that says it is one, and holds an error.

    Attributes:
        code: the status that the error stands for; 500 where it does not say.
        said: what it says.
    """

    def __init__(self, code: int, said: str) -> None:
        """It holds this error."""
        super().__init__(said)
        self.code, self.said = code, said


def read(content: bytes) -> Reply:
    """What a reply holds; one that comes as a stream of chunks is put together.

    Raises:
        ErrorReplyError: when it holds an error.
        ValueError: when it is no JSON, or a stream that was cut; KeyError or TypeError when it is
            no list of completions.
    """
    text = content.decode("utf-8-sig", "replace").strip()
    try:
        reply = _joined(text) if text.startswith(("data:", "event:", "id:", ":")) else _json(text)
    except RecursionError:
        raise ValueError from None
    if "choices" not in reply and reply.get("error"):
        raise _error(reply["error"])
    choices = reply["choices"]
    if not isinstance(choices, list):
        raise TypeError
    ended, broken = [], []
    for text, said in filter(None, map(_text_and_finish, choices)):
        finish = FINISHES.get(said.lower(), said)
        (broken if said.lower() in UNFINISHED else ended).append(Choice(text, finish))
    model = reply.get("model")
    return Reply(model if isinstance(model, str) else "", ended, broken)


def listed(content: bytes) -> list[Listed]:
    """The models that a server lists; some list them bare, most under `data`.

    Raises:
        ValueError: when it is no JSON; KeyError or TypeError when it is no list of models.
    """
    try:
        reply = json.loads(content.decode("utf-8-sig", "replace"))
    except RecursionError:
        raise ValueError from None
    models = reply if isinstance(reply, list) else reply["data"]
    if not isinstance(models, list):
        raise TypeError
    return [
        Listed(model["id"], *(_said(model.get(name)) for name in ("root", "parent")))
        for model in models
        if isinstance(model, dict) and isinstance(model.get("id"), str)
    ]


def _said(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def is_too_long(code: int, said: str) -> bool:
    """Whether a server refuses a prompt, as it says, because it is too long."""
    return code == 413 or (code in (400, 422, 500) and bool(_TOO_LONG.search(said)))


def room(said: str, asked: int) -> int | None:
    """How many tokens there is room for after a prompt, as a server says that refuses it.

    Args:
        said: such as "This model's maximum context length is 512 tokens. However, you requested 700
            tokens (100 in the prompt, 600 in the completion)."
        asked: how many were asked for.

    Returns:
        None where it does not say; 0 where there is none.
    """
    if not (context := _CONTEXT.search(said)) or "at least" in said:
        return None
    limit = _number(context[1])
    told = re.sub(r'"code": ?\d+', "", said)
    numbers = {_number(digits) for digits in re.findall(r"\d[\d,]*", told)} - {limit}
    prompts = [number for number in numbers if number + asked in numbers]
    if not prompts and asked in numbers:
        prompts = list(numbers - {asked})
    return max(0, limit - prompts[0]) if len(prompts) == 1 else None


def _number(digits: str) -> int:
    return int(digits.replace(",", ""))


def names(said: str, words: Sequence[str]) -> list[str]:
    """Those of the words that stand in what a server says."""
    return [word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", said)]


def _json(text: str) -> dict[str, Any]:
    reply = json.loads(text)
    if not isinstance(reply, dict):
        raise TypeError
    return reply


def _joined(text: str) -> dict[str, Any]:
    """A stream of chunks (server-sent events) as the one reply that was asked for.

    Raises:
        ValueError: when it was cut: some text has no finish, and the stream no end.
    """
    data = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    chunks = [_json(line) for line in data if line != "[DONE]"]
    whole: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        if chunk.get("error"):
            raise _error(chunk["error"])
        for part in chunk["choices"]:
            into = whole.setdefault(part.get("index", 0), {"text": "", "finish_reason": None})
            into["text"] += part.get("text") or ""
            into["finish_reason"] = part.get("finish_reason") or into["finish_reason"]
    if "[DONE]" not in data and not all(choice["finish_reason"] for choice in whole.values()):
        raise ValueError
    model = next((chunk["model"] for chunk in chunks if chunk.get("model")), "")
    return {"model": model, "choices": [whole[index] for index in sorted(whole)]}


def _text_and_finish(choice: Any) -> tuple[str, str] | None:
    """Text and finish of a choice, as the server says it; None where it has no text.

    Half a surrogate pair, which no file can hold, becomes the sign for what could not be read, as
    in what a model in this process writes.
    """
    if not isinstance(choice, dict):
        return None
    said = choice.get("finish_reason")
    if isinstance(said, dict):  # SGLang's own: {"type": "stop", "matched": 2}
        said = said.get("type")
    said = said if isinstance(said, str) and said else UNSAID
    text = choice.get("text")
    if text is None and said.lower() in WITHHELD:
        text = ""
    if not isinstance(text, str):
        return None
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), said


def _error(error: Any) -> ErrorReplyError:
    """An error as a reply holds it."""
    code = error.get("code") if isinstance(error, dict) else None
    known = isinstance(code, int) and 400 <= code < 600
    return ErrorReplyError(code if known else 500, json.dumps(error, ensure_ascii=False))
