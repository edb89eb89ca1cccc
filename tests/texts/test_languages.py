"""What is known of each language."""

import pytest

from langneurons.texts.languages import LANGUAGES, language


@pytest.mark.parametrize("code", LANGUAGES)
def test_languages_are_whole(code: str) -> None:
    known = language(code)
    assert known.code == code
    assert known.name
    assert known.endonym
    assert known.nllb == f"{known.nllb[:3]}_{known.script}"  # ty: ignore


def test_unknown_language_goes_by_its_code() -> None:
    assert language("tlh") == ("tlh", "tlh", "tlh", None, None)
