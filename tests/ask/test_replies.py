"""What servers reply, in the words of many of them."""

import json
from typing import Any

import pytest

from langneurons.ask.replies import Choice, ErrorReplyError, is_too_long, read, room


def reply(*choices: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"model": "m", "choices": list(choices), **more}).encode()


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("EOS_TOKEN", "stop"),
        ("stop_sequence", "stop"),
        ("end_turn", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("MAX_TOKENS", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("repetition", "repetition"),
        (None, "no reason"),
        ("", "no reason"),
        (7, "no reason"),
    ],
)
def test_finishes(said: Any, finish: str) -> None:
    whole = read(reply({"text": "12", "finish_reason": said}))
    assert whole == ("m", [Choice("12", finish)], [])


def test_a_text_that_is_kept_back_is_empty() -> None:
    kept = read(reply({"text": None, "finish_reason": "content_filter"}, {"finish_reason": "stop"}))
    assert kept.choices == [Choice("", "content_filter")]


def test_a_finish_with_what_it_matched() -> None:
    said = {"type": "stop", "matched": 2}
    assert read(reply({"text": "12", "finish_reason": said})).choices == [Choice("12", "stop")]


def test_what_was_broken_off_is_kept_apart() -> None:
    broken = read(reply({"text": "1", "finish_reason": "abort"}, {"text": "2"}, {"text": None}))
    assert broken.choices == [Choice("2", "no reason")]
    assert broken.unfinished == [Choice("1", "abort")]


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (r'"12 \ud83d"', "12 \ufffd"),
        (r'"\ude00 12"', "\ufffd 12"),
        (r'"\ud83d12"', "\ufffd12"),
        (r'"\ud83d\ude00"', "😀"),
        ('"12 \xff"', "12 \ufffd"),
    ],
)
def test_texts_that_are_no_valid_unicode(sent: str, text: str) -> None:
    content = f'{{"choices": [{{"text": {sent}, "finish_reason": "stop"}}]}}'.encode(
        "latin-1", "replace"
    )
    if "😀" in text:
        content = f'{{"choices": [{{"text": {sent}, "finish_reason": "stop"}}]}}'.encode()
    [choice] = read(b"\xef\xbb\xbf" + content).choices
    assert choice.text == text
    choice.text.encode()


def test_a_stream_where_none_was_asked_for() -> None:
    chunks = [
        {"model": "m", "choices": [{"index": 1, "text": "seven", "finish_reason": None}]},
        {"model": "m", "choices": [{"index": 0, "text": "tw", "finish_reason": None}]},
        {"model": "m", "choices": [{"index": 0, "text": "elve", "finish_reason": "stop"}]},
        {"model": "m", "choices": [{"index": 1, "text": "", "finish_reason": "length"}]},
        {"model": "m", "choices": [], "usage": {}},
    ]
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    whole = read("".join([": waiting\n\n", *lines, "data: [DONE]\n\n"]).encode())
    assert whole == ("m", [Choice("twelve", "stop"), Choice("seven", "length")], [])
    with pytest.raises(ValueError, match=r"^$"):
        read("".join(lines[:3]).encode())


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b'"x"', b"[" * 9999, b"data: 1\n\n"])
def test_what_is_no_reply(content: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        read(content)


@pytest.mark.parametrize(
    ("error", "code"), [({"message": "slow down", "code": 429}, 429), ("broken", 500)]
)
def test_an_error_in_a_reply(error: Any, code: int) -> None:
    with pytest.raises(ErrorReplyError) as caught:
        read(json.dumps({"error": error}).encode())
    assert caught.value.code == code


SUMS = [
    (
        "This model's maximum context length is 512 tokens. However, you requested 700 tokens (100 "
        "in the prompt, 600 in the completion).",
        412,
    ),
    (
        "'max_tokens' or 'max_completion_tokens' is too large: 600. This model's maximum context "
        "length is 512 tokens and your request has 100 input tokens (600 > 512 - 100).",
        412,
    ),
    (
        "This model's maximum context length is 512 tokens. However, you requested 600 output "
        "tokens and your prompt contains 2,700 input tokens, for a total of 3,300 tokens.",
        0,
    ),
    (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 512. Given: 100 "
        "`inputs` tokens and 600 `max_new_tokens`",
        412,
    ),
    (
        "Requested token count exceeds the model's maximum context length of 512 tokens. You "
        "requested a total of 700 tokens: 100 tokens from the input messages and 600 tokens for "
        "the completion.",
        412,
    ),
    ("The input (700 tokens) is longer than the model's context length (512 tokens).", None),
    ("the request exceeds the available context size, try increasing it", None),
    ("The decoder prompt (length 700) is longer than the maximum model length of 512.", None),
    ('{"code": "context_length_exceeded"}', None),
    ("Input is too long for requested model.", None),
    ("prompt is too long: 700 tokens > 512 maximum", None),
    ("Prompt contains 700 tokens, too large for model with 512 maximum context length", None),
    (
        "maximum context length is 512 tokens. However, you requested 600 output tokens and your "
        "prompt contains at least 413 input tokens, for a total of at least 1013 tokens.",
        None,
    ),
]


@pytest.mark.parametrize(("said", "left"), SUMS)
def test_prompts_that_are_too_long(said: str, left: int | None) -> None:
    """600 tokens were asked for; what room there is, where the server says it."""
    assert is_too_long(400, said)
    assert room(f'{{"message": "{said}", "code": 400}}', 600) == left


@pytest.mark.parametrize(
    "said",
    [
        "Only one completion choice is allowed",
        "Unrecognized request argument supplied: min_p",
        "max_tokens is too large: 600. This model supports at most 512 completion tokens",
        "temperature exceeds the maximum of 2",
        "The response was filtered due to the prompt triggering content management policy",
    ],
)
def test_other_refusals(said: str) -> None:
    assert not is_too_long(400, said)
    assert not is_too_long(403, SUMS[0][0])
    assert is_too_long(413, said)
