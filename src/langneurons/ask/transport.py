"""Transport: JSON sent to a server over HTTP, and sent again where that may mend what went wrong.

What servers do wrong is counted and asked again: throttling, dropped connections, replies cut
short or of another shape. Plain HTTP is all this needs, so no client library does it.
"""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from langneurons.ask.replies import ErrorReplyError
from langneurons.errors import InputError, ServerError

KEYS = ("LANGNEURONS_API_KEY", "OPENAI_API_KEY")
"""Variables of the environment that a key is taken from, the first that is set."""

BROKEN = "broken"
"""Kind of a failure: there is a reply, and nothing can be made of it."""

_AGAIN = {408: "timed out", 409: "busy", 425: "busy", 429: "throttled"}
_BROKEN = (TimeoutError, ConnectionResetError, BrokenPipeError)
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 60.0
_UNTIL_FIRST_ANSWER = 30.0  # seconds that a server may fail before it has answered once

_LOOK = 30.0  # seconds to wait for what a server says of itself

_SHOWN = 300  # characters of what a server says that are told

_Reply = TypeVar("_Reply")

Body = Mapping[str, Any]
"""What is asked, as JSON holds it."""


class Answered(NamedTuple, Generic[_Reply]):
    """A reply, and what it is to.

    Attributes:
        reply: what was made of it.
        body: the request that was sent in the end.
    """

    reply: _Reply
    body: Body


class FailedError(Exception):
    """One request came to nothing, and may be asked again.

    Attributes:
        kind: why, in a word.
        why: why, in a sentence.
        wait: seconds the server asked to wait.
        code: the status it gave, if any.
    """

    def __init__(
        self, kind: str, why: str, wait: float | None = None, code: int | None = None
    ) -> None:
        """It came to nothing for a reason."""
        super().__init__(why)
        self.kind, self.why, self.wait, self.code = kind, why, wait, code


class RefusedError(InputError):
    """The server refuses a request, and will refuse it again.

    Attributes:
        code: the status it gives.
        status: the status in words.
        said: what it says besides, without the key.
    """

    def __init__(self, url: str, code: int, status: str, said: str) -> None:
        """A server refuses it."""
        super().__init__(f"{url} refuses the request ({status}): {said[:_SHOWN]}")
        self.code, self.status, self.said = code, status, said


