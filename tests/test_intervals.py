"""Intervals and tests, against answers made by hand and textbook values."""

import math

import numpy as np
import pytest

from langneurons.intervals import estimate, holm, lower_than_others, student


def test_an_estimate_holds_what_was_observed() -> None:
    found = estimate(5.0, np.arange(101.0))
    assert (found.low, found.high) == (pytest.approx(2.5), pytest.approx(97.5))
    outside = estimate(-1.0, np.arange(101.0))
    assert (outside.low, outside.high) == (-1, pytest.approx(97.5))
    without = estimate(np.array([1.0, 2.0]))
    assert np.isnan(without.low).all()
    assert without.replicates.shape == (0, 2)
    some = estimate(np.array([1.0, 2.0]), np.array([[1.0, np.nan], [1.0, np.nan]]))
    assert some.low.tolist() == some.high.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("t", "freedom", "p"),
    [(1.0, 1, 0.75), (6.314, 1, 0.95), (2.306, 8, 0.975), (-2.896, 8, 0.01), (1.96, 10**6, 0.975)],
)
def test_student(t: float, freedom: int, p: float) -> None:
    """Values of the tables; one degree of freedom is Cauchy's distribution."""
    assert student(t, freedom) == pytest.approx(p, abs=3e-5)
    assert student(t, freedom) + student(-t, freedom) == pytest.approx(1)
    assert student(0, freedom) == 0.5


def test_a_single_case_by_hand() -> None:
    """Others 1, 2, 3: mean 2, s 1; t of 0 is -2 / sqrt(4/3) with 2 degrees: P = 1/2 - t / (2
    sqrt(t^2 + 2))."""
    t = 2 / math.sqrt(4 / 3)
    assert lower_than_others(0, np.array([1.0, 2, 3])) == pytest.approx(
        0.5 - t / (2 * math.sqrt(t * t + 2))
    )
    assert lower_than_others(2, np.array([1.0, 2, 3])) == pytest.approx(0.5)
    assert math.isnan(lower_than_others(0, np.array([1.0, 1])))


def test_a_single_case_among_its_like_is_rarely_low() -> None:
    rng = np.random.default_rng(0)
    found = [lower_than_others(x[0], x[1:]) for x in rng.standard_normal((1000, 10))]
    assert 0.03 < np.mean(np.array(found) <= 0.05) < 0.07


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
