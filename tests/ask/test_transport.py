"""What goes over the wire: servers on loopback that throttle, break, refuse or are not there."""

import socket
from typing import Any

import pytest

from langneurons.ask.server import Server
from langneurons.config import SampleConfig
from langneurons.errors import InputError, ServerError
from support.served import CONFIG, KEY, Served, everything, good


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


def test_a_key_that_no_header_can_hold_is_not_shown(serve: Any) -> None:
    with pytest.raises(ServerError, match="gives no answer") as caught:
        everything(Server(serve(good).url, "mine", key=f"{KEY}\n", patience=0.1))
    assert KEY not in str(caught.value)
    assert caught.value.__suppress_context__
