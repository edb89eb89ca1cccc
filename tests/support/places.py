"""Where the project and the real data are."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


SHARED = Path(os.environ.get("LANGNEURONS_DATA", ROOT.parent / "shared" / "data"))


def data(*parts: str) -> Path:
    """A folder or file of the real data, or a skip that says what is missing."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(
            f"real data {'/'.join(parts)} is not on this machine (LANGNEURONS_DATA names its "
            "folder)"
        )
    return path
