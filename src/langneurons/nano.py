"""nano: where the embedded models are."""

from importlib.resources import files
from pathlib import Path

NAME = "nano"
"""Name of the embedded causal language model, and of the translation model that belongs to it. It comes before a
folder that is called so; `./nano` is the folder."""


def folder(name: str, *, translator: bool = False) -> Path | None:
    """Where the embedded model of that name is, with its tokenizer; None for any other name, or where there is none."""
    path = Path(str(files("langneurons"))) / "embedded" / ("translator" if translator else "model")
    return path if name == NAME and path.is_dir() else None
