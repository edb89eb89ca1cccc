"""States: what is read of the residual stream is what transformers says it is."""

import pytest
import torch

from langneurons.errors import SiteError
from langneurons.model.sites import find_sites
from langneurons.model.states import run_to_last_state, watch_states
from support import families

IDS = torch.tensor([[1, 5, 9, 12, 7], [1, 20, 31, 4, 6]])


@pytest.mark.parametrize("name", families.FAMILIES)
def test_states_are_the_hidden_states_but_for_the_last(name: str) -> None:
    """Which transformers gives after the final norm."""
    model = families.build(name)  # of its own: asked for hidden states, it keeps hooks for good
    states: dict[int, torch.Tensor] = {}
    with torch.inference_mode():
        output = model(input_ids=IDS, output_hidden_states=True, use_cache=False)
        run_to_last_state(
            model,
            find_sites(model),
            lambda i, state: states.update({i: state.clone()}),
            input_ids=IDS,
        )
    assert list(states) == list(range(families.LAYERS + 1))
    for number in range(families.LAYERS):
        assert torch.equal(states[number], output.hidden_states[number])
    last = states[families.LAYERS]
    assert last.shape == output.hidden_states[-1].shape
    assert not torch.equal(last, output.hidden_states[-1])


def test_an_error_ends_the_forward_and_nothing_stays() -> None:
    model = families.tiny("llama")

    def stop(number: int, _: torch.Tensor) -> None:
        if number == 1:
            raise KeyError

    with pytest.raises(KeyError):
        run_to_last_state(model, find_sites(model), stop, input_ids=IDS)
    assert model(input_ids=IDS).logits.shape == (2, 5, families.VOCABULARY)


def test_a_layer_that_leaves_no_single_stream_is_refused() -> None:
    model = families.build("llama")
    layer = model.model.layers[1]
    handle = layer.register_forward_hook(lambda *_: torch.zeros(2, 2, 5, 32))
    with pytest.raises(SiteError, match=r"leaves layer 1 is \[2, 2, 5, 32\], not one residual"):
        run_to_last_state(model, find_sites(model), lambda *_: None, input_ids=IDS)
    handle.remove()


def test_a_model_whose_last_layer_does_not_run() -> None:
    model = families.build("llama")
    sites = find_sites(model)
    model.model.layers = model.model.layers[:-1]
    model.model.config.num_hidden_layers = len(sites) - 1
    with pytest.raises(SiteError, match=r"last of the 3 decoder layers of LlamaFor.* did not run"):
        run_to_last_state(model, sites, lambda *_: None, input_ids=IDS)


def test_watching_changes_no_logit() -> None:
    model = families.tiny("gemma3")
    plain = model(input_ids=IDS).logits
    with watch_states(find_sites(model), lambda *_: None):
        assert torch.equal(model(input_ids=IDS).logits, plain)
