"""Which language a text is in."""

import pytest

from langneurons.texts.language_id import Identifier, learn
from langneurons.texts.rows import from_lines
from support.places import data

TEXTS = {
    "en": [
        "How many eggs does the farmer sell every day at the market, "
        "and how much money does she make with them?"
    ],
    "de": [
        "Wie viele Eier verkauft die Bäuerin jeden Tag auf dem Markt, "
        "und wie viel Geld verdient sie damit?"
    ],
    "sw": [
        "Mkulima anauza mayai mangapi kila siku sokoni, "
        "na anapata pesa ngapi kwa mayai hayo anayouza?"
    ],
    "zh": ["这位农民每天在市场上卖多少个鸡蛋，她用它们赚了多少钱？"],
}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("She sells 9 eggs, so she makes 9 * 2 = $18 every day.", "en"),
        ("Sie verkauft 9 Eier, also verdient sie jeden Tag 9 * 2 = 18 $.", "de"),
        ("Anauza mayai 9, kwa hivyo anapata 9 * 2 = $18 kila siku.", "sw"),
        ("她卖9个鸡蛋，所以每天赚9 * 2 = 18美元，一共是这么多。", "zh"),
        ("9 * 2 = 18", None),
        (r"\frac{18}{2} \times \text{x}", None),
        ("", None),
    ],
)
def test_which_language(text: str, code: str | None) -> None:
    assert Identifier(TEXTS).language(text) == code


def test_there_must_be_something_to_learn_from() -> None:
    assert learn({"en": TEXTS["en"] * 10}) is None
    assert learn(TEXTS) is None
    identifier = learn({code: texts * 30 for code, texts in TEXTS.items()})
    assert identifier is not None
    assert identifier.languages == tuple(TEXTS)


def test_on_real_responses() -> None:
    """Learnt from MGSM's questions in ten languages: right for every fifth response to two sets."""

    def column(name: str, *parts: str) -> list[str]:
        return [row[name] for row in from_lines(data(*parts).read_bytes())]

    codes = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "th", "zh")
    identifier = learn({code: column("question", "mgsm", f"{code}.jsonl") for code in codes})
    assert identifier is not None
    for benchmark in ("mgsm", "msvamp"):
        for code in codes:
            responses = column("response", "responses_mcot7b", benchmark, f"{code}.jsonl")[::5]
            wrong = [text for text in responses if identifier.language(text) not in (code, None)]
            assert not wrong, (benchmark, code)
