"""Experts: the gate that decides is read, routed ones and shared ones; other forms are refused."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from langneurons.errors import SiteError
from langneurons.model.hooks import watch
from langneurons.model.sites import find_sites
from support.families import LAYERS, MOE, build, tiny
from support.reading import logits, modules, read


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", MOE)
def test_reads_the_gate_of_each_routed_expert(name: str) -> None:
    model, layer = tiny(name), LAYERS - 1
    experts, calls = modules(find_sites(model)[layer]).experts, []
    with experts.register_forward_pre_hook(lambda _, args: calls.append(args)):
        logits(model)
    x, chosen, _ = calls[0]
    readings = read(model)[layer]
    routed = next(r for r in readings if (r.experts < experts.num_experts).all())
    assert torch.equal(routed.experts.bincount(minlength=4), chosen.flatten().bincount(minlength=4))
    assert sorted(zip(routed.tokens.tolist(), routed.experts.tolist(), strict=True)) == sorted(
        (token, expert) for token, row in enumerate(chosen.tolist()) for expert in row
    )
    for value, expert, token in zip(routed.values, routed.experts, routed.tokens, strict=True):
        if name == "gpt_oss":
            gate = (
                x[token] @ experts.gate_up_proj[expert][:, ::2]
                + experts.gate_up_proj_bias[expert][::2]
            )
        else:
            gate = linear(x[token], experts.gate_up_proj[expert][: len(value)])
        assert torch.allclose(value, gate, atol=1e-5)
    assert len(readings) == (2 if name == "deepseek_v3" else 1)


def test_shared_experts_follow_the_routed_ones() -> None:
    model, values = tiny("deepseek_v3"), []
    act = model.model.layers[1].mlp.shared_experts.act_fn
    with act.register_forward_hook(lambda _, __, out: values.append(out.flatten(0, 1))):
        logits(model)
    _, shared = read(model)[1]
    assert shared.values.shape == (2 * 14, 24)
    assert shared.experts.tolist() == [4, 5] * 14
    assert shared.tokens.tolist() == [n for n in range(14) for _ in range(2)]
    assert torch.equal(shared.values[shared.experts == 4], values[0][:, :24])
    assert torch.equal(shared.values[shared.experts == 5], values[0][:, 24:])


@pytest.mark.parametrize("name", MOE)
def test_another_experts_implementation_comes_back(name: str) -> None:
    model = build(name)
    model.set_experts_implementation("eager")
    sites, before = find_sites(model), logits(model)
    with watch(sites, lambda _: None):
        assert torch.allclose(logits(model), before, atol=1e-6)
    assert model.config._experts_implementation == "eager"
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_is_expert_parallel": True}, "expert parallel"),
        ({"act_fn": nn.Sigmoid()}, "not positive exactly where its gate is"),
        (
            {"down_proj": nn.Parameter(torch.zeros(4, 32, 24).to(torch.float8_e4m3fn), False)},
            "float8_e4m3fn",
        ),
    ],
)
def test_refuses_experts_it_cannot_read(change: dict[str, Any], said: str) -> None:
    model = build("deepseek_v3")
    for name, value in change.items():
        setattr(model.model.layers[1].mlp.experts, name, value)
    with pytest.raises(
        SiteError, match=rf"model\.layers\.1\.mlp\.experts \(DeepseekV3Experts\) .*{said}"
    ):
        find_sites(model)


def test_refuses_experts_of_another_form() -> None:
    model = build("mixtral")
    bank = nn.Module()
    bank.down_proj = nn.Parameter(torch.zeros(4, 32, 48))
    model.model.layers[0].mlp.experts = bank
    with pytest.raises(SiteError, match=r"experts \(Module\) holds experts of a form that"):
        find_sites(model)


def test_refuses_shared_experts_that_are_no_multiple() -> None:
    model = build("deepseek_v3")
    model.model.layers[1].mlp.experts.down_proj = nn.Parameter(torch.zeros(4, 32, 36))
    with pytest.raises(SiteError, match=r"experts of 36 neurons beside .*shared_experts of 48"):
        find_sites(model)
