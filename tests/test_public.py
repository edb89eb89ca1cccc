"""The public surface: documented, light to import."""

import importlib
import inspect
import subprocess
import sys

import pytest

from support.places import ROOT
from test_layers import MODULES


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_is_documented(module: str) -> None:
    loaded = importlib.import_module(f"langneurons.{module}")
    assert loaded.__doc__
    for name, thing in vars(loaded).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != loaded.__name__:
            continue
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert thing.__doc__, f"{module}.{name} has no docstring"


def test_every_module_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference.md").read_text("utf-8")
    missing = [
        m
        for m in MODULES
        if f"::: langneurons.{m}\n" not in text
        and m not in ("cli", "console", "analyse", "measure", "mapo", "ask", "contrast")
    ]
    assert not missing


@pytest.mark.parametrize("module", ["langneurons", "langneurons.cli"])
def test_importing_is_light(module: str) -> None:
    heavy = "torch transformers trl peft datasets vl_convert pyarrow matplotlib pandas safetensors numpy"
    code = f"import sys, {module}; print([m for m in {heavy.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
