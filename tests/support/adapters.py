"""Adapters of PEFT on tiny models, as if trained: nothing they add is zero."""

import warnings
from pathlib import Path

import peft
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def save(config: peft.PeftConfig, base: Path, folder: Path, *, more: int = 0) -> Path:
    """An adapter of this kind of the model in a folder.

    Args:
        config: its kind and settings.
        base: the folder of the model.
        folder: where it goes.
        more: tokens that tokenizer and embedding got before training; the tokenizer is saved too.
    """
    model = AutoModelForCausalLM.from_pretrained(base)
    if more:
        tokenizer = AutoTokenizer.from_pretrained(base)
        tokenizer.add_tokens([f"<|{i}|>" for i in range(more)], special_tokens=True)
        tokenizer.save_pretrained(folder)
        model.resize_token_embeddings(len(tokenizer))
    generator = torch.Generator().manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(model, config)
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn(parameter.shape, generator=generator) * 0.1
        wrapped.save_pretrained(folder)
    return folder
