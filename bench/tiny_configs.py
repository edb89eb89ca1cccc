"""Tiny configs of every architecture that transformers knows: its own defaults, made small by name.

Widths of 32 and 48, four layers, four experts, attention windows of 8, 300 tokens; what follows
from these (kinds of layers, lists of numbers of layers) is left to the config. Where that does not
do, `OWN` says what does.
"""

import re
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

LAYERS, VOCABULARY, WIDTH, INNER = 4, 300, 32, 48

_RULES: tuple[tuple[str, Any], ...] = (
    (r"(num|n)_(decoder_|encoder_|hidden_)?layers?|(de|en)coder_layers|depth|attention_layers", 4),
    (r"(unpadded_|audio_|text_|decoder_)?vocab(_size)?(_per_layer_input)?|n_vocab", VOCABULARY),
    (
        r"hidden_size|d_model|n_embd|emb_dim|embed_dim|embedding_dim|dim_model|out_hidden_size",
        WIDTH,
    ),
    (
        r"word_embed_proj_dim|(input_|output_)?embedding_size|text_hidden_size|attn_hidden_size",
        WIDTH,
    ),
    (r"n_inner|(dense_)?intermediate_size(_mlp)?|ffn_(hidden_size|dim)|d_inner|dff|dim_ff", INNER),
    (r"(decoder|encoder)_ffn_dim|feed_forward_size|d_ff|prefix_dense_intermediate_size", INNER),
    (r"moe_intermediate_size|expert_ffn_hidden_size", 24),
    (r"(moe_)?shared_(experts?_)?intermediate_size|share_expert_dim", INNER),
    (r"(num|n)_(attention_|sliding_attention_)?heads?|n_head|attention_heads", 4),
    (r"(decoder|encoder|num_decoder|num_encoder)_attention_heads|swa_num_attention_heads", 4),
    (r"num_(global_)?key_value_heads|num_kv_heads|kv_n_heads|swa_num_key_value_heads", 2),
    (r"num_query_groups", 2),
    (r"(swa_|global_|linear_key_|linear_value_)?head_dim|kv_channels|dim_head|d_kv|d_head", 8),
    (r"qk_nope_head_dim|qk_rope_head_dim|v_head_dim|attention_head_(dim|size)|rotary_dim", 8),
    (r"qk_head_dim", 16),
    (r"(q|kv|o)_lora_rank|adapter_rank|hc_lowrank|gated_norm_rank", 16),
    (r"max_position_embeddings|n_positions|max_seq_len|context_length|max_sequence_length", 512),
    (r"num_(local_)?experts|n_routed_experts|moe_num_experts|num_routed_experts", 4),
    (r"num_experts_per_tok(en)?|moe_top(_)?k|top_k_experts|moe_k", 2),
    (r"(num|n|moe_num)_shared_experts?", 1),
    (r"(n|num_expert)_group|topk_group|num_expert_groups?", 1),
    (r"first_k_dense_replace|num_dense_layers|moe_layer_start_index", 1),
    (
        r"sliding_window(_size)?|attention_window_size|attention_chunk_size|window_size|swa_window",
        8,
    ),
    (r"linear_num_(key|value)_heads", 4),
    (r"lru_width", WIDTH),
    (r"mamba_(num|n)_heads", 8),
    (r"mamba_(head_dim|d_head)", 8),
    (r"mamba_d_ssm", 64),
    (r"(mamba_)?d_state|mamba_d_state|ssm_state_size|state_size|mamba_dt_rank|time_step_rank", 8),
    (r"(mamba_)?n_groups|mamba_n_groups|mamba_ngroups", 1),
    (r"(mamba_)?chunk_size|block_size", 8),
    (r"index_topk", 2048),
    (r"index_n_heads|num_mem_blocks|linear_num_heads", 2),
    (r"index_head_dim", 16),
    (r"image_size|crop_size|force_image_size", 28),
    (r"patch_size", 14),
    (r"num_nextn_predict_layers|num_mtp_layers|num_kv_shared_layers", 0),
    (r"hidden_size_per_layer_input|router_hidden_size|projection_dim|projector_hidden_size", 16),
)
"""What a field of such a name becomes, where the config has it."""

_WHERE_NONE = {
    "head_dim": 8,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "clip_qkv": 8.0,
    "num_local_experts": 4,
    "num_key_value_heads": 2,
    "sliding_window": 8,
}
"""The same where the default is None and the model computes with it."""

_LIKE_BERT = (
    "bert",
    "bert-generation",
    "big_bird",
    "camembert",
    "data2vec-text",
    "electra",
    "ernie",
    "megatron-bert",
    "rembert",
    "roberta",
    "roberta-prelayernorm",
    "roc_bert",
    "roformer",
    "xlm-roberta",
    "xlm-roberta-xl",
)
_DECODER = {"is_decoder": True}
_SECTIONS = {"rope_parameters": {"mrope_section": [2, 1, 1]}}
_IN_PLANES = {"rope_parameters": {"mrope_section": [1, 1, 2]}}
_WIDE = {"head_dim": 16, **_SECTIONS}
_HEADS = {"num_key_value_heads": 4}
_HYBRID = {"layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"]}
_LOOPED = {
    "n_layers_per_attn_res_block": 1,
    "loop_layer_index_start": 1,
    "loop_layer_index_end": 3,
}
_ALIKE = {**_HEADS, "per_layer_config": {}, "head_dim": 16}
_ROPE = {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}}
_INDEXER = {
    "indexer_kv_heads": 1,
    "indexer_n_heads": 4,
    "indexer_head_dim": 8,
    "indexer_budget": 64,
    "indexer_compress_ratio": 4,
}

OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(_LIKE_BERT, _DECODER),
    "chameleon": {"vocabulary_map": {"<image>": 4}},
    "cohere_compass": {"text_config": _ROPE},
    "cohere_compass_text": _ROPE,
    "cosmos3_edge": {"text_config": _SECTIONS},
    "dbrx": {"attn_config": {"rope_theta": 10000.0}},
    "dots3_note": {"text_config": _ALIKE},
    "dots3_note_text": _ALIKE,
    "deepseek_ocr2": {"text_config": {"mlp_layer_types": ["dense", *["sparse"] * 3]}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "emu3": {"vocabulary_map": {"<|extra_200|>": 5, "<|visual token 000000|>": 6, "<image>": 7}},
    "ernie4_5_vl_moe": {"text_config": {"moe_intermediate_size": [24, 24], **_IN_PLANES}},
    "glm46v": {"text_config": _SECTIONS},
    "glm4v": {"text_config": _SECTIONS},
    "glm4v_moe": {"text_config": _WIDE},
    "glm5_next": {"text_config": _HEADS},
    "glm_ocr": {"text_config": _SECTIONS},
    "glmga": {"text_config": _SECTIONS},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "hunyuan_vl": {"text_config": {"rope_parameters": {"mrope_section": [1, 1, 1, 1]}}},
    "hy_v4_vl": {"text_config": _SECTIONS},
    "inkling2_loop": {"text_config": _LOOPED},
    "inkling2_loop_text": _LOOPED,
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": {"zero_expert_num": 2},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "mistral4": {"head_dim": 16},
    "molmo2": {"adapter_config": {"vision_feature_layer": [3, 1]}},
    "nemotron_h_omni": {"vision_config": {"video_temporal_patch_size": 2}},
    "paddleocr_vl": {"text_config": _SECTIONS},
    "qwen2_5_omni_thinker": {"text_config": _SECTIONS, "vision_start_token_id": 9},
    "qwen2_5_vl": {"text_config": _SECTIONS},
    "qwen2_vl": {"text_config": _SECTIONS},
    "qwen3_omni_moe_thinker": {"text_config": _SECTIONS, "vision_start_token_id": 9},
    "qwen4_exp": {"text_config": _INDEXER},
    "qwen4_exp_text": _INDEXER,
    "reformer": {**_DECODER, "axial_pos_shape": [16, 32], "axial_pos_embds_dim": [16, 16]},
    "xlm": {"causal": True},  # else it is a masked model
    "xmod": {**_DECODER, "default_language": "en_XX"},
    "zamba": {**_HYBRID, "attention_hidden_size": 64, "attention_head_dim": 16, **_HEADS},
    "zamba2": {**_HYBRID, "num_mem_blocks": 1, **_HEADS},
    "zaya": {"num_experts_per_tok": 1},
}
"""What a type's config needs beside the rules; `text_config` and others are of its parts."""


def tiny_config(model_type: str, **changes: Any) -> PreTrainedConfig:
    """A small config of this type, with these changes."""
    default = AutoConfig.for_model(model_type)
    return _shrunk(type(default), default, _merged(OWN.get(model_type, {}), changes))


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {**one}
    for name, value in other.items():
        nested = isinstance(value, dict) and isinstance(both.get(name), dict)
        both[name] = _merged(both[name], value) if nested else value
    return both


def _shrunk(kind: Any, default: PreTrainedConfig, own: dict[str, Any]) -> Any:
    """A config of this class: its defaults by the rules, and what it needs of its own."""
    fields = getattr(kind, "__dataclass_fields__", {})
    backwards = {name: inner for inner, name in (kind.attribute_map or {}).items()}
    small: dict[str, Any] = {}
    for name, value in vars(default).items():
        if isinstance(value, PreTrainedConfig):
            small[name] = _shrunk(type(value), value, own.get(name, {}))
            continue
        alike = [rule for rule in (name, backwards.get(name)) if rule]
        for pattern, wanted in _RULES:
            fits = any(re.fullmatch(pattern, rule) for rule in alike)
            if fits and isinstance(value, int) and not isinstance(value, bool) and value > 0:
                small[name] = wanted
                break
        if value is None and name in _WHERE_NONE:
            small[name] = _WHERE_NONE[name]
    if vars(default).get("kv_lora_rank"):  # keys are as many as queries there
        small["num_key_value_heads"] = small.get("num_attention_heads", 4)
    of_layers = getattr(default, "num_hidden_layers", None)
    for name, value in vars(default).items():
        declared = fields.get(name)
        if (
            isinstance(value, (list, tuple))
            and len(value) == of_layers
            and declared is not None
            and declared.default is not None
            and not callable(declared.default)
        ):
            small[name] = _cover(value)
    for name, value in own.items():
        if not (isinstance(value, dict) and isinstance(small.get(name), PreTrainedConfig)):
            was = vars(default).get(name)
            both = isinstance(value, dict) and isinstance(was, dict)
            small[name] = {**was, **value} if both else value
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    small |= {name: value for name, value in special.items() if hasattr(default, name)}
    return kind(**small)


def _cover(values: Any) -> list[Any]:
    """As many as there are layers, every kind among them, in their order."""
    kinds = [value for i, value in enumerate(values) if value not in values[:i]]
    return (kinds * LAYERS)[:LAYERS]
