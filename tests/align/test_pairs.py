"""Preference pairs: the rule by hand, the audit adds up, the drawing is fair and depends on nothing it should not."""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons import artifacts
from langneurons.align.pairs import Pair, Paired, Scored, pair
from langneurons.config import PairConfig
from langneurons.errors import InputError
from langneurons.texts.responses import Response
from support.command import killed

ALL = PairConfig(dev_every=0)


def scored(
    text: str, score: float | None, correct: bool | None = True, question: str = "q", **more: Any
) -> Scored:
    row = {"lang": "sw", "prompt": f"{question}? ", "sample": 0} | more
    response = Response(question, row["lang"], row["prompt"], text, row["sample"], None, correct)
    return Scored(response, score, score, 0 if score is None else 2)


def texts(found: Paired) -> set[tuple[str, str]]:
    return {(one.chosen, one.rejected) for one in found.train + found.dev}


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
    assert Pair("q", "sw", "q? ", "best", "third", -0.1, -0.3, True) in found.train
    assert Pair("q", "sw", "q? ", "third", "last", -0.3, -0.4, False) in found.train


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
    assert texts(pair(rows, ALL, ["th"])) == {("e", "f")}


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
        scored(f"{q} {rng.randint(0, 9)} {sample}", rng.choice([-1.0, -2.0, -3.0, -rng.random()]), rng.random() < 0.6,
               f"q{q}", sample=sample, lang=lang)
        for q in range(questions)
        for sample in range(rng.randint(1, 12))
    ]  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(30, 400), st.integers(0, 5), st.floats(0, 1))
def test_the_audit_adds_up(seed: int, per_language: int, dev_every: int, margin: float) -> None:
    if dev_every == 1:
        return
    rows = drawn(seed)
    found = pair(rows, PairConfig(per_language, margin, dev_every=dev_every))
    row = found.audit[0]
    assert row.possible == row.tied + row.wrong + row.long + row.kept
    assert row.train + row.dev == min(per_language, row.kept) == len(found.train) + len(found.dev)
    right = {one.response.response for one in rows if one.response.correct}
    for one in found.train + found.dev:
        assert one.chosen_score - one.rejected_score > margin
        assert one.chosen in right
        assert one.rejected_correct == (one.rejected in right)
    assert not {one.question_id for one in found.train} & {one.question_id for one in found.dev}


def test_no_question_has_many_more_than_another() -> None:
    every = Counter(one.question_id for one in pair(drawn(1), ALL).train)
    some = Counter(one.question_id for one in pair(drawn(1), replace(ALL, per_language=100)).train)
    assert sum(some.values()) == 100 < sum(every.values())
    most = max(some.values())
    for question, n in every.items():
        assert some[question] in (min(n, most), min(n, most - 1))


def test_the_drawing_depends_on_the_seed_and_not_on_the_order() -> None:
    rows = drawn(2)
    one = pair(rows, PairConfig(80))
    shuffled = random.Random(0).sample(rows, len(rows))
    assert pair(shuffled, PairConfig(80))[:2] == one[:2]
    assert pair(rows, PairConfig(80, seed=1))[:2] != one[:2]


def test_about_one_question_in_ten_is_held_out_in_every_language() -> None:
    rows = drawn(3, 400) + drawn(4, 400, "th")
    found = pair(rows, PairConfig())
    held = {one.question_id for one in found.dev}
    assert 20 <= len(held) <= 65
    assert not held & {one.question_id for one in found.train}
    assert {one.lang for one in found.dev} == {"sw", "th"}


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
        pair(FOUR, ALL, ["th"])
    for wrong in ({"per_language": 0}, {"margin": -1.0}, {"max_tokens": 1}, {"dev_every": 1}):
        with pytest.raises(InputError):
            PairConfig(**wrong)


# The whole command.


