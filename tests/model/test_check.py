"""Every claim on every family; a model that breaks one is caught."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from langneurons.model.check import Check, Checks, _same, check
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


def claims(model: nn.Module) -> dict[str, Check]:
    return {one.claim: one for one in check(around(model, Bytes()))}


def test_experts_set_to_another_implementation() -> None:
    model = families.build("mixtral")
    model.set_experts_implementation("batched_mm")
    tried = claims(model)
    reading = tried["reading changes no bit of the logits"]
    assert reading.holds is not False
    assert reading.holds or reading.seen.endswith("set to batched_mm and are read in grouped_mm")
    assert all(claim.holds is not False for claim in tried.values())


def test_padding_on_the_left_where_positions_cannot_be_told() -> None:
    sizes = {"d_model": 32, "decoder_layers": 2, "decoder_ffn_dim": 48, "vocab_size": 96}
    config = AutoConfig.for_model("bart", **sizes, decoder_attention_heads=4, pad_token_id=0)
    tried = claims(AutoModelForCausalLM.from_config(config))
    left = tried["the side of the padding does not matter"]
    assert left.holds is None
    assert left.seen.endswith(
        "it cannot be told positions, and nothing but sample pads on the left"
    )
    assert all(claim.holds is not False for claim in tried.values())


def test_a_sign_next_to_zero_may_turn() -> None:
    values = torch.randn(1, 50, 40, generator=torch.Generator().manual_seed(0)).bfloat16()
    values[0, 3, 3], near, far = 1e-6, values.clone(), values.clone()
    near[0, 3, 3], far[0, 3, 3] = -1e-6, -0.5
    assert _same([[values]], [[near]], torch.float32) == (
        True,
        "0.0005 of the activations differ (float32), all of them next to zero",
    )
    holds, seen = _same([[values]], [[far]], torch.float32)
    assert (holds, seen) == (False, "0.0005 of the activations differ (float32)")


def test_what_the_model_raises_is_a_claim_that_does_not_hold() -> None:
    model = copy.deepcopy(families.tiny("llama"))
    forward = model.forward

    def only_alone(*args: Any, **inputs: Any) -> Any:
        if len(inputs["input_ids"]) > 1:
            raise ValueError("one text at a time\nplease")
        return forward(*args, **inputs)

    model.forward = only_alone  # ty: ignore[invalid-assignment]
    found = failing(model)
    assert found["a batch reads as its rows alone"] == "the model fails: one text at a time"
    assert "silencing nothing changes nothing" not in found


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
