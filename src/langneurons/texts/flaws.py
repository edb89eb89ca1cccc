"""Flaws: what can be wrong with a response, and which responses are counted."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from functools import cache
from typing import Literal, NamedTuple, get_args

from langneurons.errors import InputError
from langneurons.texts.languages import language
from langneurons.texts.responses import Response

Flaw = Literal["empty", "unfinished", "repetition", "wrong script"]
"""What can be wrong with a response, see `flaws`."""


class GateRow(NamedTuple):
    """What `gate` found among the responses in one language; a response may have several flaws."""

    lang: str
    total: int
    kept: int
    empty: int
    unfinished: int
    repetition: int
    wrong_script: int


def gate(
    responses: Sequence[Response], drop: Collection[str] = ()
) -> tuple[list[Response], list[GateRow]]:
    """The responses to count, and what was found per language, in order of first sight.

    Args:
        responses: any.
        drop: flaws to leave out besides `empty`, which always is. `unfinished` is a guess and
            cannot be among them.

    Raises:
        InputError: for a flaw that cannot be dropped.
    """
    droppable = [flaw for flaw in get_args(Flaw) if flaw != "unfinished"]
    for flaw in drop:
        if flaw not in droppable:
            why = "is a guess and only reported" if flaw == "unfinished" else "is no flaw"
            raise InputError(
                f"drop {flaw!r}: it {why}; what can be dropped is {', '.join(droppable)}"
            )
    out = {"empty", *drop}
    kept: list[Response] = []
    found: dict[str, Counter[str]] = {}
    for response in responses:
        there = flaws(response)
        keep = not out.intersection(there)
        if keep:
            kept.append(response)
        found.setdefault(response.lang, Counter()).update(["total", *["kept"] * keep, *there])
    return kept, [
        GateRow(code, *(n[what] for what in ("total", "kept", *get_args(Flaw))))
        for code, n in found.items()
    ]


def flaws(response: Response) -> tuple[Flaw, ...]:
    """What is wrong with a response.

    - `empty`: nothing but white space; nothing else is then said of it.
    - `unfinished`: it ends in something else than a digit, a closing mark or the end of a sentence,
      so it was perhaps cut off. Rows do not say where sampling stopped: this is a guess. Thai,
      which ends sentences without a mark, is not judged where a letter comes last.
    - `repetition`: one line three times in a row (blank ones between do not matter), or three times
      or more in all and more than half of the text; or the text ends in one piece of 4 to 100
      characters five times over.
    - `wrong script`: fewer than 3 in 10 of its letters are in the script of its language, or it is
      to be Japanese and has no kana. Digits, signs and LaTeX commands are no letters; below 10
      letters it is not judged, nor in a language whose script is not known. Languages of one script
      (English, German, Swahili) cannot be told apart so, nor simplified from traditional Chinese.
    """
    text = response.response.strip()
    if not text:
        return ("empty",)
    script = language(response.lang).script
    checks: list[tuple[Flaw, bool]] = [
        ("unfinished", _unfinished(text, script)),
        ("repetition", _repeats(text)),
        ("wrong script", script in _SCRIPTS and _strays(text, script)),
    ]
    return tuple(flaw for flaw, there in checks if there)


_GOES_ON = set(",;:/\\&@#-،؛、，；：")


_HAN = ("CJK", "IDEOGRAPHIC")


_KANA = ("HIRAGANA", "KATAKANA")


_SCRIPTS = {
    "Arab": ("ARABIC",),
    "Beng": ("BENGALI",),
    "Cyrl": ("CYRILLIC",),
    "Deva": ("DEVANAGARI",),
    "Grek": ("GREEK",),
    "Hang": ("HANGUL",),
    "Hans": _HAN,
    "Hant": _HAN,
    "Hebr": ("HEBREW",),
    "Jpan": (*_HAN, *_KANA),
    "Latn": ("LATIN",),
    "Taml": ("TAMIL",),
    "Telu": ("TELUGU",),
    "Thai": ("THAI",),
    "Tibt": ("TIBETAN",),
}
"""How the Unicode names of a script's letters begin, by the script's ISO 15924 code."""


def _unfinished(text: str, script: str | None) -> bool:
    last, kind = text[-1], unicodedata.category(text[-1])
    if kind[0] in "LM":
        return script != "Thai"
    return last in _GOES_ON or kind in ("Pd", "Ps", "Pi", "Pc", "Sm")


def _repeats(text: str) -> bool:
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    in_a_row = any(a == b == c for a, b, c in zip(lines, lines[1:], lines[2:], strict=False))
    line, times = max(Counter(lines).items(), key=lambda item: item[1] * len(item[0]))
    mostly = times >= 3 and times * len(line) > sum(map(len, lines)) / 2
    return in_a_row or mostly or re.match(r"(.{4,100}?)\1{4}", text[::-1], re.DOTALL) is not None


def _strays(text: str, script: str) -> bool:
    letters = [_family(char) for char in re.sub(r"\\[A-Za-z]+", "", text) if char.isalpha()]
    own = sum(name.startswith(_SCRIPTS[script]) for name in letters)
    no_kana = script == "Jpan" and not any(name.startswith(_KANA) for name in letters)
    return len(letters) >= 10 and (own < 0.3 * len(letters) or no_kana)


@cache
def _family(char: str) -> str:
    """First word of a letter's Unicode name, which begins with its script."""
    return (
        unicodedata.name(char, "")
        .removeprefix("FULLWIDTH ")
        .removeprefix("HALFWIDTH ")
        .partition(" ")[0]
    )
