"""Hooks: every family is read exactly, silenced exactly, and left as it was."""

import copy
import inspect
from types import MethodType
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu
from transformers import DynamicCache

from langneurons.errors import SiteError
from langneurons.model.forward import cache_name
from langneurons.model.hooks import probe, run_to_last_site, silence, watch
from langneurons.model.sites import find_sites
from support.families import DENSE, FAMILIES, LAYERS, build, tiny
from support.reading import IDS, edited, hooks, logits, modules, read, some

FEW = ["llama", "gpt2", "opt", "deepseek_v3", "gpt_oss"]


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def count(model: nn.Module, ids: Tensor, keep: Tensor, **inputs: Any) -> list[Tensor]:
    """Active tokens per neuron, each of its site's shape, over the tokens to keep [B, T]."""
    total = [torch.zeros(site.shape, dtype=torch.long) for site in find_sites(model)]
    for site, readings in enumerate(read(model, ids=ids, **inputs)):
        for reading in readings:
            active = (reading.values > 0).long()
            if reading.experts is None:
                total[site] += active[keep.flatten() > 0].sum(0)
            else:
                total[site].index_add_(
                    0, reading.experts, active * keep.flatten()[reading.tokens, None]
                )
    return total


@pytest.mark.parametrize("name", DENSE)
def test_reads_what_the_activation_gives(name: str) -> None:
    model, expected = tiny(name), []
    for layer in range(LAYERS):
        act = model.get_submodule(DENSE[name].activation.format(layer))
        act.register_forward_hook(lambda _, __, out: expected.append(out.reshape(14, -1).clone()))
    try:
        logits(model)
    finally:
        for layer in range(LAYERS):
            model.get_submodule(DENSE[name].activation.format(layer))._forward_hooks.clear()
    found = read(model)
    assert [len(readings) for readings in found] == [1] * LAYERS
    for (reading,), values in zip(found, expected, strict=True):
        assert reading.experts is None
        assert reading.tokens is None
        assert torch.equal(reading.values, values)
        assert 0 < (values > 0).float().mean() < 1


