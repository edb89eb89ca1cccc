"""Small models as GGUF files, written weight by weight as llama.cpp's converters lay them out."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import pre_tokenizers
from transformers import PreTrainedModel

from support.families import LAYERS, build

EPSILON = float(np.float32(1e-6))  # a file keeps it in float32
ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "gemma3": gguf.MODEL_ARCH.GEMMA3}
TOKENS = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]
"""Ids of families.save, and one that is merged."""


def model_of(family: str, **changes: Any) -> PreTrainedModel:
    """The model that the file holds."""
    return build(
        family,
        vocab_size=len(TOKENS),
        max_position_embeddings=2048,
        rms_norm_eps=EPSILON,
        **changes,
    )


def laid_out(name: str, weight: np.ndarray, model: PreTrainedModel) -> np.ndarray:
    """A weight as llama.cpp wants it: halves of heads beside each other, norms without their 1."""
    if model.config.model_type == "llama" and name.endswith(("q_proj", "k_proj")):
        heads = (
            model.config.num_attention_heads
            if name.endswith("q_proj")
            else model.config.num_key_value_heads
        )
        halves = weight.reshape(heads, 2, -1, weight.shape[1])
        return halves.swapaxes(1, 2).reshape(weight.shape)
    if model.config.model_type == "gemma3_text" and name.endswith("norm"):
        return weight + 1
    return weight


def write(
    path: Path,
    family: str = "llama",
    *,
    model: PreTrainedModel | None = None,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    tokenizer: bool = True,
    leave_out: str = "",
    more: dict[str, str | int | float] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
) -> Path:
    """A model of a family as a GGUF file.

    `kind` is what its matrices are quantised to; `more` is said besides and `tensors` are added, by
    their names in the file.
    """
    model = model or model_of(family)
    config, architecture = model.config, ARCHITECTURES[family]
    file = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    file.add_context_length(config.max_position_embeddings)
    file.add_embedding_length(config.hidden_size)
    file.add_block_count(config.num_hidden_layers)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_head_count(config.num_attention_heads)
    file.add_head_count_kv(config.num_key_value_heads)
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_key_length(config.head_dim)
    if family == "llama":
        file.add_rope_dimension_count(config.head_dim)
    else:
        file.add_sliding_window(config.sliding_window)
    if tokenizer:
        file.add_tokenizer_model("gpt2")
        file.add_tokenizer_pre("gpt-2")
        file.add_token_list(TOKENS)
        file.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
        file.add_token_merges(["t h"])
        file.add_bos_token_id(1)
        file.add_eos_token_id(2)
        file.add_pad_token_id(0)
        file.add_add_bos_token(True)
    for name, value in (more or {}).items():
        if isinstance(value, str):
            file.add_string(name, value)
        elif isinstance(value, float):
            file.add_float32(name, value)
        else:
            file.add_uint32(name, value)
    names = gguf.get_tensor_name_map(architecture, LAYERS)
    for name, weight in model.named_parameters():
        stem = name.removesuffix(".weight")
        called = f"{names.get_name(stem)}.weight"
        if called == leave_out:
            continue
        values = laid_out(stem, weight.detach().numpy(), model)
        whole = gguf.GGMLQuantizationType.F32 if values.ndim == 1 else kind
        file.add_tensor(called, gguf.quants.quantize(values, whole), raw_dtype=whole)
    for called, values in (tensors or {}).items():
        file.add_tensor(called, values)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path
