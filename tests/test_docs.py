"""The commands that the documentation tells people to run are commands that there are."""

import re
import shlex
from pathlib import Path

import pytest

from langneurons.cli import COMMANDS, app
from support.places import ROOT

PAGE_OF = {"run": "study", "merge": "record"}
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


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_page_of_a_command_names_its_options(command: str) -> None:
    """All of them, in the lines that say how it is used, and none that it has not."""
    page = ROOT / "docs" / f"{PAGE_OF.get(command, command)}.md"
    usage = re.findall(
        rf"^langneurons {command} .*--out .*\n(?: {{4}}.*\n)*|^langneurons {command} MODEL \[.*\n",
        page.read_text("utf-8"),
        re.M,
    )
    said = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(usage)))
    options = [set(option.names) for option in app[command].assemble_argument_collection()]
    named = [names for names in options if any(name.startswith("-") for name in names)]
    assert [names for names in named if not names & said] == []
    assert said - set().union(*named) == set()
