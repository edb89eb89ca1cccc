"""Fixtures that tests of several packages need."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.command import Outcome, run_here, run_process
from support.places import ROOT, data


@pytest.fixture(scope="session")
def langneurons() -> Callable[..., Outcome]:
    """Run the command line in this process."""
    return run_here


@pytest.fixture(scope="session")
def process() -> Callable[..., Outcome]:
    """Run the command line in a process of its own."""
    return run_process


@pytest.fixture(scope="session")
def released() -> Path:
    """Folder of the counts the paper's authors released."""
    return data("njunlp_release", "activations", "mgsm")


@pytest.fixture(scope="session")
def example() -> Any:
    """The module examples/made_up_counts.py."""
    path = ROOT / "examples" / "made_up_counts.py"
    spec = importlib.util.spec_from_file_location("made_up_counts", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what tests had to tell besides that they passed: how many kills came in time."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "kills":
                terminalreporter.write_line(value)
