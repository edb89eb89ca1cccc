import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.errors import FormatError, InputError, MismatchError
from langneurons.neurons.counts import Counts, merge
from support.values import random_counts, tiny


def test_probability_by_hand() -> None:
    # Two layers of 2 and 1 neurons; English has 10 tokens, Chinese 4.
    counts = tiny([[[5, 0], [1, 4]], [[10], [2]]], [10, 4])
    assert counts.widths == ((2,), (1,))
    assert counts.probability().tolist() == [[0.5, 0.0, 1.0], [0.25, 1.0, 0.5]]


def test_experts_count_over_all_tokens() -> None:
    # One layer, two experts of width 1; of 10 tokens 4 reached expert 0; its neuron was active on
    # 2: p = 2 / 10.
    active = np.array([[[[2], [3]]]])
    counts = Counts(("en",), (active,), np.array([[10]]), (np.array([[[4, 6]]]),))
    assert counts.widths == ((2, 1),)
    assert counts.probability().tolist() == [[0.2, 0.3]]
    assert counts.probability(per="routed").tolist() == [[0.5, 0.5]]


def test_an_expert_that_nothing_reached_never_fires() -> None:
    counts = Counts(("en",), (np.array([[[[0], [3]]]]),), np.array([[10]]), (np.array([[[0, 6]]]),))
    assert counts.probability(per="routed").tolist() == [[0.0, 0.5]]


def test_routed_probability_leaves_dense_layers_alone() -> None:
    counts = random_counts(2, widths=((5,), (2, 3)))
    both = counts.probability(), counts.probability(per="routed")
    assert (both[0][:, :5] == both[1][:, :5]).all()
    assert (both[0][:, 5:] <= both[1][:, 5:] + 1e-12).all()
    weights = np.array([0, 1, 2])
    routed = counts.routed[1]
    assert routed is not None
    reached = (routed * weights[None, :, None]).sum(axis=1)
    active = (counts.active[1] * weights[None, :, None, None]).sum(axis=1)
    expected = active / reached[:, :, None]
    assert np.allclose(counts.probability(weights, per="routed")[:, 5:], expected.reshape(4, 6))


def test_blocks_pool_by_weight() -> None:
    counts = Counts(
        ("en", "zh"), (np.array([[[1], [2]], [[3], [4]]]),), np.array([[10, 20], [30, 40]])
    )
    active, tokens = counts.pooled(np.array([2, 1]))
    assert active.tolist() == [[4], [10]]
    assert tokens.tolist() == [40, 100]


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 5))
def test_shards_add_up_in_any_order(seed: int, shards: int) -> None:
    parts = [random_counts(seed + i, widths=((5,), (2, 3))) for i in range(shards)]
    forward, backward = merge(parts), merge(reversed(parts))
    for a, b in zip(forward.active, backward.active, strict=True):
        assert (a == b).all()
    assert (forward.tokens == backward.tokens).all()
    assert (forward.active[0] == sum(part.active[0].astype(int) for part in parts)).all()
    assert forward.routed[0] is None
    assert forward.routed[1] is not None
    assert (forward.routed[1] == sum(part.routed[1] for part in parts)).all()  # ty: ignore[unsupported-operator]


def test_merging_shards_of_single_languages_equals_the_whole() -> None:
    whole = random_counts(3)
    parts = [
        Counts((code,), tuple(a[[k]] for a in whole.active), whole.tokens[[k]], block_rule="drawn")
        for k, code in enumerate(whole.languages)
    ]
    merged = merge(parts)
    assert merged.languages == whole.languages
    for a, b in zip(merged.active, whole.active, strict=True):
        assert (a == b).all()


def test_sums_beyond_32_bits() -> None:
    big = tiny([[[2**31 - 1], [1]]], 2**31 - 1)
    total = big + big
    assert total.active[0].ravel().tolist() == [2**32 - 2, 2]
    again = Counts.from_tensors(*total.to_tensors())
    assert again.active[0].dtype == np.int64
    assert (again.active[0] == total.active[0]).all()


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_tensors_round_trip(seed: int) -> None:
    counts = random_counts(seed, widths=((4,), (2, 3), (7,)))
    tensors, meta = counts.to_tensors()
    assert set(tensors) == {"tokens", "active.000", "active.001", "active.002", "routed.001"}
    again = Counts.from_tensors(tensors, meta)
    assert (again.languages, again.block_rule, again.widths) == (
        counts.languages,
        counts.block_rule,
        counts.widths,
    )
    for a, b in zip(again.active, counts.active, strict=True):
        assert (a == b).all()


def test_more_than_a_thousand_layers_keep_their_order() -> None:
    counts = tiny([[[layer % 7], [1]] for layer in range(1002)], 10)
    again = Counts.from_tensors(*counts.to_tensors())
    assert [int(a[0, 0, 0]) for a in again.active] == [layer % 7 for layer in range(1002)]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (tiny([[[1], [1]]], 5, "en ru"), "languages en,zh in one, en,ru"),
        (tiny([[[1, 2], [1, 2]]], 5), "layer widths 1 x 1 in one, 1 x 2"),
        (tiny([[[1], [1]]], 5, block_rule="other"), "block rule one block in one, other"),
        (
            Counts(("en", "zh"), (np.ones((2, 2, 1), int),), np.ones((2, 2), int)),
            "blocks 1 in one, 2",
        ),
    ],
)
def test_counts_of_different_things_do_not_add(other: Counts, what: str) -> None:
    with pytest.raises(MismatchError, match=what):
        _ = tiny([[[1], [1]]], 5) + other


def test_a_language_without_tokens_is_named() -> None:
    with pytest.raises(InputError, match="no response token was counted for zh"):
        tiny([[[1], [0]]], [5, 0]).probability()


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: tiny([[[1], [-1]]], 5), "layer 0 are negative"),
        (lambda: tiny([[[1.0], [1.0]]], 5), "layer 0 are float64"),
        (lambda: tiny([[[1], [1]]], 5, "en en"), "name en more than once"),
        (lambda: Counts((), (), np.empty((0, 1), int)), "at least one language"),
        (
            lambda: Counts(("en",), (np.ones((1, 1, 2), int),), np.ones((2, 1), int)),
            r"tokens have shape \[2, 1\]",
        ),
        (
            lambda: Counts(("en",), (np.ones((1, 2, 2), int),), np.ones((1, 1), int)),
            "layer 0 has counts of shape",
        ),
        (lambda: merge([]), "nothing to merge"),
    ],
)
def test_contradictions_are_refused(make, what: str) -> None:
    with pytest.raises(InputError, match=what):
        make()


def test_other_tensors_are_refused() -> None:
    with pytest.raises(FormatError, match="not counts of format 1"):
        Counts.from_tensors({"tokens": np.ones((1, 1), int)}, {"format": 99})


def test_in_a_line_and_in_a_notebook() -> None:
    counts = random_counts(0, 3, blocks=2, widths=((30,), (3, 10)))
    assert repr(counts) == (
        f"Counts(en, ru, es; {counts.tokens.sum():,} tokens, 1 x 30 + 1 x 3*10 neurons, drawn)"
    )
    shown = counts._repr_html_()
    assert (
        "<caption>Counts of 1 x 30 + 1 x 3*10 neurons, in 2 blocks of questions.</caption>" in shown
    )
    assert f"<tr><td>ru</td><td>{counts.tokens[1].sum():,}</td></tr>" in shown
