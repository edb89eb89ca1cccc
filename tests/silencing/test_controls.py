"""Which neurons are silenced, and what they are held against."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.config import IdentifyConfig
from langneurons.errors import InputError, MismatchError
from langneurons.model.hooks import silence
from langneurons.model.sites import find_sites
from langneurons.neurons.identify import identify
from langneurons.neurons.matched import NEAREST, control
from langneurons.neurons.sets import layer_range, require_fit, select, to_masks
from langneurons.neurons.table import Neurons, Rule
from support import families
from support.values import random_counts, tiny

SHAPES = ((3,), (2, 2))


@pytest.fixture
def neurons() -> Neurons:
    """By hand, layers of 3 neurons and of 2 experts of 2; languages en, zh, sw.

    0:0 specific to en, 0:2 related (en, zh), 1:0:1 specific to zh, 1:1:0 general, 1:1:1 in none.
    """
    member = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 1, 1], [0, 0, 0]], bool)
    at = np.array([[0, -1, 0], [0, -1, 2], [1, 0, 1], [1, 1, 0], [1, 1, 1]])
    none = np.full(5, np.nan)
    return Neurons(
        ("en", "zh", "sw"),
        SHAPES,
        Rule("imported"),
        at[:, 0],
        at[:, 1],
        at[:, 2],
        member,
        np.array([1, 1, 1, 0, 1], bool),
        none,
        none,
        np.full((5, 3), np.nan),
        none,
    )


@pytest.mark.parametrize(
    ("kinds", "languages", "layers", "expected"),
    [
        (("specific",), ("en",), None, [0]),
        (("specific", "related"), ("en",), None, [0, 2]),
        (("specific", "related"), ("zh",), None, [2, 4]),
        (("specific", "related"), ("zh",), range(1, 2), [4]),
        (("specific", "related"), ("sw",), None, []),
        (("specific", "related"), ("en", "zh"), None, [0, 2, 4]),
        (("general",), ("sw",), None, [5]),
        (("none",), None, None, [6]),
        (("specific", "related", "general", "none"), None, None, [0, 2, 4, 5, 6]),
    ],
)
def test_sets_by_hand(neurons: Neurons, kinds, languages, layers, expected) -> None:
    assert select(neurons, SHAPES, kinds, languages, layers).tolist() == expected


def test_unknown_words(neurons: Neurons) -> None:
    with pytest.raises(InputError, match=r"nothing of th.*languages are en, zh, sw"):
        select(neurons, SHAPES, ("specific",), ("zh", "th"))
    with pytest.raises(InputError, match="'special' is no kind"):
        select(neurons, SHAPES, ("special",))


def test_masks_by_hand(neurons: Neurons) -> None:
    first, second = to_masks([np.array([0, 4]), np.array([2])], SHAPES)
    assert first is not None
    assert second is not None
    assert first.tolist() == [[True, False, False], [False, False, True]]
    assert second.tolist() == [[[False, True], [False, False]], [[False, False], [False, False]]]
    assert to_masks([np.array([1]), np.array([], int)], SHAPES)[1] is None


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "deepseek_v3"])
def test_masks_fit_the_sites(name: str) -> None:
    """Positions run over layers, experts, neurons as the sites do; each row of a batch loses its
    own set."""
    model = families.tiny(name)
    sites = find_sites(model)
    shapes = [site.shape for site in sites]
    total = sum(int(np.prod(shape)) for shape in shapes)
    rng = np.random.default_rng(0)
    sets = [np.sort(rng.choice(total, n, replace=False)) for n in (5, 0, total)]
    masks = to_masks(sets, shapes)
    for row, chosen in enumerate(sets):
        flat = np.concatenate([mask[row].flatten().numpy() for mask in masks if mask is not None])
        assert np.flatnonzero(flat).tolist() == chosen.tolist()
    ids = torch.randint(3, families.VOCABULARY, (1, 6))
    with silence(sites, masks):
        together = model(input_ids=ids.repeat(3, 1), use_cache=False).logits
    for row, chosen in enumerate(sets):
        with silence(sites, to_masks([chosen], shapes)):
            alone = model(input_ids=ids, use_cache=False).logits[0]
        assert torch.allclose(together[row], alone, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_another_model_is_refused(neurons: Neurons) -> None:
    require_fit(neurons, SHAPES)
    with pytest.raises(MismatchError, match=r"1 x 3 \+ 1 x 2\*2, those of this one 2 x 3"):
        require_fit(neurons, ((3,), (3,)))
    unknown = replace(neurons, widths=None)
    require_fit(unknown, ((9,), (2, 2)))
    for shapes in (((2,), (2, 2)), ((3,), (2,)), ((3,),), ((3,), (1, 2))):
        with pytest.raises(MismatchError, match="is not in this model"):
            require_fit(unknown, shapes)


def test_layers_in_words(neurons: Neurons) -> None:
    assert layer_range("1", neurons) == range(1, 2)
    assert layer_range("0-1", neurons) == range(2)
    for wrong in ("2", "1-0", "0-2", "first", "-1", ""):
        with pytest.raises(InputError, match="layers"):
            layer_range(wrong, neurons)


def test_layers_of_a_stage() -> None:
    """Neurons that lie in layers as in the paper: many languages' at both ends, general in the
    middle."""
    counts = random_counts(1, widths=((30,),) * 6)
    found = identify(counts, IdentifyConfig(rate=0.2, tau_quantile=0.7, lam=0.05))
    parts = [
        layer_range(name, found)
        for name in ("understanding", "reasoning", "output transformation", "vocabulary output")
    ]
    assert [layer for part in parts for layer in part] == list(range(6))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 12), st.booleans())
def test_controls_are_matched(seed: int, size: int, by_rate: bool) -> None:
    rng = np.random.default_rng(seed)
    shapes = ((40,), (3, 10))
    rates = rng.random(70)
    chosen = np.sort(rng.choice(70, size, replace=False))
    avoid = np.setdiff1d(rng.choice(70, 4, replace=False), chosen)
    drawn = control(chosen, avoid, shapes, rates if by_rate else None, rng)
    assert len(set(drawn.tolist())) == size
    assert not set(drawn.tolist()) & {*chosen.tolist(), *avoid.tolist()}
    assert (drawn < 40).sum() == (chosen < 40).sum()


def test_controls_are_near_in_rate_and_differ_by_draw() -> None:
    """Of 1,000 neurons in a layer, each control lies within the 2 * NEAREST around its neuron's
    rate."""
    rng = np.random.default_rng(0)
    rates = rng.permutation(np.arange(1000) / 1000)
    chosen = np.flatnonzero(rates > 0.98)[::2]
    draws = [
        control(chosen, np.array([], int), ((1000,),), rates, np.random.default_rng(i))
        for i in range(5)
    ]
    assert len({tuple(draw) for draw in draws}) == 5
    for i, draw in enumerate(draws):
        assert (
            np.abs(np.sort(rates[draw]) - np.sort(rates[chosen])).max()
            <= (len(chosen) + 2 * NEAREST) / 1000
        )
        again = control(chosen, np.array([], int), ((1000,),), rates, np.random.default_rng(i))
        assert (draw == again).all()
    plain = control(chosen, np.array([], int), ((1000,),), None, np.random.default_rng(0))
    assert rates[plain].mean() < 0.8 < rates[draws[0]].mean()


def test_no_room_for_a_control() -> None:
    with pytest.raises(InputError, match="layer 1 has 2 neurons to silence and 1 to draw"):
        control(
            np.array([0, 4, 5]), np.array([], int), ((4,), (3,)), None, np.random.default_rng(0)
        )


def test_the_avoided_are_never_drawn() -> None:
    counts = tiny([[[10, 10, 10, 0], [0, 0, 0, 10]]], 10)
    rates = counts.probability()[0]
    drawn = {
        int(control(np.array([0]), np.array([1]), ((4,),), rates, np.random.default_rng(i))[0])
        for i in range(20)
    }
    assert drawn == {2, 3}
