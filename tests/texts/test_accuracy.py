"""Accuracy, its intervals and paired tests, against values worked out by hand or by plain loops."""

from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons import artifacts
from langneurons.errors import FormatError, InputError, MismatchError
from langneurons.intervals import mcnemar, wilson
from langneurons.texts.accuracy import (
    MEAN,
    Evaluation,
    accuracies,
    compare_accuracy,
    not_compared,
)
from langneurons.texts.responses import Response
from langneurons.texts.rows import Responses


def marked(**right: str) -> list[Response]:
    """Responses from strings of 1 (right), 0 (wrong), ? (not known), . (not asked), by language."""
    marks: dict[str, Any] = {"1": True, "0": False, "?": None}
    return [
        Response(f"q{i}", code, "", "", answer=1, correct=marks[mark])
        for code, text in right.items()
        for i, mark in enumerate(text)
        if mark != "."
    ]


def test_accuracy_and_wilson() -> None:
    en, zh, mean = accuracies(marked(en="1110", zh="10?0"))
    assert (en.lang, en.n, en.correct, en.accuracy) == ("en", 4, 3, 0.75)
    assert (zh.lang, zh.n, zh.correct, zh.accuracy) == ("zh", 3, 1, 1 / 3)
    assert (mean.lang, mean.n, mean.correct) == (MEAN, 4, 4)
    assert mean.accuracy == pytest.approx((0.75 + 1 / 3) / 2)
    assert mean.low < mean.accuracy < mean.high
    # Newcombe 1998 gives this form's values
    assert wilson(8, 10) == pytest.approx((0.49016, 0.94331), abs=1e-5)
    assert wilson(0, 10) == pytest.approx((0, 0.27753), abs=1e-5)
    assert wilson(10, 10) == pytest.approx((0.72247, 1), abs=1e-5)


def test_mcnemar() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(0, 5) == 2 / 32
    assert mcnemar(5, 0) == 2 / 32
    assert mcnemar(3, 3) == 1
    assert mcnemar(2, 9) == pytest.approx(2 * sum(comb(11, i) for i in range(3)) / 2**11)
    assert 0 < mcnemar(1000, 1500) < 1e-20


def test_a_change_by_hand() -> None:
    en, zh, mean = compare_accuracy(marked(en="11000", zh="0000"), marked(en="10111", zh="11.0"))
    assert (en.lang, en.n, en.before, en.after, en.lost, en.gained) == ("en", 5, 0.4, 0.8, 1, 3)
    assert en.p == mcnemar(1, 3)
    assert (zh.n, zh.before, zh.after, zh.lost, zh.gained) == (3, 0, pytest.approx(2 / 3), 0, 2)
    assert (mean.lang, mean.n, mean.lost, mean.gained) == (MEAN, 5, 1, 5)
    assert mean.change == pytest.approx((0.4 + 2 / 3) / 2)
    assert mean.low <= mean.change <= mean.high


def test_intervals_and_p_on_many_questions() -> None:
    """Against the normal approximation; nothing where nothing changes."""
    rng = np.random.default_rng(0)
    n = 400
    first = rng.random((2, n)) < 0.5
    second = np.where(rng.random((2, n)) < 0.3, rng.random((2, n)) < 0.8, first)
    texts = [["".join("01"[int(x)] for x in row) for row in rows] for rows in (first, second)]
    before, after = (marked(en=en, zh=zh) for en, zh in texts)
    en, _, mean = compare_accuracy(before, after)
    difference = second[0].astype(float) - first[0]
    assert (en.high - en.low) / 2 == pytest.approx(1.96 * difference.std() / np.sqrt(n), rel=0.1)
    both = (second.astype(float) - first).mean(axis=0)
    assert (mean.high - mean.low) / 2 == pytest.approx(1.96 * both.std() / np.sqrt(n), rel=0.1)
    assert mean.p < 0.05
    same = compare_accuracy(before, before)
    assert all((row.change, row.low, row.high, row.p) == (0, 0, 0, 1) for row in same)
    low, high = accuracies(before)[0][4:]
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / np.sqrt(n), rel=0.1)


def test_the_mean_keeps_a_question_together() -> None:
    """Three languages that always change alike are one observation: the interval is that of one."""
    before, after = "10" * 40, "11" * 20 + "10" * 20
    one, mean = compare_accuracy(marked(en=before), marked(en=after))
    *_, three = compare_accuracy(
        marked(en=before, zh=before, sw=before),
        marked(en=after, zh=after, sw=after),
    )
    assert three[2:7] == pytest.approx(one[2:7])
    assert mean[2:7] == pytest.approx(one[2:7])


@settings(deadline=None, max_examples=20)
@given(st.text("01", min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_order_does_not_matter(text: str, order: Any) -> None:
    rows = marked(en=text, zh=text[::-1])
    shuffled = rows.copy()
    order.shuffle(shuffled)
    assert {r[:4] for r in accuracies(rows)} == {r[:4] for r in accuracies(shuffled)}


def test_an_evaluation_comes_back(tmp_path: Path) -> None:
    responses = marked(en="1101", zh="0?11")
    evaluation = Evaluation(responses, accuracies(responses))
    evaluation.save(tmp_path / "accuracy")
    assert artifacts.read(tmp_path / "accuracy").manifest["kind"] == "accuracy"
    assert Evaluation.load(tmp_path / "accuracy") == evaluation
    with pytest.raises(InputError, match="holds accuracy; responses are needed here"):
        Responses.load(tmp_path / "accuracy")
    (tmp_path / "accuracy" / "responses.jsonl").write_bytes(b"")
    with pytest.raises(FormatError, match="not as it was written"):
        Evaluation.load(tmp_path / "accuracy")


def test_which_languages_are_not_compared() -> None:
    here, there = marked(en="10", zh="11", th="??"), marked(en="01", sw="11", th="1?")
    assert not_compared(here, there) == ["not compared, as no question is in both: zh, sw, th"]
    assert not_compared(here, here) == []


def test_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="no response is known"):
        accuracies(marked(en="??"))
    with pytest.raises(InputError, match="several responses"):
        accuracies([*marked(en="1"), *marked(en="1")])
    with pytest.raises(MismatchError, match="no question in common"):
        compare_accuracy(marked(en="1"), marked(zh="1"))
    with pytest.raises(MismatchError, match="q0, en"):
        compare_accuracy(marked(en="1"), [Response("q0", "en", "", "", answer=2, correct=True)])
