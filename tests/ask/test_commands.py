"""sample and evaluate as commands: on tiny models, by a server, silenced, killed and resumed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from langneurons import artifacts
from langneurons.ask import commands as ask
from langneurons.ask.local import InProcess
from langneurons.ask.sample import sample
from langneurons.ask.transport import KEYS
from langneurons.config import Asking, EvaluateConfig, ModelConfig, SampleConfig
from langneurons.errors import InputError, MismatchError
from langneurons.model import loading as models
from langneurons.neurons.sets import select, to_masks
from langneurons.neurons.table import Neurons
from langneurons.texts.responses import Response
from langneurons.texts.rows import read_questions, read_responses, to_lines
from support import families, planted
from support.command import killed, refused
from support.served import KEY, Served

ASKED = ("-n", 3, "--max-new-tokens", 24, "--template", "plain")
WORDS = (*ASKED, "--rows", 4)


@pytest.fixture(scope="module")
def sampled(model: Path, sums: Path, tmp_path_factory: pytest.TempPathFactory, process) -> Path:
    out = tmp_path_factory.mktemp("sampled") / "a"
    done = process("sample", model, sums, "--out", out, *WORDS)
    assert done.status == 0, done.err
    assert done.out.splitlines()[1].split()[:2] == ["en", "12"]
    assert f"next: langneurons record {model} {out}" in done.out
    return out


def test_the_command_line(sampled: Path, model: Path, sums: Path, langneurons) -> None:
    assert len(read_responses(sampled)) == 24
    again = langneurons("sample", model, sums, "--out", sampled, *WORDS, "--json")
    assert again.json["languages"][1]["responses"] == 12
    assert "up to date" in again.err
    other = langneurons("sample", model, sums, "--out", sampled, *WORDS, "--seed", 1)
    refused(other, "seed 0 there, 1 now")


def test_how_the_work_is_cut_is_no_part_of_a_result(
    sampled: Path, model: Path, sums: Path, langneurons
) -> None:
    """Neither rows nor pace changes a response, so what is there will do."""
    pace = ("--rows", 1, "--concurrency", 3, "--save-every", 9, "--quiet")
    again = langneurons("sample", model, sums, "--out", sampled, *ASKED, *pace)
    assert again.status == 0, again.err
    assert "up to date" in again.err
    manifest = artifacts.read(sampled, "responses").manifest
    assert not {"rows", "concurrency", "save_every"} & manifest["config"].keys()


def test_killed_and_resumed_is_the_same(
    sampled: Path, model: Path, sums: Path, tmp_path: Path, langneurons
) -> None:
    """SIGKILL once the first batch was saved; then again, to the end."""
    pace = ("--rows", 1, "--save-every", 0)
    command = ["sample", model, sums, "--out", tmp_path / "a", *ASKED, *pace]
    assert killed(*command, when=lambda: any(tmp_path.glob(".a.state-*")))
    assert not (tmp_path / "a").exists()
    done = langneurons(*command)
    assert done.status == 0, done.err
    name = "responses.jsonl"
    assert (tmp_path / "a" / name).read_bytes() == (sampled / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_base_without_chat_template_and_pad_token(
    sampled: Path, model: Path, sums: Path, tmp_path: Path, langneurons
) -> None:
    """Neither is needed: padding is masked, and the default prompt is that of MathOctopus."""
    bare = shutil.copytree(model, tmp_path / "bare")
    settings = json.loads((bare / "tokenizer_config.json").read_text("utf-8"))
    del settings["pad_token"]
    (bare / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    assert AutoTokenizer.from_pretrained(bare).pad_token is None
    done = langneurons("sample", bare, sums, "--out", tmp_path / "a", *WORDS)
    assert done.status == 0, done.err
    name = "responses.jsonl"
    assert (tmp_path / "a" / name).read_bytes() == (sampled / name).read_bytes()
    done = langneurons(
        "evaluate", bare, sums, "--out", tmp_path / "b", "--max-new-tokens", 4, "--json"
    )
    assert "### Instruction" in done.json["template"]
    done = langneurons("evaluate", bare, sums, "--out", tmp_path / "c", "--template", "chat")
    refused(done, "the tokenizer has no chat template; use mathoctopus, plain or a text of yours")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--languages", "en"), "there is no --silence"),
        (("--temperature", 0), "temperature 0 gives the same response 6 times"),
        (("--asked", "en,fr"), "fr"),
        (("--template", "{nothing}"), "has the placeholder {nothing}"),
    ],
)
def test_what_cannot_be_asked(
    more: tuple, says: str, model: Path, sums: Path, tmp_path: Path, langneurons
) -> None:
    done = langneurons("sample", model, sums, "--out", tmp_path / "a", "-n", 6, *more)
    refused(done, says)
    assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted model: it speaks the language it is asked in while that one's neurons work."""
    return planted.save(tmp_path_factory.mktemp("planted") / "model")


