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
    dropped = {"empty", *drop}
    kept: list[Response] = []
    counts: dict[str, Counter[str]] = {}
    for response in responses:
        count = counts.setdefault(response.lang, Counter())
        wrong = flaws(response)
        count.update(("total", *wrong))
        if dropped.isdisjoint(wrong):
            kept.append(response)
            count["kept"] += 1
    rows = [
        GateRow(
            lang=code,
            total=count["total"],
            kept=count["kept"],
            empty=count["empty"],
            unfinished=count["unfinished"],
            repetition=count["repetition"],
            wrong_script=count["wrong script"],
        )
        for code, count in counts.items()
    ]
    return kept, rows


def left_out(rows: Sequence[GateRow], drop: Collection[str] = ()) -> dict[str, dict[str, int]]:
    """Why responses are not among those to count: language -> reason -> how many.

    A response with two flaws that are dropped counts for both.

    Args:
        rows: what `gate` found.
        drop: what it was told to leave out.
    """
    return {
        row.lang: {f"as {flaw}": getattr(row, flaw.replace(" ", "_")) for flaw in ("empty", *drop)}
        for row in rows
    }


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
    wrong: list[Flaw] = []
    if _unfinished(text, script):
        wrong.append("unfinished")
    if _repeats(text):
        wrong.append("repetition")
    if script in _SCRIPTS and _strays(text, script):
        wrong.append("wrong script")
    return tuple(wrong)


_GOES_ON = set(",;:/\\&@#-،؛、，；：")
"""Signs after which a text goes on."""

_HAN = ("CJK", "IDEOGRAPHIC")
_KANA = ("HIRAGANA", "KATAKANA")
_SCRIPTS = {
    "Arab": ("ARABIC",),
    "Armn": ("ARMENIAN",),
    "Beng": ("BENGALI",),
    "Cans": ("CANADIAN",),
    "Cher": ("CHEROKEE",),
    "Cyrl": ("CYRILLIC",),
    "Deva": ("DEVANAGARI",),
    "Ethi": ("ETHIOPIC",),
    "Geor": ("GEORGIAN",),
    "Grek": ("GREEK",),
    "Gujr": ("GUJARATI",),
    "Guru": ("GURMUKHI",),
    "Hang": ("HANGUL",),
    "Hani": _HAN,
    "Hans": _HAN,
    "Hant": _HAN,
    "Hebr": ("HEBREW",),
    "Jpan": (*_HAN, *_KANA),
    "Khmr": ("KHMER",),
    "Knda": ("KANNADA",),
    "Laoo": ("LAO",),
    "Latn": ("LATIN",),
    "Mlym": ("MALAYALAM",),
    "Mong": ("MONGOLIAN",),
    "Mtei": ("MEETEI",),
    "Mymr": ("MYANMAR",),
    "Nkoo": ("NKO",),
    "Olck": ("OL",),
    "Orya": ("ORIYA",),
    "Sinh": ("SINHALA",),
    "Syrc": ("SYRIAC",),
    "Taml": ("TAMIL",),
    "Telu": ("TELUGU",),
    "Tfng": ("TIFINAGH",),
    "Thaa": ("THAANA",),
    "Thai": ("THAI",),
    "Tibt": ("TIBETAN",),
}
"""How the Unicode names of a script's letters begin, by the script's ISO 15924 code."""


def _unfinished(text: str, script: str | None) -> bool:
    last = text[-1]
    category = unicodedata.category(last)
    if category[0] in "LM":  # a letter or a mark on one
        return script != "Thai"
    return last in _GOES_ON or category in ("Pd", "Ps", "Pi", "Pc", "Sm")


def _repeats(text: str) -> bool:
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    if any(a == b == c for a, b, c in zip(lines, lines[1:], lines[2:], strict=False)):
        return True
    most, times = max(Counter(lines).items(), key=lambda item: item[1] * len(item[0]))
    if times >= 3 and times * len(most) > sum(map(len, lines)) / 2:
        return True
    return re.match(r"(.{4,100}?)\1{4}", text[::-1], re.DOTALL) is not None


def _strays(text: str, script: str) -> bool:
    without_commands = re.sub(r"\\[A-Za-z]+", "", text)
    letters = [_family(char) for char in without_commands if char.isalpha()]
    if len(letters) < 10:
        return False
    if script == "Jpan" and not any(name.startswith(_KANA) for name in letters):
        return True
    own = sum(name.startswith(_SCRIPTS[script]) for name in letters)
    return own < 0.3 * len(letters)


@cache
def _family(char: str) -> str:
    """First word of a letter's Unicode name, which begins with its script."""
    name = unicodedata.name(char, "").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ")
    return name.partition(" ")[0]


def has_own_letters(text: str, lang: str) -> bool:
    """Whether a text has a letter, or a mark on one, of its language's script; of any script where
    that is not known.
    """
    script = language(lang).script
    letters = [char for char in text if unicodedata.category(char)[0] in "LM"]
    if script not in _SCRIPTS:
        return bool(letters)
    return any(_family(char).startswith(_SCRIPTS[script]) for char in letters)
