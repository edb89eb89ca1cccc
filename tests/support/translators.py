"""A tiny translation model with random weights, and its tokenizer."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForSeq2SeqLM, M2M100Config, PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from langneurons.model.loading import Loaded, around


def tiny_tokenizer(
    languages: Sequence[str] = ("__en__", "__zh__", "__sw__"),
) -> PreTrainedTokenizerFast:
    """Bytes and language tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {token: i for i, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    fast.add_special_tokens({"additional_special_tokens": list(languages)})
    return fast


@cache
def tiny_translator() -> PreTrainedModel:
    """An M2M100 with random weights, that all tests share."""
    config = M2M100Config(
        vocab_size=len(tiny_tokenizer()),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=512,
        scale_embedding=True,
    )
    model = AutoModelForSeq2SeqLM.from_config(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def tiny_judge() -> Loaded:
    """The model that all tests share, with its tokenizer."""
    return around(tiny_translator(), tiny_tokenizer(), name="tiny")


def save_translator(
    folder: Path, languages: Sequence[str] = ("__en__", "__zh__", "__sw__")
) -> Path:
    tiny_translator().save_pretrained(folder)
    tiny_tokenizer(languages).save_pretrained(folder)
    return folder


def plainly(source: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """One pair at a time, by the model's own shifting of labels: (text and end, language token)."""
    model = tiny_translator()
    labels = torch.from_numpy(target)[None].long()
    logits = model(input_ids=torch.from_numpy(source)[None].long(), labels=labels).logits[0]
    nll = torch.nn.functional.cross_entropy(logits, labels[0], reduction="none")
    return -float(nll[1:].sum()), -float(nll[0])