@pytest.fixture(scope="module")
def neurons(speaker: Path, tmp_path_factory: pytest.TempPathFactory, langneurons: Callable) -> Path:
    folder = tmp_path_factory.mktemp("found")
    for words in (
        ("record", speaker, planted.write(folder / "texts"), "--out", folder / "counts"),
        (
            "identify",
            folder / "counts",
            "--out",
            folder / "neurons",
            "--rate",
            planted.RATE,
            "--bootstrap",
            0,
        ),
    ):
        done = langneurons(*words)
        assert done.status == 0, done.err
    return folder / "neurons"


@pytest.fixture(scope="module")
def words_asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten questions in each language, one of its words each; the one it repeats is the answer."""
    file = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    rows = [
        {"id": f"q{i}", "lang": code, "question": f"ask {code}{i}", "answer": 0}
        for code in planted.LANGS
        for i in range(planted.WORDS)
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return file


def spoken(responses: list[Response]) -> dict[str, float]:
    """Share of the words of each language's responses that are in the language."""
    words = {
        code: [w for one in responses if one.lang == code for w in one.response.split()]
        for code in planted.LANGS
    }
    return {code: sum(w.startswith(code) for w in said) / len(said) for code, said in words.items()}


def test_a_silenced_language_is_no_longer_spoken(
    speaker: Path, neurons: Path, words_asked: Path, tmp_path: Path, langneurons: Callable
) -> None:
    """Drawn words are those of the language, without its specific neurons less often.

    Without the related ones they are so less still. Other languages do not change.
    """
    words = (
        "sample",
        speaker,
        words_asked,
        "-n",
        10,
        "--temperature",
        0.4,
        "--max-new-tokens",
        4,
        "--template",
        "plain",
    )
    done = langneurons(
        *words, "--out", tmp_path / "silenced", "--silence", neurons, "--languages", "en"
    )
    assert done.status == 0, done.err
    assert "silenced: 3 neurons" in done.out
    manifest = artifacts.read(tmp_path / "silenced", "responses").manifest
    assert manifest["config"]["silence"] == ["en"]
    silenced = spoken(read_responses(tmp_path / "silenced"))

    loaded = models.load(speaker)
    config = SampleConfig(n=10, temperature=0.4, max_new_tokens=4)
    asked = read_questions(words_asked)
    shapes = ((planted.WIDTH,),) * planted.LAYERS
    table = Neurons.from_table(artifacts.read(neurons, "neurons").table("neurons.parquet"))
    masks = to_masks([select(table, shapes, ("specific",), ("en",))], shapes)
    whole, specific = (
        spoken(sample(InProcess(loaded, mask), asked, config, template="plain"))
        for mask in (None, masks)
    )
    assert whole["en"] > 0.7
    assert silenced["en"] < specific["en"] < whole["en"] - 0.1
    assert silenced["en"] < 0.5
    assert specific["sw"] == silenced["sw"] == whole["sw"]


def test_before_and_after(
    speaker: Path,
    neurons: Path,
    words_asked: Path,
    tmp_path: Path,
    process: Callable,
    capsys: pytest.CaptureFixture,
) -> None:
    words = ("evaluate", speaker, words_asked, "--template", "plain", "--max-new-tokens", 3)
    before = process(*words, "--out", tmp_path / "before")
    assert before.status == 0, before.err
    lines = before.out.splitlines()
    assert lines[0].split() == ["language", "questions", "right", "accuracy", "95%", "interval"]
    assert lines[1].split()[:4] == ["en", "10", "10", "100.0%"]
    assert lines[5].split()[0] == "mean"
    config = EvaluateConfig(max_new_tokens=3)
    how = Asking(template="plain", silence=neurons, languages="en,zh")
    for as_json in (False, True):
        ask.evaluate(
            str(speaker),
            str(words_asked),
            out=tmp_path / "after",
            config=config,
            how=how,
            against=tmp_path / "before",
            json=as_json,
        )
    *after, told = capsys.readouterr().out.splitlines()
    assert any(line.startswith("silenced: ") for line in after)
    told = json.loads(told)
    assert [row["lang"] for row in told["changes"]] == [*planted.LANGS, "mean"]
    assert all(row["before"] == 1 for row in told["changes"])
    assert told["changes"][0]["lost"] == 10 - told["accuracy"][0]["correct"]
    row = [line for line in after if line.startswith("en ")][1]
    assert row.split()[1:3] == ["100.0%", f"{told['accuracy'][0]['accuracy']:.1%}"]


