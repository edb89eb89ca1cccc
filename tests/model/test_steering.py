"""Steered neurons and states are what the construction says, in every family, and nothing stays."""

from typing import Any

import pytest
import torch
from torch import Tensor

from langneurons.errors import SiteError
from langneurons.model.entering import Entering, entering
from langneurons.model.sites import find_sites
from langneurons.model.states import watch_states
from langneurons.model.steering import Steered, add_to_neurons, add_to_state, move_neurons
from support import families
from support.reading import hooks, logits

WHICH = torch.tensor([3, 17, 40])
VALUES = torch.tensor([0.5, -2.0, 4.0])


def steered(layer: int) -> list[Steered]:
    return [Steered(layer, WHICH, VALUES)]


def entered(model: Any, layer: int) -> Tensor:
    """What enters the down projection of a layer, in one forward."""
    seen: list[Tensor] = []

    def keep(values: Entering) -> Tensor:
        if values.site == layer:
            seen.append(values.values.clone())
        return values.values

    with entering(find_sites(model), keep):
        logits(model)
    return seen[0]


def states(model: Any) -> list[Tensor]:
    seen: list[Tensor] = []
    with watch_states(find_sites(model), lambda _, state: seen.append(state.clone())):
        logits(model)
    return seen


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "opt", "falcon"])
@torch.no_grad()
def test_neurons_are_added_to_and_moved(name: str) -> None:
    """At the down projection's input, in the steered layer; elsewhere in it nothing changes."""
    model = families.tiny(name)
    sites = find_sites(model)
    before, whole = entered(model, 1), logits(model)
    expected = before.clone()
    expected[:, WHICH] += VALUES
    with add_to_neurons(sites, steered(1)):
        assert torch.equal(entered(model, 1), expected)
        assert not torch.equal(logits(model), whole)
        assert torch.equal(entered(model, 0), entered(families.tiny(name), 0))
    expected[:, WHICH] = VALUES
    with move_neurons(sites, steered(1), 1.0):
        assert torch.equal(entered(model, 1), expected)
    with move_neurons(sites, steered(1), 0.25):
        moved = 0.75 * before[:, WHICH] + 0.25 * VALUES
        assert torch.allclose(entered(model, 1)[:, WHICH], moved, atol=1e-6)
    assert torch.equal(logits(model), whole)
    assert hooks(model) == 0


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "gptj"])
@torch.no_grad()
def test_a_vector_is_added_to_a_state(name: str) -> None:
    """To that one at every token; those before it stay, later ones follow from it."""
    model = families.tiny(name)
    sites = find_sites(model)
    before, whole = states(model), logits(model)
    vector = torch.linspace(-3, 3, before[0].shape[-1])
    for number in range(len(sites) + 1):
        with add_to_state(sites, number, vector):
            changed = logits(model)
            after = states(model)
        assert not torch.equal(changed, whole)
        for other in range(number):
            assert torch.equal(after[other], before[other])
        # the hook that reads a state was registered later, so it sees what was added
        assert torch.equal(after[number], before[number] + vector)
    assert torch.equal(logits(model), whole)
    assert hooks(model) == 0


def test_what_cannot_be_steered() -> None:
    model = families.tiny("llama")
    sites = find_sites(model)
    with pytest.raises(SiteError, match=r"state 4 is not in this model.*to 3"):
        add_to_state(sites, 4, torch.zeros(32)).__enter__()
    with (
        pytest.raises(SiteError, match="not a stream of width 31"),
        add_to_state(sites, 1, torch.zeros(31)),
    ):
        logits(model)
    assert hooks(model) == 0
    experts = families.tiny("mixtral")
    with pytest.raises(SiteError, match="layer 1 is a mixture of experts"):
        add_to_neurons(find_sites(experts), steered(1)).__enter__()
