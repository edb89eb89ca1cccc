"""Sampling: what is asked, marked, kept and gone on from."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from langneurons.ask.engine import Completion, Request
from langneurons.ask.local import InProcess
from langneurons.ask.sample import sample, sampled
from langneurons.config import SampleConfig
from langneurons.errors import InputError
from langneurons.model.loading import load
from langneurons.resume import State
from langneurons.texts.responses import Question

QUESTIONS = [
    Question(f"q{i}", code, f"{i} + {i}?", 2 * i) for code in ("en", "zh") for i in range(4)
]


class Answering:
    """An engine that answers in order, rightly where the seed is even, until it gave so many."""

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
    responses, facts = sampled(
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
    responses, facts = sampled(Answering(), odd, SampleConfig(n=1, temperature=0), template="plain")
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


class Remembering(State):
    """A state that remembers all that was ever saved."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {}, {})
        self.saved: list[dict[str, NDArray]] = []

    def save(self, tensors: Mapping[str, NDArray], done: int) -> None:
        self.saved.append({name: np.array(array) for name, array in tensors.items()})
        super().save(tensors, done)


def test_it_goes_on_from_whatever_was_saved_last(tmp_path: Path) -> None:
    """As when it is killed: at any moment what was saved last is there, and nothing else."""
    config = SampleConfig(n=3, save_every=0)
    state = Remembering(tmp_path / "out")
    whole = sample(Answering(), QUESTIONS, config, template="plain", state=state)
    assert len(state.saved) == len(whole) == 24
    for done, saved in enumerate(list(state.saved), 1):
        state.save(saved, done)
        engine = Answering()
        again = sample(engine, QUESTIONS, SampleConfig(n=3), template="plain", state=state)
        assert again == whole
        assert engine.given == len(whole) - done


def test_a_loaded_model_answers_by_itself(model: Path) -> None:
    loaded = load(model)
    engine = InProcess(loaded)
    config = SampleConfig(n=2, max_new_tokens=4)
    expected = sample(engine, QUESTIONS, config, tokenizer=loaded.tokenizer)
    assert len({response.response for response in expected}) > 8
    assert sample(loaded, QUESTIONS, n=2, max_new_tokens=4) == expected
    with pytest.raises(InputError, match="length is no setting here; the settings are n, "):
        sample(loaded, QUESTIONS, length=4)


class Straying(Answering):
    """An engine that answers in English whatever it is asked."""

    def complete(self, requests: Sequence[Request], *_: object) -> Iterator[Completion]:
        for place in range(len(requests)):
            yield Completion(
                place, "She sells her eggs at the market every day, so it is 4.", "stop"
            )


def test_responses_in_another_language_are_counted() -> None:
    """Also in one of the same script, where the questions are enough to learn languages from."""
    eggs = {
        "en": "How many eggs does she sell at the market every day, "
        "and how much money does she make with them?",
        "de": "Wie viele Eier verkauft sie jeden Tag auf dem Markt, "
        "und wie viel Geld verdient sie damit?",
        "th": "เธอขายไข่กี่ฟองที่ตลาดทุกวัน และเธอได้เงินเท่าไรจากไข่เหล่านั้น",
    }
    asked = [Question(f"q{i}", code, text, i) for code, text in eggs.items() for i in range(10)]
    _, facts = sampled(Straying(), asked, SampleConfig(n=1, temperature=0), template="plain")
    rows = {row.pop("lang"): row for row in facts["languages"]}
    assert [rows[code]["other_language"] for code in eggs] == [0, 10, 10]
    assert [rows[code]["wrong_script"] for code in eggs] == [0, 0, 10]
    assert rows["th"]["spoken"] == {"en": 10}
    _, facts = sampled(Straying(), asked[:3], SampleConfig(n=1, temperature=0), template="plain")
    assert facts["languages"][0]["other_language"] is None