def test_what_falls_away_is_told(
    model: Path, sums: Path, tmp_path: Path, langneurons: Callable
) -> None:
    """A language that only one evaluation knows, and one in which nothing was written."""
    rows = [question.to_row() for question in read_questions(sums)]
    codes = list(dict.fromkeys(row["lang"] for row in rows))
    some = tmp_path / "some.jsonl"
    some.write_bytes(to_lines(row for row in rows if row["lang"] == codes[0]))
    words = ("--template", "plain", "--max-new-tokens", 2, "--out")
    before = langneurons("evaluate", model, some, *words, tmp_path / "before")
    assert before.status == 0, before.err
    assert "note: not compared" not in before.out
    against = ("--against", tmp_path / "before")
    after = langneurons("evaluate", model, sums, *words, tmp_path / "after", *against)
    assert after.status == 0, after.err
    assert f"note: not compared, as no question is in both: {', '.join(codes[1:])}" in after.out
    silent = dict.fromkeys(("lang", "responses", "empty"), 0) | {"lang": "zh"}
    rows = [silent | {"responses": 3, "empty": 3}, silent | {"lang": "en", "responses": 3}]
    assert ask._languages(rows).splitlines()[-1] == "note: every response in zh is empty"
    assert "note" not in ask._languages(rows[1:])


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"languages": "fr"}, "know nothing of fr"),
        ({"languages": "th", "kinds": "specific"}, "has no specific neuron of th"),
        ({}, "say whose neurons, with --languages"),
        ({"languages": "en", "engine": "http://localhost:1"}, "a server cannot silence neurons"),
    ],
)
def test_what_cannot_be_silenced(
    how: dict[str, str], says: str, neurons: Path, speaker: Path, words_asked: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says):
        ask.evaluate(
            str(speaker), str(words_asked), out=tmp_path / "a", how=Asking(silence=neurons, **how)
        )
    assert not any(tmp_path.iterdir())


def test_neurons_of_another_model(
    neurons: Path, speaker: Path, words_asked: Path, tmp_path: Path
) -> None:
    how, config = (
        Asking(template="plain", silence=neurons, languages="en"),
        EvaluateConfig(max_new_tokens=2),
    )
    other = families.save("llama", tmp_path / "model")
    with pytest.raises(MismatchError, match="are of another model"):
        ask.evaluate(str(other), str(words_asked), out=tmp_path / "a", config=config, how=how)
    coarse = {"config": config, "how": how, "loading": ModelConfig(dtype="bfloat16")}
    with pytest.raises(MismatchError, match="the neurons were found on weights"):
        ask.evaluate(str(speaker), str(words_asked), out=tmp_path / "b", **coarse)
    ask.evaluate(str(speaker), str(words_asked), out=tmp_path / "b", **coarse, force=True)
    found = artifacts.read(tmp_path / "b").manifest["facts"]["model"]["silenced"]
    assert found["found on"] == artifacts.read(neurons).manifest["facts"]["model"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "model"]


def test_the_command_line_never_shows_or_keeps_the_key(
    serve: Any, sums: Path, tmp_path: Path, langneurons
) -> None:
    def answer(_: Served, body: dict[str, Any], __: int) -> Any:
        answer = 2 * int(body["prompt"].partition("Instruction:\n")[2][0])
        return {"model": "m", "choices": [{"text": f"It is {answer}.", "finish_reason": "stop"}]}

    served = serve(answer)
    words = (
        "sample",
        "mine",
        sums,
        "--engine",
        served.url,
        "--template",
        "mathoctopus",
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
        (f"q{i}", j, True) for _ in ("en", "zh") for i in range(4) for j in range(2)
    ]
    facts = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))["facts"]
    assert facts["server"]["requests"] == 16
    again = langneurons(*words, "--json", env={"LANGNEURONS_API_KEY": KEY})
    assert again.json["model"]["id"] == "mine"
    assert KEY not in again.out + again.err
    silenced = ("--silence", tmp_path, "--languages", "en")
    refused(langneurons(*words[:-1], tmp_path / "other", *silenced), "are needed here")


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_the_command_line_with_a_wrong_key(
    command: str, serve: Any, sums: Path, tmp_path: Path, langneurons, process
) -> None:
    """The server says the key back; it is in no output and no file, not even in a traceback."""
    served = serve(lambda *_: (401, {}, {"error": f"Incorrect API key provided: {KEY}"}))
    words = (
        command,
        "mine",
        sums,
        "--engine",
        served.url,
        "--template",
        "plain",
        "--out",
        tmp_path / "out",
        "--traceback",
        "--json",
    )
    done = process(*words, env={"OPENAI_API_KEY": KEY})
    assert done.status == 1
    assert (
        f"{served.url}/v1 does not take the key (401 Unauthorized); set LANGNEURONS_API_KEY or"
        in done.err
    )
    assert KEY not in done.out + done.err
    assert not any(tmp_path.iterdir())
    without = langneurons(*words[:-2], env=dict.fromkeys(KEYS, ""))
    refused(without, "wants a key (401 Unauthorized); set LANGNEURONS_API_KEY or")


