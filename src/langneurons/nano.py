"""nano: where the embedded models are, and what suits them where it does not suit a large model."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from langneurons import artifacts
from langneurons.config import AlignConfig, EvaluateConfig, GrpoConfig, SampleConfig

NAME = "nano"
"""Name of the embedded causal language model, and of the translation model that belongs to it. It
comes before a folder that is called so; `./nano` is the folder."""

FOLDER = Path(str(files("langneurons"))) / "embedded"
"""Holds `model`, `translator` and their `CARD.md`."""

RATE = 0.2
"""Share of neurons to identify. It has 3,840 of them: the paper's hundredth of these is too few for
ten languages."""

SAMPLE = SampleConfig(temperature=0.8, top_k=20, top_p=0.9, max_new_tokens=200)
"""How it writes responses: a small model draws too much nonsense from the tail of its
distribution."""

EVALUATE = EvaluateConfig(max_new_tokens=200)
"""How it answers."""

ALIGN = AlignConfig(
    steps=60,
    batch=8,
    device_batch=8,
    learning_rate=1e-3,
    beta=3.0,
    sft=30.0,
    warmup=4,
    rank=16,
    alpha=32,
    max_tokens=512,
    dev=40,
    save_every=20,
)
"""How it is aligned: the paper's 1,000 steps at a rate of 1e-6 are for 7 billion weights."""

GRPO = GrpoConfig(max_new_tokens=200)
"""What it is told besides when it is aligned by GRPO."""

Config = SampleConfig | EvaluateConfig | AlignConfig | GrpoConfig

DEFAULTS: Mapping[str, tuple[Config, ...]] = {
    "sample": (SAMPLE,),
    "evaluate": (EVALUATE,),
    "align": (ALIGN, GRPO),
}
"""Command -> its settings for MODEL `nano`, or an adapter of it, where none are given. A study of
`nano` alone takes them too."""


def folder(name: str, *, translator: bool = False) -> Path | None:
    """Where the embedded model of that name is, with its tokenizer.

    None for any other name, or where there is none.
    """
    path = FOLDER / ("translator" if translator else "model")
    return path if name == NAME and path.is_dir() else None


def suits(model: str) -> bool:
    """Whether `DEFAULTS` are for this MODEL: `nano`, or the folder of an adapter of it."""
    if model == NAME:
        return True
    path = Path(model).expanduser() / "adapter_config.json"
    try:
        return artifacts.parsed(path.read_bytes())["base_model_name_or_path"] == NAME
    except (OSError, ValueError, KeyError, TypeError):
        return False  # no adapter; one that is damaged is told of when it is loaded
