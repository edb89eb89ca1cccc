"""Servers on loopback that answer as a test says, well-behaved and not."""

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langneurons.ask.engine import Request, seed_of
from langneurons.ask.server import Server
from langneurons.config import SampleConfig

CONFIG = SampleConfig(n=4, max_new_tokens=20, stop=("###",))
KEY = "sk-secret-123"
ASKED = [
    Request(f"prompt {q}", seed_of(0, f"q{q}", "en", i)) for q in range(5) for i in range(CONFIG.n)
]


class Replies(list[Any]):
    """What a server says one time after the other."""


class Served:
    """A server in a thread that answers as `answer` says, and what it was asked.

    It says of itself what `pages` holds, path -> reply.
    """

    def __init__(
        self,
        answer: Callable[["Served", dict[str, Any], int], Any],
        pages: Mapping[str, Any] | None = None,
    ) -> None:
        self.pages = dict(pages or {})
        self.looked: list[str] = []
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
                    with served.lock:  # before the reply: the next request may come at once
                        served.now -= 1
                self.reply(said)

            def do_GET(self) -> None:
                served.looked.append(self.path)
                page = served.pages.get(self.path, (404, {}, {"detail": "Not Found"}))
                self.reply(page.pop(0) if isinstance(page, Replies) else page)

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


def texts(body: dict[str, Any], n: int, finish: str | None = "stop") -> dict[str, Any]:
    choices = [
        {"text": f"{body['prompt']} {body.get('seed')} {i}###more", "finish_reason": finish}
        for i in range(n)
    ]
    return {"model": "served-model", "choices": choices}


def good(_: Served, body: dict[str, Any], __: int) -> Any:
    """Answer as a server should."""
    return texts(body, body["n"])


def everything(server: Server, config: SampleConfig = CONFIG) -> list[str]:
    """All texts, in order; each is there once and belongs to its prompt."""
    found = sorted(server.complete(ASKED, config))
    assert [one.place for one in found] == list(range(len(ASKED)))
    assert all(
        one.text.startswith(f"{asked.prompt} ") for one, asked in zip(found, ASKED, strict=True)
    )
    return [one.text for one in found]
