"""What is wrong with a response, and which responses are counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langneurons.errors import InputError
from langneurons.texts.flaws import GateRow, flaws, gate, left_out
from langneurons.texts.responses import Response
from langneurons.texts.rows import read_responses
from support.places import data

LOOP = "= 221 + 8 "


@pytest.mark.parametrize(
    ("lang", "text", "found"),
    [
        ("en", "", "empty"),
        ("en", " \n\t\u3000", "empty"),
        ("en", "The answer is 18.", ""),
        ("en", "So she earns $18", ""),
        ("en", "So she earns 18 $", ""),
        ("en", "\\boxed{18}", ""),
        ("zh", "所以答案是十八。", ""),
        ("bn", "উত্তর হল ১৮।", ""),
        ("bn", "উত্তর হল ১৮", ""),
        ("th", "คำตอบคือสิบแปด", ""),
        ("en", "So she earns", "unfinished"),
        ("en", "16 - 3 -", "unfinished"),
        ("en", "16 + 3 =", "unfinished"),
        ("th", "คำตอบคือ 3 +", "unfinished"),
        ("bn", "সমুদ্রের জলবায়ু", "unfinished"),
        ("zh", "所以，", "unfinished"),
        ("en", "Yes.\n\nYes.\n \n  Yes.", "repetition"),
        ("en", "Yes.\nYes.\nNo.", ""),
        ("en", "A long line of text.\nb.\n" * 2 + "A long line of text.", "repetition"),
        ("en", "a.\nA longer line of text.\na.\nAnother longer one.\na.\n", ""),
        ("en", f"We have x {LOOP * 5}", "repetition"),
        ("en", f"We have x {LOOP * 4}", ""),
        ("en", f"We have x {LOOP * 9}= 22", "repetition"),
        ("ru", "She earns eighteen dollars.", "wrong script"),
        ("ru", "She earns eighteen dollars, итак, восемь.", ""),
        ("ru", "\\begin{align} \\frac{1}{2} \\text{долларов} \\end{align}.", ""),
        ("ru", "She: 18.", ""),
        ("zh", "ジャネットは卵を売ることで稼ぎます。", "wrong script"),
        ("zh", "她每天賣雞蛋可以賺十八美元。", ""),
        ("ja", "ジャネットは卵を売ることで稼ぎます。", ""),
        ("ja", "她每天卖鸡蛋可以赚十八美元。", "wrong script"),
        ("ja", "18 個、答え。", ""),
        ("ko", "그녀는 매일 십팔 달러를 법니다.", ""),
        ("ko", "She earns eighteen dollars.", "wrong script"),
        ("sw", "Elle gagne dix-huit dollars.", ""),
        ("sw", "Она зарабатывает восемнадцать.", "wrong script"),
        ("xx", "Она зарабатывает восемнадцать.", ""),
        ("ru", "She earns", "unfinished"),
        ("ru", "She earns and earns and", "unfinished wrong script"),
    ],
)
def test_flaws(lang: str, text: str, found: str) -> None:
    expected = tuple(
        flaw for flaw in ("empty", "unfinished", "repetition", "wrong script") if flaw in found
    )
    assert flaws(Response("q", lang, "p", text)) == expected


@given(
    st.text(st.characters(exclude_categories=("Cs",))),
    st.sampled_from(["en", "ru", "ja", "th", "xx"]),
)
def test_every_text_is_judged(text: str, lang: str) -> None:
    assert ("empty" in flaws(Response("q", lang, "", text))) == (text.strip() == "")


def judged() -> list[Response]:
    written = [
        ("ru", "Ответ: восемнадцать."),
        ("ru", "The answer is eighteen."),
        ("ru", ""),
        ("en", "The answer is"),
    ]
    return [Response(f"q{i}", lang, "p", text) for i, (lang, text) in enumerate(written)]


def test_only_empty_responses_are_dropped_unless_more_is_asked() -> None:
    kept, rows = gate(judged())
    assert [r.question_id for r in kept] == ["q0", "q1", "q3"]
    assert rows == [GateRow("ru", 3, 2, 1, 0, 0, 1), GateRow("en", 1, 1, 0, 1, 0, 0)]
    kept, rows = gate(judged(), drop=["wrong script"])
    assert [r.question_id for r in kept] == ["q0", "q3"]
    assert [r.kept for r in rows] == [1, 1]


@pytest.mark.parametrize(
    ("flaw", "why"), [("unfinished", "is a guess and only reported"), ("slow", "is no flaw")]
)
def test_what_cannot_be_dropped(flaw: str, why: str) -> None:
    with pytest.raises(
        InputError,
        match=f"drop '{flaw}': it {why}; what can be dropped is empty, repetition, wrong",
    ):
        gate(judged(), drop=[flaw])


def test_real_responses_in_the_wrong_script() -> None:
    """The README of the data names three responses without a letter of their own script."""
    responses = read_responses(data("responses_clp_gpt35", "mgsm"))
    strays = {(r.question_id, r.lang) for r in responses if "wrong script" in flaws(r)}
    named = {("mgsm-142", "ja"), ("mgsm-157", "ru"), ("mgsm-173", "ru")}
    mostly_english = {(f"mgsm-{i}", "ja") for i in ("019", "063", "091", "111")}  # by eye
    assert strays == named | mostly_english


def test_real_responses_that_loop() -> None:
    responses = read_responses(data("responses_mcot7b", "msvamp"))
    assert len(responses) == 10_000
    kept, rows = gate(responses, drop=["repetition", "wrong script"])
    assert len(kept) == 10_000 - 3
    assert [
        (r.lang, r.unfinished, r.repetition, r.wrong_script) for r in rows if r.kept < r.total
    ] == [
        ("bn", 2, 2, 0),
        ("ru", 2, 1, 0),
    ]


def test_why_responses_are_left_out() -> None:
    responses = [
        Response("q", "zh", "", ""),
        Response("q", "zh", "", "She earns eighteen dollars.", 1),
        Response("q", "en", "", "Yes.\nYes.\nYes."),
    ]
    _, rows = gate(responses, ("wrong script",))
    assert left_out(rows, ("wrong script",)) == {
        "zh": {"as empty": 1, "as wrong script": 1},
        "en": {"as empty": 0, "as wrong script": 0},
    }
    assert left_out(rows) == {"zh": {"as empty": 1}, "en": {"as empty": 0}}