def test_the_command_line_on_a_wrong_url(sums: Path, tmp_path: Path, langneurons) -> None:
    for url, says in (("http://127.0.0.1:9", "no server at"), ("nonsense", "is no URL of a")):
        words = ("sample", "mine", sums, "--template", "plain", "--engine", url)
        done = langneurons(*words, "--out", tmp_path / "out")
        refused(done, says)
        assert not any(tmp_path.iterdir())


def twelve(_: Served, body: dict[str, Any], __: int) -> Any:
    """Answer 12, once."""
    return {"model": "m", "choices": [{"text": " 12", "finish_reason": "stop"}]}


@pytest.fixture(scope="module")
def chatting(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a chat template."""
    folder = shutil.copytree(model, tmp_path_factory.mktemp("chatting") / "model")
    template = "[user] {{ messages[0]['content'] }} [bot]"
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    return folder


def asked(out: Path) -> tuple[list[str], dict[str, Any]]:
    """The prompts of responses, and their manifest."""
    return [one.prompt for one in read_responses(out)], artifacts.read(out).manifest


@pytest.mark.parametrize("has", ["a chat template", "none"])
def test_another_engine_is_asked_in_the_same_way(
    has: str, serve: Any, model: Path, chatting: Path, sums: Path, tmp_path: Path, langneurons
) -> None:
    """In process, by a server that knows the model by its folder, and by one that has a name."""
    folder = chatting if has == "a chat template" else model
    listing = {"data": [{"id": "alias", "root": str(folder), "parent": None}]}
    served = ("--engine", serve(twelve).url)
    listed = ("--engine", serve(twelve, {"/v1/models": listing}).url)
    ways = {
        "here": (folder,),
        "folder": (folder, *served),
        "name": ("alias", *served, "--tokenizer", folder),
        "listed": ("alias", *listed),
    }
    for out, (name, *more) in ways.items():
        words = ("evaluate", name, sums, "--max-new-tokens", 2, "--out", tmp_path / out, *more)
        done = langneurons(*words)
        assert done.status == 0, done.err
        template = "chat" if folder == chatting else "mathoctopus"
        if template == "chat" and name == "alias":
            template = f"chat (that of {folder})"
        assert f"asked in en, zh with template {template}, by " in done.out
        assert "always the likeliest token, to " in done.out
        assert " or 2 tokens; answers by marked, within 0.01" in done.out
        assert asked(tmp_path / out)[0] == asked(tmp_path / "here")[0]
        [line] = [row for row in done.out.splitlines() if row.startswith("asked in ")]
        again = langneurons(*words)
        assert line in again.out.splitlines()
        manifest = asked(tmp_path / out)[1]
        assert manifest["facts"]["asked"] == line
        assert manifest["config"]["asked"] == ["en", "zh"]
    here, name = (asked(tmp_path / out)[1] for out in ("here", "name"))
    assert here["config"]["template"] == name["config"]["template"]
    assert here["inputs"]["prompts"] == name["inputs"]["prompts"]
    assert here["config"]["ends"] == ["</s>"]
    assert name["facts"]["model"] == {"id": "alias", "tokenizer": str(folder)}
    assert asked(tmp_path / "listed")[1]["facts"]["model"] == name["facts"]["model"]


def test_a_server_that_says_nothing_of_its_model(
    serve: Any, sums: Path, tmp_path: Path, langneurons
) -> None:
    """No list of models, no tokenizer by the name: MathOctopus's prompt, said three times."""
    url = serve(twelve).url
    says = (
        f"{url}/v1 has no list of models and no tokenizer is found by the name 'alias', so it was"
    )
    for command, more in (("sample", ("-n", 1)), ("evaluate", ())):
        out = tmp_path / command
        words = (command, "alias", sums, *more, "--engine", url, "--out", out)
        for _ in range(2):  # made, and there already
            done = langneurons(*words)
            assert done.status == 0, done.err
            assert f"note: {says}" in done.err
            assert len(done.err.splitlines()) < 3
            assert f"note: {says}" in done.out
            assert "with template mathoctopus, by " in done.out
        prompts, manifest = asked(out)
        assert prompts[0].endswith("### Instruction:\n0 + 0?\n\n### Response:")
        assert [note for note in manifest["facts"]["notes"] if note.startswith(says)]
        assert manifest["facts"]["model"] == {"id": "alias", "tokenizer": None}
        named = langneurons(*words, "--template", "mathoctopus")
        assert "up to date" in named.err
        assert "note: " not in named.err


def test_a_template_that_cannot_be_known(
    serve: Any, sums: Path, model: Path, tmp_path: Path, langneurons
) -> None:
    served = serve(twelve, {"/v1/models": {"data": [{"id": "alias"}]}})
    words = ("sample", "alias", sums, "--engine", served.url, "--out", tmp_path / "out")
    done = langneurons(*words)
    refused(done, "the chat template of 'alias' cannot be known: no tokenizer is found by that")
    refused(done, "and the server does not say what it is; ")
    refused(done, "name its tokenizer with --tokenizer, a folder or an id on the Hub, or ask with ")
    refused(langneurons(*words, "--template", "chat"), "--template mathoctopus, plain or a text")
    refused(langneurons(*words, "--tokenizer", tmp_path), "holds no config.json")
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text("{}", "utf-8")
    refused(langneurons("sample", bare, *words[2:]), "bare holds no tokenizer that can be loaded")
    here = ("sample", model, sums, "--tokenizer", model, "--out", tmp_path / "out")
    refused(langneurons(*here), "--tokenizer is for a model that a server runs")
    assert not served.bodies
    assert not (tmp_path / "out").exists()


def test_another_chat_template_is_another_result(
    serve: Any, chatting: Path, sums: Path, tmp_path: Path, langneurons
) -> None:
    folder = shutil.copytree(chatting, tmp_path / "model")
    served = ("--engine", serve(twelve).url)
    words = ("evaluate", folder, sums, "--out", tmp_path / "out", *served)
    assert langneurons(*words).status == 0
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }} =", "utf-8")
    refused(langneurons(*words), "prompts ")


