"""Sampling as a stage: what is asked, marked, kept and gone on from. The real command line on a tiny model."""

import json
import random
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from langneurons.ask.engine import Completion, Request
from langneurons.ask.sample import sample
from langneurons.config import SampleConfig
from langneurons.resume import State
from langneurons.texts.responses import Question
from langneurons.texts.rows import read_responses
from support import families
from support.command import killed

QUESTIONS = [
    Question(f"q{i}", code, f"{i} + {i}?", 2 * i) for code in ("en", "zh") for i in range(4)
]


class Answering:
    """An engine that answers in order, rightly where the seed is even, until it has given so many."""

    def __init__(self, until: int = 1000) -> None:
        self.until, self.given = until, 0

    def complete(
        self, requests: Sequence[Request], _: SampleConfig, done: Collection[int] = ()
    ) -> Iterator[Completion]:
        for place, request in enumerate(requests):
            if place in done:
                continue
            if self.given == self.until:
                raise KeyboardInterrupt
            self.given += 1
            first = int(request.prompt.split()[0])
            yield Completion(
                place, f"so {2 * first + request.seed % 2}", "length" if first == 3 else "stop"
            )


def test_responses_are_marked_and_counted() -> None:
    steps: list[tuple[int, int]] = []
    config = SampleConfig(n=3)
    responses, facts = sample(
        Answering(), QUESTIONS, config, template="plain", on_step=lambda *at: steps.append(at)
    )
    assert [(r.question_id, r.lang, r.sample) for r in responses] == [
        (one.id, one.lang, i) for one in QUESTIONS for i in range(3)
    ]
    assert all(
        r.prompt == f"{int(r.question_id[1:])} + {int(r.question_id[1:])}?\n" for r in responses
    )
    assert all(r.correct == (r.response == f"so {r.answer}") for r in responses)
    assert 0 < sum(bool(r.correct) for r in responses) < 24
    assert steps[-1] == (24, 24)
    en, zh = facts["languages"]
    assert (en["lang"], en["responses"], en["judged"], en["cut"]) == ("en", 12, 12, 3)
    assert en["correct"] == sum(bool(r.correct) for r in responses if r.lang == "en")
    assert zh["wrong_script"] == 0  # too short to tell
    assert facts["template"] == "{question}\n"


def test_a_question_without_a_number_is_not_marked() -> None:
    odd = [Question("q1", "en", "1 + 1?", "May"), Question("q2", "en", "2 + 2?")]
    responses, facts = sample(Answering(), odd, SampleConfig(n=1, temperature=0), template="plain")
    assert [r.correct for r in responses] == [None, None]
    assert facts["languages"][0]["judged"] == 0


def test_what_was_done_is_kept_when_something_stops_it(tmp_path: Path) -> None:
    state, config = State(tmp_path / "out", {}, {}), SampleConfig(n=3)
    with pytest.raises(KeyboardInterrupt):
        sample(Answering(until=10), QUESTIONS, config, template="plain", state=state)
    engine = Answering()
    again = sample(engine, QUESTIONS, config, template="plain", state=state)
    assert engine.given == 14
    assert again == sample(Answering(), QUESTIONS, config, template="plain")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    file.write_text("".join(f"{json.dumps(one.to_row())}\n" for one in QUESTIONS), "utf-8")
    return file


WORDS = ("-n", 6, "--max-new-tokens", 40, "--rows", 4, "--template", "plain", "--save-every", 0)


@pytest.fixture(scope="module")
def sampled(
    model: Path, questions: Path, tmp_path_factory: pytest.TempPathFactory, langneurons
) -> Path:
    out = tmp_path_factory.mktemp("sampled") / "a"
    done = langneurons("sample", model, questions, "--out", out, *WORDS)
    assert done.status == 0, done.err
    assert done.out.splitlines()[1].split()[:2] == ["en", "24"]
    assert f"next: langneurons record {model} {out}" in done.out
    return out


