"""Tables: how numbers are written."""

import math

import pytest

from langneurons.tables import Table, joined, p_value, written


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (-29.02, "-29"),
        (0.00009999, "0.0001"),
        (0.014912, "0.0149"),
        (1.2566, "1.26"),
        (12.04, "12"),
        (99.94, "99.9"),
        (99.96, "100"),
        (86434.7, "86,435"),
        (-1234.5, "-1,234"),
        (1.26e-8, "1.3e-08"),
        (math.nan, "not known"),
        (math.inf, "inf"),
    ],
)
def test_numbers_as_people_write_them(value: float, said: str) -> None:
    assert written(value) == said
    if math.isfinite(value) and value > 0:
        assert written(value, sign=True) == f"+{said}"


def test_what_is_written_is_the_number() -> None:
    for exponent in range(-6, 6):
        for digit in (1.0, 3.14159, 9.994):
            value = digit * 10.0**exponent
            read = float(written(value).replace(",", ""))
            assert read == pytest.approx(value, rel=5e-3)


def test_p_values_end_at_a_thousandth() -> None:
    assert p_value(0.0) == p_value(0.00099) == "p < 0.001"
    assert p_value(0.001) == "p = 0.001"
    assert p_value(0.0149) == "p = 0.015"


def test_words_in_a_sentence() -> None:
    assert [joined(words) for words in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_columns_that_hold_nothing_are_left_out() -> None:
    table = Table("t", "", ("a", "b", "c"), ((1, None, None), (None, None, 0)))
    assert table.without_empty() == Table("t", "", ("a", "c"), ((1, None), (None, 0)))
