"""Whose chat template a served model has: as vLLM, SGLang and others list their models."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from langneurons.ask import transport
from langneurons.ask.replies import Listed, listed
from langneurons.ask.served import Known, tokenizer_of
from langneurons.ask.server import Server
from langneurons.errors import InputError, ModelError, ServerError
from support.served import KEY, Replies, good

MODELS = "/v1/models"


@pytest.fixture(scope="module")
def folders(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny model under three names, each with another chat template."""
    root = tmp_path_factory.mktemp("folders")
    places = {name: shutil.copytree(model, root / name) for name in ("one", "two", "three")}
    for name, folder in places.items():
        (folder / "chat_template.jinja").write_text(f"{name} {{{{ messages[0]['content'] }}}}")
    return places


def entry(name: str, root: object = None, parent: object = None) -> dict[str, Any]:
    return {"id": name, "object": "model", "root": root, "parent": parent, "max_model_len": 512}


def known(serve: Any, page: Any, name: str = "alias", **how: Any) -> Known:
    served = serve(good, {MODELS: page})
    try:
        return tokenizer_of(Server(served.url, name), **how)
    finally:
        assert not served.bodies
        assert set(served.looked) <= {MODELS}


def template(found: Known) -> str:
    assert found.tokenizer is not None
    assert found.note is None
    return str(found.tokenizer.chat_template).split()[0]


@pytest.mark.parametrize(
    ("models", "name", "whose"),
    [
        ([entry("alias", "ONE")], "alias", "one"),
        ([entry("alias", "ONE"), entry("other", "TWO")], "other", "two"),
        # what the server says comes before what lies here by the same name
        ([entry("TWO", "ONE")], "TWO", "one"),
        # the server's own folder is not here: by its name, if that is one
        ([entry("TWO", "/srv/not/here")], "TWO", "two"),
        ([entry("TWO", "owner/not-here")], "TWO", "two"),
        # an adapter: its own folder, else that of the model it adapts, else that one's name
        ([entry("base", "ONE"), entry("lora", "TWO", "base")], "lora", "two"),
        ([entry("base", "ONE"), entry("lora", "/srv/lora", "base")], "lora", "one"),
        ([entry("THREE", "/srv/base"), entry("lora", "/srv/lora", "THREE")], "lora", "three"),
        ([entry("lora", "/srv/lora", "TWO")], "lora", "two"),
        # one model, whatever it is called (llama.cpp, TGI)
        ([{"id": "ONE"}], "any", "one"),
        ([entry("alias", "")], "TWO", "two"),
        # values of other types say nothing
        ([entry("TWO", 7, ["x"]), "three", {"id": None}], "TWO", "two"),
        # adapters in a circle
        ([entry("a", None, "b"), entry("b", "ONE", "a")], "a", "one"),
    ],
)
def test_what_a_server_lists(
    models: list[Any], name: str, whose: str, serve: Any, folders: dict[str, Path]
) -> None:
    def placed(text: str) -> str:
        for key, folder in folders.items():
            text = text.replace(key.upper(), str(folder))
        return text

    rows = json.loads(placed(json.dumps(models)))
    for page in ({"object": "list", "data": rows}, rows):
        assert template(known(serve, page, placed(name))) == whose


@pytest.mark.parametrize("page", [{"data": []}, {"data": [{"id": "x"}, {"id": "y"}]}, [{"id": 3}]])
def test_a_list_that_does_not_say_enough(page: Any, serve: Any) -> None:
    with pytest.raises(ModelError, match="server does not say what it is; name its tokenizer with"):
        known(serve, page)


@pytest.mark.parametrize(
    "page",
    [
        (404, {}, {"detail": "Not Found"}),
        (405, {}, b""),
        (501, {}, b"Unsupported method ('GET')"),
        (400, {}, {"error": "no"}),
        b"<html>welcome</html>",
        {"models": "none"},
        {"data": None},
        b"[" * 100_000,
        (302, {"Location": "/elsewhere"}, b""),
    ],
)
def test_a_server_that_says_nothing_of_what_it_serves(
    page: Any, serve: Any, folders: dict[str, Path]
) -> None:
    found = known(serve, page)
    assert found.tokenizer is None
    assert found.note is not None
    assert "has no list of models and no tokenizer is found by the name 'alias'" in found.note
    assert template(known(serve, page, str(folders["one"]))) == "one"
    assert template(known(serve, page, named=str(folders["two"]))) == "two"
    with pytest.raises(ModelError, match="has no list of models; name its tokenizer"):
        known(serve, page, template="chat")


def test_a_server_that_is_not_ready_is_waited_for(
    serve: Any, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a prompt does not depend on the moment."""
    monkeypatch.setattr(transport, "_FIRST_WAIT", 0.01)
    loading = (503, {}, {"error": {"message": "Loading model"}})
    ready = {"data": [entry("alias", str(folders["two"]))]}
    assert template(known(serve, Replies(["drop", loading, loading, ready]))) == "two"
    monkeypatch.setattr(transport, "_UNTIL_FIRST_ANSWER", 0.05)
    with pytest.raises(ServerError, match="models gives no answer: 503"):
        known(serve, loading)
    assert template(known(serve, loading, str(folders["one"]))) == "one"


def test_a_server_that_wants_a_key(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in transport.KEYS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="wants a key"):
        known(serve, (401, {}, {"error": "who are you?"}))
    served = serve(good, {MODELS: (403, {}, {"error": f"not {KEY}"})})
    with pytest.raises(InputError, match="does not take the key") as error:
        tokenizer_of(Server(served.url, "alias", key=KEY))
    assert KEY not in str(error.value)


def test_no_server(folders: dict[str, Path]) -> None:
    """A name that is known will do, as the result may be there already."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ServerError, match="no server at"):
            tokenizer_of(Server(url, "alias"))
        assert template(tokenizer_of(Server(url, str(folders["one"])))) == "one"


def test_a_folder_of_a_tokenizer_alone(
    serve: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    for file in folders["two"].iterdir():
        if file.name.startswith(("tokenizer", "chat_template")):
            shutil.copy(file, tmp_path)
    assert template(known(serve, {"data": []}, named=str(tmp_path))) == "two"


def test_a_list_in_the_words_of_servers() -> None:
    said = {
        "object": "list",
        "data": [
            entry("mine", "/srv/model"),
            {**entry("tuned", "/srv/lora", "mine"), "permission": [{"id": "modelperm-1"}]},
            {"id": "m.gguf", "owned_by": "llamacpp", "meta": {"n_vocab": 268}},
        ],
    }
    assert listed(b"\xef\xbb\xbf" + json.dumps(said).encode()) == [
        Listed("mine", "/srv/model", None),
        Listed("tuned", "/srv/lora", "mine"),
        Listed("m.gguf", None, None),
    ]
