"""Tiny random models of every architecture family, from their own configs.

3 layers, 32 wide, nothing trivially zero.

Where their activations are is written down by hand: independent knowledge to hold `find_sites`
against.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

torch.set_num_threads(
    1
)  # products this small are slower on several threads, which wait for each other

LAYERS, VOCABULARY = 3, 96
_SPECIAL = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
_NEOX = {
    key: value for key, value in _LLAMA.items() if key not in ("num_key_value_heads", "head_dim")
}
_GPT2 = {"n_embd": 32, "n_layer": LAYERS, "n_head": 4, "n_positions": 64}


class Family(NamedTuple):
    """Config of a family, and where its activation and down projection are in layer `{}`.

    None: only experts.
    """

    model_type: str
    config: dict[str, Any]
    activation: str | None = "model.layers.{}.mlp.act_fn"
    down: str | None = "model.layers.{}.mlp.down_proj"
    shapes: tuple[tuple[int, ...], ...] = ((48,),) * LAYERS
    experts: str | None = None


_FALCON = {
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "ffn_hidden_size": 48,
}
_MOE = {**_LLAMA, "num_experts_per_tok": 2}
_WINDOW = {"sliding_window": 4}
_FALCON_AT = ("transformer.h.{}.mlp.act", "transformer.h.{}.mlp.dense_4h_to_h")
_QUADRUPLE = ((128,),) * LAYERS

DENSE: dict[str, Family] = {
    "llama": Family("llama", _LLAMA),
    "mistral": Family("mistral", {**_LLAMA, **_WINDOW}),
    "qwen2": Family("qwen2", _LLAMA),
    "qwen3": Family("qwen3", _LLAMA),
    "gemma2": Family("gemma2", {**_LLAMA, **_WINDOW}),
    "gemma3": Family("gemma3_text", {**_LLAMA, **_WINDOW}),
    "phi": Family("phi", _LLAMA, "model.layers.{}.mlp.activation_fn", "model.layers.{}.mlp.fc2"),
    "phi3": Family("phi3", _LLAMA, "model.layers.{}.mlp.activation_fn"),
    "olmo2": Family("olmo2", _LLAMA),
    "granite": Family("granite", _LLAMA),
    "cohere2": Family("cohere2", {**_LLAMA, **_WINDOW}),
    "smollm3": Family("smollm3", _LLAMA),
    "stablelm": Family("stablelm", _LLAMA),
    "starcoder2": Family(
        "starcoder2", _LLAMA, "model.layers.{}.mlp.act", "model.layers.{}.mlp.c_proj"
    ),
    "gpt_neox": Family(
        "gpt_neox", _NEOX, "gpt_neox.layers.{}.mlp.act", "gpt_neox.layers.{}.mlp.dense_4h_to_h"
    ),
    "gpt2": Family(
        "gpt2", {**_GPT2, "n_inner": 48}, "transformer.h.{}.mlp.act", "transformer.h.{}.mlp.c_proj"
    ),
    "gptj": Family(
        "gptj",
        {**_GPT2, "rotary_dim": 4},
        "transformer.h.{}.mlp.act",
        "transformer.h.{}.mlp.fc_out",
        _QUADRUPLE,
    ),
    "bloom": Family(
        "bloom",
        {"hidden_size": 32, "n_layer": LAYERS, "n_head": 4},
        "transformer.h.{}.mlp.gelu_impl",
        "transformer.h.{}.mlp.dense_4h_to_h",
        _QUADRUPLE,
    ),
    "falcon": Family("falcon", {**_FALCON, "alibi": False}, *_FALCON_AT),
    "falcon-alibi": Family(
        "falcon", {**_FALCON, "alibi": True, "bias": True, "parallel_attn": False}, *_FALCON_AT
    ),
    "mpt": Family(
        "mpt",
        {"d_model": 32, "n_layers": LAYERS, "n_heads": 4, "max_seq_len": 64},
        "transformer.blocks.{}.ffn.act",
        "transformer.blocks.{}.ffn.down_proj",
        _QUADRUPLE,
    ),
    "opt": Family(
        "opt",
        {
            "hidden_size": 32,
            "ffn_dim": 48,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "word_embed_proj_dim": 32,
            "max_position_embeddings": 64,
        },
        "model.decoder.layers.{}.activation_fn",
        "model.decoder.layers.{}.fc2",
    ),
}

MOE: dict[str, Family] = {
    "mixtral": Family(
        "mixtral",
        {**_MOE, "num_local_experts": 4},
        None,
        None,
        ((4, 48),) * LAYERS,
        "model.layers.{}.mlp.experts",
    ),
    "qwen3_moe": Family(  # the first layer is dense: widths differ
        "qwen3_moe",
        {**_MOE, "num_experts": 4, "moe_intermediate_size": 24, "mlp_only_layers": [0]},
        "model.layers.{}.mlp.act_fn",
        "model.layers.{}.mlp.down_proj",
        ((48,), (4, 24), (4, 24)),
        "model.layers.{}.mlp.experts",
    ),
    "olmoe": Family(
        "olmoe",
        {**_MOE, "num_experts": 4},
        None,
        None,
        ((4, 48),) * LAYERS,
        "model.layers.{}.mlp.experts",
    ),
    "deepseek_v3": Family(  # a dense first layer, then 4 routed experts and 2 shared ones
        "deepseek_v3",
        {
            **_MOE,
            "num_key_value_heads": 4,
            "n_routed_experts": 4,
            "n_shared_experts": 2,
            "moe_intermediate_size": 24,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
            "q_lora_rank": None,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
        },
        "model.layers.{}.mlp.shared_experts.act_fn",
        "model.layers.{}.mlp.shared_experts.down_proj",
        ((48,), (6, 24), (6, 24)),
        "model.layers.{}.mlp.experts",
    ),
    "gpt_oss": Family(
        "gpt_oss",
        {**_MOE, **_WINDOW, "num_local_experts": 4, "max_position_embeddings": 131072},
        None,
        None,
        ((4, 48),) * LAYERS,
        "model.layers.{}.mlp.experts",
    ),
}

FAMILIES = {**DENSE, **MOE}

_VISION = {"hidden_size": 32, "intermediate_size": 48, "depth": 2, "num_heads": 4}
_MAMBA = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
}
_DELTA = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}

_MAMBA_2 = {**_LLAMA, **_MAMBA, "mamba_n_groups": 1, "mamba_expand": 2}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}

OTHERS: dict[str, Family] = {
    "falcon_h1": Family(
        "falcon_h1",
        {**_LLAMA, **_MAMBA, "mamba_d_ssm": 64},
        "model.layers.{}.feed_forward.act_fn",
        "model.layers.{}.feed_forward.down_proj",
    ),
    "qwen3_5": Family(
        "qwen3_5",
        {"text_config": {**_LLAMA, **_DELTA}, "vision_config": {**_VISION, "out_hidden_size": 32}},
        "model.language_model.layers.{}.mlp.act_fn",
        "model.language_model.layers.{}.mlp.down_proj",
    ),
    "qwen3_next": Family(
        "qwen3_next",
        {
            **_LLAMA,
            **_DELTA,
            **_EXPERTS,
            "num_experts": 4,
            "shared_expert_intermediate_size": 24,
        },
        "model.layers.{}.mlp.shared_expert.act_fn",
        "model.layers.{}.mlp.shared_expert.down_proj",
        ((5, 24),) * LAYERS,
        "model.layers.{}.mlp.experts",
    ),
    "granitemoehybrid": Family(
        "granitemoehybrid",
        {
            **_MAMBA_2,
            **_EXPERTS,
            "num_local_experts": 4,
            "shared_intermediate_size": 48,
            "layer_types": ["mamba", "attention", "mamba"],
        },
        "model.layers.{}.shared_mlp.activation",
        "model.layers.{}.shared_mlp.output_linear",
        ((5, 48),) * LAYERS,
        "model.layers.{}.block_sparse_moe.experts",
    ),
    "bamba": Family(
        "bamba",
        {**_MAMBA_2, "attn_layer_indices": [1]},
        "model.layers.{}.feed_forward.act_fn",
        "model.layers.{}.feed_forward.down_proj",
    ),
    "jamba": Family(
        "jamba",
        {
            **_LLAMA,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 1,
            "num_experts_per_tok": 1,
        },
        "model.layers.{}.feed_forward.act_fn",
        "model.layers.{}.feed_forward.down_proj",
    ),
    "moshi": Family(  # goes on from a cache wrongly where the window is shorter than the text
        "moshi",
        {**_LLAMA, "ffn_dim": 96, "sliding_window": 6},
        "model.layers.{}.mlp.activation_fn",
        "model.layers.{}.mlp.fc2",
    ),
    "qwen3_vl": Family(
        "qwen3_vl",
        {"text_config": _LLAMA, "vision_config": {**_VISION, "out_hidden_size": 32}},
        "model.language_model.layers.{}.mlp.act_fn",
        "model.language_model.layers.{}.mlp.down_proj",
    ),
    "llama4": Family(  # a dense layer; experts that run all at once beside a shared one
        "llama4_text",
        {
            **_MOE,
            "num_experts_per_tok": 1,
            "num_local_experts": 4,
            "intermediate_size_mlp": 64,
            "moe_layers": [1, 2],
        },
        "model.layers.{}.feed_forward.shared_expert.activation_fn",
        "model.layers.{}.feed_forward.shared_expert.down_proj",
        ((64,), (5, 48), (5, 48)),
        "model.layers.{}.feed_forward.experts",
    ),
    "lfm2": Family(  # the activation is a bare function
        "lfm2",
        {
            **_LLAMA,
            "layer_types": ["conv", "full_attention", "conv"],
            "block_auto_adjust_ff_dim": False,
        },
        None,
        "model.layers.{}.feed_forward.w2",
    ),
    "nemotron_h": Family(  # layers without a feed-forward; experts without a gate
        "nemotron_h",
        {
            **_LLAMA,
            "layers_block_type": ["mamba", "moe", "attention", "mlp"],
            "n_routed_experts": 4,
            "moe_intermediate_size": 24,
            "moe_shared_expert_intermediate_size": 48,
            "ssm_state_size": 8,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "n_groups": 1,
            "chunk_size": 8,
        },
        None,
        None,
        ((0,), (6, 24), (0,), (48,)),
        "model.layers.{}.mixer.experts",
    ),
    "bitnet": Family("bitnet", _LLAMA),  # a norm before the down projection
    "zamba": Family(  # one feed-forward, of two layers
        "zamba",
        {
            **{key: value for key, value in _LLAMA.items() if key != "head_dim"},
            "num_hidden_layers": 4,
            "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
            "num_key_value_heads": 4,
            "attention_hidden_size": 64,
            "attention_head_dim": 16,
            "n_mamba_heads": 2,
            "mamba_d_state": 8,
            "mamba_dt_rank": 8,
        },
        None,
        None,
        ((0,), (48,), (0,), (48,)),
    ),
    "bert": Family(  # the activation and the down projection are in different modules
        "bert",
        {**_NEOX, "is_decoder": True},
        "bert.encoder.layer.{}.intermediate.intermediate_act_fn",
        "bert.encoder.layer.{}.output.dense",
    ),
    "longcat": Family(  # two dense feed-forwards and experts that run in a loop, in each layer
        "longcat_flash",
        {
            **_MOE,
            "num_layers": 2,
            "num_hidden_layers": 4,
            "ffn_hidden_size": 48,
            "expert_ffn_hidden_size": 24,
            "n_routed_experts": 4,
            "zero_expert_num": 1,
            "moe_topk": 2,
            "num_key_value_heads": 4,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
        },
        None,
        None,
        ((8, 24),) * 2,
        "model.layers.{}.mlp.experts",
    ),
    "minimax_m3": Family(  # shared experts that write their activation out
        "minimax_m3_vl_text",
        {
            **_MOE,
            "num_local_experts": 4,
            "shared_intermediate_size": 48,
            "dense_intermediate_size": 64,
            "mlp_layer_types": ["dense", "dense", "sparse"],
            "rotary_dim": 8,
        },
        None,
        None,
        ((64,), (64,), (5, 48)),
        "model.layers.{}.mlp.experts",
    ),
}
"""Families that not everything is tried on: hybrids, image-text models and other forms."""

CONTINUES = {
    "falcon_h1": True,
    "qwen3_5": True,
    "qwen3_next": True,
    "granitemoehybrid": True,
    "bamba": False,
    "jamba": False,
    "moshi": False,
}
"""Of those that keep more or less than keys and values: whether they go on from a prompt's cache as
if they had read the whole text."""


def build(name: str, seed: int = 0, **changes: int) -> PreTrainedModel:
    """A new model of this family, float32 on the CPU, in eval mode, its config so changed."""
    family = FAMILIES.get(name) or OTHERS[name]
    settings = {**family.config, **_SPECIAL, **changes}
    if "text_config" in settings:
        settings["text_config"] = {**settings["text_config"], **_SPECIAL, **changes}
    config = AutoConfig.for_model(family.model_type, **settings)
    with_images = type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING
    auto: Any = AutoModelForImageTextToText if with_images else AutoModelForCausalLM
    model = auto.from_config(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


@cache
def tiny(name: str) -> PreTrainedModel:
    """The model of this family that all tests share; none may change it, nor ask it for hidden
    states, after which transformers leaves its hooks in it.
    """
    return build(name)


def save(name: str, folder: Path, **changes: int) -> Path:
    """A model of this family and a byte-level tokenizer, with room for 2,048 tokens."""
    config = (FAMILIES.get(name) or OTHERS[name]).config
    room = {
        key: 2048
        for key in ("max_position_embeddings", "n_positions", "max_seq_len")
        if key in config.get("text_config", config)
    }
    build(name, vocab_size=260, **room, **changes).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
