"""Sizes: what is known of a model and of this machine without loading a model."""

import json
import re
import struct
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import NamedTuple

from langneurons import gemma, nano
from langneurons.config import ModelConfig
from langneurons.errors import InputError
from langneurons.study import hub


class Size(NamedTuple):
    """What is known of a model without loading it.

    Attributes:
        weights: how many it has.
        cache: numbers it keeps for each token of a text that it writes; None when not known.
        vocabulary: tokens it knows; None when not known.
        seen: where this was seen.
    """

    weights: float
    cache: int | None
    vocabulary: int | None
    seen: str


@cache
def size(name: str, *, ask_hub: bool = False) -> Size | None:
    """What is known of a model.

    By its files here or in the Hub's cache; else as the Hub counts them, if it is to be asked; else
    by a number such as 7B in its name.
    """
    folder = nano.folder(name) or gemma.file(name) or Path(name)
    if folder.is_file():
        return _by_gguf(folder)
    if not folder.is_dir():
        folder = cached(name) or folder
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if files:
        return _by_files(folder, files)
    if name == gemma.NAME:
        return Size(weights=268e6, cache=None, vocabulary=262_144, seen="by its name")
    if ask_hub and is_id(name) and (weights := hub.look(name, "model").weights):
        return Size(weights=weights, cache=None, vocabulary=None, seen="by its files on the Hub")
    if found := re.search(r"(\d+(?:\.\d+)?)([BM])(?![A-Za-z])", name):
        weights = float(found[1]) * {"B": 1e9, "M": 1e6}[found[2]]
        return Size(weights=weights, cache=None, vocabulary=None, seen="by its name")
    return None


def is_id(name: str) -> bool:
    """Whether a name can be an id on the Hub, and is nothing that is here."""
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", name)) and not Path(name).exists()


def _by_files(folder: Path, files: Sequence[Path]) -> Size:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    kept = None
    if layers and heads:
        width = config.get("head_dim") or config["hidden_size"] // heads
        kept = 2 * layers * (config.get("num_key_value_heads") or heads) * width
    return Size(
        weights=sum(_weights(file) for file in files),
        cache=kept,
        vocabulary=config.get("vocab_size"),
        seen="by its files",
    )


def _by_gguf(file: Path) -> Size | None:
    """What a GGUF file says; None for another file, or where gguf is not installed."""
    try:
        from langneurons.model.gguf_file import opened

        reader = opened(file)
    except (ImportError, InputError):
        return None
    return Size(
        weights=reader.weights, cache=None, vocabulary=reader.vocabulary, seen="by its file"
    )


def _weights(file: Path) -> int:
    """Weights in a safetensors file, by its head."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        head = json.loads(opened.read(length))
    return sum(prod(tensor["shape"]) for name, tensor in head.items() if name != "__metadata__")


def cached(name: str) -> Path | None:
    """Where the Hub's cache holds a model."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def bytes_of_weight(loading: ModelConfig) -> int:
    """Bytes of a weight once loaded."""
    if loading.dtype == "auto":
        return 2 if gpus() else 4
    return 4 if loading.dtype == "float32" else 2


@cache
def gpus() -> int:
    """GPUs that a model can be loaded to here; 0 without torch.

    It loads torch, so ask where it is needed only.
    """
    if find_spec("torch") is None:
        return 0
    import torch

    return torch.cuda.device_count() or int(torch.backends.mps.is_available())
