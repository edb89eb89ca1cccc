"""Answers: the number that a response to a question arrives at, and whether it is the right one."""

import re
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from langneurons.config import Extractor
from langneurons.texts import answer_words
from langneurons.texts.languages import language

_THIN = "\u202f"
_SIGNS = {
    ord(char): plain
    for plain, chars in {
        ",": "，٬",
        ".": "．٫",
        "%": "％٪",
        "/": "／⁄∕",
        "-": "−–‒－﹣",
        "'": "’＇",
        "*": "×·⋅∙",
        "=": "＝",
        _THIN: "\u00a0\u2002\u2007\u2008\u2009\u200a\u205f",
    }.items()
    for char in chars
}
"""Other forms of the signs that numbers are written with."""

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")

_LATEX = (
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\([%$#])"), r"\1"),
    (re.compile(r"\{([,.])\}"), r"\1"),
    (re.compile(r"\\(?:text(?:bf|it|rm|normal)?|math(?:rm|bf|it|sf)|mbox)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])"), "*"),
    (re.compile(r"\^\s*\{\s*([-+]?\d+)\s*\}"), r"^\1"),
)
_SPACE_IN_LATEX = r"\\[,;:> ]|\\(?:thin|med|thick)space\b\s*|\{(?:\\[,;: ]| )\}"
_THIN_IN_LATEX = re.compile(rf"(?<=\d)(?:{_SPACE_IN_LATEX})(?=\d)")
_TIE = re.compile(r"(?<=\d)~(?=\d{3}(?!\d))")
_RANGES_BY_TILDE = ("ja", "ko", "yue", "zh")
"""Languages that write 100~200 for a range."""

_FRACTION = re.compile(
    rf"""
    (?P<whole> (?<=\d) (?: [\s~] | {_SPACE_IN_LATEX} )* )?
    \\ (?:[dtcsx]|nice)? frac
    \s* (?: \{{ (?P<over>[^{{}}]*) \}} | (?P<over_digit>\d) )
    \s* (?: \{{ (?P<under>[^{{}}]*) \}} | (?P<under_digit>\d) )
    """,
    re.VERBOSE,
)
_REPEATING = re.compile(r"(?<=[.,\d])\\(?:overline|bar|dot)\s*\{(\d+)\}")
_OVER = re.compile(r"\{\s*([^{}]*?)\s*\\over\s*([^{}]*?)\s*\}")
_GROUPS_BY_SPACE = re.compile(r"(?<=\d) (?=\d{3}(?!\d))")
_GROUP_OF_NO_NUMBER = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?: \d{3})* 0\d\d(?: \d{3})*(?!\d)")
"""Groups by a plain space, of which one begins as no number does: 12 000, 1 050."""
_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_APOSTROPHE = re.compile(r"(?<=\d)'(?=\d{3}(?!\d))")

_TIMES_TEN = re.compile(r"(?<=\d)\s*[*x]\s*10\s*(?:\^|\*\*)\s*\(?([-+]?\d{1,3})\)?(?!\d)")
_TEN = re.compile(r"(?<![\d.,])10\s*(?:\^|\*\*)\s*\(?([-+]?\d{1,3})\)?(?!\d)")

_EXPONENT = re.compile(r"(?<=[^\W\d_]|[})$])\s?\^\s?[-+]?\d+")
"""That of a unit or of what is no number: m^2, cm$^2$."""

_UNIT = re.compile(
    r"""
    (?<![^\W\d_]) ((?:[mcdkμµn]?m|ft|in|yd|mi|[кдсм]?м|[كسم]?م)) [23] (?!\w)
    | \b (CO|H|O|N|CH|NO|SO|NH) [2-4] (O?) (?!\w)
    """,
    re.VERBOSE,
)
"""Units and gases that are written with a digit: m2, CO2."""

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
    (?P<percent_before> (?<![\d)]) % (?=\d) )?
    (?:
        (?: (?P<whole>\d{{1,3}})[ {thin}] (?=\d{{1,2}}/) )?
        (?<!/) (?P<over>{number}) [ ]?/[ ]? (?P<under>{number}) (?!\d|/\d)
        | (?P<number>{number}) (?: [eE](?P<tens>[-+]?\d{{1,3}})(?!\w) | \^(?P<power>\d{{1,2}}) )?
    )
    (?P<percent>[ ]?%)?
