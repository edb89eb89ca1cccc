"""Intervals and tests against answers made by hand or printed in tables."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons import intervals

NAN = math.nan


def test_blocks_drawn() -> None:
    """So many blocks as there are, each as often as any other, the same for the same seed."""
    draws = intervals.block_draws(5, 4000, seed=3)
    assert draws.shape == (4000, 5)
    assert (draws.sum(axis=1) == 5).all()
    assert draws.mean(axis=0) == pytest.approx(np.ones(5), abs=0.06)
    assert draws.var(axis=0) == pytest.approx(np.full(5, 0.8), abs=0.08)  # n p (1 - p)
    assert np.array_equal(draws, intervals.block_draws(5, 4000, seed=3))
    assert not np.array_equal(draws, intervals.block_draws(5, 4000, seed=4))


@pytest.mark.parametrize(
    ("observed", "ends"), [(20.0, (1.0, 39.0)), (50.0, (1.0, 50.0)), (-3.0, (-3.0, 39.0))]
)
def test_an_interval_holds_95_of_100_and_what_was_observed(observed, ends) -> None:
    """Of 0, 1, ..., 40 the 2.5% and 97.5% quantiles are the second lowest and second highest."""
    low, high = intervals.interval(np.arange(41)[::-1], observed)
    assert (low, high) == pytest.approx(ends)


def test_what_is_not_known_is_left_out() -> None:
    """Four columns: all known, some not, none of the replicates, not even the observed one."""
    replicates = np.repeat(np.arange(41.0)[:, None], 4, axis=1)
    replicates = np.concatenate([replicates, [[0.0, NAN, NAN, NAN]] * 3])
    replicates[:, 2:] = NAN
    low, high = intervals.interval(replicates, np.array([20.0, 20.0, 7.0, NAN]))
    assert low[1:3].tolist() == pytest.approx([1.0, 7.0])
    assert high[1:3].tolist() == pytest.approx([39.0, 7.0])
    assert low[0] == 0
    assert math.isnan(low[3])
    assert math.isnan(high[3])


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60), st.floats(-1e6, 1e6))
def test_an_estimate_holds_its_value(replicates: list[float], value: float) -> None:
    found = intervals.estimate(value, np.array(replicates))
    assert found.low <= found.value == value <= found.high
    assert min(replicates) <= found.high or value == found.high
    assert found.replicates.tolist() == replicates


def test_an_estimate_without_resampling() -> None:
    found = intervals.estimate(np.array([1, 2]))
    assert found.value.tolist() == [1, 2]
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()
    assert found.replicates.shape == (0, 2)


@pytest.mark.parametrize(
    ("t", "freedom", "p"),
    [
        (0.0, 7, 0.5),
        (1.0, 1, 0.75),  # Cauchy: 1/2 + arctan(t) / pi
        (-1.0, 1, 0.25),
        (1.0, 2, 0.5 + 1 / (2 * math.sqrt(3))),  # 1/2 + t / (2 sqrt(2 + t^2))
        (12.706204736, 1, 0.975),  # the rest from printed tables
        (2.570581836, 5, 0.975),
        (2.228138852, 10, 0.975),
        (1.859548038, 8, 0.95),
        (-2.042272456, 30, 0.025),
        (1.983971519, 100, 0.975),
    ],
)
def test_student(t: float, freedom: int, p: float) -> None:
    assert intervals.student(t, freedom) == pytest.approx(p, abs=1e-8)


def test_one_against_a_small_sample() -> None:
    """0 against 1, 2, 3: t = (0 - 2) / (1 sqrt(4/3)) = -sqrt(3), with 2 degrees of freedom."""
    p = intervals.lower_than_others(0.0, np.array([1.0, 2.0, 3.0]))
    assert p == pytest.approx(0.5 - math.sqrt(3) / (2 * math.sqrt(5)), abs=1e-8)
    assert math.isnan(intervals.lower_than_others(0.0, np.array([1.0])))
    assert math.isnan(intervals.lower_than_others(0.0, np.array([2.0, 2.0])))


@pytest.mark.parametrize(
    ("correct", "n", "ends"),
    [
        (10, 20, (0.2992980, 0.7007020)),
        (0, 10, (0.0, 0.2775328)),
        (10, 10, (0.7224672, 1.0)),
        (1, 1, (0.2065493, 1.0)),
    ],
)
def test_wilson(correct: int, n: int, ends: tuple[float, float]) -> None:
    """Against R's prop.test without continuity correction."""
    assert intervals.wilson(correct, n) == pytest.approx(ends, abs=1e-6)


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        (1, 8, 20 / 512),  # 2 (1 + 9) / 2^9
        (8, 1, 20 / 512),
        (0, 6, 2 / 64),
        (9, 15, 0.3074562549),
    ],
)
def test_mcnemar(lost: int, gained: int, p: float) -> None:
    assert intervals.mcnemar(lost, gained) == pytest.approx(p, abs=1e-9)


def test_holm() -> None:
    """0.005 * 4, 0.01 * 3, 0.03 * 2, and never below what stands before it."""
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.5, 0.9]) == [1.0, 1.0]
    assert intervals.holm([]) == []


def test_an_estimate_holds_what_was_observed() -> None:
    found = intervals.estimate(5.0, np.arange(101.0))
    assert (found.low, found.high) == (pytest.approx(2.5), pytest.approx(97.5))
    outside = intervals.estimate(-1.0, np.arange(101.0))
    assert (outside.low, outside.high) == (-1, pytest.approx(97.5))
    without = intervals.estimate(np.array([1.0, 2.0]))
    assert np.isnan(without.low).all()
    assert without.replicates.shape == (0, 2)
    some = intervals.estimate(np.array([1.0, 2.0]), np.array([[1.0, np.nan], [1.0, np.nan]]))
    assert some.low.tolist() == some.high.tolist() == [1.0, 2.0]


def test_a_single_case_by_hand() -> None:
    """Others 1, 2, 3: mean 2, s 1; t of 0 is -2 / sqrt(4/3) with 2 degrees: P = 1/2 - t / (2
    sqrt(t^2 + 2))."""
    t = 2 / math.sqrt(4 / 3)
    assert intervals.lower_than_others(0, np.array([1.0, 2, 3])) == pytest.approx(
        0.5 - t / (2 * math.sqrt(t * t + 2))
    )
    assert intervals.lower_than_others(2, np.array([1.0, 2, 3])) == pytest.approx(0.5)
    assert math.isnan(intervals.lower_than_others(0, np.array([1.0, 1])))


def test_a_single_case_among_its_like_is_rarely_low() -> None:
    rng = np.random.default_rng(0)
    found = [intervals.lower_than_others(x[0], x[1:]) for x in rng.standard_normal((1000, 10))]
    assert 0.03 < np.mean(np.array(found) <= 0.05) < 0.07


def test_texts_in_few_blocks_are_noted() -> None:
    tokens = np.zeros((2, 10), dtype=np.int64)
    tokens[0, [1, 4]] = 7
    tokens[1, [4, 8, 9]] = 5
    [note] = intervals.few_blocks(tokens)
    assert note.startswith("the texts lie in 4 of the 10 blocks")
    tokens[1, 0] = 1
    assert intervals.few_blocks(tokens) == []
    assert intervals.few_blocks(tokens[:, :1]) == []  # no blocks, and no intervals
