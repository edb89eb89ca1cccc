"""Sites: found in every family, read exactly, silenced exactly, and the model left as it was."""

import copy
import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, DynamicCache

from langneurons.errors import SiteError
from langneurons.model.forward import cache_name
from langneurons.model.hooks import Reading, probe, run_to_last_site, silence, watch
from langneurons.model.sites import Site, find_sites
from support.families import DENSE, FAMILIES, LAYERS, MOE, build, tiny

FEW = ["llama", "gpt2", "opt", "deepseek_v3", "gpt_oss"]
IDS = torch.randint(3, 96, (2, 7), generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def logits(model: nn.Module, ids: Tensor = IDS, **inputs: Any) -> Tensor:
    return model(input_ids=ids, use_cache=False, **inputs).logits


def read(model: nn.Module, run: Callable[..., Any] = logits, **inputs: Any) -> list[list[Reading]]:
    """All readings of one forward, by site, copied."""
    sites = find_sites(model)
    found: list[list[Reading]] = [[] for _ in sites]
    with watch(sites, lambda r: found[r.site].append(r._replace(values=r.values.clone()))):
        run(model, **inputs)
    return found


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


def some(sites: tuple[Site, ...], rows: int | None = None) -> list[Tensor]:
    """About a third of the neurons of every site; for each of so many rows another third."""
    generator = torch.Generator().manual_seed(2)
    shape = () if rows is None else (rows,)
    return [torch.rand(*shape, *site.shape, generator=generator) < 1 / 3 for site in sites]


def edited(name: str, masks: list[Tensor]) -> nn.Module:
    """The family's model with the masked columns of its down projections set to zero, from hand-written names."""
    model, family = build(name), FAMILIES[name]
    for layer, mask in enumerate(masks):
        routed = mask
        if mask.ndim == 2:
            experts = model.get_submodule(family.experts.format(layer))
            routed, shared = mask[: experts.num_experts], mask[experts.num_experts :]
            weight = experts.down_proj  # [E, hidden, I], in gpt_oss [E, I, hidden]
            (weight if name == "gpt_oss" else weight.mT)[routed] = 0
            if not len(shared):
                continue
            mask = shared.flatten()
        down = model.get_submodule(place(name, layer, family.down))
        (down.weight if name == "gpt2" else down.weight.mT)[mask] = 0
    return model


def place(name: str, layer: int, path: str) -> str:
    """A hand-written path; the dense first layer of deepseek_v3 is not under `shared_experts`."""
    return path.format(layer).replace("shared_experts.", "" if layer == 0 else "shared_experts.")


@pytest.mark.parametrize("name", FAMILIES)
def test_one_site_per_layer(name: str) -> None:
    family, model = FAMILIES[name], tiny(name)
    sites = find_sites(model)
    assert [site.layer for site in sites] == list(range(LAYERS))
    assert tuple(site.shape for site in sites) == family.shapes
    for layer, site in enumerate(sites):
        dense = family.activation is not None and not (name == "qwen3_moe" and layer > 0)
        assert (site.activation is not None) == (site.down is not None) == dense
        if dense:
            assert site.activation is model.get_submodule(place(name, layer, family.activation))
            assert site.down is model.get_submodule(place(name, layer, family.down))
        assert (site.experts is not None) == (len(site.shape) == 2)
        if site.experts is not None:
            assert site.experts is model.get_submodule(family.experts.format(layer))
    bare = find_sites(model.base_model)
    assert [(a.activation, a.down, a.experts) for a in bare] == [
        (a.activation, a.down, a.experts) for a in sites
    ]
    probe(model, sites, IDS)


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


@pytest.mark.parametrize("name", MOE)
def test_reads_the_gate_of_each_routed_expert(name: str) -> None:
    model, layer = tiny(name), LAYERS - 1
    experts, calls = find_sites(model)[layer].experts, []
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


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


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
    site = find_sites(model)[middle]
    seen: list[Tensor] = []
    target = site.down if site.down is not None else site.experts
    with (
        silence([site], [torch.ones(site.shape, dtype=torch.bool)]),
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
    head, last = model.get_output_embeddings(), sites[-1].down or sites[-1].experts
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
    for some, all_ in zip(found, everything, strict=True):
        assert [r.values.shape for r in some] == [r.values.shape for r in all_]
        assert all(torch.equal(a.values, b.values) for a, b in zip(some, all_, strict=True))
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


@pytest.mark.parametrize("name", MOE)
def test_another_experts_implementation_comes_back(name: str) -> None:
    model = build(name)
    model.set_experts_implementation("eager")
    sites, before = find_sites(model), logits(model)
    with watch(sites, lambda _: None):
        assert torch.allclose(logits(model), before, atol=1e-6)
    assert model.config._experts_implementation == "eager"
    assert torch.equal(logits(model), before)


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


def test_probe_catches_shared_and_split_activations() -> None:
    model = build("llama")
    model.model.layers[2].mlp.act_fn = model.model.layers[1].mlp.act_fn
    with pytest.raises(SiteError, match="ran 2 times in one forward"):
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


def of(model_type: str, auto: Any = AutoModelForCausalLM, **config: Any) -> nn.Module:
    return auto.from_config(
        AutoConfig.for_model(model_type, vocab_size=96, num_hidden_layers=2, **config)
    )


SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def test_refuses_what_it_does_not_know() -> None:
    functional = of("lfm2", layer_types=["full_attention"] * 2, **SMALL)
    with pytest.raises(
        SiteError, match=r"model\.layers\.0 has no feed-forward .*feed_forward \(Lfm2MLP\)"
    ):
        find_sites(functional)
    with pytest.raises(SiteError, match=r"backbone\.layers\.0 has no feed-forward .*Mamba"):
        find_sites(of("mamba", hidden_size=32, state_size=4))
    seq2seq = of("t5", AutoModelForSeq2SeqLM, d_model=32, d_kv=8, d_ff=48, num_heads=4)
    with pytest.raises(SiteError, match="T5ForConditionalGeneration is an encoder with a decoder"):
        find_sites(seq2seq)
    with pytest.raises(
        SiteError, match="Linear has no one list of decoder layers; lists of modules seen: none"
    ):
        find_sites(nn.Linear(2, 2))
    with pytest.raises(SiteError, match=r"Sequential has no one list .* seen: 0 \(2\), 1 \(2\)"):
        find_sites(nn.Sequential(*(nn.ModuleList([nn.ReLU(), nn.ReLU()]) for _ in range(2))))


def test_other_lists_of_modules_are_not_the_decoder() -> None:
    model = build("llama")
    model.towers = nn.ModuleList([nn.Linear(2, 2)] * 2)
    assert [site.path for site in find_sites(model)] == [
        f"model.layers.{i}.mlp" for i in range(LAYERS)
    ]
    model.towers = nn.ModuleList([nn.Linear(2, 2)] * LAYERS)
    with pytest.raises(
        SiteError, match=r"seen: model\.layers \(3\), towers \(3\); layers in its config: 3"
    ):
        find_sites(model)


def test_refuses_layers_with_more_than_it_can_read() -> None:
    model = build("llama")
    model.model.layers[1].extra = copy.deepcopy(model.model.layers[1].mlp)
    with pytest.raises(
        SiteError, match=r"several places .*: model\.layers\.1\.mlp, model\.layers\.1\.extra"
    ):
        find_sites(model)
    model = build("llama")
    model.model.layers[2].mlp.banks = nn.Parameter(torch.zeros(2, 3, 4))
    with pytest.raises(
        SiteError,
        match=r"model\.layers\.2\.mlp \(LlamaMLP\) holds banks \[2, 3, 4\]: .* perhaps experts",
    ):
        find_sites(model)
    with pytest.raises(SiteError, match=r"layers\.0\.mlp holds a norm \(ffn_sub_norm\) between"):
        find_sites(of("bitnet", **SMALL))
    model = build("llama")
    del model.model.layers[0].mlp.down_proj.in_features
    with pytest.raises(SiteError, match="is a Linear, which does not say how wide"):
        find_sites(model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_is_expert_parallel": True}, "expert parallel"),
        ({"has_gate": False}, "has no gate"),
        ({"has_post_expert_norm": True}, "a norm after each expert"),
        ({"act_fn": nn.Sigmoid()}, "not positive exactly where its gate is"),
        (
            {"down_proj": nn.Parameter(torch.zeros(4, 32, 24).to(torch.float8_e4m3fn), False)},
            "float8_e4m3fn",
        ),
        (
            {"down_proj": nn.Parameter(torch.zeros(4, 32, 36))},
            "experts of 36 neurons beside shared ones of 48",
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


def test_a_feed_forward_in_the_router_is_no_site() -> None:
    model = build("mixtral")
    router = model.model.layers[1].mlp.gate
    router.act, router.fc2 = nn.SiLU(), nn.Linear(16, 4)
    assert [site.activation for site in find_sites(model)] == [None] * LAYERS


def test_refuses_experts_of_another_form() -> None:
    model = build("mixtral")
    bank = nn.Module()
    bank.down_proj = nn.Parameter(torch.zeros(4, 32, 48))
    model.model.layers[0].mlp.experts = bank
    with pytest.raises(
        SiteError,
        match="not of transformers' common form of experts: it has no num_experts, config",
    ):
        find_sites(model)


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
