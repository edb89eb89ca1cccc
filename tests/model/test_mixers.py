"""What attention gives is found in every family, and can be changed."""

import pytest
import torch

from langneurons.model.mixers import find_mixers, mixing
from langneurons.model.sites import find_sites
from support import families


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_layer_has_what_mixes_its_tokens(name: str) -> None:
    """With the mixers' outputs at zero, no position hears of another."""
    model = families.build(name)
    mixers = find_mixers(find_sites(model))
    assert {mixer.layer for mixer in mixers} == set(range(families.LAYERS))
    first, second = torch.tensor([[1, 5, 7]]), torch.tensor([[1, 9, 7]])
    seen: list[int] = []

    def silent(place: int, given: torch.Tensor) -> torch.Tensor:
        seen.append(place)
        return torch.zeros_like(given)

    with torch.no_grad(), mixing(mixers, silent):
        a, b = (model(input_ids=ids, use_cache=False).logits for ids in (first, second))
    assert torch.allclose(a[:, 2], b[:, 2], atol=1e-5)
    assert seen == [*range(len(mixers))] * 2
    with torch.no_grad():
        a, b = (model(input_ids=ids, use_cache=False).logits for ids in (first, second))
    assert not torch.allclose(a[:, 2], b[:, 2], atol=1e-5)