"""
_PATTERNS = {
    comma: re.compile(_WRITTEN.format(number=number, thin=_THIN), re.VERBOSE)
    for comma, number in ((False, _POINT_NUMBER), (True, _COMMA_NUMBER))
}

_ENGLISH_GROUPS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
_DECIMAL_POINT = re.compile(r"\d+\.\d+")

Match = re.Match[str]


def last_number(text: str) -> float | None:
    """The last number of a text, as the released code reads it.

    It has no sign, and commas between digits are dropped. Where there is none the released code
    says 0, which makes an empty response right where the answer is 0; here it is None.
    """
    numbers = re.findall(r"\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d)", "", text))
    return float(numbers[-1]) if numbers else None


def readings(text: str, lang: str, *, marked: bool = True) -> tuple[float, ...]:
    r"""What the answer in a text can mean, likeliest first; nothing if there is no number.

    The answer is the number that the text marks as such: in the last `\boxed{}`, else in the last
    `<answer>`, else after `####`, else after `answer is` or `Answer:` in any language of
    `answer_words`. Without a mark it is the last number.

    Digits of any script; groups by comma, period, apostrophe or space and the decimal mark as the
    language writes them; a minus sign that is no subtraction; a fraction is its value, `3/4`,
    `1 3/4`, `½`; powers of ten; LaTeX's fractions and spaces. With a percent sign both are meant,
    the number as written and its hundredth. The digit of a unit, `m^2`, is none. Numbers in words
    are not read.

    Args:
        text: a response.
        lang: code of the language it is written in. One that is not known writes 1,234.5.
        marked: whether marks are heeded.
    """
    number = _number(text, lang, marked=marked)
    return () if number is None else _meanings(number, comma=language(lang).comma)


def is_correct(
    text: str,
    answer: float | str | None,
    lang: str,
    *,
    tolerance: float = 1e-2,
    extractor: Extractor = "marked",
) -> bool | None:
    """Whether the number that a response arrives at is the right answer.

    None where the right answer is not known or no number. One that is given as text is read as a
    response is, but `5,600` is 5600 in every language, since benchmarks write it so, and `1.234`
    may mean both where the comma is decimal. What is written just as the answer is right.

    Args:
        text: the response.
        answer: the right answer.
        lang: code of the language the response is written in.
        tolerance: how far the number may be off. The released code takes 1e-2 in evaluation and
            1e-3 in pairs.
        extractor: `marked` takes the number that is marked as the answer, else the last, as the
            language writes it, see `readings`; `native` always the last; `last-number` the last as
            the released code reads it, see `last_number`.
    """
    right = _right(answer, lang)
    if right is None:
        return None
    if extractor == "last-number":
        number = last_number(text)
        return number is not None and right.has((number,), tolerance)
    found = _number(text, lang, marked=extractor == "marked")
    if found is None:
        return False
    values = _meanings(found, comma=language(lang).comma)
    return _as_written(found) == right.written or right.has(values, tolerance)


class _Right(NamedTuple):
    """A right answer.

    Attributes:
        values: what it can mean.
        written: as it was given, if as text.
        percent: whether it was given with a percent sign; `values` then has the number alone.
    """

    values: tuple[float, ...]
    written: tuple[str, ...] = ()
    percent: bool = False

    def has(self, values: Sequence[float], tolerance: float) -> bool:
        """Whether what a response can mean is right."""
        if self.percent and len(values) == 1:  # 0.25 where 25% is asked for
            hundredths = [abs(100 * value - right) for value in values for right in self.values]
            if min(hundredths) <= tolerance:
                return True
        if self.percent:
            values = values[:1]
        return any(abs(value - right) <= tolerance for value in values for right in self.values)


def _right(answer: float | str | None, lang: str) -> _Right | None:
    """The right answer as a number; None where it is not known or no number."""
    if answer is None:
        return None
    if not isinstance(answer, str):
        return _Right((answer,))
    found = _number(answer, lang, marked=True)
    if found is None:
        return None
    comma = language(lang).comma
    meant, *hundredth = _meanings(found, comma=comma)
    values = (meant,)
    if comma and (written := found["number"]):
        sign = -1 if found["minus"] else 1
        if _ENGLISH_GROUPS.fullmatch(written):
            values = (sign * float(written.replace(",", "")),)
        elif _DECIMAL_POINT.fullmatch(written):
            values = (meant, sign * float(written))
    return _Right(values, _as_written(found), percent=bool(hundredth))


def _number(text: str, lang: str, *, marked: bool) -> Match | None:
    """The number of a text that is its answer."""
    numbers = _PATTERNS[language(lang).comma]
    plain = _plain(text, lang)
    found = _marked(plain, numbers) if marked else None
    return found or _last(numbers.finditer(plain))


def _as_written(number: Match) -> tuple[str, ...]:
    """A number as it stands there, without what stands around it."""
    return tuple(part or "" for part in number.groups())


def _marked(plain: str, numbers: re.Pattern[str]) -> Match | None:
    """The number that a text marks as its answer."""
    before = answer_words.NEXT_QUESTION.split(plain, maxsplit=1)[0]
    for part in dict.fromkeys((before, plain)):
        for find in (_boxed, _tagged, _after_hashes, _after_words):
            if number := find(part, numbers):
                return number
    return None


def _boxed(plain: str, numbers: re.Pattern[str]) -> Match | None:
    """The number in the last box that has one."""
    for start in reversed(
        [match.end() for match in re.finditer(r"\\(?:f?boxed|fbox)\s*\{", plain)]
    ):
        depth, end = 1, start
        while depth and end < len(plain):
            depth += {"{": 1, "}": -1}.get(plain[end], 0)
            end += 1
        whole = _GROUPS_BY_SPACE.sub(_THIN, plain[start : end - (not depth)])
        if number := _result(whole, numbers):
            return number
    return None


def _tagged(plain: str, numbers: re.Pattern[str]) -> Match | None:
    """The number in the last `<answer>` that has one."""
    for tagged in reversed(_TAGGED.findall(plain)):
        if number := _result(tagged, numbers):
            return number
    return None


def _after_hashes(plain: str, numbers: re.Pattern[str]) -> Match | None:
    """The number that stands right after the last `####` that has one, and is no heading's."""
    for mark in reversed(list(re.finditer(r"####[^\w\n#]*?(?=[-%.,$€£¥₹฿৳]*\d)", plain))):
        number = numbers.match(plain, mark.end())
        if number and not _numbers_a_line(plain, number):
            return number
    return None