def test_what_a_server_does_besides_is_told(
    serve: Any, sums: Path, tmp_path: Path, langneurons
) -> None:
    """Finishes of its own, prompts it has no room for, seeds it cannot take."""

    def answer(_: Served, body: dict[str, Any], __: int) -> Any:
        if "min_p" in body:
            return (422, {}, {"detail": "Unexpected fields: {'min_p'}"})
        if body["prompt"].startswith("1"):
            return (400, {}, {"error": "prompt is too long: 9 tokens > 8 maximum"})
        finish = "content_filter" if body["prompt"].startswith("2") else "stop"
        return {"choices": [{"text": " \ud83d 6", "finish_reason": finish}]}

    served = serve(answer)
    words = ("sample", "m", sums, "--template", "plain", "-n", 2, "--engine", served.url)
    done = langneurons(*words, "--no-server-seeds", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].endswith("content_filter")
    assert [line.split()[0] for line in lines[1:3]] == ["en", "zh"]
    assert [line.split()[4] for line in lines[1:3]] == ["2", "2"]
    assert [line.split()[-1] for line in lines[1:3]] == ["2", "2"]
    assert "no room: q1 (en), q1 (zh)" in lines
    assert "content_filter: q2 (en), q2 (zh)" in lines
    assert "not taken by the server, which has its own: min_p, seed" in lines
    manifest = asked(tmp_path / "out")[1]
    assert manifest["config"]["server_seeds"] is False
    assert read_responses(tmp_path / "out")[0].response == " \ufffd 6"
    assert not any("seed" in body for body in served.bodies)
    other = langneurons(*words, "--out", tmp_path / "out")
    refused(other, "server_seeds False there, True now")


def test_line_ends_that_are_typed(serve: Any, sums: Path, tmp_path: Path, langneurons) -> None:
    served = serve(twelve)
    words = ("evaluate", "m", sums, "--engine", served.url, "--out", tmp_path / "out")
    typed = ("--stop", r"\n\n", "--stop", r"\\n", "--template", r"Q: {question}\nA: \boxed")
    done = langneurons(*words, *typed)
    assert done.status == 0, done.err
    assert served.bodies[0]["prompt"].endswith("?\nA: \\boxed")
    assert served.bodies[0]["stop"] == ["\n\n", "\\n"]
    assert r"template 'Q: {question}\nA: \\boxed'" in done.out
    assert r"to '\n\n' or '\\n' or the end tokens the server knows" in done.out
