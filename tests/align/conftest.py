"""A tiny model to align."""

from pathlib import Path

import pytest

from support import families


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny model with random weights."""
    return families.save("llama", tmp_path_factory.mktemp("llama"))
