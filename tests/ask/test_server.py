"""The engine that asks a server: some on loopback, and one that is real."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from langneurons.ask.local import InProcess
from langneurons.ask.sample import sample
from langneurons.ask.server import Server
from langneurons.config import SampleConfig
from langneurons.errors import ServerError
from langneurons.model.loading import load
from langneurons.resume import State
from langneurons.texts.responses import Question
from support.served import ASKED, CONFIG, KEY, Served, everything, good, texts


def test_a_good_server_is_asked_once_a_prompt(serve: Any) -> None:
    served = serve(good)
    server = Server(served.url, "mine", key=KEY)
    found = everything(server)
    assert not any("###" in text for text in found)
    assert len(served.bodies) == 5
    assert {body["prompt"] for body in served.bodies} == {asked.prompt for asked in ASKED}
    assert len({body["seed"] for body in served.bodies}) == 5
    first = served.bodies[0]
    assert (first["model"], first["n"], first["max_tokens"], first["temperature"]) == (
        "mine",
        4,
        20,
        0.8,
    )
    assert first["stop"] == ["###"]
    assert served.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert server.facts == {"server": {"requests": 5, "models": ["served-model"]}}


def test_a_server_that_ignores_n_is_asked_again_with_other_seeds(serve: Any) -> None:
    served = serve(lambda _, body, __: texts(body, 1))
    server = Server(served.url, "mine")
    assert len(set(everything(server))) == len(ASKED)
    assert len({body["seed"] for body in served.bodies}) == len(ASKED) == len(served.bodies)
    assert server.facts["server"]["fewer texts than asked for, asked again"] == 15


def test_a_server_that_gives_too_many(serve: Any) -> None:
    everything(Server(serve(lambda _, body, __: texts(body, body["n"] + 3)).url, "mine"))


def test_texts_that_are_not_whole_are_asked_again(serve: Any) -> None:
    def answer(served: Served, body: dict[str, Any], number: int) -> Any:
        return (
            texts(body, body["n"], ["abort", None, "error"][number % 3])
            if number < 3
            else good(served, body, number)
        )

    everything(Server(serve(answer).url, "mine"))


def test_requests_under_way_are_bounded(serve: Any) -> None:
    def answer(served: Served, body: dict[str, Any], number: int) -> Any:
        time.sleep(0.05)
        return good(served, body, number)

    served = serve(answer)
    everything(Server(served.url, "mine"), SampleConfig(**{**vars(CONFIG), "concurrency": 2}))
    assert served.most == 2


def test_what_is_done_is_not_asked(serve: Any) -> None:
    served = serve(good)
    found = list(Server(served.url, "mine").complete(ASKED, CONFIG, done={*range(8), 9}))
    assert sorted(one.place for one in found) == [8, *range(10, 20)]
    assert sorted(body["n"] for body in served.bodies) == [3, 4, 4]


def test_a_server_that_dies_loses_nothing(serve: Any, tmp_path: Path) -> None:
    """Four prompts are answered, then nothing; the same command then asks for the last one only."""

    def answer(served: Served, body: dict[str, Any], number: int) -> Any:
        return good(served, body, number) if number < 4 else "drop"

    questions = [Question(f"q{i}", "en", f"How much is {i} and {i}?", 2 * i) for i in range(5)]
    config = SampleConfig(n=2, concurrency=1)
    state = State(tmp_path / "out", {}, {})
    with pytest.raises(ServerError, match="gives no answer"):
        sample(
            Server(serve(answer).url, "mine", patience=0.2),
            questions,
            config,
            template="plain",
            state=state,
        )
    served = serve(good)
    again = sample(Server(served.url, "mine"), questions, config, template="plain", state=state)
    assert len(served.bodies) == 1
    whole = sample(Server(serve(good).url, "mine"), questions, config, template="plain")
    assert again == whole


@pytest.fixture(scope="module")
def real(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of `transformers serve` with a tiny model."""
    pytest.importorskip("uvicorn", reason="transformers serve needs transformers[serving]")
    pytest.importorskip("fastapi")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        Path(sys.executable).parent / "transformers",
        "serve",
        model,
        "--device",
        "cpu",
        "--port",
        str(port),
    ]
    with (tmp_path_factory.mktemp("serve") / "log").open("w+") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
        try:
            for _ in range(600):
                assert process.poll() is None, Path(log.name).read_text("utf-8")
                try:
                    urlopen(f"http://localhost:{port}/health", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.3)
            yield f"http://localhost:{port}/v1"
        finally:
            process.kill()
            process.wait()


def test_a_real_server(real: str, model: Path) -> None:
    """It writes what the model writes in process, and ignores n."""
    here = InProcess(load(model))
    greedy = SampleConfig(n=1, temperature=0, max_new_tokens=12)
    server = Server(real, str(model))
    assert sorted(server.complete(ASKED[::4], greedy)) == sorted(here.complete(ASKED[::4], greedy))
    everyone = list(server.complete(ASKED[:8], SampleConfig(n=4, max_new_tokens=12)))
    assert sorted(one.place for one in everyone) == list(range(8))
    assert server.facts["server"]["fewer texts than asked for, asked again"] == 6
