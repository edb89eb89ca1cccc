"""Server: the engine that asks any OpenAI-compatible server, by URL.

vLLM, SGLang, TGI, llama.cpp and transformers serve are such. Texts come from `/v1/completions`
alone, with the exact prompt, so that nothing depends on a chat template the server holds. Where
fewer whole texts come back than were asked for, the rest is asked for again. What a server does not
take (several texts at once, a seed, settings that are not OpenAI's) is left out once it has said
so; a prompt that it cannot answer stops no other. What servers reply, and mean, is in `replies`;
what goes over the wire, and what becomes of a connection that breaks, in `transport`.
"""

import queue
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

from langneurons.ask.engine import NO_ROOM, STOP, Completion, Request, until_stop
from langneurons.ask.replies import Listed, Reply, is_too_long, listed, names, read, room
from langneurons.ask.transport import Body, FailedError, Patience, RefusedError, Transport
from langneurons.config import SampleConfig
from langneurons.errors import InputError, LangneuronsError, ServerError

NEUTRAL = {
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Settings that change nothing. They are sent because servers have others by default, their own or
those of the model's `generation_config.json`, which hold nowhere else. Not all are OpenAI's; those
that a server refuses are left out."""

_REFUSED, _FAILED, _NO_TEXT = "refused", "failed", "no text"
"""Finishes of prompts that came to nothing."""

_OF_A_PROMPT = (400, 413, 422)  # statuses that may be due to what is asked, and not to who asks
_BARREN = 4  # replies without a whole text until what there is will do
_FAILURES = 6  # of a prompt, until another one is tried
_REFUSALS = 32  # prompts refused on end, until another one is tried
_PROBE = "1 + 1 ="


class Job(NamedTuple):
    """All completions of one prompt.

    Attributes:
        prompt: the prompt.
        places: positions of its requests.
    """

    prompt: str
    places: list[int]


class _GivenUpError(Exception):
    """A prompt that came to nothing, though the server answers others.

    Attributes:
        finish: how its completions ended.
        why: what is to be said where no prompt is answered.
    """

    def __init__(self, finish: str, why: LangneuronsError) -> None:
        super().__init__(str(why))
        self.finish, self.why = finish, why


class _TooLongError(Exception):
    """A prompt, with the tokens asked for after it, does not fit into the server's context.

    Attributes:
        said: what the server says.
    """

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


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
        seeds: bool = True,
    ) -> None:
        """Use this server; nothing is asked yet.

        Args:
            url: such as http://localhost:8000/v1.
            model: the model's name there.
            key: its key, never shown or kept; default: of the environment, see `transport.KEYS`.
            timeout: seconds to wait for one reply.
            patience: seconds after which a request that keeps failing is given up.
            seeds: whether it is sent a seed with each request.

        Raises:
            InputError: for a URL that is none, or holds a password.
        """
        self.transport = Transport(url, key=key, timeout=timeout, patience=patience)
        self.url, self.model = self.transport.url, model
        self._names: set[str] = set()
        self._left_out: set[str] = set() if seeds else {"seed"}
        self._takes_several: bool | None = None  # not known yet
        self._answered: str | None = None  # a prompt that it has answered
        self._in_vain = 0  # prompts that came to nothing since

    @property
    def facts(self) -> dict[str, Any]:
        """What happened so far.

        That is: requests, why some were asked again, what it calls its model, what it does not
        take.
        """
        facts: dict[str, Any] = {**self.transport.counts, "models": sorted(self._names)}
        if self._left_out:
            facts["left out of the requests"] = sorted(self._left_out)
        if self._takes_several is False:
            facts["asked for one text at a time"] = True
        return {"server": facts}

    def models(self) -> list[Listed] | None:
        """The models that it lists, and what it says of them; None where it has no list.

        Raises:
            InputError: when it does not take the key.
            ServerError: when it is not there or does not recover.
        """
        return self.transport.get("models", listed, Patience(self.transport, threading.Event()))

    def complete(
        self, requests: Sequence[Request], config: SampleConfig, done: Collection[int] = ()
    ) -> Iterator[Completion]:
        """Completions as they arrive; see `engine.Engine`. All to one prompt are asked for at once.

        Prompts that come to nothing get empty ones at the end, with a finish that says why, if the
        server answered any other.

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
        given_up: list[tuple[Job, _GivenUpError]] = []

        def do(job: Job, give: Callable[[Completion], None], stop: threading.Event) -> None:
            missing = Job(job.prompt, list(job.places))
            try:
                self._do(missing, requests, config, give, stop)
            except _GivenUpError as error:
                given_up.append((missing, error))
                self._in_vain += 1
                if self._in_vain >= _REFUSALS:
                    if not self._answers():
                        raise error.why from None
                    self._in_vain = 0

        yield from _in_threads([Job(*each) for each in places.items()], do, config.concurrency)
        if given_up and not done and self._answered is None:
            raise given_up[0][1].why
        for job, error in given_up:
            for place in job.places:
                yield Completion(place, "", error.finish)

    def _do(
        self,
        job: Job,
        requests: Sequence[Request],
        config: SampleConfig,
        give: Callable[[Completion], None],
        stop: threading.Event,
    ) -> None:
        """Ask for all completions of one prompt until they are there, or it is stopped.

        Those that are given leave the places of the job.

        Raises:
            _GivenUpError: when the server answers others, but not this one.
        """
        missing, tokens, barren = job.places, config.max_new_tokens, 0
        patience = Patience(self.transport, stop)
        while missing:
            seed = requests[missing[0]].seed  # another one each time, as the first texts are there
            n = 1 if self._takes_several is False else len(missing)
            body = self._body(job.prompt, n, seed, tokens, config)
            try:
                reply = self._ask(body, patience)
            except _TooLongError as error:
                tokens = _fewer_tokens(error.said, tokens)
                if not tokens:
                    for place in missing:
                        give(Completion(place, "", NO_ROOM))
                    return
                continue
            if reply is None:
                return
            barren = 0 if reply.choices else barren + 1
            choices = reply.choices or (reply.unfinished if barren >= _BARREN else [])
            for choice in choices[: len(missing)]:
                text, stopped = until_stop(choice.text, config.stop)
                give(Completion(missing.pop(0), text, STOP if stopped else choice.finish))
            if missing and len(choices) < n:
                self.transport.count("fewer texts than asked for, asked again")
            if choices:
                self._answered, self._in_vain = job.prompt, 0
                patience.renew()
            elif barren >= _BARREN:
                raise _GivenUpError(_NO_TEXT, self._no_text())
            else:
                patience.wait()

    def _ask(self, body: Body, patience: Patience) -> Reply | None:
        """The reply to one request; see `Transport.post`.

        Raises:
            _TooLongError: when the prompt is too long, or what is asked for after it.
            InputError: when the server does not know the model, or what is asked of it.
            _GivenUpError: when it answers others, but not this one.
        """
        failures = 0

        def mend(sent: Body, error: FailedError | RefusedError) -> Body | None:
            nonlocal failures
            failures += 1
            said = error.said if isinstance(error, RefusedError) else error.why
            if error.code is not None and is_too_long(error.code, said):
                raise _TooLongError(said)
            other = self._otherwise(sent, error.code, said)
            prompts_own = error.code in (None, 500) and isinstance(error, FailedError)
            if other is None and prompts_own and failures >= _FAILURES and self._answers():
                why = ServerError(f"{self.url} gives no answer: {said}")
                raise _GivenUpError(_FAILED, why)
            return other

        try:
            answered = self.transport.post("completions", body, read, patience, mend)
        except RefusedError as refused:
            if refused.code == 404:
                raise InputError(
                    f"{self.url} has no completions, or none by {self.model} ({refused.status}): "
                    f"{refused.said}"
                ) from None
            if refused.code not in _OF_A_PROMPT:
                raise
            filtered = names(refused.said, ("content_filter",))
            raise _GivenUpError(filtered[0] if filtered else _REFUSED, refused) from None
        if answered is None:
            return None
        self._learn(body, answered.body)
        self._names.add(answered.reply.model)
        return answered.reply

    def _otherwise(self, body: Body, code: int | None, said: str) -> Body | None:
        """What to ask instead of what a server refuses with this status and these words.

        What it names is left out; then several texts at once; then all that is not OpenAI's. None
        where nothing is left to try.

        Raises:
            InputError: when it does not take what was asked for.
        """
        if code not in (*_OF_A_PROMPT, 500, 501):
            return None
        refuses = code in _OF_A_PROMPT
        extra = [name for name in ("seed", *NEUTRAL) if name in body]
        leave = names(said, extra)
        if not refuses and leave != ["seed"]:  # a failure may repeat all that was asked
            leave = []
        if not leave and body.get("n", 1) > 1 and not self._takes_several:
            return {**body, "n": 1}
        if not leave and refuses and body.get("n") == 1:
            leave = names(said, ("n",))
        if not leave and refuses:
            leave = [name for name in extra if body[name] == NEUTRAL.get(name)]
        if "top_k" in leave and body["top_k"] != NEUTRAL["top_k"]:
            raise InputError(f"{self.url} does not take top-k ({said[:200]}); leave --top-k out")
        return {name: body[name] for name in body if name not in leave} if leave else None

    def _learn(self, asked: Body, sent: Body) -> None:
        """Note what it does not take, from what it answered instead of what it was asked."""
        self._left_out |= asked.keys() - sent.keys()
        if asked.get("n", 1) > 1 and not self._takes_several:
            self._takes_several = sent.get("n", 1) > 1

    def _answers(self) -> bool:
        """Whether the server answers a prompt that it has answered before, or an easy one."""
        body = {
            "model": self.model,
            "prompt": self._answered or _PROBE,
            "n": 1,
            "max_tokens": 1,
            "temperature": 0.0,
        }
        try:
            return bool(self.transport.once("completions", body, read).choices)
        except (FailedError, LangneuronsError):
            return False

    def _no_text(self) -> ServerError:
        return ServerError(
            f"{self.url} replies, but with no whole text; is {self.model} a model that completes?"
        )

    def _body(
        self, prompt: str, n: int, seed: int, tokens: int, config: SampleConfig
    ) -> dict[str, Any]:
        """A request for n completions of at most so many tokens, in the words of the protocol."""
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": prompt,
            "n": n,
            "max_tokens": tokens,
            "temperature": config.temperature,
            "top_p": config.top_p,
            **NEUTRAL,
            "stream": False,
        }
        if config.temperature:  # else nothing is drawn
            body["seed"] = seed % 2**31
        if config.stop:
            body["stop"] = list(config.stop)
        if config.top_k:
            body["top_k"] = config.top_k
        return {name: body[name] for name in body if name not in self._left_out}


def _fewer_tokens(said: str, asked: int) -> int:
    """How many tokens to ask for after a prompt with which so many do not fit; 0: there is no room.

    As many as the server says there is room for; where it does not say, half as many.
    """
    left = room(said, asked)
    return left if left is not None and left < asked else asked // 2


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
