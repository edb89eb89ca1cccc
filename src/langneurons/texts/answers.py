"""Answers: the number that a response to a question arrives at, and whether it is the right one."""

import re
import unicodedata
from collections import deque

from langneurons.config import Extractor

_DECIMAL_COMMA = frozenset(
    re.findall(
        r"\w+", "af bg ca cs da de el es et eu fi fr hu id it lt nl no pl pt ro ru sv tr uk vi"
    )
)
"""Languages that write a decimal comma and group digits by a period or a space."""

_THIN = "\u202f"
_SIGNS = str.maketrans(
    "，．٫٬％٪／⁄−–‒－﹣\u00a0\u2007\u2009", f",..,%%//-----{_THIN}{_THIN}{_THIN}"
)
"""Other forms of the signs that numbers are written with."""

_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<=\d)\\[,;]"), _THIN),
    (re.compile(r"\\([%$])"), r"\1"),
)

_POINT_NUMBER = rf"""
    # 1,234.5  1,00,000
    [1-9]\d{{0,2}} (?: (?:,\d\d\d?)* ,\d{{3}} | (?:{_THIN}\d{{3}})+ ) (?!\d) (?:\.\d+)?
    | \d+ (?:\.\d+)?
    | (?<![\d.,]) \.\d+
"""
_COMMA_NUMBER = rf"""
    # 1.234,5  1 234
    [1-9]\d{{0,2}} (?: (?:\.\d{{3}})+ | (?:[ {_THIN}]\d{{3}})+ ) (?!\d) (?:,\d+)?
    # 8,000: English, by habit of models
    | [1-9]\d{{0,2}} (?: ,000 | (?:,\d{{3}}){{2,}} ) (?![\d,]) (?:\.\d+)?
    | [1-9]\d{{0,2}} (?:,\d{{3}})+ \.\d+
    | \d+ (?:[.,]\d+)?
    | (?<![\d.,]) [.,]\d+
"""
_WRITTEN = r"""
    (?P<minus> (?<![\d)\]%\-A-Za-zÀ-ɏͰ-ӿ]) - (?=[$€£¥₹฿৳]?[\d.,]) )? [$€£¥₹฿৳]?
    (?:
        (?: (?P<whole>\d{{1,3}})[ {thin}] (?=\d{{1,2}}/) )?
        (?<!/) (?P<over>{number}) [ ]?/[ ]? (?P<under>{number}) (?!\d|/\d)
        | (?P<number>{number})
    )
    (?P<percent>[ ]?%)?
"""
_PATTERNS = {
    comma: re.compile(_WRITTEN.format(number=number, thin=_THIN), re.VERBOSE)
    for comma, number in ((False, _POINT_NUMBER), (True, _COMMA_NUMBER))
}


def last_number(text: str) -> float | None:
    """The last number of a text, as the released code reads it.

    It has no sign, and commas between digits are dropped. Where there is none the released code
    says 0, which makes an empty response right where the answer is 0; here it is None.
    """
    numbers = re.findall(r"\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d)", "", text))
    return float(numbers[-1]) if numbers else None


def readings(text: str, lang: str) -> tuple[float, ...]:
    """What the last number of a text can mean, likeliest first; nothing if there is none.

    Digits of any script; groups by comma, period or space and the decimal mark as the language
    writes them; a minus sign that is no subtraction; a fraction is its value, `3/4`, `1 3/4`, `½`;
    LaTeX's fractions and thin spaces. With a percent sign both are meant, the number as written and
    its hundredth. Numbers in words are not read.

    Args:
        text: a response.
        lang: code of the language it is written in. One that is not known writes 1,234.5.
    """
    comma = lang in _DECIMAL_COMMA
    numbers = deque(_PATTERNS[comma].finditer(_plain(text)), maxlen=1)
    if not numbers:
        return ()
    last = numbers.pop()
    if last["number"]:
        value = _value(last["number"], comma)
    else:
        over, under = _value(last["over"], comma), _value(last["under"], comma)
        value = float(last["whole"] or 0) + over / under if under else 0.0
    if last["minus"]:
        value = -value
    return (value, value / 100) if last["percent"] else (value,)


def is_correct(
    text: str,
    answer: float | str | None,
    lang: str,
    *,
    tolerance: float = 1e-2,
    extractor: Extractor = "native",
) -> bool | None:
    """Whether the last number of a response is the right answer.

    None where the right answer is not known or no number.

    Args:
        text: the response.
        answer: the right answer.
        lang: code of the language the response is written in.
        tolerance: how far the number may be off. The released code takes 1e-2 in evaluation and
            1e-3 in pairs.
        extractor: `native` reads numbers as the language writes them, see `readings`; `last-number`
            as the released code does, see `last_number`.
    """
    wanted = _wanted(answer, lang)
    if wanted is None:
        return None
    if extractor == "native":
        values = readings(text, lang)
    else:
        number = last_number(text)
        values = () if number is None else (number,)
    return any(abs(value - wanted) <= tolerance for value in values)


def _wanted(answer: float | str | None, lang: str) -> float | None:
    """The right answer as a number; None where it is not known or no number."""
    if not isinstance(answer, str):
        return answer
    try:
        return float(answer)
    except ValueError:
        return next(iter(readings(answer, lang)), None)


def _plain(text: str) -> str:
    """The text with ASCII digits and signs, and without LaTeX where numbers are concerned."""
    text = text.translate(_SIGNS)
    if not text.isascii():
        text = re.sub(r"[^\x00-\x7f]", _plain_character, text)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return text


def _plain_character(match: re.Match[str]) -> str:
    """An ASCII digit for a digit of another script, `1/2` for `½`; any other character as it is."""
    char = match[0]
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    fraction = unicodedata.normalize("NFKC", char) if char.isnumeric() else ""
    if "⁄" not in fraction:
        return char
    before = match.string[max(0, match.start() - 1)]
    blank = " " if before.isdecimal() else ""  # 1½ is 1 1/2
    return blank + fraction.replace("⁄", "/")


def _value(number: str, comma: bool) -> float:
    """The value of a number as it matched, in a language with a decimal comma or without."""
    number = number.replace(" ", "").replace(_THIN, "")
    if not comma or re.fullmatch(r"[1-9]\d{0,2}(,000|(,\d{3}){2,}|(,\d{3})+\.\d+)", number):
        return float(number.replace(",", ""))
    if re.fullmatch(r"[1-9]\d{0,2}(\.\d{3})+(,\d+)?", number):
        number = number.replace(".", "")
    return float(number.replace(",", "."))
