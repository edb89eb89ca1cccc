"""Evaluating: how many answers are right."""

from pathlib import Path

import pytest

from langneurons.ask.engine import Completion
from langneurons.ask.evaluate import evaluate, evaluated
from langneurons.config import EvaluateConfig, SampleConfig
from langneurons.errors import InputError
from langneurons.model.loading import load
from langneurons.texts.responses import Question


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
    evaluation, facts = evaluated(Knowing(), questions, EvaluateConfig(), template=template)
    en, zh, mean = evaluation.accuracies
    assert [r.correct for r in evaluation.responses] == [True] * 4 + [True] + [False] * 3
    assert (en.accuracy, zh.accuracy, mean.accuracy) == (1, 0.25, 0.625)
    assert facts["languages"][0]["correct"] == 4
    with pytest.raises(InputError, match="no question in sw has an answer that is a number"):
        evaluate(
            Knowing(),
            [*questions, Question("q", "sw", "1 + 1?", "May")],
            EvaluateConfig(),
            template=template,
        )


def test_ids_that_carry_the_language_are_noted() -> None:
    """Intervals of one language do not change, that of the mean does: it is said."""
    notes = []
    for form in ("{i}", "{code}-{i}"):
        questions = [
            Question(form.format(code=code, i=i), code, f"{i} + {i}?", 2 * i)
            for code in ("en", "zh")
            for i in range(4)
        ]
        done = evaluated(Knowing(), questions, EvaluateConfig(), template="{language}: {question}")
        notes.append(done.facts["notes"])
    assert notes[0] == []
    (note,) = notes[1]
    assert note.startswith("en, zh share no question with another language, so the interval of the")
    assert "4 of 4 questions" in note


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


def test_a_loaded_model_is_evaluated_by_itself(model: Path) -> None:
    questions = [Question(f"q{i}", "en", f"{i} + {i}?", 2 * i) for i in range(4)]
    found = evaluate(load(model), questions, max_new_tokens=4)
    assert [response.question_id for response in found.responses] == ["q0", "q1", "q2", "q3"]
    assert [(row.lang, row.n) for row in found.accuracies] == [("en", 4), ("mean", 4)]
