"""The address of a neuron and its place among all: by hand, and there and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons import layout

WIDTHS = ((2,), (2, 3), (1,))
"""A dense layer of 2, two experts of 3, a dense layer of 1: nine neurons."""

ADDRESSES = [
    [0, -1, 0],
    [0, -1, 1],
    [1, 0, 0],
    [1, 0, 1],
    [1, 0, 2],
    [1, 1, 0],
    [1, 1, 1],
    [1, 1, 2],
    [2, -1, 0],
]

SHAPE = st.lists(st.integers(1, 6), min_size=1, max_size=2).map(tuple)


def test_by_hand() -> None:
    everyone = np.arange(9)
    assert layout.sizes(WIDTHS).tolist() == [2, 6, 1]
    assert layout.starts(WIDTHS).tolist() == [0, 2, 8, 9]
    assert layout.addresses(WIDTHS, everyone).tolist() == ADDRESSES
    assert layout.positions(WIDTHS, np.array(ADDRESSES)).tolist() == everyone.tolist()
    assert layout.layer_of(WIDTHS, everyone).tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 2]
    assert layout.per_layer(WIDTHS, np.array([8, 0, 3, 7])).tolist() == [1, 2, 1]
    assert layout.address(WIDTHS, 1) == (0, 1)
    assert layout.address(WIDTHS, 6) == (1, 1, 1)


def test_of_nobody() -> None:
    nobody = np.zeros(0, dtype=np.int64)
    assert layout.positions(WIDTHS, np.zeros((0, 3))).tolist() == []
    assert layout.addresses(WIDTHS, nobody).shape == (0, 3)
    assert layout.per_layer(WIDTHS, nobody).tolist() == [0, 0, 0]


@settings(max_examples=60, deadline=None)
@given(st.lists(SHAPE, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_there_and_back(widths, random) -> None:
    size = layout.starts(widths)[-1]
    places = np.array(random.sample(range(size), random.randint(0, size)), dtype=np.int64)
    addresses = layout.addresses(widths, places)
    assert layout.positions(widths, addresses).tolist() == places.tolist()
    assert layout.layer_of(widths, places).tolist() == addresses[:, 0].tolist()
    for place, (layer, expert, neuron) in zip(places, addresses.tolist(), strict=True):
        index = (neuron,) if len(widths[layer]) == 1 else (expert, neuron)
        assert all(0 <= i < size for i, size in zip(index, widths[layer], strict=True))
        assert layout.address(widths, place) == (layer, *index)


@settings(max_examples=60, deadline=None)
@given(st.lists(SHAPE, min_size=1, max_size=5))
def test_places_are_those_of_one_flattened_model(widths) -> None:
    """Numbered as the arrays of all layers would be, flattened and put one behind the other."""
    indices = [(layer, *index) for layer, shape in enumerate(widths) for index in np.ndindex(shape)]
    assert [layout.address(widths, place) for place in range(len(indices))] == indices


@pytest.mark.parametrize(
    ("widths", "words"),
    [
        (((14336,),) * 32, "32 x 14336"),
        (((64,), *((8, 16),) * 3), "1 x 64 + 3 x 8*16"),
        (((4,), (5,), (4,)), "1 x 4 + 1 x 5 + 1 x 4"),
    ],
)
def test_in_words(widths, words: str) -> None:
    assert layout.describe(widths) == words
