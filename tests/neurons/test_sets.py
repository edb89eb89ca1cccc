"""Sets of neurons to switch off: chosen, as masks, and in a model."""

import numpy as np
import pytest
import torch

from langneurons.errors import InputError, MismatchError
from langneurons.model.loading import Loaded, around
from langneurons.neurons.sets import layer_range, select, silence, to_masks
from support import families
from support.values import neurons_at

WIDTHS = ((3,), (2, 2))
IDS = torch.arange(3, 19)[None]


@pytest.fixture(scope="module")
def model() -> Loaded:
    return around(families.tiny("llama"), None)


def test_selected_by_hand() -> None:
    neurons = neurons_at([(0, 0, "en"), (0, 3, "en zh"), (1, 1, "en zh sw"), (1, 2, "sw")])
    both = ("specific", "related")
    assert select(neurons, neurons.widths, both).tolist() == [0, 3, 6]
    assert select(neurons, neurons.widths, both, ("en",)).tolist() == [0, 3]
    assert select(neurons, neurons.widths, both, ("en", "sw"), range(1, 2)).tolist() == [6]
    assert select(neurons, neurons.widths, ("general",), ("zh",)).tolist() == [5]


def test_masks_by_hand() -> None:
    """Positions 0 to 2 lie in the dense layer, 3 to 6 in two experts of two."""
    dense, experts = to_masks([np.array([1, 4]), np.array([6])], WIDTHS)
    assert dense.tolist() == [[False, True, False], [False, False, False]]
    assert experts.tolist() == [
        [[False, True], [False, False]],
        [[False, False], [False, True]],
    ]
    nothing, some = to_masks([np.array([3])], WIDTHS)
    assert nothing is None
    assert some.tolist() == [[[True, False], [False, False]]]


def test_layers_in_words() -> None:
    neurons = neurons_at([(layer, 0, "en") for layer in range(8)], widths=((4,),) * 8)
    assert layer_range("5", neurons) == range(5, 6)
    assert layer_range("0-4", neurons) == range(5)
    assert layer_range("understanding", neurons).start == 0
    assert layer_range("vocabulary output", neurons).stop == 8
    for words in ("8", "4-2", "some", "-1"):
        with pytest.raises(InputError, match=f"layers '{words}': give one from 0 to 7"):
            layer_range(words, neurons)


def test_silenced_neurons_are_at_zero_inside_the_block_only(model: Loaded) -> None:
    """As a model whose down projection has zeros in their columns."""
    before = model.model(IDS).logits
    neurons = neurons_at([(0, 3, "en"), (1, 7, "en zh"), (1, 8, "sw")], widths=model.widths)
    with silence(model, neurons.of("en")):
        silenced = model.model(IDS).logits
    assert torch.equal(model.model(IDS).logits, before)
    assert not torch.equal(silenced, before)
    zeroed = families.build("llama")
    zeroed.model.layers[0].mlp.down_proj.weight[:, 3] = 0
    zeroed.model.layers[1].mlp.down_proj.weight[:, 7] = 0
    assert torch.allclose(silenced, zeroed(IDS).logits, atol=1e-5)


def test_by_position_as_by_table(model: Loaded) -> None:
    neurons = neurons_at([(0, 3, "en"), (1, 7, "zh")], widths=model.widths)
    with silence(model, neurons):
        by_table = model.model(IDS).logits
    with silence(model, np.array([model.widths[0][0] + 7, 3, 3])):
        assert torch.equal(model.model(IDS).logits, by_table)
    with silence(model, neurons.of("sw")):
        nobody = model.model(IDS).logits
    assert torch.equal(nobody, model.model(IDS).logits)


def test_every_step_of_generation(model: Loaded) -> None:
    """All neurons of the last layer at zero change what is written, at each step as in one
    forward.
    """
    last = np.arange(model.widths[0][0], sum(width[0] for width in model.widths))
    settings = {"do_sample": False, "max_new_tokens": 6, "pad_token_id": 0}
    before = model.model.generate(IDS, **settings)
    with silence(model, last):
        written = model.model.generate(IDS, **settings)
        whole = model.model(written).logits.argmax(dim=-1)
    assert not torch.equal(written, before)
    prompt = IDS.shape[1]
    assert torch.equal(written[:, prompt:], whole[:, prompt - 1 : -1])


def test_neurons_of_another_model_are_refused(model: Loaded) -> None:
    other = neurons_at([(0, 3, "en")], widths=((9,),))
    with (
        pytest.raises(MismatchError, match="the neurons are of another model"),
        silence(model, other),
    ):
        pass
    unknown = neurons_at([(0, 900, "en")], widths=None)
    with pytest.raises(MismatchError, match="neuron 0:900 is not in"), silence(model, unknown):
        pass
    with (
        pytest.raises(MismatchError, match="position -1 is not in"),
        silence(model, np.array([-1])),
    ):
        pass
