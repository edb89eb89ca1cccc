"""The matrix and its test, against answers made by hand."""

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.silencing.matrix import MEASURES, Matrix, dominance, matrices, matrix, words
from support.values import losses

CHANGE = [[0.5, 0.1], [0.0, 0.2]]


def test_changes_by_hand() -> None:
    found = losses({"specific": CHANGE}, [1.0, 2.0])
    difference = matrix(found, "specific")
    assert np.allclose(difference.before, [math.e, math.e**2])
    expected = [[math.exp(1.5) - math.e, math.exp(2.1) - math.e**2], [0, math.exp(2.2) - math.e**2]]
    assert np.allclose(difference.change, expected)
    assert np.allclose(matrix(found, "specific", "log ratio").change, CHANGE)
    bits = matrix(found, "specific", "bits per byte")
    assert np.allclose(bits.change, np.array(CHANGE) * 10 / 20 / math.log(2))
    assert np.isnan(difference.low).all()
    assert dominance(difference).interval is None


def test_one_language_alone_has_nothing_off_the_diagonal() -> None:
    found = dominance(matrix(losses({"specific": [[0.5]]}, [1.0]), "specific", "log ratio"))
    assert words(found) == "cannot tell: there is one language only, which changes by +0.5"


def test_percentile_by_hand() -> None:
    """Control draws change the log perplexity by 0.01, 0.02, 0.03."""
    found = matrix(
        losses({"specific": [[0.5, 0.02], [0.0, 0.025]]}, [1.0, 2.0], controls=3),
        "specific",
        "log ratio",
    )
    assert np.allclose(found.percentile, [[1, 0.5], [0, 2 / 3]], atol=1e-9)
    without = matrix(losses({"specific": CHANGE}, [1.0, 2.0]), "specific")
    assert np.isnan(without.percentile).all()
    one = matrix(losses({"specific": CHANGE}, [1.0, 2.0], controls=1), "specific")
    assert not np.isnan(one.percentile).any()


def test_the_greatest_change_of_a_row_may_not_be_so_for_sure() -> None:
    """Every block says so of the first row; of the second every other one says the opposite."""
    found = losses({"specific": CHANGE}, [1.0, 2.0], blocks=8)
    nll = found.nll.copy()
    nll[2, 0, ::2] += 10 * 0.6  # 10 tokens a block: silencing b costs a 0.6 there, 0 in the others
    nll[2, 1] += 10 * 0.15
    judged = dominance(matrix(replace(found, nll=nll), "specific", "log ratio"))
    assert judged.on_diagonal == ("a", "b")
    assert judged.surely == ("a",)
    assert dominance(matrix(losses({"specific": CHANGE}, [1.0, 2.0]), "specific")).surely == ()


def test_intervals_are_paired() -> None:
    """Blocks differ a lot, but every condition shifts them all alike: the log ratio has no spread
    at all."""
    found = losses({"specific": CHANGE}, [1.0, 2.0], blocks=8, noise=0.5)
    ratio = matrix(found, "specific", "log ratio")
    assert np.allclose(ratio.low, CHANGE)
    assert np.allclose(ratio.high, CHANGE)
    difference = matrix(found, "specific")
    assert (difference.high - difference.low)[0, 0] > 0.1
    assert (difference.low <= difference.change).all()
    assert (difference.change <= difference.high).all()


def random_matrix(change: np.ndarray, neurons: np.ndarray | None = None) -> Matrix:
    k = len(change)
    nothing = np.full((k, k), np.nan)
    sizes = np.ones(k, int) if neurons is None else neurons
    return Matrix(
        tuple("abcdefgh"[:k]),
        "specific",
        "difference",
        sizes,
        np.ones(k),
        np.where(sizes[:, None] > 0, change, np.nan),
        nothing,
        nothing,
        np.zeros((0, k, k)),
        np.zeros((0, k, k)),
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_p_is_the_share_of_permutations(k: int, seed: int) -> None:
    change = np.random.default_rng(seed).standard_normal((k, k))
    found = dominance(random_matrix(change))
    own = np.trace(change)
    sums = [sum(change[i, j] for i, j in enumerate(order)) for order in permutations(range(k))]
    assert found.p == pytest.approx(np.mean([s >= own - 1e-12 for s in sums]))
    off = change[~np.eye(k, dtype=bool)].mean()
    assert found.diagonal - found.others == pytest.approx(np.diag(change).mean() - off)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 5), st.integers(0, 1000))
def test_effects_of_rows_and_columns_do_not_count(k: int, seed: int) -> None:
    """A language that any silencing hurts, or a set that hurts everything, changes neither p nor
    its rank."""
    rng = np.random.default_rng(seed)
    change = rng.standard_normal((k, k))
    shifted = change + 10 * rng.standard_normal((k, 1)) + 10 * rng.standard_normal(k)
    assert dominance(random_matrix(change)).p == dominance(random_matrix(shifted)).p


def test_a_clear_diagonal_holds() -> None:
    change = np.full((5, 5), 0.1) + np.eye(5)
    found = dominance(random_matrix(change))
    assert found.on_diagonal == tuple("abcde")
    assert found.p == pytest.approx(1 / 120)
    assert found.holds == "holds"
    assert (found.diagonal, found.others) == (pytest.approx(1.1), pytest.approx(0.1))


