"""Fixtures of the tests of asking."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support import families
from support.served import Served


@pytest.fixture(autouse=True)
def _without_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are no folder are not looked for on the Hub, where that takes a minute each."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Start a server that answers as a function says."""
    running: list[Served] = []

    def start(answer: Callable[..., Any], pages: Mapping[str, Any] | None = None) -> Served:
        running.append(Served(answer, pages))
        return running[-1]

    yield start
    for served in running:
        served.server.shutdown()
        served.server.server_close()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Llama with a byte-level tokenizer."""
    return families.save("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sums in English and the same in Chinese."""
    file = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    rows = [
        {"id": f"q{i}", "lang": code, "question": f"{i} + {i}?", "answer": 2 * i}
        for code in ("en", "zh")
        for i in range(4)
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return file
