"""How many neurons of each sort: by hand, from resamplings, and their intervals there and back."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.neurons.numbers import (
    KINDS,
    Intervals,
    Numbers,
    count,
    kind_codes,
    kind_of,
    stacked,
)


def small(tau: float = 0.5, lam: float | None = 0.1) -> Numbers:
    """Five listed neurons of two layers and three languages: all kinds, the general one not
    selected.
    """
    member = [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 1, 1]]
    return count(
        np.array([0, 0, 0, 1, 1]),
        np.array(member, dtype=bool),
        np.array([True, True, True, True, False]),
        layers=2,
        tau=tau,
        lam=lam,
        everywhere=(3, 2, 1, 1),
    )


def test_by_hand() -> None:
    numbers = small()
    assert numbers.layers.tolist() == [[1, 1], [1, 0], [0, 1], [1, 0]]
    assert numbers.kinds.tolist() == [2, 1, 1, 1]
    assert numbers.languages.tolist() == [[1, 0, 1], [1, 1, 0]]
    assert numbers.language_neurons.tolist() == [2, 1]
    assert numbers.among.tolist() == [1, 2, 1, 0]
    assert numbers.everywhere.tolist() == [3, 2, 1, 1]
    assert (float(numbers.tau), float(numbers.lam)) == (0.5, 0.1)
    assert numbers.intervals is None


def test_what_is_not_known() -> None:
    rows = np.zeros((0, 3), dtype=bool)
    nobody = np.zeros(0, dtype=int)
    numbers = count(nobody, rows, rows[:, 0], layers=2, tau=None, lam=None, everywhere=None)
    assert numbers.layers.tolist() == [[0, 0]] * 4
    assert math.isnan(numbers.tau)
    assert math.isnan(numbers.lam)
    assert np.isnan(numbers.everywhere).all()


def test_picked_by_kind() -> None:
    numbers = small()
    assert numbers.of_kind("specific").value == 2
    assert numbers.by_layer("general").value.tolist() == [0, 1]
    assert numbers.by_language("related").value.tolist() == [1, 1, 0]
    assert np.isnan(numbers.by_language("related").low).all()
    with pytest.raises(ValueError, match="not in tuple"):
        numbers.by_language("general")


def test_resamplings_keep_their_axis() -> None:
    both = stacked([small(), small(0.7, None)])
    assert both.tau.tolist() == [0.5, 0.7]
    assert both.kinds.tolist() == [[2, 1, 1, 1]] * 2
    assert both.of_kind("specific").value.tolist() == [2, 2]
    assert both.by_layer("specific").value.tolist() == [[1, 1]] * 2
    assert both.language_neurons.tolist() == [[2, 1]] * 2


def test_intervals_hold_the_numbers_themselves() -> None:
    """Replicates with twice the neurons: the interval begins at what was observed."""
    numbers = small()
    twice = numbers._replace(layers=2 * numbers.layers, languages=2 * numbers.languages)
    held = numbers.with_intervals(stacked([twice] * 5))
    specific = held.of_kind("specific")
    assert (specific.value, specific.low, specific.high) == (2, 2, 4)
    assert held.by_layer("general").high.tolist() == [0, 2]
    assert held.by_language("related").low.tolist() == [1, 1, 0]
    assert held.intervals is not None
    assert held.intervals.tau.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("lam", [0.1, None])
def test_intervals_by_name(lam: float | None) -> None:
    numbers = small(lam=lam)
    more = numbers._replace(tau=numbers.tau + 0.25, layers=numbers.layers + 1)
    intervals = numbers.with_intervals(stacked([numbers, more, more])).intervals
    assert intervals is not None
    ends = intervals.named(("en", "zh", "sw"))
    names = ["tau", *(["lambda"] if lam else [])]
    for kind in KINDS:
        names += [kind, f"{kind}@0", f"{kind}@1"]
        names += [f"{kind}/{code}" for code in ("en", "zh", "sw") if kind in KINDS[:2]]
    assert list(ends) == names
    assert ends["specific"] == (2, 4)
    assert ends["related/zh"] == (1, 1)
    again = Intervals.from_named(ends, ("en", "zh", "sw"))
    for ours, theirs in zip(intervals, again, strict=True):
        assert np.array_equal(ours, theirs, equal_nan=True)


@pytest.mark.parametrize(
    ("languages", "kinds"),
    [
        (1, ["none", "specific"]),
        (2, ["none", "specific", "general"]),
        (4, ["none", "specific", "related", "related", "general"]),
    ],
)
def test_kinds_by_n(languages: int, kinds: list[str]) -> None:
    assert kind_of(np.arange(languages + 1), languages).tolist() == kinds
    codes = kind_codes(np.arange(languages + 1), languages)
    assert [KINDS[code] for code in codes] == kinds


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 5), st.integers(1, 4))
def test_every_listed_neuron_is_counted_once(seed: int, languages: int, layers: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 30))
    member = rng.random((n, languages)) < 0.5
    selected = (rng.random(n) < 0.5) | (member.sum(axis=1) < languages)
    layer = rng.integers(0, layers, n)
    numbers = count(layer, member, selected, layers=layers, tau=None, lam=None, everywhere=None)
    assert numbers.kinds.sum() == n
    assert numbers.layers.sum(axis=0).tolist() == np.bincount(layer, minlength=layers).tolist()
    assert numbers.among.sum() == selected.sum()
    assert numbers.languages[0].sum() == numbers.of_kind("specific").value
    related = member[(member.sum(axis=1) > 1) & ~member.all(axis=1)]
    assert numbers.languages[1].tolist() == related.sum(axis=0).tolist()
