"""The exact spans of lambda against the slowest possible way: look between every two crossings of
any two lines.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.neurons.lambda_star import spans
from langneurons.neurons.selection import lowest


def slow(height, slope, general, size, limit):
    """Feasible or not between all neighbouring crossings of all pairs of lines, by selecting at
    the middle.
    """
    points = {0.0, limit}
    for i in range(len(height)):
        for j in range(i):
            if slope[i] != slope[j]:
                x = (height[i] - height[j]) / (slope[i] - slope[j])
                if 0 < x < limit:
                    points.add(float(x))
    edges = sorted(points)
    out = []
    for a, b in pairwise(edges):
        if b - a < 1e-12:
            continue
        chosen = lowest(height - (a + b) / 2 * slope, size)
        feasible = not general[chosen].any()
        if out and out[-1][2] == feasible:
            out[-1] = (out[-1][0], b, feasible)
        else:
            out.append((a, b, feasible))
    return out


def test_by_hand() -> None:
    # General line 1.0 - 2x meets the lines 0.5 - x (at 0.5) and 0.8 - x (at 0.2). Two are selected:
    # the general one enters when it passes the second of them, at 0.2, and stays.
    height, slope = np.array([0.5, 0.8, 1.0]), np.array([1.0, 1.0, 2.0])
    found = spans(height, slope, np.array([False, False, True]), 2, 1.0)
    assert [(s.feasible, s.general) for s in found] == [(True, 2), (False, 2)]
    assert found[0].start == 0.0
    assert found[0].end == found[1].start == pytest.approx(0.2, abs=1e-15)
    assert found[1].end == 1.0


def test_two_feasible_intervals() -> None:
    # The general neuron sinks below the first line at 0.25; a steep third line passes it at 0.5 and
    # pushes it out.
    height, slope = np.array([0.5, 3.0, 0.75]), np.array([0.0, 5.5, 1.0])
    found = spans(height, slope, np.array([False, False, True]), 1, 1.0)
    assert [s.feasible for s in found] == [True, False, True]
    assert [s.end for s in found] == pytest.approx([0.25, 0.5, 1.0])


def test_nothing_binds_below_the_limit() -> None:
    found = spans(np.array([0.1, 0.9]), np.array([0.0, 0.5]), np.array([False, True]), 1, 0.2)
    assert [(s.start, s.end, s.feasible) for s in found] == [(0.0, 0.2, True)]


def test_infeasible_from_the_start() -> None:
    found = spans(np.array([0.9, 0.1]), np.array([0.0, 0.5]), np.array([False, True]), 1, 0.2)
    assert [(s.start, s.end, s.feasible) for s in found] == [(0.0, 0.2, False)]


def test_equal_lines_go_by_position() -> None:
    # Neuron 0 has the very line of general neuron 1: the first of equals is selected, so the
    # general one never is.
    same = np.array([0.5, 0.5])
    assert [s.feasible for s in spans(same, same, np.array([False, True]), 1, 0.2)] == [True]
    assert [s.feasible for s in spans(same, same, np.array([True, False]), 1, 0.2)] == [False]


# Nothing so small that the slow way, which subtracts, would lose it beside a slope.
numbers = st.one_of(
    st.floats(2**-20, 1, allow_nan=False, width=32), st.sampled_from([0.0, 0.25, 0.5, 1.0])
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_agrees_with_the_slow_way(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 12))
    height = np.array(data.draw(st.lists(numbers, min_size=n, max_size=n)))
    slope = 4 * np.array(data.draw(st.lists(numbers, min_size=n, max_size=n)))
    general = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    general[0] |= not general.any()
    size = data.draw(st.integers(1, n))
    found = spans(height, slope, general, size, 1.0)
    expected = slow(height, slope, general, size, 1.0)
    wide = [(s.start, s.end, s.feasible) for s in found if s.end - s.start > 1e-9]
    merged: list[tuple[float, float, bool]] = []
    for a, b, feasible in wide:
        if merged and merged[-1][2] == feasible:
            merged[-1] = (merged[-1][0], b, feasible)
        else:
            merged.append((a, b, feasible))
    rough = [(a, b, f) for a, b, f in expected if b - a > 1e-9]
    joined: list[tuple[float, float, bool]] = []
    for a, b, f in rough:
        if joined and joined[-1][2] == f:
            joined[-1] = (joined[-1][0], b, f)
        else:
            joined.append((a, b, f))
    assert [f for *_, f in merged] == [f for *_, f in joined]
    assert np.allclose([m[:2] for m in merged], [j[:2] for j in joined], atol=1e-9)
    assert found[0].start == 0
    assert found[-1].end == 1.0
    for a, b in pairwise(found):
        assert a.end == b.start
        assert a.feasible != b.feasible
