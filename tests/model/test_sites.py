"""Sites: one per layer in every family, by names written down; refusals say what was seen."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from langneurons.errors import SiteError
from langneurons.model.hooks import probe
from langneurons.model.sites import find_sites
from support.families import FAMILIES, LAYERS, build, tiny
from support.reading import IDS, modules, place


@pytest.mark.parametrize("name", FAMILIES)
def test_one_site_per_layer(name: str) -> None:
    family, model = FAMILIES[name], tiny(name)
    sites = find_sites(model)
    assert [site.layer for site in sites] == list(range(LAYERS))
    assert tuple(site.shape for site in sites) == family.shapes
    for layer, each in enumerate(sites):
        site = modules(each)
        dense = family.activation is not None and not (name == "qwen3_moe" and layer > 0)
        assert (site.activation is not None) == (site.down is not None) == dense
        if dense:
            assert site.activation is model.get_submodule(place(name, layer, family.activation))
            assert site.down is model.get_submodule(place(name, layer, family.down))
        assert (site.experts is not None) == (len(each.shape) == 2)
        if site.experts is not None:
            assert site.experts is model.get_submodule(family.experts.format(layer))
    bare = find_sites(model.base_model)
    assert [modules(site) for site in bare] == [modules(site) for site in sites]
    probe(model, sites, IDS)


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
    paths = [f"model.layers.{i}.mlp" for i in range(LAYERS)]
    assert [site.path for site in find_sites(model)] == paths
    model.towers = copy.deepcopy(model.model.layers)
    assert [site.path for site in find_sites(model)] == paths
    model.model.more = copy.deepcopy(model.model.layers)
    with pytest.raises(
        SiteError, match=r"seen: model\.layers \(3\), model\.more \(3\); layers in its config: 3"
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
    model = build("llama")
    for layer in model.model.layers:
        del layer.mlp.down_proj.in_features
    with pytest.raises(SiteError, match=r"layers\.0 has no feed-forward .*mlp \(LlamaMLP\)"):
        find_sites(model)


def test_a_feed_forward_in_the_router_is_no_site() -> None:
    model = build("mixtral")
    router = model.model.layers[1].mlp.gate
    router.act, router.fc2 = nn.SiLU(), nn.Linear(16, 4)
    assert [modules(site).activation for site in find_sites(model)] == [None] * LAYERS