def test_no_diagonal_does_not_hold() -> None:
    change = np.full((5, 5), 0.1) - np.eye(5)
    found = dominance(random_matrix(change))
    assert found.on_diagonal == ()
    assert found.elsewhere == {"a": "b", "b": "a", "c": "a", "d": "a", "e": "a"}
    assert found.holds == "does not hold"
    assert found.p == 1


def test_the_same_everywhere_is_no_diagonal() -> None:
    found = dominance(random_matrix(np.zeros((5, 5))))
    assert found.on_diagonal == ()
    assert found.p == 1


def test_as_much_as_another_language_is_not_most() -> None:
    """The other one is named, wherever it stands, not the language itself."""
    found = dominance(random_matrix(np.array([[0.1, 0.0, 0.1], [0.2, 0.2, 0.0], [0.0, 0.0, 0.3]])))
    assert found.elsewhere == {"a": "c", "b": "a"}


def test_three_languages_cannot_tell() -> None:
    """The best of the six assignments of three columns is one in six."""
    found = dominance(random_matrix(np.eye(3)))
    assert found.on_diagonal == ("a", "b", "c")
    assert found.holds == "cannot tell"


def test_many_languages_are_sampled() -> None:
    found = dominance(random_matrix(np.eye(8) + 0.01 * np.random.default_rng(0).random((8, 8))))
    assert 0 < found.p < 0.01
    assert found.p == dominance(random_matrix(np.eye(8))).p
    assert found.holds == "holds"


def test_a_language_without_neurons_is_empty() -> None:
    change = np.full((6, 6), 0.1) + np.eye(6)
    found = dominance(random_matrix(change, np.array([1, 0, 1, 1, 1, 1])))
    assert found.empty == ("b",)
    assert found.rows == tuple("acdef")
    assert (found.diagonal, found.others) == (pytest.approx(1.1), pytest.approx(0.1))
    assert found.p == pytest.approx(1 / math.perm(6, 5))
    nothing = dominance(random_matrix(change, np.zeros(6, int)))
    assert nothing.holds == "cannot tell"
    assert nothing.empty == tuple("abcdef")
    assert math.isnan(nothing.p)


def test_an_empty_row_in_the_matrix() -> None:
    found = matrix(
        losses({"specific": [[0.5, 0.1], None]}, [1.0, 2.0], blocks=4, controls=2), "specific"
    )
    assert np.isnan(found.change[1]).all()
    assert np.isnan(found.low[1]).all()
    assert np.isnan(found.percentile[1]).all()
    assert not np.isnan(found.change[0]).any()


def test_means_of_texts_are_used_where_asked() -> None:
    found = losses({"specific": CHANGE}, [1.0, 2.0], average="sequences")
    found.means[1:] += 1  # 2 texts in a cell: their mean rises by 0.5
    assert np.allclose(matrix(found, "specific", "log ratio").change, np.array(CHANGE) + 0.5)


@pytest.mark.parametrize("blocks", [1, 6])
def test_controls_have_their_own_gap(blocks: int) -> None:
    found = dominance(
        matrix(losses({"s": CHANGE}, [1.0, 2.0], blocks=blocks, controls=3), "s", "log ratio")
    )
    assert np.allclose(found.controls, 0)
    assert found.diagonal - found.others == pytest.approx(0.3)
    assert np.allclose(found.random, [0.01, 0.02, 0.03])
    assert found.beyond == ("a", "b")
    assert (found.interval is None) == (blocks == 1)


def test_what_exceeds_every_random_set() -> None:
    """Random sets cost 0.01, 0.02 and 0.03. The first loses 0.02 by its own neurons: more than any
    other language, yet not more than by random ones."""
    change = [[0.02, 0.01, 0.0], [0.005, 0.3, 0.0], [0.0, 0.3, 0.2]]
    costs = losses({"s": change}, [1.0, 2.0, 1.5], blocks=4, controls=3)
    found = dominance(matrix(costs, "s", "log ratio"))
    assert found.on_diagonal == found.surely == ("a", "b")  # blocks do not differ
    assert found.beyond == ("b", "c")
    said = words(found)
    assert "2 of 3 languages lose most themselves, 2 surely (not c: b does)" in said
    assert (
        "they cost the language itself +0.02 (median), and all of them less than its own neurons "
        "in 2 of 3 languages"
    ) in said
    alone = dominance(matrix(losses({"s": change}, [1.0, 2.0, 1.5]), "s", "log ratio"))
    assert (alone.random, alone.beyond) == ((), ())
    assert "surely" not in words(alone)


def test_every_matrix_is_made_once() -> None:
    """Asking a second time gives the very same matrix; each is what `matrix` gives."""
    costs = losses({"specific": CHANGE, "specific+related": CHANGE}, [1.0, 2.0], blocks=3)
    made = matrices(costs)
    assert (made.losses, made.languages) == (costs, costs.languages)
    assert made.settings == ("specific", "specific+related")
    assert list(made) == [(s, m) for s in made.settings for m in MEASURES]
    assert made["specific", "log ratio"] is made["specific", "log ratio"]
    for (setting, measure), one in made.items():
        alone = matrix(costs, setting, measure)
        assert (one.setting, one.measure) == (setting, measure)
        np.testing.assert_array_equal(one.replicates, alone.replicates)
        assert made.dominance(setting, measure) == dominance(alone)
