"""Server: the engine that asks any OpenAI-compatible server, by URL.

vLLM, SGLang, TGI, llama.cpp and transformers serve are such. Only `/v1/completions` is used, with
the exact prompt text, so that nothing depends on a chat template the server holds. Where fewer
whole texts come back than were asked for, the rest is asked for again. What goes over the wire, and
what becomes of a connection that breaks, is in `transport`.
"""

import json
import queue
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from langneurons.ask.engine import Completion, Finish, Request, until_stop
from langneurons.ask.transport import Patience, RefusedError, Transport
from langneurons.config import SampleConfig
from langneurons.errors import InputError, ServerError

FINISHES: Mapping[str, Finish] = {
    "stop": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
}
"""Reasons to finish that servers give for a whole text; any other text is asked for again."""


class Choice(NamedTuple):
    """A whole text that a server gave."""

    text: str
    finish: Finish


class Reply(NamedTuple):
    """What a server replies to one request.

    Attributes:
        model: the name it gives its model.
        choices: the texts that are whole.
    """

    model: str
    choices: list[Choice]


class Job(NamedTuple):
    """All completions of one prompt.

    Attributes:
        prompt: the prompt.
        places: positions of its requests.
    """

    prompt: str
    places: list[int]


class Server:
    """The engine that asks a server; see `engine.Engine`."""

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
            key: its key, never shown or kept; default: of the environment, see `transport.KEYS`.
            timeout: seconds to wait for one reply.
            patience: seconds after which a request that keeps failing is given up.

        Raises:
            InputError: for a URL that is none, or holds a password.
        """
        self.transport = Transport(url, key=key, timeout=timeout, patience=patience)
        self.url, self.model = self.transport.url, model
        self._names: set[str] = set()

    @property
    def facts(self) -> dict[str, Any]:
        """What happened so far: requests, why some were asked again, what it calls its model."""
        return {"server": {**self.transport.counts, "models": sorted(self._names)}}

    def complete(
        self, requests: Sequence[Request], config: SampleConfig, done: Collection[int] = ()
    ) -> Iterator[Completion]:
        """Completions as they arrive; see `engine.Engine`. All to one prompt are asked for at once.

        Raises:
            InputError: when the server refuses what it is asked, or the key, or knows no such
                model.
            ServerError: when it is not there or does not recover. What arrived until then was given
                before.
        """
        places: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            if place not in done:
                places.setdefault(request.prompt, []).append(place)

        def do(job: Job, give: Callable[[Completion], None], stop: threading.Event) -> None:
            self._do(job, requests, config, give, stop)

        yield from _in_threads([Job(*each) for each in places.items()], do, config.concurrency)

    def _do(
        self,
        job: Job,
        requests: Sequence[Request],
        config: SampleConfig,
        give: Callable[[Completion], None],
        stop: threading.Event,
    ) -> None:
        """Ask for all completions of one prompt until they are there, or it is stopped."""
        missing = list(job.places)
        patience = Patience(self.transport, stop)
        while missing:
            seed = requests[missing[0]].seed  # another one each time, as the first texts are there
            body = self._body(job.prompt, len(missing), seed, config)
            reply = self._ask(body, patience)
            if reply is None:
                return
            for choice in reply.choices[: len(missing)]:
                text, stopped = until_stop(choice.text, config.stop)
                give(Completion(missing.pop(0), text, "stop" if stopped else choice.finish))
            if missing:
                self.transport.count("fewer texts than asked for, asked again")
            if reply.choices:
                patience.renew()
            elif patience.ends_within():
                raise ServerError(
                    f"{self.url} replies, but with no whole text; is {self.model} a model that "
                    "completes?"
                )
            else:
                patience.wait()

    def _ask(self, body: Mapping[str, Any], patience: Patience) -> Reply | None:
        """The reply to one request; see `Transport.post`."""
        try:
            reply = self.transport.post("completions", body, _read, patience)
        except RefusedError as refused:
            if refused.code != 404:
                raise
            raise InputError(
                f"{self.url} has no completions, or none by {self.model} ({refused.status}): "
                f"{refused.said}"
            ) from None
        if reply is not None:
            self._names.add(reply.model)
        return reply

    def _body(self, prompt: str, n: int, seed: int, config: SampleConfig) -> dict[str, Any]:
        """A request for n completions, in the words of the protocol."""
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": prompt,
            "n": n,
            "max_tokens": config.max_new_tokens,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "seed": seed % 2**31,
        }
        if config.stop:
            body["stop"] = list(config.stop)
        if config.top_k:
            body["top_k"] = config.top_k
        return body


def _read(content: bytes) -> Reply:
    """What a reply holds.

    Raises:
        ValueError: when it is no JSON; KeyError or TypeError when it is no list of completions.
    """
    reply = json.loads(content)
    choices = reply["choices"]
    if not isinstance(choices, list):
        raise TypeError
    whole = [choice for choice in map(_choice, choices) if choice]
    return Reply(str(reply.get("model", "")), whole)


def _choice(choice: Any) -> Choice | None:
    """Text and finish of a choice; None where it is no whole text."""
    if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
        return None
    finish = FINISHES.get(choice.get("finish_reason") or "")
    return Choice(choice["text"], finish) if finish else None


def _in_threads(
    jobs: Sequence[Job],
    do: Callable[[Job, Callable[[Completion], None], threading.Event], None],
    threads: int,
) -> Iterator[Completion]:
    """What the jobs give, as it comes; the first error stops all of them and is raised at the end.

    Args:
        jobs: the work, begun in this order.
        do: does one job. Given: the job, what takes each completion, what is set when no more is
            wanted.
        threads: how many jobs are under way at once.
    """
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    given: queue.SimpleQueue[Completion | Exception | None] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.is_set():
                do(waiting.get_nowait(), given.put, stop)
        except queue.Empty:
            pass
        except Exception as error:  # noqa: BLE001 - raised again where it is read
            stop.set()
            given.put(error)
        finally:
            given.put(None)

    running = min(threads, len(jobs))
    for _ in range(running):
        threading.Thread(target=work, daemon=True).start()
    failed: Exception | None = None
    try:
        while running:
            completion = given.get()
            if completion is None:
                running -= 1
            elif isinstance(completion, Exception):
                failed = failed or completion
            else:
                yield completion
    finally:
        stop.set()
    if failed:
        raise failed
