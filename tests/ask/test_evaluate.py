"""Evaluation as a stage, before and after, and under silencing: on a model built by hand, and on the command line."""

from collections.abc import Callable
from json import dumps, loads
from pathlib import Path

import pytest

from langneurons import artifacts
from langneurons.ask import commands as ask
from langneurons.ask.engine import Completion
from langneurons.ask.local import InProcess
from langneurons.ask.sample import evaluate, sample
from langneurons.config import Asking, EvaluateConfig, ModelConfig, SampleConfig
from langneurons.errors import InputError, MismatchError
from langneurons.model import loading as models
from langneurons.neurons.sets import select, to_masks
from langneurons.neurons.table import Neurons
from langneurons.texts.responses import Question, Response
from langneurons.texts.rows import read_questions, read_responses
from support import families, planted


class Knowing:
    """An engine that knows the answers in English."""

    def complete(self, requests, config, _):
        assert (config.n, config.temperature) == (1, 0)
        for place, request in enumerate(requests):
            first = int(request.prompt.split()[-3])
            yield Completion(place, f"{2 * first if 'English' in request.prompt else 0}", "stop")


def test_accuracy_per_language() -> None:
    questions = [
        Question(f"q{i}", code, f"{i} + {i}?", 2 * i) for code in ("en", "zh") for i in range(4)
    ]
    template = "{language}: {question}"
    responses, (en, zh, mean), facts = evaluate(
        Knowing(), questions, EvaluateConfig(), template=template
    )
    assert [r.correct for r in responses] == [True] * 4 + [True] + [False] * 3
    assert (en.accuracy, zh.accuracy, mean.accuracy) == (1, 0.25, 0.625)
    assert facts["languages"][0]["correct"] == 4
    with pytest.raises(InputError, match="no question in sw has an answer that is a number"):
        evaluate(
            Knowing(),
            [*questions, Question("q", "sw", "1 + 1?", "May")],
            EvaluateConfig(),
            template=template,
        )


def test_defaults_are_the_papers() -> None:
    config = EvaluateConfig().greedy()
    assert (config.n, config.temperature, config.max_new_tokens, config.tolerance) == (
        1,
        0,
        1024,
        1e-2,
    )
    assert (SampleConfig().temperature, SampleConfig().max_new_tokens, SampleConfig().n) == (
        0.8,
        512,
        10,
    )
    with pytest.raises(InputError):
        EvaluateConfig(rows=0).greedy()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted model: it goes on in the language it is asked in, as long as that language's neurons work."""
    return planted.save(tmp_path_factory.mktemp("planted") / "model")


@pytest.fixture(scope="module")
def neurons(model: Path, tmp_path_factory: pytest.TempPathFactory, langneurons: Callable) -> Path:
    folder = tmp_path_factory.mktemp("found")
    for words in (
        ("record", model, planted.write(folder / "texts"), "--out", folder / "counts"),
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
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten questions in each language, one of its words each; the word the model repeats is the answer."""
    file = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    rows = [
        {"id": f"q{i}", "lang": code, "question": f"ask {code}{i}", "answer": 0}
        for code in planted.LANGS
        for i in range(planted.WORDS)
    ]
    file.write_text("".join(f"{dumps(row)}\n" for row in rows), "utf-8")
    return file


def spoken(responses: list[Response]) -> dict[str, float]:
    """Share of the words of each language's responses that are in the language."""
    words = {
        code: [w for one in responses if one.lang == code for w in one.response.split()]
        for code in planted.LANGS
    }
    return {code: sum(w.startswith(code) for w in said) / len(said) for code, said in words.items()}


def test_a_silenced_language_is_no_longer_spoken(
    model: Path, neurons: Path, questions: Path, tmp_path: Path, langneurons: Callable
) -> None:
    """Drawn words are those of the language; without its specific neurons less often, without the related ones less
    still. Other languages do not change."""
    words = (
        "sample",
        model,
        questions,
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

    loaded = models.load(model)
    config = SampleConfig(n=10, temperature=0.4, max_new_tokens=4)
    asked = read_questions(questions)
    shapes = ((planted.WIDTH,),) * planted.LAYERS
    table = Neurons.from_table(artifacts.read(neurons, "neurons").table("neurons.parquet"))
    masks = to_masks([select(table, shapes, ("specific",), ("en",))], shapes)
    whole, specific = (
        spoken(
            sample(
                InProcess(loaded.model, loaded.tokenizer, mask), asked, config, template="plain"
            ).responses
        )
        for mask in (None, masks)
    )
    assert whole["en"] > 0.7
    assert silenced["en"] < specific["en"] < whole["en"] - 0.1
    assert silenced["en"] < 0.5
    assert specific["sw"] == silenced["sw"] == whole["sw"]


def test_before_and_after(
    model: Path,
    neurons: Path,
    questions: Path,
    tmp_path: Path,
    langneurons: Callable,
    capsys: pytest.CaptureFixture,
) -> None:
    words = ("evaluate", model, questions, "--template", "plain", "--max-new-tokens", 3)
    before = langneurons(*words, "--out", tmp_path / "before")
    assert before.status == 0, before.err
    lines = before.out.splitlines()
    assert lines[0].split() == ["language", "questions", "right", "accuracy", "95%", "interval"]
    assert lines[1].split()[:4] == ["en", "10", "10", "100.0%"]
    assert lines[5].split()[0] == "mean"
    config = EvaluateConfig(max_new_tokens=3)
    how = Asking(template="plain", silence=neurons, languages="en,zh")
    for json in (False, True):
        ask.evaluate(
            str(model),
            str(questions),
            out=tmp_path / "after",
            config=config,
            how=how,
            against=tmp_path / "before",
            json=json,
        )
    *after, told = capsys.readouterr().out.splitlines()
    assert any(line.startswith("silenced: ") for line in after)
    told = loads(told)
    assert [row["lang"] for row in told["changes"]] == [*planted.LANGS, "mean"]
    assert all(row["before"] == 1 for row in told["changes"])
    assert told["changes"][0]["lost"] == 10 - told["accuracy"][0]["correct"]
    row = [line for line in after if line.startswith("en ")][1]
    assert row.split()[1:3] == ["100.0%", f"{told['accuracy'][0]['accuracy']:.1%}"]


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
    how: dict[str, str], says: str, neurons: Path, model: Path, questions: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says):
        ask.evaluate(
            str(model), str(questions), out=tmp_path / "a", how=Asking(silence=neurons, **how)
        )
    assert not any(tmp_path.iterdir())


def test_neurons_of_another_model(
    neurons: Path, model: Path, questions: Path, tmp_path: Path
) -> None:
    how, config = (
        Asking(template="plain", silence=neurons, languages="en"),
        EvaluateConfig(max_new_tokens=2),
    )
    other = families.save("llama", tmp_path / "model")
    with pytest.raises(MismatchError, match="are of another model"):
        ask.evaluate(str(other), str(questions), out=tmp_path / "a", config=config, how=how)
    coarse = {"config": config, "how": how, "loading": ModelConfig(dtype="bfloat16")}
    with pytest.raises(MismatchError, match="the neurons were found on weights"):
        ask.evaluate(str(model), str(questions), out=tmp_path / "b", **coarse)
    ask.evaluate(str(model), str(questions), out=tmp_path / "b", **coarse, force=True)
    found = artifacts.read(tmp_path / "b").manifest["facts"]["model"]["silenced"]
    assert found["found on"] == artifacts.read(neurons).manifest["facts"]["model"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "model"]
