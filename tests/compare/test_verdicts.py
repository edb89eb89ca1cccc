"""Claims told: what an interval says, and how numbers are put, against answers made by hand."""

import math

import numpy as np
import pytest

from langneurons.compare.verdicts import falls, in_words
from langneurons.intervals import both, estimate, rises
from langneurons.tables import plain


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


def test_words_and_numbers() -> None:
    assert in_words(estimate(2.0, np.array([1.0, 3.0])), "+.2f") == "+2.00 [+1.05, +2.95]"
    assert in_words(estimate(2.0), ".1f") == "2.0 (no interval)"
    assert plain({"a": np.float64(1), "b": (np.int64(2), math.nan), "c": np.array([True])}) == {
        "a": 1.0,
        "b": [2, None],
        "c": [True],
    }
