"""Intervals, verdicts and tests, against answers made by hand and textbook values."""

import math
from itertools import permutations

import numpy as np
import pytest

from langneurons.compare.verdicts import both, falls, in_words, rises
from langneurons.intervals import estimate, lower_than_others, student
from langneurons.neurons.layer_stages import order_of_layers, segment
from langneurons.tables import plain


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
    ("value", "draws", "up", "down"),
    [
        (3.0, [1.0, 5.0], "holds", "does not hold"),
        (-3.0, [-5.0, -1.0], "does not hold", "holds"),
        (0.0, [0.0, 0.0], "does not hold", "does not hold"),
        (1.0, [-1.0, 3.0], "cannot tell", "cannot tell"),
        (9.0, None, "cannot tell", "cannot tell"),
    ],
)
def test_rising_and_falling(value: float, draws: list | None, up: str, down: str) -> None:
    found = estimate(value, None if draws is None else np.array(draws))
    assert (rises(found), falls(found)) == (up, down)
    if draws:
        assert rises(found, 100.0) == "does not hold"


def test_all_must_hold() -> None:
    assert both(["holds", "holds"]) == "holds"
    assert both(["holds", "cannot tell"]) == "cannot tell"
    assert both(["cannot tell", "does not hold"]) == "does not hold"
    assert both([]) == "cannot tell"


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
    """Others 1, 2, 3: mean 2, s 1; t of 0 is -2 / sqrt(4/3) with 2 degrees: P = 1/2 - t / (2 sqrt(t^2 + 2))."""
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


def test_order_of_layers_is_the_share_of_orders() -> None:
    """Against every order of six layers, each cut by the exact program of `stages`."""
    curves = np.array([[5.0, 5, 1, 0, 3, 4], [1, 2, 6, 7, 0, 8]])
    best = segment(curves, 3).fit
    share = np.mean(
        [segment(curves[:, list(order)], 3).fit >= best - 1e-9 for order in permutations(range(6))]
    )
    assert order_of_layers(curves, 3) == pytest.approx(share, abs=0.04)
    assert order_of_layers(np.ones((2, 6)), 3) == 1
    assert order_of_layers(curves, 6) == 1


def test_order_of_layers_finds_runs_and_no_others() -> None:
    """Runs are found; layers without order pass as ordered about as often as promised."""
    runs = np.repeat([4.0, 0, 6, 1], 4)
    noise = np.random.default_rng(0).standard_normal((30, 2, 16))
    assert order_of_layers(np.stack([runs, -runs]) + noise[0], 4) < 0.01
    assert sum(order_of_layers(one, 4) <= 0.05 for one in noise) <= 5


def test_words_and_numbers() -> None:
    assert in_words(estimate(2.0, np.array([1.0, 3.0])), "+.2f") == "+2.00 [+1.05, +2.95]"
    assert in_words(estimate(2.0), ".1f") == "2.0 (no interval)"
    assert plain({"a": np.float64(1), "b": (np.int64(2), math.nan), "c": np.array([True])}) == {
        "a": 1.0,
        "b": [2, None],
        "c": [True],
    }
