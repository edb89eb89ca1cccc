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

from langneurons.ask import transport
from langneurons.ask.engine import Request
from langneurons.ask.local import InProcess
from langneurons.ask.sample import sample, sampled
from langneurons.ask.server import NEUTRAL, Server
from langneurons.config import SampleConfig
from langneurons.errors import InputError, ServerError
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


SLOW = SampleConfig(n=4, max_new_tokens=20, stop=("###",), concurrency=2)


def refusing(says: str, status: int, when: Any) -> Any:
    """A server that refuses what `when` says, and else is good."""

    def answer(served: Served, body: dict[str, Any], number: int) -> Any:
        if when(body):
            return (status, {}, {"error": {"message": says}})
        return good(served, body, number)

    return answer


@pytest.mark.parametrize("status", [400, 422, 500, 501])
def test_a_server_that_gives_one_text_at_a_time(status: int, serve: Any) -> None:
    served = serve(refusing("Only one completion choice is allowed", status, lambda b: b["n"] > 1))
    server = Server(served.url, "mine", patience=2)
    assert len(set(everything(server, SLOW))) == len(ASKED)
    assert server.facts["server"]["asked for one text at a time"]
    assert sum(body["n"] > 1 for body in served.bodies) <= 2  # as many as are under way at once
    assert served.times[-1] - served.times[0] < 2


@pytest.mark.parametrize(
    ("says", "taken"),
    [
        ("Seeds are not supported by this model (seed)", {"seed"}),
        (
            "Unexpected fields in the request: {'min_p', 'repeat_penalty'}",
            {"min_p", "repeat_penalty"},
        ),
        ("Bad Request", set(NEUTRAL)),
    ],
)
def test_settings_a_server_does_not_take(says: str, taken: set[str], serve: Any) -> None:
    """They are left out, which is said; what it takes is still sent."""
    served = serve(refusing(says, 400, lambda body: taken & body.keys()))
    server = Server(served.url, "mine")
    found = list(server.complete(ASKED, SampleConfig(n=4, seed=1, concurrency=1, top_p=0.5)))
    assert len(found) == len(ASKED)
    assert server.facts["server"]["left out of the requests"] == sorted(taken)
    assert {"top_p", "temperature", "max_tokens"} <= served.bodies[-1].keys()
    assert (({"seed"} | NEUTRAL.keys()) - taken) <= served.bodies[-1].keys()


@pytest.mark.parametrize(
    ("status", "says", "name"),
    [
        (400, "Unsupported parameter: n", "n"),
        (422, "Unexpected fields: {'n'}", "n"),
        (500, "CPU Generator does not use offset, so no seed", "seed"),
    ],
)
def test_what_is_not_taken_at_all(status: int, says: str, name: str, serve: Any) -> None:
    def answer(_: Served, body: dict[str, Any], __: int) -> Any:
        return (status, {}, {"error": says}) if name in body else texts(body, body.get("n", 1))

    served = serve(answer)
    server = Server(served.url, "mine")
    everything(server, SampleConfig(**{**vars(CONFIG), "concurrency": 1}))
    assert server.facts["server"]["left out of the requests"] == [name]
    assert sum(name in body for body in served.bodies) <= 2


def test_an_error_that_repeats_what_was_asked_leaves_nothing_out(serve: Any) -> None:
    def answer(served: Served, body: dict[str, Any], number: int) -> Any:
        return (500, {}, {"error": body}) if number == 0 else good(served, body, number)

    server = Server(serve(answer).url, "mine")
    everything(server)
    assert "left out of the requests" not in server.facts["server"]


def test_a_setting_that_was_asked_for_is_not_left_out(serve: Any) -> None:
    served = serve(refusing("unknown argument top_k", 400, lambda body: "top_k" in body))
    with pytest.raises(InputError, match=r"does not take top-k .*; leave --top-k out"):
        list(Server(served.url, "mine").complete(ASKED, SampleConfig(n=4, top_k=5)))


def test_seeds_can_be_left_out(serve: Any) -> None:
    served = serve(good)
    list(Server(served.url, "mine", seeds=False).complete(ASKED, CONFIG))
    list(Server(served.url, "mine").complete(ASKED[::4], SampleConfig(n=1, temperature=0)))
    assert not any("seed" in body for body in served.bodies)


def test_what_changes_nothing_is_said_to_every_server(serve: Any) -> None:
    """Servers have defaults of their own, and those of the model's generation config."""
    served = serve(good)
    everything(Server(served.url, "mine"))
    assert served.bodies[0].items() >= NEUTRAL.items()
    assert served.bodies[0]["stream"] is False
    list(Server(served.url, "mine").complete(ASKED, SampleConfig(n=4, top_k=7)))
    assert served.bodies[-1]["top_k"] == 7


@pytest.mark.parametrize("finish", ["content_filter", "tool_calls", None])
def test_finishes_are_taken_as_they_are(finish: str | None, serve: Any) -> None:
    served = serve(lambda _, body, __: texts(body, body["n"], finish))
    found = list(Server(served.url, "mine").complete(ASKED, SampleConfig(n=4)))
    assert {one.finish for one in found} == {finish or "no reason"}
    assert len(served.bodies) == 5