class Transport:
    """The way to one server, for several threads at once.

    Attributes:
        url: the root of what it serves, such as http://localhost:8000/v1.
        answered: whether it has given one reply that could be read.
    """

    def __init__(
        self, url: str, *, key: str | None = None, timeout: float, patience: float
    ) -> None:
        """Use this server; nothing is sent yet.

        Args:
            url: such as http://localhost:8000/v1.
            key: its key, never shown or kept; default: of the environment, see `KEYS`.
            timeout: seconds to wait for one reply.
            patience: seconds after which what keeps failing is given up.

        Raises:
            InputError: for a URL that is none, or holds a password.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{url!r} is no URL of a server; give it as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            raise InputError(
                f"put no key into the URL; {' or '.join(KEYS)} in the environment is where it is "
                "looked for"
            )
        path = parts.path.rstrip("/").removesuffix("/completions") or "/v1"
        self.url = f"{parts.scheme}://{parts.netloc}{path}"
        self.timeout, self.patience = timeout, patience
        self.answered = False
        self._key = key or next(filter(None, map(os.environ.get, KEYS)), None)
        self._opener = build_opener(_NoRedirect)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, what: str) -> None:
        """Count something that happened."""
        with self._lock:
            self._counts[what] += 1

    @property
    def counts(self) -> dict[str, int]:
        """How often what happened so far: requests, and why they were asked again."""
        with self._lock:
            return dict(self._counts)

    def post(
        self,
        path: str,
        body: Body,
        read: Callable[[bytes], _Reply],
        patience: "Patience",
        mend: Callable[["Body", "FailedError | RefusedError"], Body | None],
    ) -> Answered[_Reply] | None:
        """Send a request until there is a reply; None where that was stopped meanwhile.

        Args:
            path: what to ask, below `url`.
            body: the request.
            read: makes something of the reply; raises ValueError, KeyError or TypeError where it
                is none.
            patience: for how long.
            mend: told what became of a request; gives what to send instead, at once, or None.

        Raises:
            InputError: when the server does not take the key.
            RefusedError: when it refuses the request.
            ServerError: when it is not there or does not recover.
        """
        while not patience.stopped:
            try:
                reply = self.once(path, body, read)
            except RefusedError as refused:
                other = mend(body, refused)
                if other is None:
                    raise
                body = other
            except FailedError as failed:
                self.count(f"{failed.kind}, asked again")
                if other := mend(body, failed):
                    body = other
                    continue
                if patience.ends_within(failed.wait):
                    raise ServerError(
                        f"{self.url} gives no answer: {failed.why}; see to it and run the same "
                        "command again, which goes on where it was"
                    ) from None
                patience.wait(failed.wait)
            else:
                self.answered = True
                return Answered(reply, body)
        return None

    def get(
        self, path: str, read: Callable[[bytes], _Reply], patience: "Patience"
    ) -> _Reply | None:
        """What the server says of itself at a path; None where there is no such thing.

        Args:
            path: where, below `url`.
            read: makes something of the reply; raises ValueError, KeyError or TypeError where it
                is something else.
            patience: for how long a server that fails is asked again.

        Raises:
            InputError: when the server does not take the key.
            ServerError: when it is not there or does not recover.
        """
        while True:
            try:
                return self._received(path, None, read)
            except RefusedError:
                return None
            except FailedError as failed:
                if failed.code == 501 or failed.kind == BROKEN:
                    return None
                if patience.ends_within(failed.wait):
                    raise ServerError(f"{self.url}/{path} gives no answer: {failed.why}") from None
                patience.wait(failed.wait)

    def once(self, path: str, body: Body, read: Callable[[bytes], _Reply]) -> _Reply:
        """What is made of the reply to one request, sent once; for the errors see `_send`."""
        self.count("requests")
        return self._received(path, body, read)

    def _received(self, path: str, body: Body | None, read: Callable[[bytes], _Reply]) -> _Reply:
        """What is made of one reply; without a body nothing is sent but the wish for it."""
        try:
            return read(self._send(path, body))
        except InputError:
            raise
        except ErrorReplyError as error:
            raise self._meaning(error.code, "in a reply", error.said) from None
        except (ValueError, KeyError, TypeError):  # never says why: a bad header would hold the key
            raise FailedError(BROKEN, "its reply is no list of completions") from None

    def _send(self, path: str, body: Body | None) -> bytes:
        """What the server replies to one request.

        Raises:
            FailedError: when there is no reply and it may be asked again.
            InputError: when asking again would not help.
            ServerError: when nothing is there.
        """
        headers = {"Content-Type": "application/json", "User-Agent": "langneurons"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        content = None if body is None else json.dumps(body).encode()
        timeout = self.timeout if content else min(self.timeout, _LOOK)
        request = Request(f"{self.url}/{path}", content, headers)  # noqa: S310 - http(s) only
        try:
            with self._opener.open(request, timeout=timeout) as response:
                return response.read()
        except HTTPError as error:
            raise self._told(error) from None
        except (URLError, OSError, HTTPException) as error:
            said = getattr(error, "reason", None) or str(error) or type(error).__name__
            absent = isinstance(said, OSError) and not isinstance(said, _BROKEN)
            if absent and not self.answered:
                raise ServerError(
                    f"no server at {self.url} ({said}); start one there, or correct --engine"
                ) from None
            raise FailedError("dropped", f"the connection broke ({said})") from None

    def _told(self, error: HTTPError) -> Exception:
        """What an error of the server means: whether asking again would help, and what it says."""
        with error:
            try:
                said = error.read(2000).decode("utf-8", "replace")
            except (OSError, HTTPException):
                said = ""
        return self._meaning(error.code, error.reason, said, _retry_after(error.headers))

    def _meaning(self, code: int, reason: str, said: str, wait: float | None = None) -> Exception:
        """What a status means, with what the server says besides and how long it asks to wait."""
        said = " ".join(said.split())
        if self._key:
            said = said.replace(self._key, "***")
        status = f"{code} {reason}"
        if code in _AGAIN or code >= 500:
            kind = _AGAIN.get(code, "failing")
            return FailedError(kind, f"{status} {said[:_SHOWN]}".strip(), wait, code)
        if code in (401, 403):
            why = "does not take the key" if self._key else "wants a key"
            return InputError(
                f"{self.url} {why} ({status}); set {' or '.join(KEYS)} in the environment"
            )
        return RefusedError(self.url, code, status, said)


class Patience:
    """How long work that keeps failing is tried again, each time after twice as long."""

    def __init__(self, transport: Transport, stop: threading.Event) -> None:
        """As long as this server deserves, and until `stop` is set."""
        self._transport, self._stop = transport, stop
        self.renew()

    def renew(self) -> None:
        """Begin anew, as something came of it."""
        self._since = time.monotonic()
        self._wait = _FIRST_WAIT

    @property
    def stopped(self) -> bool:
        """Whether it is no longer wanted."""
        return self._stop.is_set()

    def ends_within(self, asked: float | None = None) -> bool:
        """Whether it ends before the next wait does, of `asked` seconds if the server said so."""
        limit = self._transport.patience
        if not self._transport.answered:
            limit = min(limit, _UNTIL_FIRST_ANSWER)
        return time.monotonic() + (asked or self._wait) - self._since > limit

    def wait(self, asked: float | None = None) -> None:
        """Wait, `asked` seconds if the server said so; ends early when it is stopped."""
        self._stop.wait(min(_LONGEST_WAIT, self._wait) if asked is None else asked)
        self._wait *= 2


class _NoRedirect(HTTPRedirectHandler):
    """Never follow a redirect: the key would go wherever it leads."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


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
