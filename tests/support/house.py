"""The modules of langneurons by name, and which package each is in."""

from pathlib import Path

from support.places import ROOT

SOURCE = ROOT / "src" / "langneurons"


def name_of(path: Path) -> str:
    """`neurons.table` of src/langneurons/neurons/table.py; `neurons` of its __init__."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


PATHS = {name_of(path): path for path in sorted(SOURCE.rglob("*.py")) if path.name != "__main__.py"}
MODULES = sorted(name for name in PATHS if name)


def package_of(module: str) -> str:
    if module == "cli":
        return "cli"
    first = module.partition(".")[0]
    return first if (SOURCE / first).is_dir() else "root"
