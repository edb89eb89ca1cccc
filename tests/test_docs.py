"""The commands that the documentation tells people to run are commands that there are."""

import re
import shlex
from pathlib import Path

import pytest

from langneurons.cli import app
from support.places import ROOT

PAGES = [ROOT / "docs" / "paper-run.md", ROOT / "docs" / "paper.md"]


def commands(page: Path) -> list[list[str]]:
    """Words of each command of ours in the page's code, without what starts it."""
    blocks = re.findall(r"^```\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    ours = [
        re.split(r"(?:^|-m )langneurons ", line, maxsplit=1) for line in lines if "#" not in line
    ]
    return [shlex.split(parts[1]) for parts in ours if len(parts) == 2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_a_page(page: Path) -> None:
    found = commands(page)
    assert len(found) > 2
    for words in found:
        app.parse_args(words, exit_on_error=False, print_error=False)
