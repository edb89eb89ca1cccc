"""Perturbed texts: Latin letters, and words in another order."""

from collections import Counter
from random import Random

import pytest

from langneurons.errors import InputError, MissingExtraError
from langneurons.texts import perturbed
from langneurons.texts.perturbed import romanised, shuffled


@pytest.mark.parametrize(
    ("lang", "text", "latin"),
    [
        ("ru", "Мир.\n\nМир", "Mir.\n\nMir"),
        ("zh", "中国 1", "zhongguo 1"),
        ("de", "Äpfel", "Aepfel"),
        ("bn", "বছর", "bachhar"),
        ("xx", "мир", "mir"),
    ],
)
def test_romanised(lang: str, text: str, latin: str) -> None:
    assert romanised(text, lang) == latin


@pytest.mark.parametrize("lang", ["ja", "th", "bn", "ru", "zh"])
def test_nothing_but_latin_letters_is_left(lang: str) -> None:
    text = {
        "ja": "28歳のビダル選手は、バルサに所属していました。",
        "th": "วิดัลวัย 28 ปี ย้ายจากเซบีญ่ามา",
        "bn": "২৮ বছর বয়সী ভিদাল",
        "ru": "28-летний Алеш",
        "zh": "三个赛季前，28岁",
    }[lang]
    assert romanised(text, lang).isascii()


@pytest.mark.parametrize("lang", ["en", "bn", "ru"])
def test_words_stay_in_their_sentence(lang: str) -> None:
    text = "one two three, four. Five six seven!\nEight 9.5 ten"
    made = shuffled(text, lang, Random(3))
    assert made != text
    for line, before in zip(made.split("\n"), text.split("\n"), strict=True):
        for sentence, was in zip(line.split(". "), before.split(". "), strict=True):
            assert Counter(sentence.strip("!.").split()) == Counter(was.strip("!.").split())
    assert made.startswith(made.split(". ")[0])
    assert shuffled(text, lang, Random(3)) == made != shuffled(text, lang, Random(4))


@pytest.mark.parametrize(
    ("lang", "text"),
    [
        ("zh", "三个赛季前，28岁的比达尔从塞维利亚队加盟巴萨。今天天气很好！"),
        ("zh-Hant", "今天天氣很好。我們出去走走吧。"),
        ("ja", "28歳のビダル選手は、バルサに所属していました。"),
        ("th", "วิดัลวัย 28 ปี ย้ายจากเซบีญ่ามาเข้าร่วมกับบาร์ซ่า"),
    ],
)
def test_languages_without_spaces_are_cut_into_phrases(lang: str, text: str) -> None:
    made = shuffled(text, lang, Random(0))
    assert made != text
    assert sorted(made.replace(" ", "")) == sorted(text.replace(" ", ""))
    assert made[-1] == text[-1] or lang == "th"


def test_a_script_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(InputError, match="Khmer writes no spaces"):
        shuffled("ភាសាខ្មែរ", "km", Random(0))


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("uroman", "budoux"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    perturbed._uroman.cache_clear()
    perturbed._budoux.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'langneurons\[perturb\]'"):
        romanised("x", "en")
    with pytest.raises(MissingExtraError, match="needs budoux"):
        shuffled("x", "th", Random(0))
    perturbed._uroman.cache_clear()
