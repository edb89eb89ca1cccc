"""Sentences: the same ones in several languages, found fit to be held against each other."""

from collections.abc import Sequence
from typing import NamedTuple

from langneurons.errors import InputError
from langneurons.texts.responses import Response
from langneurons.texts.running_text import Document

LEAST = 25
"""Fewest sentences from which anything is told."""

_NAMED = 3
"""Sentences that an error names."""


class Sentences(NamedTuple):
    """The same n sentences in K languages.

    Attributes:
        languages: the K codes.
        ids: of the sentences, the same in every language.
        texts: of each language, in the order of the ids, [K][n].
        notes: what was left out.
    """

    languages: tuple[str, ...]
    ids: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def responses(self) -> list[Response]:
        """Each sentence as a response to nothing, language by language."""
        return [
            Response(own, code, "", text)
            for code, of_language in zip(self.languages, self.texts, strict=True)
            for own, text in zip(self.ids, of_language, strict=True)
        ]


def parallel(documents: Sequence[Document], languages: Sequence[str] | None = None) -> Sentences:
    """The sentences of documents, which must be the same in every language.

    A sentence that is the same string in two languages is left out: it would be found by its
    letters.

    Args:
        documents: of several languages.
        languages: their order; default that of first sight.

    Raises:
        InputError: for one language, sentences that not every language has, two that are the same
            in a language (neither can be told from its twin), or too few.
    """
    of_language: dict[str, dict[str, str]] = {code: {} for code in languages or ()}
    for document in documents:
        of_language.setdefault(document.lang, {})[document.id] = document.text
    codes = tuple(of_language)
    if len(codes) < 2:
        raise InputError(
            f"these texts are in one language, {''.join(codes)}; meaning is what a sentence has in "
            "common with its translations, so give at least two languages"
        )
    _require_the_same_ids(of_language)
    for code, texts in of_language.items():
        _refuse_twins(code, texts)
    equal = _equal_somewhere(of_language)
    ids = tuple(own for own in of_language[codes[0]] if own not in equal)
    if len(ids) < LEAST:
        raise InputError(
            f"{len(ids)} sentences in each language; at least {LEAST} are needed to tell meaning "
            "from chance"
        )
    texts = tuple(tuple(of_language[code][own] for own in ids) for code in codes)
    return Sentences(codes, ids, texts, tuple(_left_out(equal)))


def _require_the_same_ids(of_language: dict[str, dict[str, str]]) -> None:
    every = dict.fromkeys(own for texts in of_language.values() for own in texts)
    for code, texts in of_language.items():
        lacking = [own for own in every if own not in texts]
        if lacking:
            named = ", ".join(lacking[:_NAMED])
            raise InputError(
                f"these texts are not parallel: {code} lacks {len(lacking):,} of {len(every):,} "
                f"sentences ({named}{', ...' if len(lacking) > _NAMED else ''}); a sentence needs "
                "the same id in every language"
            )


def _refuse_twins(code: str, texts: dict[str, str]) -> None:
    first: dict[str, str] = {}
    for own, text in texts.items():
        if text in first:
            raise InputError(
                f"sentences {first[text]} and {own} are the same in {code}, so neither can be told "
                "from the other; remove one of them in every language"
            )
        first[text] = own


def _equal_somewhere(of_language: dict[str, dict[str, str]]) -> dict[str, tuple[str, ...]]:
    """Sentences that are the same string in several languages: id -> which."""
    equal = {}
    for own in next(iter(of_language.values())):
        by_text: dict[str, list[str]] = {}
        for code, texts in of_language.items():
            by_text.setdefault(texts[own], []).append(code)
        shared = [code for codes in by_text.values() if len(codes) > 1 for code in codes]
        if shared:
            equal[own] = tuple(shared)
    return equal


def _left_out(equal: dict[str, tuple[str, ...]]) -> list[str]:
    if not equal:
        return []
    named = "; ".join(f"{own} in {', '.join(codes)}" for own, codes in list(equal.items())[:_NAMED])
    return [
        f"{len(equal):,} left out as the same string in several languages: {named}"
        f"{'; ...' if len(equal) > _NAMED else ''}"
    ]
