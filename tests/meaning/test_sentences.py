"""Sentences that are the same in every language, and texts that are not."""

from collections.abc import Callable

import pytest

from langneurons.errors import InputError
from langneurons.meaning.sentences import parallel
from langneurons.texts.running_text import Document


def documents(
    codes: str = "en sw",
    number: int = 30,
    text: Callable[[str, int], str] = lambda code, i: f"{code} says {i}",
) -> list[Document]:
    return [Document(f"s{i}", code, text(code, i)) for code in codes.split() for i in range(number)]


def test_sentences_in_order() -> None:
    sentences = parallel(documents("en sw th")[::-1], ("sw", "th", "en"))
    assert sentences.languages == ("sw", "th", "en")
    assert sentences.ids[0] == "s29"
    assert [texts[0] for texts in sentences.texts] == ["sw says 29", "th says 29", "en says 29"]
    assert sentences.notes == ()


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (documents("en"), "in one language, en"),
        (
            documents()[:-2],
            r"not parallel: sw lacks 2 of 30 sentences \(s28, s29\); .* same id in every language",
        ),
        (
            documents("en")[:10] + documents("sw"),
            r"en lacks 20 of 30 sentences \(s10, .*, \.\.\.\)",
        ),
        (
            documents(text=lambda code, i: f"{code} {i % 29}"),
            "sentences s0 and s29 are the same in en",
        ),
        (documents(number=24), "24 sentences in each language; at least 25"),
    ],
)
def test_texts_that_do_not_do(texts: list[Document], told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        parallel(texts)
    assert "\n" not in str(error.value)


def test_the_same_string_in_several_languages_is_left_out() -> None:
    """Only from the languages' comparison, that is whole: every language loses the sentence."""

    def text(code: str, i: int) -> str:
        return "Reykjavik" if i == 3 and code != "th" else f"{code} {i}"

    sentences = parallel(documents("en sw th", 30, text))
    assert "s3" not in sentences.ids
    assert [len(texts) for texts in sentences.texts] == [29, 29, 29]
    [note] = sentences.notes
    assert note == "1 left out as the same string in several languages: s3 in en, sw"
