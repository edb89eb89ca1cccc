"""Retrieval and its like on states whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from langneurons.meaning.retrieval import (
    kernel_alignment,
    language_told,
    retrieved,
    scaled,
    standardised,
)


def drawn(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(shape)


def test_a_language_finds_itself() -> None:
    states = drawn(50, 20)
    found = retrieved(states, states)
    assert found.hits.all()
    assert found.chance == 1 / 50


def test_shuffled_pairs_are_found_by_chance() -> None:
    states = drawn(100, 20)
    order = np.random.default_rng(1).permutation(100)
    found = retrieved(states, states[order])
    assert found.hits.sum() == (order == np.arange(100)).sum()
    assert found.chance == 1 / 100


def test_chance_is_what_a_random_pairing_gives() -> None:
    ours, theirs = drawn(40, 6), drawn(40, 6, seed=1)
    expected = retrieved(ours, theirs).chance
    rng = np.random.default_rng(2)
    scores = [retrieved(ours, theirs[rng.permutation(40)]).hits.mean() for _ in range(2000)]
    assert np.mean(scores) == pytest.approx(expected, abs=0.0015)


def test_twins_are_never_found() -> None:
    states = np.concatenate([drawn(25, 20)] * 2)
    assert not retrieved(states, states).hits.any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 12), st.integers(1, 5))
def test_a_plain_loop_finds_the_same(seed: int, n: int, width: int) -> None:
    ours = drawn(n, width, seed=seed)
    theirs = ours + drawn(n, width, seed=seed + 1)

    def cosine(a: NDArray, b: NDArray) -> float:
        return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))

    hits = []
    for i in range(n):
        own = cosine(ours[i], theirs[i])
        others = [cosine(ours[i], theirs[j]) for j in range(n) if j != i]
        others += [cosine(ours[j], theirs[i]) for j in range(n) if j != i]
        hits.append(all(own > other + 1e-12 for other in others))
    assert retrieved(ours, theirs).hits.tolist() == hits


def test_a_dimension_of_large_variance_hides_what_standardising_shows() -> None:
    ours = drawn(60, 30)
    theirs = ours + 0.2 * drawn(60, 30, seed=1)
    wide = np.concatenate([100 * drawn(2, 60, 1, seed=2), np.stack([ours, theirs])], axis=2)
    assert retrieved(*wide).hits.mean() < 0.2
    assert retrieved(*(standardised(states) for states in wide)).hits.all()


def test_dimensions_that_never_change_are_no_numbers_to_divide_by() -> None:
    states = np.concatenate([drawn(30, 4), np.full((30, 2), 7.0)], axis=1)
    assert standardised(states)[:, 4:].tolist() == np.zeros((30, 2)).tolist()
    assert standardised(states)[:, :4].std(axis=0) == pytest.approx(np.ones(4))
    assert scaled(np.stack([states, states + 1])).std(axis=(0, 1))[:4] == pytest.approx(np.ones(4))
    assert not retrieved(np.zeros((30, 3)), np.zeros((30, 3))).hits.any()


def test_one_sentence_teaches_languages_that_lie_apart() -> None:
    apart = drawn(4, 30, 50) + 5 * drawn(4, 1, 50, seed=1)
    assert language_told(apart).tolist() == [1.0] * 30
    assert language_told(drawn(4, 300, 50)).mean() == pytest.approx(0.25, abs=0.02)


def test_one_sentence_by_a_plain_loop() -> None:
    states = drawn(3, 8, 5) + drawn(3, 1, 5, seed=1)
    flat = scaled(states)
    for i, right in enumerate(language_told(states)):
        hits = [
            min(range(3), key=lambda k, x=flat[true, j]: float(((flat[k, i] - x) ** 2).sum()))
            == true
            for true in range(3)
            for j in range(8)
            if j != i
        ]
        assert right == pytest.approx(np.mean(hits))


def test_kernel_alignment_forgives_rotation_scale_and_shift() -> None:
    states = drawn(40, 12)
    rotation, _ = np.linalg.qr(drawn(12, 12, seed=1))
    assert kernel_alignment(states, states) == pytest.approx(1)
    assert kernel_alignment(states, 3 * states @ rotation + 5) == pytest.approx(1)


def test_kernel_alignment_of_noise_is_nothing_with_few_sentences_too() -> None:
    values = [
        kernel_alignment(drawn(40, 200, seed=i), drawn(40, 200, seed=99 + i)) for i in range(20)
    ]
    assert np.mean(values) == pytest.approx(0, abs=0.03)
    assert np.isnan(kernel_alignment(np.ones((9, 3)), drawn(9, 3)))
