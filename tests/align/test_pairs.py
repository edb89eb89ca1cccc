"""Preference pairs: the rule by hand, the audit adds up, the drawing is fair."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.align.pairs import Pair, Paired, Pairs, pair
from langneurons.align.scores import Scored
from langneurons.config import PairConfig
from langneurons.errors import FormatError, InputError
from langneurons.texts.responses import Response

ALL = PairConfig(dev_every=0)


def scored(
    text: str, score: float | None, correct: bool | None = True, question: str = "q", **more: Any
) -> Scored:
    row = {"lang": "sw", "prompt": f"{question}? ", "sample": 0} | more
    response = Response(question, row["lang"], row["prompt"], text, row["sample"], None, correct)
    return Scored(response, score, score, 0 if score is None else 2)


def every(found: Paired) -> list[Pair]:
    return [*found.pairs.train, *found.pairs.dev]


def texts(found: Paired) -> set[tuple[str, str]]:
    return {(one.chosen, one.rejected) for one in every(found)}


FOUR = [
    scored("best", -0.1, True, sample=0),
    scored("second", -0.2, False, sample=1),
    scored("third", -0.3, True, sample=2),
    scored("last", -0.4, False, sample=3),
]


def test_the_better_one_must_be_right() -> None:
    found = pair(FOUR, ALL)
    assert texts(found) == {
        ("best", "second"),
        ("best", "third"),
        ("best", "last"),
        ("third", "last"),
    }
    row = found.audit[0]
    assert (row.possible, row.wrong, row.tied, row.kept, row.train, row.dev) == (6, 2, 0, 4, 4, 0)
    assert (row.questions, row.all_right, row.all_wrong) == (1, 0, 0)
    assert Pair("q", "sw", "q? ", "best", "third", -0.1, -0.3, True) in found.pairs.train
    assert Pair("q", "sw", "q? ", "third", "last", -0.3, -0.4, False) in found.pairs.train


def test_equal_scores_and_the_margin() -> None:
    tied = [*FOUR, scored("as good", -0.1, True, sample=4)]
    assert ("best", "as good") not in texts(pair(tied, ALL))
    assert pair(tied, ALL).audit[0].tied == 1
    apart = pair(FOUR, replace(ALL, margin=0.25))
    assert texts(apart) == {("best", "last")}
    assert apart.audit[0].tied == 5


def test_what_cannot_be_in_a_pair() -> None:
    found = pair(
        [
            *FOUR,
            scored("best ", -0.1, True, sample=4),
            scored(" \n", -9.0, False, sample=5),
            scored("no English", None, True, sample=6),
        ],
        ALL,
    )
    row = found.audit[0]
    assert (row.responses, row.repeated, row.empty, row.unscored, row.possible) == (7, 1, 1, 1, 6)
    assert texts(found) == texts(pair(FOUR, ALL))


def test_an_unmarked_response_is_not_right() -> None:
    found = pair([scored("a", -0.1, None, sample=0), *FOUR[2:]], ALL)
    assert texts(found) == {("third", "last")}


def test_pairs_stay_within_prompt_and_language() -> None:
    rows = [
        scored("a", -0.1, question="q1"),
        scored("b", -0.2, question="q1", sample=1),
        scored("c", -0.3, question="q1", sample=2, prompt="other "),
        scored("d", -0.4, question="q2"),
        scored("e", -0.5, question="q1", lang="th"),
        scored("f", -0.6, question="q1", lang="th", sample=1),
    ]
    found = pair(rows, ALL)
    assert texts(found) == {("a", "b"), ("e", "f")}
    assert [row.lang for row in found.audit] == ["sw", "th"]
    assert texts(pair(rows, ALL, languages=["th"])) == {("e", "f")}


def test_the_limit_on_tokens_counts_the_prompt_and_the_end() -> None:
    """One token per character: prompt `q? ` is 3, the end 1."""
    limited = pair(FOUR, replace(ALL, max_tokens=9), length=lambda rows: [len(row) for row in rows])
    assert texts(limited) == {("best", "third"), ("best", "last"), ("third", "last")}
    assert limited.audit[0].long == 1
    short = pair(FOUR, replace(ALL, max_tokens=8), length=lambda rows: [len(row) for row in rows])
    assert texts(short) == {("best", "last")}


def drawn(seed: int, questions: int = 30, lang: str = "sw") -> list[Scored]:
    """Scored responses of questions with 1 to 12 samples."""
    rng = random.Random(seed)
    return [
        scored(
            f"{question} {rng.randint(0, 9)} {sample}",
            rng.choice([-1.0, -2.0, -3.0, -rng.random()]),
            rng.random() < 0.6,
            f"q{question}",
            sample=sample,
            lang=lang,
        )
        for question in range(questions)
        for sample in range(rng.randint(1, 12))
    ]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(30, 400), st.integers(0, 5), st.floats(0, 1))
def test_the_audit_adds_up(seed: int, per_language: int, dev_every: int, margin: float) -> None:
    if dev_every == 1:
        return
    rows = drawn(seed)
    found = pair(rows, PairConfig(per_language, margin, dev_every=dev_every))
    row = found.audit[0]
    assert row.possible == row.tied + row.wrong + row.long + row.kept
    assert row.train + row.dev == min(per_language, row.kept) == len(every(found))
    right = {one.response.response for one in rows if one.response.correct}
    for one in every(found):
        assert one.chosen_score - one.rejected_score > margin
        assert one.chosen in right
        assert one.rejected_correct == (one.rejected in right)
    assert not {one.question_id for one in found.pairs.train} & {
        one.question_id for one in found.pairs.dev
    }


def test_no_question_has_many_more_than_another() -> None:
    all_of = Counter(one.question_id for one in pair(drawn(1), ALL).pairs.train)
    some = Counter(
        one.question_id for one in pair(drawn(1), replace(ALL, per_language=100)).pairs.train
    )
    assert sum(some.values()) == 100 < sum(all_of.values())
    most = max(some.values())
    for question, n in all_of.items():
        assert some[question] in (min(n, most), min(n, most - 1))


def test_the_drawing_depends_on_the_seed_and_not_on_the_order() -> None:
    rows = drawn(2)
    one = pair(rows, PairConfig(80))
    shuffled = random.Random(0).sample(rows, len(rows))
    assert pair(shuffled, PairConfig(80)).pairs == one.pairs
    assert pair(rows, PairConfig(80, seed=1)).pairs != one.pairs
    assert pair(rows, per_language=80) == one


def test_about_one_question_in_ten_is_held_out_in_every_language() -> None:
    rows = drawn(3, 400) + drawn(4, 400, "th")
    found = pair(rows, PairConfig())
    held = {one.question_id for one in found.pairs.dev}
    assert 20 <= len(held) <= 65
    assert not held & {one.question_id for one in found.pairs.train}
    assert {one.lang for one in found.pairs.dev} == {"sw", "th"}


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([scored("a", -1.0, False), scored("b", -2.0, False, sample=1)], "none is marked right"),
        (
            [scored("a", -1.0), scored("b", -1.0, sample=1)],
            r"1 pairs were tied 1 times, .* wrong 0 times",
        ),
        ([scored("a", -1.0), scored("a", -1.0, sample=1)], "no two to one question differ"),
        ([scored("a", None), scored("b", None, sample=1)], "none has a score"),
        ([scored("a", -1.0, False), scored("b", -2.0, sample=1)], r"the better one wrong 1 times"),
    ],
)
def test_a_language_without_pairs_says_why(rows: list[Scored], why: str) -> None:
    with pytest.raises(InputError, match=f"sw has no pair: .*{why}"):
        pair(rows, ALL)


def test_bad_settings() -> None:
    with pytest.raises(InputError, match="no scored response is in th; there are sw"):
        pair(FOUR, ALL, languages=["th"])
    for wrong in ({"per_language": 0}, {"margin": -1.0}, {"max_tokens": 1}, {"dev_every": 1}):
        with pytest.raises(InputError):
            PairConfig(**wrong)


def test_what_nobody_marked_is_marked_where_the_answer_is_known() -> None:
    """To 1e-3, as MAPO's code does."""
    rows = [
        replace(one, response=replace(one.response, correct=None, answer=9, response=text))
        for one, text in zip(FOUR, ("It is 9", "8", "so 9.001", "ni 9.0011"), strict=True)
    ]
    found = pair(rows, ALL)
    assert {one.chosen for one in every(found)} == {"It is 9", "so 9.001"}
    assert found.audit[0].kept == 4


def test_kept_in_a_folder_and_what_was_changed_there_is_refused(tmp_path: Path) -> None:
    pairs = pair(drawn(5, 60), PairConfig(per_language=50)).pairs
    pairs.save(tmp_path / "p")
    assert Pairs.load(tmp_path / "p") == Pairs(tuple(pairs.train), tuple(pairs.dev))
    for name in ("train.jsonl", "dev.jsonl"):
        file = tmp_path / "p" / name
        content = file.read_bytes()
        file.write_bytes(content.replace(b"sw", b"th", 1))
        with pytest.raises(FormatError, match=f"{name} is missing or not as it was written"):
            Pairs.load(tmp_path / "p")
        file.write_bytes(content)
