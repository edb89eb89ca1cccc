"""The house: packages import one way, and nothing that reads texts, counts or pages loads torch."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from support.house import MODULES, PATHS, SOURCE, package_of

FLOORS: tuple[tuple[str, ...], ...] = (
    ("root",),
    ("texts",),
    ("model",),
    ("neurons",),
    ("silencing", "align", "meaning"),
    ("ask",),
    ("effects", "steering"),
    ("compare",),
    ("sweep",),
    ("report",),
    ("study",),
    ("cli",),
)
"""Packages from the ground up; those of one floor do not import each other."""

TORCH = (
    "model",
    "neurons.tally",
    "neurons.record",
    "neurons.value_sums",
    "ask.local",
    "ask.draws",
    "ask.choices",
    "silencing.perplexity",
    "effects.first_order",
    "effects.mediate",
    "effects.passes",
    "effects.scaling",
    "meaning.lens",
    "meaning.pooled",
    "silencing.sinks",
    "align",
)
"""Where torch may be imported at the top of a module."""


def imported(module: str) -> set[str]:
    """Modules of langneurons that a module imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(PATHS[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("langneurons.") for alias in node.names), module
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: import by full name, not relatively"
            if not node.module or node.module.partition(".")[0] != "langneurons":
                continue
            base = node.module.removeprefix("langneurons").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                found.add(inner if inner in PATHS else base)
    return found - {""}


def test_every_package_has_a_floor() -> None:
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders | {"root", "cli"} == {name for floor in FLOORS for name in floor}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    own = package_of(module)
    for other in imported(module):
        theirs = package_of(other)
        assert theirs == own or floor[theirs] < floor[own], f"{module} imports {other}"


def test_no_circles_inside_a_package() -> None:
    try:
        TopologicalSorter({module: imported(module) for module in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(str(error))


def test_only_the_public_list_is_in_the_root_itself() -> None:
    """Nothing inside imports names from the package's own `__init__`, but the version."""
    for module, path in PATHS.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "langneurons":
                names = {alias.name for alias in node.names}
                assert all(name in PATHS or name == "__version__" for name in names), module


def test_only_commands_know_the_command_line() -> None:
    """cyclopts is imported by commands, console and cli; commands only by cli and the study that
    runs them."""
    for module, path in PATHS.items():
        text = path.read_text("utf-8")
        if module.rpartition(".")[2] not in ("commands", "console", "cli"):
            assert not re.search(r"^\s*(from|import) cyclopts", text, re.M), module
        if package_of(module) not in ("cli", "study"):
            assert not [name for name in imported(module) if name.endswith(".commands")], module


def test_torch_is_imported_where_tensors_are() -> None:
    for module, path in PATHS.items():
        if re.search(r"^(from|import) (torch|transformers)", path.read_text("utf-8"), re.M):
            assert module.startswith(TORCH), module


@pytest.mark.parametrize("package", ["texts", "compare", "sweep", "report", "study"])
def test_importing_loads_no_torch(package: str) -> None:
    modules = [module for module in MODULES if package_of(module) == package]
    code = (
        f"import sys, importlib; [importlib.import_module('langneurons.' + m) for m in {modules!r}]"
    )
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_only_artifacts_touches_a_result() -> None:
    """Nothing else opens files for writing, or imports the libraries that store results."""
    storing = r"write_text|write_bytes|save_file|write_table|read_table|safe_open"
    for module, path in PATHS.items():
        if module not in ("artifacts", "resume"):
            assert not re.search(storing, path.read_text("utf-8")), module
