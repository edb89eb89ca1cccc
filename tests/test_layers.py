"""Imports go strictly downwards: a module imports only from lower layers. The table is the one in docs/design.md."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "langneurons"


def layer_table() -> dict[str, int]:
    rows = re.findall(r"^\| (\d+)[^|]*\| ([^|]+)\|", (ROOT / "docs" / "design.md").read_text("utf-8"), re.M)
    return {name: int(layer) for layer, names in rows for name in re.findall(r"`(\w+)`", names)}


def imported(path: Path) -> set[str]:
    """Modules of langneurons that a file imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("langneurons.")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: import by full name, not relatively"
            if node.module == "langneurons":
                found |= {alias.name for alias in node.names if alias.name != "__version__"}
            elif node.module and node.module.startswith("langneurons."):
                found.add(node.module.split(".")[1])
    return found


MODULES = sorted(path.stem for path in SOURCE.glob("*.py") if not path.stem.startswith("__"))


def test_every_module_has_a_layer_and_every_layer_its_modules() -> None:
    assert sorted(layer_table()) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    layers = layer_table()
    up = {name for name in imported(SOURCE / f"{module}.py") if layers[name] >= layers[module]}
    assert not up, f"{module} (layer {layers[module]}) imports {up}"


def test_only_artifacts_touches_a_stage_folder() -> None:
    """Nothing else opens files for writing, reads manifests, or imports the libraries that store results."""
    for module in MODULES:
        text = (SOURCE / f"{module}.py").read_text("utf-8")
        if module != "artifacts":
            assert not re.search(r"write_text|write_bytes|save_file|write_table|read_table|safe_open", text), module


def test_no_module_is_two_ideas() -> None:
    long = {m: n for m in MODULES if (n := len((SOURCE / f"{m}.py").read_text("utf-8").splitlines())) > 350}
    assert not long
