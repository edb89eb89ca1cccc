"""The public surface: documented, light to import."""

import importlib
import inspect
import re
import subprocess
import sys

import pytest

from support.house import MODULES, PATHS, package_of
from support.places import ROOT


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_is_documented(module: str) -> None:
    loaded = importlib.import_module(f"langneurons.{module}")
    assert loaded.__doc__
    for name, thing in vars(loaded).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != loaded.__name__:
            continue
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert thing.__doc__, f"{module}.{name} has no docstring"


def test_every_module_is_on_the_page_of_its_package() -> None:
    """And commands are not: they are documented by `--help` and a page per stage."""
    for module in MODULES:
        page = ROOT / "docs" / "reference" / f"{package_of(module)}.md"
        wanted = module not in ("cli", "console") and not module.endswith(".commands")
        if page.stem != "cli":
            heading = f"::: langneurons.{module}\n"
            assert (heading in page.read_text("utf-8")) == wanted, module


def test_every_module_is_in_the_tree() -> None:
    tree = (ROOT / "docs" / "design.md").read_text("utf-8").partition("```\n")[2]
    names = re.findall(r"^ *(\S+\.py) ", tree, re.M)
    assert sorted(names) == sorted(path.name for path in PATHS.values() if path.stem != "__init__")


@pytest.mark.parametrize("module", ["langneurons", "langneurons.cli"])
def test_importing_is_light(module: str) -> None:
    heavy = "torch transformers trl peft datasets vl_convert pyarrow matplotlib pandas safetensors"
    heavy += " numpy"
    code = f"import sys, {module}; print([m for m in {heavy.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
