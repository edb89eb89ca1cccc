"""nano: where the embedded models are, and what suits them where it does not suit a large model."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

NAME = "nano"
"""Name of the embedded causal language model, and of the translation model that belongs to it. It
comes before a folder that is called so; `./nano` is the folder."""

FOLDER = Path(str(files("langneurons"))) / "embedded"
"""Holds `model`, `translator` and their `CARD.md`."""

RATE = 0.2
"""Share of neurons to identify. It has 3,840 of them: the paper's hundredth of these is too few for
ten languages."""

_DRAWING = {"temperature": "0.8", "top-k": "20", "top-p": "0.9", "max-new-tokens": "200"}

DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "sample": _DRAWING,
    "evaluate": {"max-new-tokens": "200"},
    "align": {
        "steps": "60",
        "batch": "8",
        "device-batch": "8",
        "learning-rate": "1e-3",
        "beta": "3",
        "sft": "30",
        "warmup": "4",
        "rank": "16",
        "alpha": "32",
        "max-tokens": "512",
        "max-new-tokens": "200",
        "dev": "40",
        "save-every": "20",
    },
}
"""Command -> option -> what it is for MODEL `nano`, or an adapter of it, unless given. A small
model draws too much nonsense from the tail of its distribution, and the paper's 1,000 steps at a
rate of 1e-6 are for 7 billion weights."""


def folder(name: str, *, translator: bool = False) -> Path | None:
    """Where the embedded model of that name is, with its tokenizer; None for any other name, or where there is none."""
    path = FOLDER / ("translator" if translator else "model")
    return path if name == NAME and path.is_dir() else None


def suits(model: str) -> bool:
    """Whether `DEFAULTS` are for this MODEL: `nano`, or the folder of an adapter of it."""
    config = Path(model).expanduser() / "adapter_config.json"
    try:
        return (
            model == NAME
            or json.loads(config.read_text("utf-8"))["base_model_name_or_path"] == NAME
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # no adapter; one that is damaged is told of when it is loaded
        return False
