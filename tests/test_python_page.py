"""The page From Python, README's six lines and the list of names are what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import langneurons as ln
from support.places import ROOT

NAMES = [
    "Counts",
    "Losses",
    "Neurons",
    "Response",
    "check",
    "evaluate",
    "figures",
    "identify",
    "load",
    "load_result",
    "perplexity",
    "read_responses",
    "record",
    "sample",
    "silence",
    "steer",
]


def code_of(page: str) -> list[str]:
    """The Python of a page, block by block."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.M | re.S)


def test_the_names() -> None:
    assert sorted(ln.__all__) == NAMES
    assert set(NAMES) <= set(dir(ln))
    for name in NAMES:
        thing = getattr(ln, name)
        assert thing.__name__ == name
        assert thing.__doc__
    with pytest.raises(AttributeError, match="langneurons has no indentify; it has Counts"):
        ln.indentify  # noqa: B018 - ty: ignore


def test_names_are_loaded_when_they_are_used() -> None:
    code = "import sys, langneurons as ln; print('torch' in sys.modules, sorted(ln.__all__)[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "Counts"]


def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block after block, in one namespace; only the embedded questions are fewer."""
    monkeypatch.chdir(tmp_path)
    here: dict[str, object] = {}
    for block in code_of("docs/python.md"):
        exec(compile(block, "docs/python.md", "exec"), here)
    assert here["silenced"] != here["untouched"]
    assert len(here["frame"]) == len(here["neurons"])  # ty: ignore[invalid-argument-type]


def test_the_lines_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = ln.load("nano")
    responses = ln.sample(model, "nano", take=5, n=1, temperature=0, max_new_tokens=60)
    from langneurons.texts.rows import Responses

    Responses(responses).save("responses")
    (block,) = code_of("README.md")
    exec(compile(block, "README.md", "exec"), {})