def test_reads_the_gate_of_llama_by_hand() -> None:
    model, inputs = tiny("llama"), []
    mlp = model.model.layers[1].mlp
    with mlp.register_forward_pre_hook(lambda _, args: inputs.append(args[0])):
        logits(model)
    ((reading,),) = read(model)[1:2]
    assert torch.equal(reading.values > 0, (inputs[0] @ mlp.gate_proj.weight.T).flatten(0, 1) > 0)
    assert torch.allclose(
        reading.values, silu(inputs[0] @ mlp.gate_proj.weight.T).flatten(0, 1), atol=1e-6
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_changes_not_a_bit_and_restores(name: str) -> None:
    model = tiny(name)
    sites, before = find_sites(model), logits(model)
    implementation = model.config._experts_implementation
    with watch(
        sites, lambda r: r.values * 2
    ):  # a value returned by a hook would replace the activation
        assert torch.equal(logits(model), before)
    for nothing in ([None] * LAYERS, [torch.zeros(site.shape, dtype=torch.bool) for site in sites]):
        with silence(sites, nothing):
            assert hooks(model) == 0
            assert torch.equal(logits(model), before)
    with (
        pytest.raises(ZeroDivisionError),
        silence(sites, some(sites)),
        watch(sites, lambda r: r.site // 0),
    ):
        logits(model)
    assert hooks(model) == 0
    assert model.config._experts_implementation == implementation
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("name", FAMILIES)
def test_silencing_is_zeroing_columns_of_the_down_projection(name: str) -> None:
    model = tiny(name)
    sites = find_sites(model)
    masks = some(sites)
    with silence(sites, masks):
        silenced = logits(model)
    assert torch.equal(silenced, logits(edited(name, masks)))
    assert (silenced - logits(model)).abs().max() > 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_silencing_a_layer_leaves_the_bias_of_its_down_projection(name: str) -> None:
    model, middle = tiny(name), 1
    found = find_sites(model)[middle]
    site = modules(found)
    seen: list[Tensor] = []
    target = site.down if site.down is not None else site.experts
    with (
        silence([found], [torch.ones(found.shape, dtype=torch.bool)]),
        target.register_forward_hook(
            lambda _, __, out: seen.append(out.clone())
        ),  # falcon adds to it in place
        target.register_forward_pre_hook(lambda _, args: seen.append(args)),
    ):
        logits(model)
    inputs, out = seen
    if site.down is not None:
        bias = getattr(site.down, "bias", None)
        assert torch.equal(out, torch.zeros_like(out) if bias is None else bias.expand(out.shape))
    elif name == "gpt_oss":
        _, chosen, weights = inputs
        assert torch.allclose(
            out, (site.experts.down_proj_bias[chosen] * weights[..., None]).sum(1), atol=1e-6
        )
    else:
        assert torch.equal(out, torch.zeros_like(out))


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_can_be_silenced_differently(name: str) -> None:
    model = tiny(name)
    sites = find_sites(model)
    masks = some(sites, rows=2)
    with silence(sites, masks):
        together = logits(model)
        twice = logits(model, IDS.repeat_interleave(2, 0))
    for row in range(2):
        with silence(sites, [mask[row] for mask in masks]):
            alone = logits(model, IDS[row : row + 1])
        assert torch.allclose(together[row], alone[0], atol=1e-5)
        assert torch.allclose(twice[2 * row], alone[0], atol=1e-5)
    assert (together[1] - logits(model)[1]).abs().max() > 1e-3


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", FAMILIES)
def test_padding_does_not_change_what_real_tokens_do(name: str, side: str) -> None:
    model = tiny(name)
    real = torch.ones(2, 7, dtype=torch.long)
    real[0, slice(4, 7) if side == "right" else slice(0, 3)] = 0
    inputs: dict[str, Tensor] = {"attention_mask": real}
    if "position_ids" in inspect.signature(model.forward).parameters:
        inputs["position_ids"] = (real.cumsum(1) - 1).clamp(min=0)
    padded = count(model, IDS * real, real, **inputs)
    alone = [
        count(model, IDS[row, real[row] > 0][None], torch.ones(1, 7)[:, : real[row].sum()].long())
        for row in (0, 1)
    ]
    assert sum(int(c.sum()) for c in padded) > 0
    for both, first, second in zip(padded, *alone, strict=True):
        assert torch.equal(both, first + second)


@pytest.mark.parametrize("name", FAMILIES)
def test_runs_to_the_last_site_and_no_further(name: str) -> None:
    model = tiny(name)
    sites, after = find_sites(model), []
    head, last = (
        model.get_output_embeddings(),
        modules(sites[-1]).down or modules(sites[-1]).experts,
    )
    stopped, whole = DynamicCache(config=model.config), DynamicCache(config=model.config)
    with (
        head.register_forward_pre_hook(lambda *_: after.append("head")),
        last.register_forward_hook(lambda *_: after.append("last layer")),
    ):
        found = read(
            model,
            lambda model: run_to_last_site(
                model, sites, input_ids=IDS, **{cache_name(model): stopped}
            ),
        )
    assert after == []
    assert hooks(model) == 0
    everything = read(model, lambda model: model(input_ids=IDS, **{cache_name(model): whole}))
    for ours, theirs in zip(found, everything, strict=True):
        assert [r.values.shape for r in ours] == [r.values.shape for r in theirs]
        assert all(torch.equal(a.values, b.values) for a, b in zip(ours, theirs, strict=True))
    for ours, theirs in zip(stopped.layers, whole.layers, strict=True):
        assert torch.equal(ours.keys, theirs.keys)
        assert torch.equal(ours.values, theirs.values)


@pytest.mark.parametrize("name", FEW)
def test_generate_is_silenced_at_every_step(name: str) -> None:
    model = tiny(name)
    masks = some(find_sites(model))
    sites, ids = find_sites(model), IDS[:, :4]

    def steps(model: Any) -> Tensor:
        how = {"do_sample": False, "max_new_tokens": 6, "min_new_tokens": 6, "pad_token_id": 0}
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            output_logits=True,
            return_dict_in_generate=True,
            **how,
        )
        return torch.stack(out.logits)

    with silence(sites, masks):
        silenced = steps(model)
    assert torch.equal(silenced, steps(edited(name, masks)))
    assert ((silenced - steps(model)).abs().amax((1, 2)) > 1e-3).all()


def test_what_is_silenced_still_reads_but_later_layers_see_it() -> None:
    model = tiny("llama")
    sites = find_sites(model)
    before = read(model)
    with silence(sites, some(sites)):
        after = read(model)
    assert torch.equal(before[0][0].values, after[0][0].values)
    assert not torch.equal(before[1][0].values, after[1][0].values)


@pytest.mark.parametrize("name", FEW)
def test_bfloat16_keeps_every_bit(name: str) -> None:
    model = build(name).to(torch.bfloat16)
    before = logits(model)
    with watch(find_sites(model), lambda _: None):
        assert torch.equal(logits(model), before)


LORA = {
    "llama": {"target_modules": "all-linear"},
    "gpt2": {"target_modules": "all-linear", "fan_in_fan_out": True},
    "qwen3_moe": {"target_modules": ["q_proj", "down_proj"]},
    "mixtral": {
        "target_modules": ["q_proj"],
        "target_parameters": ["experts.gate_up_proj", "experts.down_proj"],
    },
}


@pytest.mark.parametrize("name", LORA)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*rank_pattern:RuntimeWarning")
def test_peft_adapters(name: str) -> None:
    base = build(name)
    sites, before, plain = find_sites(base), read(base), logits(base)
    config = peft.LoraConfig(r=2, task_type="CAUSAL_LM", init_lora_weights=False, **LORA[name])
    wrapped = peft.get_peft_model(base, config).eval()
    adapted = find_sites(wrapped)
    assert [site.shape for site in adapted] == [site.shape for site in sites]
    assert adapted[0].path.startswith("base_model.model.")
    probe(wrapped, adapted, IDS)
    assert not torch.equal(read(wrapped)[0][0].values, before[0][0].values)
    masks = some(adapted)
    with silence(adapted, masks):
        silenced = logits(wrapped)
        with wrapped.disable_adapter():
            assert torch.equal(logits(wrapped), logits(edited(name, masks)))
    with wrapped.disable_adapter():
        assert torch.equal(logits(wrapped), plain)
        assert all(
            torch.equal(a[0].values, b[0].values)
            for a, b in zip(read(wrapped), before, strict=True)
        )
    merged = copy.deepcopy(wrapped).merge_and_unload()
    with silence(find_sites(merged), masks):
        assert torch.allclose(logits(merged), silenced, atol=1e-5)


class Packed(nn.Module):
    """A linear layer of a quantising library: no nn.Linear, its weight in another shape."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = inner.in_features, inner.out_features
        self.packed = nn.Parameter(inner.weight.flatten())

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.packed.view(self.out_features, self.in_features))


def test_a_quantised_down_projection() -> None:
    model, masks = build("llama"), some(find_sites(tiny("llama")))
    for layer in model.model.layers:
        layer.mlp.down_proj = Packed(layer.mlp.down_proj)
    sites = find_sites(model)
    probe(model, sites, IDS)
    with silence(sites, masks):
        assert torch.equal(logits(model), logits(edited("llama", masks)))


def fused(mlp: Any, x: Tensor) -> Tensor:
    """A forward as Liger's: the activation module stays in the tree and is never called."""
    return mlp.down_proj(silu(mlp.gate_proj(x)) * mlp.up_proj(x))


def test_probe_catches_a_fused_kernel() -> None:
    model = build("llama")
    mlp = model.model.layers[1].mlp
    mlp.forward = MethodType(fused, mlp)
    with pytest.raises(
        SiteError, match=r"layer 1: the activation of model\.layers\.1\.mlp never ran: .*Liger"
    ):
        probe(model, find_sites(model), IDS)
    mlp = model.model.layers[2].mlp
    mlp.forward = MethodType(fused, mlp)
    with pytest.raises(SiteError, match=r"model\.layers\.2\.mlp did not run"):
        run_to_last_site(model, find_sites(model), input_ids=IDS)


def test_modules_that_layers_share_are_read_in_each() -> None:
    model, expected = build("llama"), read(tiny("llama"))
    masks = some(find_sites(model))
    for layer in model.model.layers:
        layer.mlp.act_fn = model.model.layers[0].mlp.act_fn
    probe(model, find_sites(model), IDS)
    for ours, theirs in zip(read(model), expected, strict=True):
        assert [r.values.tolist() for r in ours] == [r.values.tolist() for r in theirs]
    for layer in model.model.layers:
        layer.mlp = model.model.layers[0].mlp
    sites = find_sites(model)
    with silence(sites, [masks[0], None, masks[2]]):
        silenced = logits(model)
    for i in (0, 2):
        mlp = model.model.layers[i].mlp = copy.deepcopy(model.model.layers[1].mlp)
        mlp.down_proj.weight.mT[masks[i]] = 0
    assert torch.equal(logits(model), silenced)


def test_probe_catches_loops_and_split_activations() -> None:
    model = build("llama")
    model.model.layers = nn.ModuleList([model.model.layers[0]] * LAYERS)
    with pytest.raises(SiteError, match=r"ran 3 times in one forward.*: a looped model, whose"):
        probe(model, find_sites(model), IDS)
    model = build("llama")
    model.model.layers[1].compile(backend="eager")
    fused_in_place = model.model.layers[1].mlp
    fused_in_place.forward = MethodType(fused, fused_in_place)
    with pytest.raises(SiteError, match=r"never ran: torch\.compile computes these layers"):
        probe(model, find_sites(model), IDS)
    model = build("gpt2")
    model.transformer.h[0].mlp.c_proj.nx = 40
    with pytest.raises(
        SiteError, match=r"the down projection of .* has 48 neurons for each token, not 40"
    ):
        probe(model, find_sites(model), IDS)
    model = build("gpt_oss")
    for layer in model.model.layers:
        layer.mlp.experts.forward = lambda x, *_: x
    with pytest.raises(
        SiteError, match=r"layer 0: the experts of model\.layers\.0\.mlp\.experts never ran"
    ):
        probe(model, find_sites(model), IDS)


def test_refuses_masks_that_do_not_fit() -> None:
    model = tiny("llama")
    sites = find_sites(model)
    ones = torch.ones(48, dtype=torch.bool)
    for masks, said in (
        ([ones], "1 masks were given for 3 sites"),
        ([None, ones.float(), None], r"layer 1: a mask of torch\.float32 \[48\]"),
        (
            [None, None, ones[:40]],
            r"layer 2: a mask of torch\.bool \[40\] was given; torch\.bool \[48\]",
        ),
    ):
        with pytest.raises(SiteError, match=said), silence(sites, masks):
            pass
    with (
        silence(sites, [ones.expand(3, 48), None, None]),
        pytest.raises(SiteError, match=r"3 rows .* no multiple"),
    ):
        logits(model)
    assert hooks(model) == 0