def test_a_text_that_is_always_broken_off_is_taken_in_the_end(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_FIRST_WAIT", 0.01)

    def answer(_: Served, body: dict[str, Any], __: int) -> Any:
        return texts(body, body["n"], "error" if body["prompt"] == "prompt 2" else "stop")

    found = sorted(Server(serve(answer).url, "mine").complete(ASKED, SampleConfig(n=4)))
    assert [one.finish for one in found] == ["stop"] * 8 + ["error"] * 4 + ["stop"] * 8


@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_prompt_beyond_the_context_stops_no_other(status: int, serve: Any) -> None:
    says = "This model's maximum context length is 8 tokens"
    served = serve(refusing(says, status, lambda body: body["prompt"] == "prompt 1"))
    found = sorted(Server(served.url, "mine", patience=2).complete(ASKED, CONFIG))
    assert [one.finish for one in found] == ["stop"] * 4 + ["none"] * 4 + ["stop"] * 12
    assert [one.text for one in found[4:8]] == [""] * 4


@pytest.mark.parametrize(
    ("says", "most"),
    [
        ("maximum context length is 512 tokens; you requested {total} ({prompt} + {asked})", 12),
        ("the request exceeds the available context size", 10),
    ],
)
def test_a_prompt_that_leaves_some_room_gets_it(says: str, most: int, serve: Any) -> None:
    """As in process: 500 of 512 tokens are taken, so 12 are left; unsaid, a half is tried."""

    def answer(served: Served, body: dict[str, Any], number: int) -> Any:
        asked = body["max_tokens"]
        if 500 + asked > 512:
            said = says.format(total=500 + asked, prompt=500, asked=asked)
            return (400, {}, {"message": said, "code": 400})
        return good(served, body, number)

    served = serve(answer)
    found = list(Server(served.url, "mine").complete(ASKED, CONFIG))
    assert {one.finish for one in found} == {"stop"}
    assert served.bodies[-1]["max_tokens"] == most


@pytest.mark.parametrize(
    ("bad", "finish"),
    [
        ((400, {}, {"error": {"code": "content_filter"}}), "content_filter"),
        ((400, {}, {"error": "cannot encode this"}), "refused"),
        ((500, {}, b"engine died"), "failed"),
        ("drop", "failed"),
        (b"<html>", "failed"),
        ({"error": {"message": "no"}}, "failed"),
        ({"choices": []}, "no text"),
        ({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}, "no text"),
    ],
)
def test_one_bad_prompt_stops_no_other(
    bad: Any, finish: str, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it comes first, or is all that is left to do."""
    monkeypatch.setattr(transport, "_FIRST_WAIT", 0.01)

    def answer(served: Served, body: dict[str, Any], number: int) -> Any:
        if body["prompt"] == "prompt 0":
            return bad
        return texts(body, body["n"])

    config = SampleConfig(n=4, concurrency=1)
    found = sorted(Server(serve(answer).url, "mine").complete(ASKED, config))
    assert [one.finish for one in found] == [finish] * 4 + ["stop"] * 16
    left = Server(serve(answer).url, "mine").complete(ASKED, config, done=range(4, 20))
    assert [one.finish for one in left] == [finish] * 4


def test_a_server_that_refuses_all_is_left_soon(serve: Any) -> None:
    asked = [Request(f"prompt {i}", i) for i in range(500)]
    served = serve(lambda *_: (400, {}, {"error": "no"}))
    with pytest.raises(InputError, match="refuses the request"):
        list(Server(served.url, "mine").complete(asked, SampleConfig(n=1, temperature=0)))
    assert len(served.bodies) < 250


def test_many_refused_prompts_on_end_stop_no_other(serve: Any) -> None:
    def answer(_: Served, body: dict[str, Any], __: int) -> Any:
        if 10 <= int(body["prompt"].split()[1]) < 110:
            return (400, {}, {"error": "filtered"})
        return texts(body, body["n"])

    asked = [Request(f"prompt {i}", i) for i in range(120)]
    config = SampleConfig(n=1, temperature=0, concurrency=2)
    found = list(Server(serve(answer).url, "mine").complete(asked, config))
    assert [one.finish for one in sorted(found)] == ["stop"] * 10 + ["refused"] * 100 + [
        "stop"
    ] * 10


def test_what_is_not_answered_is_named(serve: Any) -> None:
    says = "prompt is too long: 700 tokens > 512 maximum"
    served = serve(refusing(says, 400, lambda body: body["prompt"].startswith("How much is 3")))
    questions = [Question(f"q{i}", "en", f"How much is {i} and {i}?", 2 * i) for i in range(5)]
    responses, facts = sampled(
        Server(served.url, "mine"), questions, SampleConfig(n=2), template="plain"
    )
    assert [response.response for response in responses[6:8]] == ["", ""]
    assert facts["unanswered"] == [
        {"lang": "en", "question_id": "q3", "finish": "none", "responses": 2}
    ]
    assert facts["languages"][0]["no_room"] == 2


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