def test_the_command_line(sampled: Path, model: Path, questions: Path, langneurons) -> None:
    assert len(read_responses(sampled)) == 48
    again = langneurons("sample", model, questions, "--out", sampled, *WORDS, "--json")
    assert again.json["languages"][1]["responses"] == 24
    assert "up to date" in again.err
    other = langneurons("sample", model, questions, "--out", sampled, *WORDS, "--seed", 1)
    assert other.status == 2
    assert "seed 0 there, 1 now" in other.err


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_killed_and_resumed_is_the_same(
    command: str, model: Path, questions: Path, tmp_path: Path, langneurons
) -> None:
    """SIGKILL at a random moment after the first batch was saved; then again, to the end."""
    words = (
        WORDS if command == "sample" else ("--max-new-tokens", 40, "--rows", 1, "--save-every", 0)
    )
    ran = langneurons(command, model, questions, "--out", tmp_path / "b", *words)
    assert ran.status == 0, ran.err
    command_line = [command, model, questions, "--out", tmp_path / "a", *words]
    assert killed(
        *command_line, when=(tmp_path / ".a.state-0").exists, after=random.uniform(0, 0.05)
    )
    assert not (tmp_path / "a").exists()
    done = langneurons(*command_line)
    assert done.status == 0, done.err
    for file in {path.name for path in (tmp_path / "b").iterdir()} - {"manifest.json"}:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_base_without_chat_template_and_pad_token(
    sampled: Path, model: Path, questions: Path, tmp_path: Path, langneurons
) -> None:
    """Neither is needed: padding is masked whatever it is, and the default prompt is that of MathOctopus."""
    bare = shutil.copytree(model, tmp_path / "bare")
    settings = json.loads((bare / "tokenizer_config.json").read_text("utf-8"))
    del settings["pad_token"]
    (bare / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    assert AutoTokenizer.from_pretrained(bare).pad_token is None
    done = langneurons("sample", bare, questions, "--out", tmp_path / "a", *WORDS)
    assert done.status == 0, done.err
    name = "responses.jsonl"
    assert (tmp_path / "a" / name).read_bytes() == (sampled / name).read_bytes()
    done = langneurons(
        "evaluate", bare, questions, "--out", tmp_path / "b", "--max-new-tokens", 4, "--json"
    )
    assert "### Instruction" in done.json["template"]
    done = langneurons("evaluate", bare, questions, "--out", tmp_path / "c", "--template", "chat")
    assert done.status == 2
    assert (
        "the tokenizer has no chat template; use mathoctopus, plain or a text of yours" in done.err
    )


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
    more: tuple, says: str, model: Path, questions: Path, tmp_path: Path, langneurons
) -> None:
    done = langneurons("sample", model, questions, "--out", tmp_path / "a", "-n", 6, *more)
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert says in done.err
    assert not any(tmp_path.iterdir())


class Straying(Answering):
    """An engine that answers in English whatever it is asked."""

    def complete(self, requests: Sequence[Request], *_: object) -> Iterator[Completion]:
        for place in range(len(requests)):
            yield Completion(
                place, "She sells her eggs at the market every day, so it is 4.", "stop"
            )


def test_responses_in_another_language_are_counted() -> None:
    """Also in one of the same script, where the questions give enough text to learn the languages from."""
    eggs = {
        "en": "How many eggs does she sell at the market every day, and how much money does she make with them?",
        "de": "Wie viele Eier verkauft sie jeden Tag auf dem Markt, und wie viel Geld verdient sie damit?",
        "th": "เธอขายไข่กี่ฟองที่ตลาดทุกวัน และเธอได้เงินเท่าไรจากไข่เหล่านั้น",
    }
    asked = [Question(f"q{i}", code, text, i) for code, text in eggs.items() for i in range(10)]
    _, facts = sample(Straying(), asked, SampleConfig(n=1, temperature=0), template="plain")
    rows = {row.pop("lang"): row for row in facts["languages"]}
    assert [rows[code]["other_language"] for code in eggs] == [0, 10, 10]
    assert [rows[code]["wrong_script"] for code in eggs] == [0, 0, 10]
    assert rows["th"]["spoken"] == {"en": 10}
    _, facts = sample(Straying(), asked[:3], SampleConfig(n=1, temperature=0), template="plain")
    assert facts["languages"][0]["other_language"] is None
