"""Server: completions from any OpenAI-compatible server (vLLM, SGLang, TGI, llama.cpp, transformers serve), by URL.

Only `/v1/completions` is used, with the exact prompt text, so that nothing depends on a chat
template the server holds. What servers do wrong is counted and asked again: fewer texts than asked
for, throttling, dropped connections, replies cut short. Plain HTTP is all this needs, so no client
library does it.
"""

import json
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from langneurons.ask import engine as completions
from langneurons.ask.engine import Completion, cut
from langneurons.config import SampleConfig
from langneurons.errors import InputError, ServerError

KEYS = ("LANGNEURONS_API_KEY", "OPENAI_API_KEY")
"""Variables of the environment that a key is taken from, the first that is set."""

_FINISHED = {"stop": "stop", "eos_token": "stop", "stop_sequence": "stop", "length": "length"}
"""Reasons to finish that servers give for a whole text; any other text is asked for again."""

_AGAIN = {408: "timed out", 409: "busy", 425: "busy", 429: "throttled"}
_BROKEN = (TimeoutError, ConnectionResetError, BrokenPipeError)
_LONGEST_WAIT = 60.0
_FIRST = 30.0  # seconds that a server may fail before it has answered once


class Server:
    """The engine that asks a server; see `completions.Engine`."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        timeout: float = 600.0,
        patience: float = 600.0,
    ) -> None:
        """Use this server; nothing is asked yet.

        Args:
            url: such as http://localhost:8000/v1.
            model: the model's name there.
            key: its key, never shown or kept; default: of the environment, see `KEYS`.
            timeout: seconds to wait for one reply.
            patience: seconds after which a request that keeps failing is given up.

        Raises:
            InputError: for a URL that is none, or holds a password.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{url!r} is no URL of a server; give it as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            raise InputError(
                f"put no key into the URL; {' or '.join(KEYS)} in the environment is where it is looked for"
            )
        path = parts.path.rstrip("/").removesuffix("/completions") or "/v1"
        self.url, self.model = f"{parts.scheme}://{parts.netloc}{path}", model
        self.timeout, self.patience = timeout, patience
        self._key = key or next(filter(None, map(os.environ.get, KEYS)), None)
        self._opener = build_opener(_NoRedirect)
        self._seen: Counter[str] = Counter()
        self._models: set[str] = set()
        self._lock = threading.Lock()

    @property
    def facts(self) -> dict[str, Any]:
        """What happened so far: requests, texts asked for again and why, the names the server gave its model."""
        with self._lock:
            return {"server": {**self._seen, "models": sorted(self._models)}}

    def complete(
        self,
        requests: Sequence[completions.Request],
        config: SampleConfig,
        done: Collection[int] = (),
    ) -> Iterator[Completion]:
        """Completions as they arrive; see `completions.Engine`. All to one prompt are asked for at once.

        Raises:
            InputError: when the server refuses what it is asked, or the key, or knows no such
                model.
            ServerError: when it is not there or does not recover. What arrived until then was given
                before.
        """
        wanted: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            if place not in done:
                wanted.setdefault(request.prompt, []).append(place)
        jobs: queue.SimpleQueue[tuple[str, list[int]]] = queue.SimpleQueue()
        for job in wanted.items():
            jobs.put(job)
        out: queue.SimpleQueue[Completion | Exception | None] = queue.SimpleQueue()
        stop = threading.Event()

        def work() -> None:
            try:
                while not stop.is_set():
                    prompt, places = jobs.get_nowait()
                    self._job(prompt, places, requests, config, out, stop)
            except queue.Empty:
                pass
            except Exception as error:  # noqa: BLE001 - raised again where it is read
                stop.set()
                out.put(error)
            finally:
                out.put(None)

        workers = min(config.concurrency, len(wanted))
        for _ in range(workers):
            threading.Thread(target=work, daemon=True).start()
        failed: Exception | None = None
        try:
            while workers:
                got = out.get()
                if got is None:
                    workers -= 1
                elif isinstance(got, Exception):
                    failed = failed or got
                else:
                    yield got
        finally:
            stop.set()
        if failed:
            raise failed

    def _job(
        self,
        prompt: str,
        places: list[int],
        requests: Sequence[completions.Request],
        config: SampleConfig,
        out: "queue.SimpleQueue[Completion | Exception | None]",
        stop: threading.Event,
    ) -> None:
        """Ask for all completions of one prompt until they are there."""
        missing, since, wait = list(places), time.monotonic(), 0.5
        while missing and not stop.is_set():
            reply = self._post(self._body(prompt, len(missing), requests[missing[0]].seed, config))
            if isinstance(reply, _Failed):
                self._count(f"{reply.kind}, asked again")
                if time.monotonic() + (reply.wait or wait) - since > self._limit:
                    raise ServerError(
                        f"{self.url} gives no answer: {reply.why}; see to it and run the same command again, which "
                        "goes on where it was"
                    )
                stop.wait(min(_LONGEST_WAIT, wait) if reply.wait is None else reply.wait)
                wait *= 2
                continue
            whole = [choice for choice in map(_choice, reply) if choice][: len(missing)]
            for text, finish in whole:
                text, stopped = cut(text, config.stop)
                out.put(Completion(missing.pop(0), text, "stop" if stopped else finish))
            if missing:
                self._count("fewer texts than asked for, asked again")
            if whole:
                since, wait = time.monotonic(), 0.5
            elif time.monotonic() + wait - since > self._limit:
                raise ServerError(
                    f"{self.url} replies, but with no whole text; is {self.model} a model that completes?"
                )
            else:
                stop.wait(min(_LONGEST_WAIT, wait))
                wait *= 2

    @property
    def _limit(self) -> float:
        return self.patience if self._models else min(self.patience, _FIRST)

    def _body(self, prompt: str, n: int, seed: int, config: SampleConfig) -> dict[str, Any]:
        body = {
            "model": self.model,
            "prompt": prompt,
            "n": n,
            "max_tokens": config.max_new_tokens,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "seed": seed % 2**31,
        }
        return (
            body
            | ({"stop": list(config.stop)} if config.stop else {})
            | ({"top_k": config.top_k} if config.top_k else {})
        )

    def _post(self, body: dict[str, Any]) -> "list[Any] | _Failed":
        """What the server says to one request: its choices, or why there are none and it may be asked again."""
        headers = {"Content-Type": "application/json", "User-Agent": "langneurons"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._count("requests")
        request = Request(f"{self.url}/completions", json.dumps(body).encode(), headers)  # noqa: S310 - http(s) only
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                reply = json.loads(response.read())
            choices = reply["choices"]
            if not isinstance(choices, list):
                raise TypeError
        except HTTPError as error:
            return self._refused(error)
        except (URLError, OSError, HTTPException) as error:
            said = getattr(error, "reason", None) or str(error) or type(error).__name__
            if not self._models and isinstance(said, OSError) and not isinstance(said, _BROKEN):
                raise ServerError(
                    f"no server at {self.url} ({said}); start one there, or correct --engine"
                ) from None
            return _Failed("dropped", f"the connection broke ({said})")
        except (ValueError, KeyError, TypeError):
            return _Failed("broken", "its reply is no list of completions")
        with self._lock:
            self._models.add(str(reply.get("model", "")))
        return choices

    def _refused(self, error: HTTPError) -> "_Failed":
        """Why a request failed that may be asked again.

        Raises:
            InputError: when asking again would not help.
        """
        with error:
            try:
                said = " ".join(error.read(2000).decode("utf-8", "replace").split())[:300]
            except (OSError, HTTPException):
                said = ""
        said = said.replace(self._key, "***") if self._key else said
        status = f"{error.code} {error.reason}"
        if error.code in _AGAIN or error.code >= 500:
            wait = _retry_after(error.headers)
            return _Failed(_AGAIN.get(error.code, "failing"), f"{status} {said}".strip(), wait)
        if error.code in (401, 403):
            why = "does not take the key" if self._key else "wants a key"
            raise InputError(
                f"{self.url} {why} ({status}); set {' or '.join(KEYS)} in the environment"
            ) from None
        if error.code == 404:
            raise InputError(
                f"{self.url} has no completions, or none by {self.model} ({status}): {said}"
            ) from None
        raise InputError(f"{self.url} refuses the request ({status}): {said}") from None

    def _count(self, what: str) -> None:
        with self._lock:
            self._seen[what] += 1


class _Failed(NamedTuple):
    """Why there is no reply: in a word, in a sentence, and how many seconds the server asked to wait."""

    kind: str
    why: str
    wait: float | None = None


class _NoRedirect(HTTPRedirectHandler):
    """Never follow a redirect: the key would go wherever it leads."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _choice(choice: Any) -> tuple[str, Any] | None:
    """Text and finish of a choice; None where it is no whole text."""
    if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
        return None
    finish = _FINISHED.get(choice.get("finish_reason") or "")
    return (choice["text"], finish) if finish else None


def _retry_after(headers: Message) -> float | None:
    """Seconds that the header Retry-After asks for, as a number or a date; at most a minute."""
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(0.0, seconds), _LONGEST_WAIT)