def _after_words(plain: str, numbers: re.Pattern[str]) -> Match | None:
    """The number of the last sentence that says what the answer is."""
    for mark in reversed(list(answer_words.said(plain))):
        start = _end(answer_words.NEAR, plain, mark.end)
        sentence = _end(answer_words.SENTENCE, plain, start)
        first = numbers.match(plain, start)
        if first and not ("\n" in plain[mark.end : start] and _numbers_a_line(plain, first)):
            return _result(plain[start:sentence], numbers, first=True)
        # What a heading is followed by is the work, where more numbers come later.
        if mark.plainly or not re.search(r"\d", plain[sentence:]):
            first = _result(plain[mark.end : sentence], numbers)
            if first:
                return first
    return None


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Where what matches here ends; it may be nothing."""
    match = pattern.match(text, start)
    return match.end() if match else start


def _result(text: str, numbers: re.Pattern[str], *, first: bool = False) -> Match | None:
    """What a short passage arrives at: what follows its last equals sign, else its last number.

    What stands in brackets after a number is left out, as in `5 (not 6)`.

    Args:
        text: the passage.
        numbers: of the language.
        first: take its first number instead of its last.
    """
    bare = re.sub(r"(?<=\d)([^\d(\[\n]*)[(\[][^)\]\n]*[)\]]?", r"\1", text)
    found = list(numbers.finditer(bare))
    equals = bare.rfind("=")
    after = [number for number in found if number.start() > equals >= 0]
    if after:
        return after[0]
    if not found:
        return None
    goes_on = re.match(r"\s*[-+*/÷x~]\s*\d", bare[found[0].end() :])  # 73-109, 5 + 3
    return found[0] if first and not goes_on else found[-1]


def _numbers_a_line(plain: str, number: Match) -> bool:
    """Whether a number is that of a line or a heading, `1. First` or `2) Then`."""
    return re.match(r"[.):]\**\s+\S", plain[number.end() :]) is not None


def _last(numbers: Iterator[Match]) -> Match | None:
    last = deque(numbers, maxlen=1)
    return last.pop() if last else None


def _meanings(number: Match, *, comma: bool) -> tuple[float, ...]:
    """What a number that was found can mean, likeliest first."""
    if number["number"]:
        value = _value(number["number"], comma)
        if number["tens"]:
            value = float(f"{value}e{number['tens']}")
        elif number["power"]:
            value = _power(value, int(number["power"]))
    else:
        over, under = _value(number["over"], comma), _value(number["under"], comma)
        value = float(number["whole"] or 0) + over / under if under else 0.0
    if number["minus"]:
        value = -value
    return (value, value / 100) if number["percent"] or number["percent_before"] else (value,)


def _power(value: float, power: int) -> float:
    try:
        return value**power
    except OverflowError:
        return float("inf")


def _plain(text: str, lang: str) -> str:
    """The text with ASCII digits and signs, and without LaTeX where numbers are concerned."""
    text = text.translate(_SIGNS)
    if not text.isascii():
        text = re.sub(r"[⁰¹²³⁴-⁹⁻⁺]+", _plain_power, text)
        text = re.sub(r"[^\x00-\x7f]", _plain_character, text)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    text = _FRACTION.sub(_plain_fraction, text)
    text = _OVER.sub(r"\1/\2", text)
    text = _REPEATING.sub(lambda digits: digits[1] * 9, text)
    text = _THIN_IN_LATEX.sub(_THIN, text)
    if language(lang).iso not in _RANGES_BY_TILDE:
        text = _TIE.sub(_THIN, text)
    text = _GROUP_OF_NO_NUMBER.sub(lambda groups: groups[0].replace(" ", _THIN), text)
    text = _APOSTROPHE.sub("", text)
    text = _TIMES_TEN.sub(r"e\1", text)
    text = _TEN.sub(r"1e\1", text)
    text = _EXPONENT.sub("", text)
    return _UNIT.sub(lambda unit: unit[1] or unit[2] + unit[3], text)


def _plain_power(match: Match) -> str:
    """`^3` for a superscript after a number; nothing after a unit."""
    before = match.string[max(0, match.start() - 1)]
    return f"^{match[0].translate(_SUPERSCRIPTS)}" if before.isdecimal() else ""


def _plain_character(match: Match) -> str:
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


def _plain_fraction(match: Match) -> str:
    """`3/4` for LaTeX's fraction, after a blank where a whole number stands before it."""
    over = match["over"] or match["over_digit"] or ""
    under = match["under"] or match["under_digit"] or ""
    blank = " " if match["whole"] is not None else ""
    return f"{blank}{over.strip()}/{under.strip()}"


def _value(number: str, comma: bool) -> float:
    """The value of a number as it matched, in a language with a decimal comma or without."""
    number = number.replace(" ", "").replace(_THIN, "")
    if not comma or re.fullmatch(r"[1-9]\d{0,2}(,000|(,\d{3}){2,}|(,\d{3})+\.\d+)", number):
        return float(number.replace(",", ""))
    if re.fullmatch(r"[1-9]\d{0,2}(\.\d{3})+(,\d+)?", number):
        number = number.replace(".", "")
    return float(number.replace(",", "."))
