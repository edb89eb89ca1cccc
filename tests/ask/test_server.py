"""The engine that asks a server: real ones on loopback, well-behaved and not."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from langneurons.ask.engine import Request, seed_of
from langneurons.ask.local import InProcess
from langneurons.ask.sample import sample
from langneurons.ask.server import KEYS, Server
from langneurons.config import SampleConfig
from langneurons.errors import InputError, ServerError
from langneurons.resume import State
from langneurons.texts.responses import Question
from support import families

CONFIG = SampleConfig(n=4, max_new_tokens=20, stop=("###",))
KEY = "sk-secret-123"
ASKED = [
    Request(f"prompt {q}", seed_of(0, f"q{q}", "en", i)) for q in range(5) for i in range(CONFIG.n)
]


class Served:
    """A server in a thread that answers as `answer` says, and what it was asked."""

    def __init__(self, answer: Callable[["Served", dict[str, Any], int], Any]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.lock = threading.Lock()
        self.most = self.now = 0
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with served.lock:
                    number = len(served.bodies)
                    served.bodies.append(body)
                    served.headers.append(dict(self.headers))
                    served.times.append(time.monotonic())
                    served.now += 1
                    served.most = max(served.most, served.now)
                try:
                    said = answer(served, body, number)
                finally:
                    with (
                        served.lock
                    ):  # before the reply, after which the next request may come at once
                        served.now -= 1
                self.reply(said)

            def reply(self, what: Any) -> None:
                if what == "drop":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, headers, content = what if isinstance(what, tuple) else (200, {}, what)
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(raw)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def start(answer: Callable[..., Any]) -> Served:
        running.append(Served(answer))
        return running[-1]

    yield start
    for one in running:
        one.server.shutdown()
        one.server.server_close()


def texts(body: dict[str, Any], n: int, finish: str | None = "stop") -> dict[str, Any]:
    choices = [
        {"text": f"{body['prompt']} {body['seed']} {i}###more", "finish_reason": finish}
        for i in range(n)
    ]
    return {"model": "served-model", "choices": choices}


def good(_: Served, body: dict[str, Any], __: int) -> Any:
    return texts(body, body["n"])


def everything(server: Server, config: SampleConfig = CONFIG) -> list[str]:
    """All texts, in order; each is there once and belongs to its prompt."""
    found = sorted(server.complete(ASKED, config))
    assert [one.place for one in found] == list(range(len(ASKED)))
    assert all(
        one.text.startswith(f"{asked.prompt} ") for one, asked in zip(found, ASKED, strict=True)
    )
    return [one.text for one in found]


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


def test_throttling_is_waited_for(serve: Any) -> None:
    def answer(served: Served, body: dict[str, Any], number: int) -> Any:
        return (
            (429, {"Retry-After": "0.3"}, {"error": "slow down"})
            if number < 2
            else good(served, body, number)
        )

    served = serve(answer)
    server = Server(served.url, "mine")
    everything(server, SampleConfig(**{**vars(CONFIG), "concurrency": 1}))
    assert server.facts["server"]["throttled, asked again"] == 2
    assert served.times[1] - served.times[0] >= 0.3


def test_a_date_to_retry_after(serve: Any) -> None:
    def answer(served: Served, body: dict[str, Any], number: int) -> Any:
        past = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
        return (503, past, b"") if number == 0 else good(served, body, number)

    everything(Server(serve(answer).url, "mine"))


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ("drop", "dropped"),
        ((500, {}, b"oops"), "failing"),
        (b'{"choices": [{"te', "broken"),
        ((200, {"Content-Length": "1000"}, b'{"choices": []}'), "dropped"),
        ({"no": "choices"}, "broken"),
    ],
)
def test_what_breaks_once_is_asked_again(serve: Any, bad: Any, kind: str) -> None:
    def answer(served: Served, body: dict[str, Any], number: int) -> Any:
        return bad if number == 1 else good(served, body, number)

    server = Server(serve(answer).url, "mine", timeout=2)
    everything(server)
    assert server.facts["server"][f"{kind}, asked again"] == 1


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
    assert again.responses == whole.responses


def test_no_server_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ServerError, match="no server at"):
            everything(Server(url, "mine"))


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, "does not take the key"), (404, "none by mine"), (400, "refuses the request")],
)
def test_what_asking_again_would_not_mend(serve: Any, status: int, says: str) -> None:
    served = serve(lambda *_: (status, {}, f"you sent {KEY}".encode()))
    with pytest.raises(InputError, match=says) as caught:
        everything(Server(served.url, "mine", key=KEY))
    assert KEY not in str(caught.value)
    assert len(served.bodies) <= CONFIG.concurrency


def test_a_redirect_is_not_followed(serve: Any) -> None:
    other = serve(good)
    with pytest.raises(InputError, match="refuses the request"):
        everything(
            Server(serve(lambda *_: (307, {"Location": other.url}, b"")).url, "mine", key=KEY)
        )
    assert not other.bodies


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x", "http://user:pw@x/v1", "http://x/v1?key=1", "http://"]
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(InputError):
        Server(url, "mine")


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/completions"])
def test_urls_that_mean_the_same(path: str) -> None:
    assert Server(f"http://x:8{path}", "mine").url == "http://x:8/v1"


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    file = tmp_path / "questions.jsonl"
    rows = [
        {"id": f"q{i}", "lang": "en", "question": f"{i} + {i}?", "answer": 2 * i} for i in range(3)
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return file


def test_the_command_line_never_shows_or_keeps_the_key(
    serve: Any, questions: Path, tmp_path: Path, langneurons
) -> None:
    def answer(_: Served, body: dict[str, Any], __: int) -> Any:
        answer = 2 * int(body["prompt"].partition("Instruction:\n")[2][0])
        return {"model": "m", "choices": [{"text": f"It is {answer}.", "finish_reason": "stop"}]}

    served = serve(answer)
    words = (
        "sample",
        "mine",
        questions,
        "--engine",
        served.url,
        "-n",
        2,
        "--out",
        tmp_path / "out",
    )
    done = langneurons(*words, env={"LANGNEURONS_API_KEY": KEY})
    assert done.status == 0, done.err
    assert served.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in done.out + done.err
    assert not any(
        KEY.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()
    )
    rows = [
        json.loads(line)
        for line in (tmp_path / "out" / "responses.jsonl").read_text("utf-8").splitlines()
    ]
    assert [(row["question_id"], row["sample"], row["correct"]) for row in rows] == [
        (f"q{i}", j, True) for i in range(3) for j in range(2)
    ]
    facts = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))["facts"]
    assert facts["server"]["requests"] == 6
    again = langneurons(*words, "--json", env={"LANGNEURONS_API_KEY": KEY})
    assert again.json["model"]["id"] == "mine"
    assert KEY not in again.out + again.err
    refused = langneurons(
        *words[:-1], tmp_path / "other", "--silence", tmp_path, "--languages", "en"
    )
    assert refused.status == 2


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_the_command_line_with_a_wrong_key(
    command: str, serve: Any, questions: Path, tmp_path: Path, langneurons
) -> None:
    """The server says the key back; it is in no output and no file all the same, not even with the whole story."""
    served = serve(lambda *_: (401, {}, {"error": f"Incorrect API key provided: {KEY}"}))
    words = (
        command,
        "mine",
        questions,
        "--engine",
        served.url,
        "--out",
        tmp_path / "out",
        "--traceback",
        "--json",
    )
    done = langneurons(*words, env={"OPENAI_API_KEY": KEY})
    assert done.status == 1
    assert (
        f"{served.url}/v1 does not take the key (401 Unauthorized); set LANGNEURONS_API_KEY or"
        in done.err
    )
    assert KEY not in done.out + done.err
    assert [path.name for path in tmp_path.iterdir()] == ["questions.jsonl"]
    without = langneurons(*words[:-2], env=dict.fromkeys(KEYS, ""))
    assert without.status == 2
    assert "wants a key (401 Unauthorized); set LANGNEURONS_API_KEY or" in without.err
    assert without.err.count("\n") == 1


def test_the_command_line_on_a_wrong_url(questions: Path, tmp_path: Path, langneurons) -> None:
    for url in ("http://127.0.0.1:9", "nonsense"):
        done = langneurons("sample", "mine", questions, "--engine", url, "--out", tmp_path / "out")
        assert done.status == 2
        assert done.err.count("\n") == 1
        assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("llama", tmp_path_factory.mktemp("model"))


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
    tokenizer = AutoTokenizer.from_pretrained(model)
    here = InProcess(AutoModelForCausalLM.from_pretrained(model).eval(), tokenizer)
    greedy = SampleConfig(n=1, temperature=0, max_new_tokens=12)
    server = Server(real, str(model))
    assert sorted(server.complete(ASKED[::4], greedy)) == sorted(here.complete(ASKED[::4], greedy))
    everyone = list(server.complete(ASKED[:8], SampleConfig(n=4, max_new_tokens=12)))
    assert sorted(one.place for one in everyone) == list(range(8))
    assert server.facts["server"]["fewer texts than asked for, asked again"] == 6
