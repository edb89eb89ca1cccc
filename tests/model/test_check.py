"""Every claim on every family; a model that breaks one is caught."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from langneurons.model.check import Check, Checks, check
from langneurons.model.loading import around
from langneurons.model.sites import find_sites
from support import families
from support.reading import Bytes


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_claim_holds(name: str) -> None:
    checks = check(around(families.tiny(name), Bytes()))
    assert [one.claim for one in checks if not one.holds] == []
    assert len(checks) == 11


def failing(model: nn.Module) -> dict[str, str]:
    return {one.claim: one.seen for one in check(around(model, Bytes())) if not one.holds}


def test_an_activation_that_is_bypassed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a fused kernel does: the modules are there and are not called."""
    model = copy.deepcopy(families.tiny("llama"))
    mlp: Any = model.get_submodule("model.layers.1.mlp")
    fused = lambda x: mlp.down_proj(nn.functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x))  # noqa: E731
    monkeypatch.setattr(mlp, "forward", fused)
    found = failing(model)
    assert list(found) == ["every site can be read"]
    assert (
        "layer 1: the activation of model.layers.1.mlp never ran" in found["every site can be read"]
    )


def test_a_model_that_looks_at_its_padding() -> None:
    """Attention that ignores the mask: a row read in a batch differs from the row alone."""
    model = copy.deepcopy(families.tiny("llama"))
    forward = model.forward

    def blind(*args: Any, **inputs: Any) -> Any:
        inputs.pop("attention_mask", None)
        inputs.pop("position_ids", None)
        return forward(*args, **inputs)

    model.forward = blind  # ty: ignore[invalid-assignment]
    found = failing(model)
    assert "the side of the padding does not matter" in found
    assert "reading changes no bit of the logits" not in found


def test_a_feed_forward_with_another_way_around() -> None:
    """A second path from the activation to the output.

    Silencing is then no longer a zeroed down projection.
    """
    model = copy.deepcopy(families.tiny("llama"))
    mlp: Any = model.get_submodule("model.layers.0.mlp")
    forward = mlp.down_proj.forward
    mlp.down_proj.forward = lambda x: (
        forward(x) + x[..., :32].abs() * 0.5 + 0.1 * (x[..., :32] == 0)
    )
    assert "silencing equals zeroed weights of the down projection" in failing(model)


def test_an_architecture_without_a_readable_feed_forward() -> None:
    model = copy.deepcopy(families.tiny("llama"))
    for site in find_sites(model):
        del model.get_submodule(site.path).act_fn
    assert list(failing(model)) == ["every site can be read"]


def test_half_precision_has_its_own_tolerance() -> None:
    checks = {
        one.claim: one for one in check(around(families.build("llama").to(torch.bfloat16), Bytes()))
    }
    assert all(one.holds for one in checks.values()), checks
    assert "bfloat16" in checks["a batch reads as its rows alone"].seen


def test_what_cannot_be_tried_does_not_count() -> None:
    tried = [Check("a", True, ""), Check("b", None, "")]
    assert Checks(tried).holds
    assert not Checks([*tried, Check("c", False, "")]).holds


class More(Bytes):
    """A tokenizer with more tokens than the embedding has rows."""

    def __init__(self, *beyond: int) -> None:
        self.beyond = beyond
        self.pad_token_id = 96

    def get_vocab(self) -> dict[str, int]:
        return super().get_vocab() | {f"<{token}>": token for token in self.beyond}


def test_ids_beyond_the_embedding() -> None:
    claim = "every id of the tokenizer has a row in the embedding"

    def tried(*beyond: int) -> Check:
        return check(around(families.tiny("llama"), More(*beyond)))[0]

    assert tried() == Check(claim, True, "ids up to 92, 96 rows")
    assert tried(95) == Check(claim, True, "ids up to 95, 96 rows")
    assert tried(96, 97) == Check(claim, False, "ids up to 97, 96 rows")
    padding = "ids up to 96, 96 rows; the one beyond is padding, which align alone reads"
    assert tried(96) == Check(claim, None, padding)