def test_nothing_to_pair_by_the_command(tmp_path: Path, langneurons: Any) -> None:
    """All wrong; all right and equally good; no language asked for. One line says why, and nothing is left."""
    wrong = written(
        [scored("a", -1.0, False), scored("b", -2.0, False, sample=1)], tmp_path / "wrong"
    )
    right = written([scored("a", -1.0), scored("b", -1.0, sample=1)], tmp_path / "right")
    for source, words, says in (
        (
            wrong,
            (),
            "sw has no pair: of 2 responses to 1 questions none is marked right; sample more, or give",
        ),
        (right, (), "sw has no pair: of 2 responses to 1 questions, 1 pairs were tied 1 times"),
        (right, ("--languages", ""), "--languages '': give each code once"),
        (
            right,
            ("--languages", "en"),
            "English is what the others are scored against and is not paired",
        ),
    ):
        done = langneurons("pair", source, "--out", tmp_path / "p", *words)
        assert done.status == 2
        assert says in done.err
        assert done.err.count("\n") == 1
        assert not (tmp_path / "p").exists()


def test_killed_and_run_again_is_the_same(tmp_path: Path, langneurons: Any) -> None:
    source = written(drawn(5, 600), tmp_path / "s")
    words = ["pair", source, "--per-language", 500]
    assert langneurons(*words, "--out", tmp_path / "whole").status == 0
    rng = random.Random(3)
    for _ in range(3):
        killed(*words, "--out", tmp_path / "p", when=lambda: True, after=rng.uniform(0.2, 3))
    assert langneurons(*words, "--out", tmp_path / "p").status == 0
    found, whole = (artifacts.read(tmp_path / name, "pairs") for name in ("p", "whole"))
    assert found.digest == whole.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "s", "whole"]


def written(rows: list[Scored], folder: Path) -> Path:
    with artifacts.writing(folder, "scored", "reward", {}, {}) as draft:
        draft.bytes(
            "scored.jsonl", "".join(json.dumps(row.to_row()) + "\n" for row in rows).encode()
        )
    return folder


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def test_the_command(tmp_path: Path, langneurons: Any) -> None:
    from support import families

    rows = drawn(5, 60) + drawn(6, 60, "th") + drawn(7, 60, "zh")
    source = written(
        [replace(rows[0], response=replace(rows[0].response, response="a\u2028b")), *rows[1:]],
        tmp_path / "s",
    )
    model = families.save("llama", tmp_path / "llama")
    words = (
        "pair",
        source,
        "--languages",
        "sw,th",
        "--tokenizer",
        model,
        "--max-tokens",
        13,
        "--per-language",
        90,
    )
    done = langneurons(*words, "--out", tmp_path / "p")
    assert done.status == 0, done.err
    assert "next: langneurons align" in done.out
    found = {name: read(tmp_path / "p" / f"{name}.jsonl") for name in ("train", "dev")}
    assert {row["lang"] for row in found["train"]} == {"sw", "th"}
    assert all(
        len(row["prompt"] + row["chosen"]) + 2 <= 13 for row in found["train"]
    )  # beginning, end
    audit = artifacts.read(tmp_path / "p", "pairs").manifest["facts"]["audit"]
    assert sum(row["train"] for row in audit) == len(found["train"])
    assert all(row["long"] > 0 for row in audit)
    assert "up to date" in langneurons(*words, "--out", tmp_path / "p").err


def test_responses_that_were_not_marked_are_marked_where_the_answer_is_known(
    tmp_path: Path, langneurons: Any
) -> None:
    rows = [
        replace(one, response=replace(one.response, correct=None, answer=9, response=text))
        for one, text in zip(FOUR, ("It is 9", "8", "so 9.001", "ni 9.0001"), strict=True)
    ]
    source = written(rows, tmp_path / "s")
    done = langneurons("pair", source, "--out", tmp_path / "p", "--dev-every", 0, "--json")
    assert done.status == 0, done.err
    train = read(tmp_path / "p" / "train.jsonl")
    assert {row["chosen"] for row in train} == {"It is 9", "so 9.001"}
    assert done.json["audit"][0]["kept"] == 4
    refused = langneurons("pair", source, "--out", tmp_path / "none", "--margin", 5)
    assert refused.status == 2
    assert "were tied 6 times" in refused.err
    assert not (tmp_path / "none").exists()
