"""Perturbed texts: the same in Latin letters, or with the words of each sentence shuffled.

Two controls for what language neurons follow: a language's script, or the order of its words
("Script over linguistic structure", arXiv 2604.05090).
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from random import Random
from typing import Any

from langneurons.errors import InputError, MissingExtraError
from langneurons.texts.languages import language

_SENTENCE_END = re.compile(r"(?<=[.!?।॥؟])\s+|(?<=[。！？])")
_LINE = re.compile(r"(\r\n|\r|\n)")

_UNSPACED = {"Khmr": "Khmer", "Laoo": "Lao", "Mymr": "Burmese", "Tibt": "Tibetan"}
"""Scripts without spaces between words, for which BudouX has no model."""


def romanised(text: str, lang: str) -> str:
    """A text in Latin letters without marks, by uroman; lines stay lines.

    uroman (Hermjakob, May and Knight 2018) is made for texts of any language, knows what the same
    letters sound like in some, gives Bengali and Thai their vowels, which anyascii leaves out, and
    needs no library of the system, as ICU does. Of Chinese characters it gives the Mandarin sound,
    also in Japanese. Latin letters lose their marks (German ä becomes ae); digits become 0 to 9.

    Raises:
        MissingExtraError: when uroman is not installed.
    """
    nllb = language(lang).nllb
    code = nllb.partition("_")[0] if nllb else None
    parts = _LINE.split(text)
    parts[::2] = [_uroman().romanize_string(part, lcode=code) for part in parts[::2]]
    return "".join(parts)


@cache
def _uroman() -> Any:
    try:
        from uroman import Uroman
    except ImportError:
        raise _missing("uroman", "romanise") from None
    return Uroman()


def shuffled(text: str, lang: str, rng: Random) -> str:
    """A text with the words of each sentence in another order; lines and sentences stay in place.

    A sentence ends at a line end, at . ! ? । ॥ ؟ before a space, and at 。！？; the sign at its end
    stays there. Words are what stands between spaces. Chinese, Japanese and Thai write none: their
    phrases are those of BudouX (Google, Apache-2.0), a word or a few characters each, joined again
    without spaces; a space of their own goes with the phrase before it.

    Args:
        text: any.
        lang: code of its language.
        rng: draws the order.

    Raises:
        InputError: for a script without spaces that BudouX does not know.
        MissingExtraError: when BudouX is needed and not installed.
    """
    words, space = _words_of(lang)
    parts = _LINE.split(text)
    for i in range(0, len(parts), 2):
        sentences = [s for s in _SENTENCE_END.split(parts[i]) if s and s.strip()]
        parts[i] = space.join(_sentence(s, words, space, rng) for s in sentences)
    return "".join(parts)


def _sentence(text: str, words: Callable[[str], Sequence[str]], space: str, rng: Random) -> str:
    """A sentence with its words shuffled, the sign at its end left there."""
    body = text.strip()
    end = len(body.rstrip(".!?।॥؟。！？…"))
    drawn = list(words(body[:end]))
    rng.shuffle(drawn)
    return space.join(drawn).strip() + body[end:]


def _words_of(lang: str) -> tuple[Callable[[str], Sequence[str]], str]:
    """What cuts a sentence of a language into words, and what stands between them."""
    script = language(lang).script
    if script in _UNSPACED:
        raise InputError(
            f"shuffle: {_UNSPACED[script]} writes no spaces between words, and nothing here cuts "
            f"{lang} into them; leave it out"
        )
    name = {
        "Hans": "simplified_chinese",
        "Hant": "traditional_chinese",
        "Jpan": "japanese",
        "Thai": "thai",
    }.get(script or "")
    if name is None:
        return str.split, " "
    parse = _budoux(name)

    def phrases(sentence: str) -> list[str]:
        pieces: list[str] = []
        for piece in parse(sentence):
            if pieces and not piece.strip():
                pieces[-1] += piece
            else:
                pieces.append(piece)
        return pieces

    return phrases, ""


@cache
def _budoux(name: str) -> Callable[[str], list[str]]:
    try:
        import budoux
    except ImportError:
        raise _missing("budoux", "shuffle") from None
    return getattr(budoux, f"load_default_{name}_parser")().parse


def _missing(library: str, what: str) -> MissingExtraError:
    return MissingExtraError(
        f"--perturb {what} needs {library}; install it: pip install 'langneurons[perturb]'"
    )
